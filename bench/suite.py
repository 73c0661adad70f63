"""The table behind `python -m bench`: benches and rows as data (suite.toml), and what each bench's JSON says as figures of one kind."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asrcore.results import Frozen

TABLE = Path(__file__).with_name("suite.toml")


class Row(Frozen):
    """A line of the results page. `bar` is the most that the value may be, or with `least` the least; None: the row informs."""

    find: str
    what: str
    ours: str
    rival: str
    bar: float | None = None
    least: bool = False


class Bench(Frozen):
    """A script and what is read from it. `rival_arguments` are added where `rival_program` is on PATH."""

    stage: str
    script: str
    arguments: tuple[str, ...] = ()
    rival_arguments: tuple[str, ...] = ()
    rival_program: str = ""
    minutes: float
    """About how long it takes on two free cores."""
    row: tuple[Row, ...]


class Figure(Frozen):
    """One value of a run: its name, what stands behind it, and the bar that the bench itself held it to."""

    name: str
    value: float
    detail: str = ""
    bar: float | None = None
    valid: bool = True
    """False: what came out was not the same, so the value does not count."""


def benches() -> tuple[Bench, ...]:
    return tuple(Bench.model_validate(entry) for entry in tomllib.loads(TABLE.read_text(encoding="utf-8"))["bench"])


def figures(script: str, output: str) -> list[Figure]:
    """From the last line of a bench's output, its JSON. Raises ValueError where there is none."""
    lines = output.strip().splitlines()
    return READERS[script](json.loads(lines[-1] if lines else ""))


def find(row: Row, found: list[Figure]) -> Figure | None:
    """The figure of a row. Raises ValueError when the bench holds it to another bar than the table."""
    figure = next((one for one in found if re.search(row.find, one.name)), None)
    if figure is not None and figure.bar is not None and figure.bar != row.bar:
        raise ValueError(f"{row.what}: the bar is {row.bar} in {TABLE.name} and {figure.bar} in the bench")
    return figure


def held(row: Row, figure: Figure) -> bool:
    return figure.valid and (row.bar is None or (figure.value >= row.bar if row.least else figure.value <= row.bar))


def _named(rows: Any) -> list[Figure]:
    """bench_data, bench_score, bench_jobs: figures already."""
    return [Figure(name=row["name"], value=row["value"], detail=row["name"], bar=row["bar"]) for row in rows]


def _startup(rows: Any) -> list[Figure]:
    return [Figure(name=row["name"], value=row["ratio"], detail=f"{row['ours']:.3f} against {row['bare']:.3f} s", bar=row["bar"]) for row in rows]


def _eval(told: Any) -> list[Figure]:
    best = {name: max((row for row in told["rows"] if row["engine"] == name), key=lambda row: row["rtfx"]) for name in ("nemo", *told["ratios"])}
    nemo = best.pop("nemo")
    return [
        Figure(name=name, value=told["ratios"][name], bar=told["bars"][name], valid=one["identical_percent"] >= told["identical_bar"],
               detail=f"{one['rtfx']:.1f} at batch {one['batch_size']} against {nemo['rtfx']:.1f} at batch {nemo['batch_size']}; {one['identical_percent']:.1f} % the same words")
        for name, one in best.items()
    ]  # fmt: skip


def _train(told: Any) -> list[Figure]:
    ours, stock, shell = (told["steps_per_s"][name] for name in ("ours", "stock", "stock, shell's memory"))
    how = f"losses within {told['worst']:.1e}"
    return [Figure(name="steps a second", value=ours / stock, detail=f"{ours:.3f} against {stock:.3f}; {how}", valid=told["same"]),
            Figure(name="shell", value=ours / shell, detail=f"{ours:.3f} against {shell:.3f}; {how}", valid=told["same"])]  # fmt: skip


def _serve(rows: Any) -> list[Figure]:
    ours = {(row["chunk_ms"], row["connections"]): row["p95_ms"] for row in rows if row["server"] == "asrtune"}
    found: list[Figure] = []
    for row in rows:
        chunk, count, p95 = row["chunk_ms"], row["connections"], row["p95_ms"]
        mine = ours[chunk, count]
        value, detail = (p95 / chunk, f"{p95:.0f} ms") if row["server"] == "asrtune" else (p95 / mine, f"{p95:.0f} against {mine:.0f} ms")
        found.append(Figure(name=f"{row['server']} {chunk} ms {count}", value=value, detail=detail, valid=row["agreement"] >= 0.99))
    return found


READERS: dict[str, Callable[[Any], list[Figure]]] = {
    "bench_startup.py": _startup, "bench_data.py": _named, "bench_score.py": _named, "bench_eval.py": _eval, "train.py": _train, "bench_serve.py": _serve,
    "bench_jobs.py": _named,
}  # fmt: skip
