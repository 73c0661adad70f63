"""Every stage at real size (637,997,088 parameters, random weights), one after another, with its time and its peak of memory.

    python bench/full_size.py [--folder build/full_size] [--stages make,data,…] [--again] [--results bench/results.md]
    python bench/full_size.py --smoke            the same on the embedded base, minutes

Each stage runs in a process of its own with the environment of a job, under a lock of the whole machine, so that two such runs never share its memory; what is done is kept in
`FOLDER/measured.json` and not done again (`--again` does). The peak is the resident memory of the stage's process. Bar: 20 GB. The published weights
cannot be had everywhere, so they are random: times, memory and the gates of the exports mean something, words and error rates do not. Random joints speak in
every frame; `make` therefore raises the bias of blank until about as many frames speak as in speech, else decoding would cost ten times what it does.

Audio: the embedded synthetic sets. Stages that need a GPU say "not measured" without one. `scaling` runs inspect, shards and scoring with 1, 10 and 100 times
`--scale-rows` rows; its bar is an exponent of 1.15 between the last two. Exit code 1 when a stage failed or a bar was missed.
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from asrcore import io
from asrcore.errors import AsrtuneError
from asrcore.jobs.process import environment
from asrcore.results import Frozen
from bench.full_size_stages import STAGES, Found, Place

ROOT = Path(__file__).parents[1]
MEMORY_BAR_GB = 20.0
PLAN_BELOW, PLAN_ABOVE = 0.10, 0.40
"""By how much of the measured peak a plan may be below and above it, on a CPU, where the start of a process is part of a small run's peak."""
MEASURED = "measured.json"
MARK = "full_size"


class Measured(Frozen):
    """One stage that was run. `failed` is the code of its error."""

    seconds: float
    peak_gb: float
    said: str = ""
    failed: str = ""
    figures: tuple[tuple[str, str, bool], ...] = ()
    measured: bool = True

    @property
    def held(self) -> bool:
        return not self.failed and self.peak_gb <= MEMORY_BAR_GB and all(held for _, _, held in self.figures)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="Default: build/full_size, or build/full_size_smoke.")
    parser.add_argument("--smoke", action="store_true", help="The embedded base in the place of the full-size checkpoint.")
    parser.add_argument("--stages", default=",".join(STAGES), help="Comma-separated; default: all.")
    parser.add_argument("--again", action="store_true", help="Also what was measured before.")
    parser.add_argument("--results", type=Path, help="Page whose section is replaced; default: bench/results.md, none with --smoke.")
    parser.add_argument("--scale-rows", type=int, default=500, help="Rows of the smallest of the three sizes of `scaling`.")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    place = Place(options.folder or ROOT / "build" / ("full_size_smoke" if options.smoke else "full_size"), smoke=options.smoke, scale_rows=options.scale_rows)
    if options.one:
        return in_this_process(options.one, place)
    wanted = options.stages.split(",")
    if unknown := set(wanted) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    results = options.results or (None if options.smoke else ROOT / "bench" / "results.md")
    done = measured_before(place)
    with alone_on_this_machine():
        for name in [name for name in STAGES if name in wanted]:
            if name in done and done[name].held and done[name].measured and not options.again:
                continue
            print(f"{name} …", flush=True)
            done[name] = in_a_process(name, place)
            io.write_json(place.folder / MEASURED, {stage: one.model_dump(mode="json") for stage, one in done.items()})
            print(f"  {done[name].seconds:.1f} s, {done[name].peak_gb:.2f} GB, {done[name].failed or done[name].said}", flush=True)
    table = page(done, smoke=options.smoke)
    print(table)
    if results is not None:
        io.write_text(results, with_section(results.read_text(encoding="utf-8") if results.exists() else "# Benchmark results\n", table, MARK))
    return int(not all(done[name].held for name in wanted))


def measured_before(place: Place) -> dict[str, Measured]:
    file = place.folder / MEASURED
    found: dict[str, object] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {name: Measured.model_validate(one) for name, one in found.items()}


