"""All benches against what people use instead, one after another, into the results page:

    python -m bench [--stages start-up,data,score,eval,train,serve,jobs] [--list] [--results bench/results.md]

Rows, commands and bars: bench/suite.toml. A stage that was run before keeps its rows, with their date and machine. Real size is a page section of its own:
`python bench/full_size.py`. Exit code 1 when a bench failed or a row of this run missed its bar. Wall clocks lie on busy machines: leave this one alone meanwhile.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from asrcore import io
from asrcore.results import Frozen
from bench.full_size import alone_on_this_machine, machine, with_section
from bench.suite import Bench, Figure, benches, figures, find, held

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "bench" / "measured.json"
"""What the page is made of; kept with it, so that a run of one stage leaves the rows of the others."""
MARK = "suite"


class Run(Frozen):
    """One bench as it was run. `failed`: its last words, where it ended without figures."""

    date: str
    machine: str
    figures: tuple[Figure, ...] = ()
    failed: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    table = benches()
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", default=",".join(one.stage for one in table), help="Comma-separated; default: all.")
    parser.add_argument("--list", action="store_true", help="Print the rows and their bars, and measure nothing.")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results.md")
    parser.add_argument("--measured", type=Path, default=MEASURED, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    wanted = options.stages.split(",")
    if unknown := set(wanted) - {one.stage for one in table}:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    chosen = [one for one in table if one.stage in wanted]
    if options.list:
        print(page(table, {}))
        return 0
    done = measured_before(options.measured)
    with alone_on_this_machine():
        for one in chosen:
            print(f"{one.stage}: {one.script}, about {one.minutes:g} min …", flush=True)
            done[one.stage] = run(one)
            io.write_json(options.measured, {stage: found.model_dump(mode="json") for stage, found in done.items()})
    section = page(table, done)
    print(section)
    before = options.results.read_text(encoding="utf-8") if options.results.exists() else "# Benchmark results\n"
    io.write_text(options.results, with_section(before, section, MARK))
    return int(not all(good(one, done[one.stage]) for one in chosen))


def measured_before(file: Path) -> dict[str, Run]:
    found: dict[str, object] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return {stage: Run.model_validate(one) for stage, one in found.items()}


def run(one: Bench) -> Run:
    """Runs a bench as one would by hand and reads its figures."""
    rival = one.rival_arguments if one.rival_program and shutil.which(one.rival_program) else ()
    command = [sys.executable, str(ROOT / "bench" / one.script), *one.arguments, *rival, "--json"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tools"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    found: list[Figure] = []
    failed = ""
    try:
        found = figures(one.script, done.stdout)
    except (ValueError, KeyError, TypeError):
        failed = ((done.stderr.strip() or done.stdout.strip()).splitlines() or [f"ended with {done.returncode}"])[-1][:200]
    return Run(date=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}", machine=machine(), figures=tuple(found), failed=failed)


def good(one: Bench, told: Run) -> bool:
    """Whether a run has figures and none that misses its bar. A row whose rival is not installed is no miss."""
    found = [(row, find(row, list(told.figures))) for row in one.row]
    needed = all(figure is not None for row, figure in found if row.bar is not None)
    return not told.failed and needed and all(held(row, figure) for row, figure in found if figure is not None)


def page(table: Sequence[Bench], done: dict[str, Run]) -> str:
    """The section of the results page, in Markdown."""
    lines = [
        "## Beside what people use instead", "",
        "`python -m bench`, embedded base and synthetic speech.", "",
        "| stage | what | value | bar | | behind it | our command | theirs | measured |", "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for one in table:
        told = done.get(one.stage)
        for row in one.row:
            bar = "-" if row.bar is None else f"{'≥' if row.least else '≤'} {row.bar:g}"
            figure = find(row, list(told.figures)) if told else None
            when = f"{told.date}, {told.machine}" if told else ""
            if figure is None:
                value, verdict, behind = "-", "not measured", told.failed if told else ""
            else:
                value, behind = f"{figure.value:.3g}", figure.detail
                verdict = ("held" if row.bar is not None else "info") if held(row, figure) else "**missed**" if figure.valid else "**not the same output**"
            lines.append(f"| {one.stage} | {row.what} | {value} | {bar} | {verdict} | {_cell(behind)} | `{row.ours}` | {_cell(row.rival) or '-'} | {when} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
