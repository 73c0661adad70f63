"""Speed, memory and growth of the data tools against stated bars, and side by side with what people use instead.

    python bench/bench_data.py [--rows 100000] [--held 10000] [--memory-rows 100000] [--hours 10] [--repeats 5] [--nemo-script FILE]
                               [--stages scan,full,pack,leakage,split,tags,inspect,shards] [--folder FOLDER] [--json]

scan, full, pack   `bench/data_speed.py` says what they measure and against what; `--hours` of made-up recordings, kept in `--folder` if that is given.
           NeMo's script is not in its wheel: scripts/speech_recognition/convert_to_tarred_audio_dataset.py of its repository
leakage    `--rows` x `--held` rows, of which a known share was planted in both: at most 20 s
memory     peak of split, tags, inspect and shards at a million rows: at most 1 GB each. Every stage runs in a process of its own, at a quarter of
           `--memory-rows` and at all of them; with fewer than a million rows the line through both is followed up to it, and the figure says so
           (a line through few rows reads low: what a process held while it started hides the first growth).
growth     exponent of time over rows between the two runs: at most 1.15, so that ten times the rows take about ten times as long

Audio of the memory runs: short pieces of one recording of noise, each of its own. A value counts only after what came out was checked. The default
takes minutes; --memory-rows 1000000 measures the million itself and takes about an hour. Exit code 1 when a bar is missed. Not a test: wall clocks lie on
busy machines.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import data_speed
from data_speed import Figure, require

PLANTED = 500
WORDS = 12
VOCABULARY = 30_000
MILLION = 1_000_000
LEAKAGE_BAR_S, MEMORY_BAR_MB, GROWTH_BAR = 20.0, 1024.0, 1.15
PIECE_S, RECORDING_S = 0.1, 600.0


class Run(NamedTuple):
    """One stage in a process of its own."""

    rows: int
    seconds: float
    peak_mb: float


# --- what is measured ---------------------------------------------------------------------------------------------------------------------


def leakage(folder: Path, rows: int, held: int) -> float:
    from asrcore.data.leakage import compare_sets

    chance, words = random.Random(0), vocabulary()
    planted = [" ".join(chance.choices(words, k=WORDS)) for _ in range(PLANTED)]
    write(folder / "train.jsonl", made_up("t", rows, words, chance, planted))
    write(folder / "guard.jsonl", made_up("g", held, words, chance, planted))
    start = time.perf_counter()
    report = compare_sets(folder / "guard.jsonl", folder / "train.jsonl")
    seconds = time.perf_counter() - start
    found = {o.kind: (o.rows_first, o.rows_second) for o in report.overlaps}
    require(found == {"text": (PLANTED, PLANTED), "ngram": (PLANTED, PLANTED)}, f"the check found {found}, planted were {PLANTED} sentences")
    return seconds


def split(folder: Path, rows: int, held: int) -> float:
    from asrcore.data.split import split as run

    write(folder / "all.jsonl", made_up("t", rows, vocabulary(), random.Random(0)))
    start = time.perf_counter()
    parts = run(folder / "all.jsonl", {"dev": 0.05, "test": 0.05}, 0, "refuse", (), folder / "datasets").parts
    seconds = time.perf_counter() - start
    require(sum(part.rows for part in parts) == rows, "the split lost rows")
    return seconds


def tags(folder: Path, rows: int, held: int) -> float:
    from asrcore.checkpoint import resolve_base
    from asrcore.data.tags import check_tags
    from asrcore.workspace import Workspace

    base = resolve_base(Workspace.open(folder), "embedded")
    write(folder / "all.jsonl", made_up("t", rows, vocabulary(), random.Random(0)))
    start = time.perf_counter()
    report = check_tags(folder / "all.jsonl", base, "embedded")
    seconds = time.perf_counter() - start
    require((report.rows, [use.tag for use in report.tags]) == (rows, ["en-US"]), "the tags were not all read")
    return seconds


def inspect(folder: Path, rows: int, held: int) -> float:
    from asrcore.checkpoint import resolve_base
    from asrcore.data.inspect import inspect as run
    from asrcore.workspace import Workspace

    base = resolve_base(Workspace.open(folder), "embedded")
    write(folder / "all.jsonl", pieces(folder, rows))
    start = time.perf_counter()
    report = run(folder / "all.jsonl", base, "embedded")
    seconds = time.perf_counter() - start
    require(report.rows_inspected == rows and abs(report.hours * 3600 - rows * PIECE_S) < 0.5, "inspect did not see every row")
    return seconds


def shards(folder: Path, rows: int, held: int) -> float:
    from asrcore.data.shard_request import check_manifests, make_request
    from asrcore.data.shards import run, verify_shards

    class Silent:
        def event(self, stage: str, step: int = 0, total: int = 0, message: str = "", **metrics: float) -> None: ...

        def stop_if_asked(self) -> None: ...

    write(folder / "all.jsonl", pieces(folder, rows))
    start = time.perf_counter()
    facts = check_manifests([folder / "all.jsonl"], [], [folder.resolve()])
    result = run(make_request(facts, 0.1, utterances_per_shard=1_000, seed=0, folder=folder / "shards"), Silent())
    seconds = time.perf_counter() - start
    require(result.sources[0].utterances == rows and not verify_shards(Path(result.root)), "the shards are not whole")
    return seconds


STAGES: dict[str, Callable[[Path, int, int], float]] = {"leakage": leakage, "split": split, "tags": tags, "inspect": inspect, "shards": shards}
SPEED = ("scan", "full", "pack")


# --- manifests ----------------------------------------------------------------------------------------------------------------------------


def vocabulary() -> list[str]:
    return [f"w{n}" for n in range(VOCABULARY)]


def made_up(name: str, count: int, words: list[str], chance: random.Random, planted: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of random words, the planted sentences first, each by one of 1,000 speakers of this set."""
    known = planted or []
    for n in range(count):
        text = known[n] if n < len(known) else " ".join(chance.choices(words, k=WORDS))
        yield {"audio_filepath": f"{name}/{n}.flac", "duration": round(chance.uniform(1, 15), 2), "text": text, "target_lang": "en-US",
               "speaker": f"{name}{n % 1000}", "id": f"{name}{n}"}  # fmt: skip


