"""The ledger under load: listing 1,000 jobs, and eight processes that write at once.

    python bench/bench_jobs.py [--seconds 60]

Bars: `list_jobs` of the newest 100 among 1,000 ended jobs in at most 50 ms (median of 20); no lost update and no "database is locked" in a minute of
eight writers. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from asrcore.jobs import Ledger, list_jobs, store
from asrcore.results import Frozen
from asrcore.workspace import Config, Workspace

JOBS, SHOWN, LIST_MS, WRITERS = 1000, 100, 50.0, 8


class Note(Frozen):
    writer: int
    number: int


def fill(ws: Workspace) -> None:
    with Ledger.open(ws) as ledger, ledger.transaction() as connection:
        for number in range(JOBS):
            job_id = store.add_job(connection, store.Spec("eval", "asrcore.model.evaluate", {"number": number}, f"key {number}", 30.0, None, 1))
            connection.execute("UPDATE attempts SET state = 'succeeded', ended = queued WHERE job_id = ?", (job_id,))


def listing(ws: Workspace) -> float:
    times: list[float] = []
    for _ in range(20):
        started = time.perf_counter()
        views = list_jobs(ws, SHOWN)
        times.append(1000 * (time.perf_counter() - started))
        assert len(views) == SHOWN
    return statistics.median(times)


def write(home: str, writer: int, until: float) -> int:
    """How many rows this process wrote before `until`."""
    ledger, number = Ledger(Path(home) / "ledger.db"), 0
    while time.time() < until:
        ledger.put("report", f"report_{writer}_{number}", Note(writer=writer, number=number))
        number += 1
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ws = Workspace(Path(folder), Config(), Path(folder))
        fill(ws)
        took = listing(ws)
        until = time.time() + options.seconds
        with multiprocessing.get_context("spawn").Pool(WRITERS) as pool:
            written = pool.starmap(write, [(folder, writer, until) for writer in range(WRITERS)])
        with Ledger.open(ws) as ledger:
            found = sum(1 for row in ledger.list("report", 10_000_000) if row.id.startswith("report_"))
    lost = sum(written) - found
    print(f"list_jobs, {SHOWN} of {JOBS}: {took:.1f} ms (bar {LIST_MS:g})")
    print(f"{WRITERS} writers, {options.seconds:g} s: {sum(written)} rows written, {lost} lost (bar 0), slowest writer {min(written)} rows")
    return 0 if took <= LIST_MS and lost == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