@contextmanager
def alone_on_this_machine() -> Generator[None]:
    """One run at a time, whoever started it: two would not fit into memory."""
    with open(Path(tempfile.gettempdir()) / "asrtune_full_size.lock", "a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run holds this machine; waiting for its end", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def in_a_process(name: str, place: Place) -> Measured:
    """A stage's wall seconds, imports included, and the peak of its resident memory."""
    command = [sys.executable, __file__, "--one", name, "--folder", str(place.folder), "--scale-rows", str(place.scale_rows), *(["--smoke"] if place.smoke else [])]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tools"), *filter(None, [os.environ.get("PYTHONPATH")])])
    report = place.folder / "report.json"
    report.unlink(missing_ok=True)
    started = time.monotonic()
    log = place.folder / f"{name}.log"
    with open(log, "wb") as file:
        code = subprocess.run(command, env=environment() | {"PYTHONPATH": paths}, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    seconds = round(time.monotonic() - started, 1)
    if not report.exists():
        return Measured(seconds=seconds, peak_gb=0.0, failed=f"ended with {code}; see {log.name}")
    return Measured.model_validate_json(report.read_text(encoding="utf-8")).model_copy(update={"seconds": seconds})


def in_this_process(name: str, place: Place) -> int:
    """Runs a stage and leaves `report.json`, whose seconds the parent fills in."""
    found, failed = Found(said=""), ""
    try:
        found = STAGES[name](place)
    except AsrtuneError as error:
        failed = error.code
        print(error, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    figures = (*found.figures, *([planned_figure(found.planned_gb, peak)] if found.planned_gb is not None else []))
    io.write_json(place.folder / "report.json", Measured(seconds=0.0, peak_gb=round(peak, 2), failed=failed, said=found.said, figures=figures, measured=found.measured))
    return int(bool(failed))


def planned_figure(planned_gb: float, peak_gb: float) -> tuple[str, str, bool]:
    """The plan's memory against the peak. A plan may be too careful; one that is too low ends a night's run."""
    held = peak_gb * (1 - PLAN_BELOW) <= planned_gb <= peak_gb * (1 + PLAN_ABOVE)
    return "peak memory", f"{peak_gb:.1f} GB; planned {planned_gb:.1f} GB", held


def page(done: dict[str, Measured], *, smoke: bool) -> str:
    """The section of the results page, in Markdown."""
    what = "Smoke run on the embedded base" if smoke else "Real size: 637,997,088 random parameters"
    lines = [
        f"## {what}", "",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine()}; `python bench/full_size.py{' --smoke' if smoke else ''}`. Audio: embedded synthetic sets; a stage's "
        f"time holds the start of its process. Bar: {MEMORY_BAR_GB:g} GB.", "",
        "| stage | seconds | peak GB | bar | what it did |", "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for name in STAGES:
        one = done.get(name)
        if one is None or not one.measured:
            lines.append(f"| {name} | - | - | - | {one.said if one else 'not run'} |")
            continue
        verdict = f"**failed**: {one.failed}" if one.failed else one.said
        lines.append(f"| {name} | {one.seconds:.1f} | {one.peak_gb:.2f} | {'held' if one.held else '**missed**'} | {verdict} |")
    figures = [(name, *figure) for name, one in done.items() for figure in one.figures]
    if figures:
        lines += ["", "| figure | value | bar |", "| --- | --- | --- |"]
        lines += [f"| {name}: {figure} | {value} | {'held' if held else '**missed**'} |" for name, figure, value, held in figures]
    return "\n".join(lines)


def machine() -> str:
    """Processor, cores and memory, without the machine's name."""
    cpu = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next((int(line.split()[1]) / 1e6 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0.0)
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GB"


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def with_section(text: str, section: str, mark: str) -> str:
    """The page with this section in the place of the one of that mark, or at its end."""
    begin, end = (f"<!-- {mark}: {edge} -->" for edge in ("begin", "end"))
    whole = f"{begin}\n{section}\n{end}"
    before, found, rest = text.partition(begin)
    return f"{before}{whole}{rest.partition(end)[2]}" if found else f"{text.rstrip()}\n\n{whole}\n"


if __name__ == "__main__":
    sys.exit(main())