def pieces(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    """Rows that are pieces of one recording, each at a place of its own."""
    import numpy as np
    import soundfile as sf

    samples = np.random.default_rng(0).standard_normal(round(RECORDING_S * 16_000)) * 0.1
    sf.write(folder / "noise.wav", samples.clip(-1, 1), 16_000)
    for n in range(count):
        offset = round(n * (RECORDING_S - PIECE_S) / count, 6)
        yield {"audio_filepath": "noise.wav", "offset": offset, "duration": PIECE_S, "text": f"Utterance {n}.", "target_lang": "en-US",
               "speaker": f"s{n % 1000}", "id": f"u{n}"}  # fmt: skip


def write(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


# --- processes and figures ----------------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--held", type=int, default=10_000)
    parser.add_argument("--memory-rows", type=int, default=100_000)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--nemo-script", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--stages", default=",".join((*SPEED, *STAGES)))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(in_this_process(options.one, options.rows, options.held)))
        return 0
    names = options.stages.split(",")
    require(set(names) <= {*SPEED, *STAGES}, f"--stages takes {', '.join((*SPEED, *STAGES))}")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            if name in SPEED:
                found = speed(name, options.folder or Path(scratch), options.hours, options.repeats, options.nemo_script)
            else:
                found = figures_of(name, options.rows, options.held, options.memory_rows)
            figures += found
            for figure in [] if options.json else found:
                print(figure.line(), flush=True)
    if options.json:
        print(json.dumps([figure._asdict() for figure in figures]))
    return int(not all(figure.held for figure in figures))


def speed(name: str, folder: Path, hours: float, repeats: int, nemo_script: Path | None) -> list[Figure]:
    if name == "scan":
        return data_speed.scan(folder, hours, repeats)
    return data_speed.full(folder, hours) if name == "full" else data_speed.pack(folder, hours, repeats, nemo_script)


def figures_of(name: str, rows: int, held: int, memory_rows: int) -> list[Figure]:
    if name == "leakage":
        run = measured(name, rows, held)
        return [Figure(f"leakage check, {rows:,} x {held:,} rows", run.seconds, "s", LEAKAGE_BAR_S)]
    small, large = measured(name, memory_rows // 4, held), measured(name, memory_rows, held)
    growth = math.log(large.seconds / small.seconds) / math.log(large.rows / small.rows)
    how, peak = "measured", large.peak_mb
    if large.rows < MILLION:
        slope = (large.peak_mb - small.peak_mb) / (large.rows - small.rows)
        how, peak = f"on the line through {small.rows:,} and {large.rows:,} rows", large.peak_mb + max(0.0, slope) * (MILLION - large.rows)
    took = f"{large.rows:,} rows in {large.seconds:.1f} s"
    return [
        Figure(f"{name}: peak memory at {MILLION:,} rows, {how}", peak, "MB", MEMORY_BAR_MB),
        Figure(f"{name}: growth of time with rows ({took})", growth, "", GROWTH_BAR),
    ]


def measured(name: str, rows: int, held: int) -> Run:
    command = [sys.executable, __file__, "--one", name, "--rows", str(rows), "--held", str(held)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"{name} at {rows:,} rows: {(done.stderr or done.stdout).strip()[-500:]}")
    seconds, peak_mb = json.loads(done.stdout.splitlines()[-1])
    return Run(rows, seconds, peak_mb)


def in_this_process(name: str, rows: int, held: int) -> tuple[float, float]:
    """(seconds, peak memory in MB, with as much for each core as the largest worker process took)."""
    from asrcore.data.pool import cores

    with tempfile.TemporaryDirectory() as folder:
        seconds = STAGES[name](Path(folder), rows, held)
    own, worker = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return seconds, (own + cores() * worker) / 1024


if __name__ == "__main__":
    raise SystemExit(main())
