"""The ledger under load: listing 1,000 jobs, and eight processes that write at once.

    python bench/bench_jobs.py [--seconds 60] [--json]

Bars: `list_jobs` of the newest 100 among 1,000 ended jobs in at most 50 ms (median of 20); no lost update and no "database is locked" in a minute of
eight writers. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from asrcore.jobs import Ledger, child, list_jobs, process, store
from asrcore.jobs.ledger import put_object
from asrcore.jobs.outcome import attempt_folder
from asrcore.requests import Event
from asrcore.results import Frozen
from asrcore.workspace import Config, Workspace

JOBS, SHOWN, LIVE, LIST_MS, WRITERS = 1000, 100, 4, 50.0, 8
EVENTS = "".join(
    Event(time=1e9 + step, stage="train", step=step, total=2000, metrics={"loss": 1.0, "lr": 1e-4, "utterances_per_s": 9.0}).model_dump_json() + "\n"
    for step in range(2000)
)
"""Of one training that reported 2,000 times."""


class Note(Frozen):
    writer: int
    number: int


def fill(ws: Workspace) -> None:
    """Ended jobs, and the newest `LIVE` as if this very process supervised them."""
    me = process.identify(os.getpid())
    assert me is not None
    with Ledger.open(ws) as ledger, ledger.transaction() as connection:
        for number in range(JOBS):
            job_id = store.add_job(connection, store.Spec("train", "asrcore.model.train", {"number": number}, f"key {number}", 30.0, None, 1))
            state = "running" if number >= JOBS - LIVE else "succeeded"
            connection.execute("UPDATE attempts SET state = ?, supervisor = ?, beat = queued WHERE job_id = ?", (state, me.encode(), job_id))
            leave_files(attempt_folder(ws.home, job_id, 1))


def leave_files(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, text in ((child.EVENTS, EVENTS), (child.LOG, "a line of the log\n" * 5000), (child.RESULT, "{}")):
        (folder / name).write_text(text, encoding="utf-8")


def listing(ws: Workspace) -> float:
    times: list[float] = []
    for _ in range(20):
        started = time.perf_counter()
        views = list_jobs(ws, SHOWN)
        times.append(1000 * (time.perf_counter() - started))
        assert len(views) == SHOWN
    return statistics.median(times)


_together: list[Barrier] = []


def meet(barrier: Barrier) -> None:
    _together.append(barrier)


def write(home: str, writer: int, seconds: float) -> tuple[int, int]:
    """Once all writers are there: how many rows this process wrote in so long, and how often it raised the counter that all share."""
    ledger, number, raised = Ledger(Path(home) / "ledger.db"), 0, 0
    _together[0].wait()
    until = time.time() + seconds
    while time.time() < until:
        ledger.put("report", f"report_{writer}_{number}", Note(writer=writer, number=number))
        number += 1
        if number % 10 == 0:
            with ledger.transaction() as connection:
                row = connection.execute("SELECT data FROM objects WHERE kind = 'set' AND id = 'counter'").fetchone()
                put_object(connection, "set", "counter", {"n": (json.loads(row["data"])["n"] if row else 0) + 1})
            raised += 1
    return number, raised


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ws = Workspace(Path(folder), Config(), Path(folder))
        fill(ws)
        took = listing(ws)
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(WRITERS, meet, (spawn.Barrier(WRITERS),)) as pool:
            done = pool.starmap(write, [(folder, writer, options.seconds) for writer in range(WRITERS)], chunksize=1)
        written, raised = [number for number, _ in done], sum(number for _, number in done)
        with Ledger.open(ws) as ledger:
            lost = sum(written) - int(ledger.rows("SELECT count(*) FROM objects WHERE kind = 'report'")[0][0])
            missed = raised - int((ledger.get("set", "counter") or {"n": 0})["n"])
    figures = [
        (f"list_jobs, {SHOWN} of {JOBS}, ms", took, LIST_MS),
        (f"rows lost, {WRITERS} writers in {options.seconds:g} s: {sum(written)} written, {min(written)} by the slowest", lost, 0),
        (f"updates missed of one counter, raised {raised} times by all of them", missed, 0),
    ]
    if options.json:
        print(json.dumps([{"name": name, "value": value, "bar": bar} for name, value, bar in figures]))
    else:
        for name, value, bar in figures:
            print(f"{name:80} {value:6.1f}  (bar {bar:g})")
    return int(min(written) == 0 or any(value > bar for _, value, bar in figures))


if __name__ == "__main__":
    sys.exit(main())
