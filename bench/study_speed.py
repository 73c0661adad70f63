"""Does a merged LoRA decode as fast as the base? Part `speed` of the study.

    python bench/study_speed.py MANIFEST BASE.nemo OTHER.nemo …        seconds of each round by file, as JSON

All checkpoints decode the same clips in one process with one thread, taking turns; the base is there twice, and how far it differs from itself
is the noise that the others are held against. Ranks change nothing in a merged checkpoint, so this can only find a fault.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from asrcore.checkpoint import embedded_base
from asrcore.embedded import shipped
from asrcore.jobs.process import environment
from asrcore.manifest import kept_rows

if TYPE_CHECKING:
    from bench.study_runs import Size, Study

RANKS = ("lora:8", "lora:64")
CLIPS, ROUNDS, BATCH = 24, 9, 16
CONTEXT = (56, 0)


def part(study: Study, size: Size) -> Callable[[], None]:
    """Decodes when the table is asked for: everything else is done by then, so the cores are free."""
    runs = [study.later(study.tuned, size.seeds[0], surface, size.replay_share) for surface in RANKS]

    def table() -> None:
        files = [embedded_base(), embedded_base(), *(Path(run.result().run.best.path) for run in runs)]
        command = [sys.executable, __file__, str(study.sets[shipped.TELEPHONE_TEST]), *map(str, files)]
        rounds: list[list[float]] = json.loads(subprocess.run(command, check=True, env=environment(), stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
        noise = sorted(again / once for once, again, *_ in rounds)[1:-1]  # without the two rounds that something else disturbed most
        print("| checkpoint | median s | times the base, median of rounds | within the base's own range |\n| --- | --- | --- | --- |")
        print(f"| base | {median(one[0] for one in rounds):.2f} | {min(noise):.3f} to {max(noise):.3f} against itself | |")
        for place, name in enumerate(RANKS, 2):
            ratio = median(one[place] / one[0] for one in rounds)
            print(f"| {name}, merged | {median(one[place] for one in rounds):.2f} | {ratio:.3f} | {'yes' if min(noise) <= ratio <= max(noise) else 'no'} |", flush=True)

    return table


def measure(manifest: Path, files: list[Path]) -> list[list[float]]:
    """Seconds of each round, in the order of the files; which of them begins changes from round to round."""
    restore, decode, stream = (importlib.import_module(f"asrcore.model.{name}") for name in ("restore", "decode", "stream"))
    rows = kept_rows(manifest)[:CLIPS]
    models = [restore.restore(file, threads=1) for file in files]
    slots = decode.row_slots(models[0], rows, manifest, "langID")
    found: list[list[float]] = []
    for number in range(ROUNDS + 1):
        seconds = [0.0] * len(files)
        for place in ((number + shift) % len(files) for shift in range(len(files))):
            started = time.perf_counter()
            stream.StreamingDecoder(models[place], CONTEXT, BATCH).decode(decode.stream_items(rows, slots))
            seconds[place] = time.perf_counter() - started
        found.append(seconds)
    return found[1:]  # the first round warms up


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])))
