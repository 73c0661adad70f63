"""Speed of the leakage check and the split against stated bars, on made-up manifests without audio.

    python bench/bench_data.py [--rows 100000] [--held 10000] [--json]

The leakage check compares `--rows` rows with `--held` rows, of which a known share was planted in both; the split divides `--rows` rows of 1,000
speakers. A time counts only after what was found equals what was planted. Exit code 1 when a bar is missed. Not a test: wall clocks lie on busy machines.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from asrcore.data.leakage import compare_sets
from asrcore.data.split import split

PLANTED = 500
WORDS = 12
VOCABULARY = 30_000
LEAKAGE_BAR_S, SPLIT_BAR_S, MEMORY_BAR_MB = 20.0, 20.0, 1024.0


class Figure(NamedTuple):
    """One measured value and the most it may be."""

    name: str
    value: float
    unit: str
    bar: float

    @property
    def held(self) -> bool:
        return self.value <= self.bar


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--held", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        figures = measure(Path(name), options.rows, options.held)
    if options.json:
        print(json.dumps([figure._asdict() for figure in figures]))
    else:
        for figure in figures:
            print(f"{'ok  ' if figure.held else 'MISS'} {figure.name:<50} {figure.value:9.2f} {figure.unit:<3} (bar {figure.bar:g})")
    return int(not all(figure.held for figure in figures))


def measure(folder: Path, rows: int, held: int) -> list[Figure]:
    chance = random.Random(0)
    words = [f"w{n}" for n in range(VOCABULARY)]
    planted = [" ".join(chance.choices(words, k=WORDS)) for _ in range(PLANTED)]
    train, guard = folder / "train.jsonl", folder / "guard.jsonl"
    write(train, made_up("t", rows, planted, words, chance))
    write(guard, made_up("g", held, planted, words, chance))
    start = time.perf_counter()
    report = compare_sets(guard, train)
    leakage_s = time.perf_counter() - start
    found = {o.kind: (o.rows_first, o.rows_second) for o in report.overlaps}
    if found != {"text": (PLANTED, PLANTED), "ngram": (PLANTED, PLANTED)}:
        raise SystemExit(f"the check found {found}, planted were {PLANTED} sentences")
    start = time.perf_counter()
    parts = split(train, {"dev": 0.05, "test": 0.05}, 0, "refuse", (), folder / "datasets").parts
    split_s = time.perf_counter() - start
    if sum(part.rows for part in parts) != rows:
        raise SystemExit("the split lost rows")
    return [
        Figure(f"leakage check, {rows:,} x {held:,} rows", leakage_s, "s", LEAKAGE_BAR_S),
        Figure(f"split, {rows:,} rows", split_s, "s", SPLIT_BAR_S),
        Figure("peak memory of the process", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MB", MEMORY_BAR_MB),
    ]


def made_up(name: str, count: int, planted: list[str], words: list[str], chance: random.Random) -> Iterator[dict[str, Any]]:
    """Rows of random words, the planted sentences first, each by a speaker of this set."""
    for n in range(count):
        text = planted[n] if n < len(planted) else " ".join(chance.choices(words, k=WORDS))
        yield {"audio_filepath": f"{name}/{n}.flac", "duration": round(chance.uniform(1, 15), 2), "text": text, "target_lang": "en-US",
               "speaker": f"{name}{n % 1000}", "id": f"{name}{n}"}  # fmt: skip


def write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    raise SystemExit(main())
