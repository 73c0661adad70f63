"""The two decoding engines against NeMo's own cache-aware streaming loop, same checkpoint, same clips, one process.

    python bench/bench_eval.py [--checkpoint embedded] [--utterances 160] [--right 0] [--json]

NeMo's loop is that of its `speech_to_text_cache_aware_streaming_infer.py`: `CacheAwareStreamingAudioBuffer` and `conformer_stream_step`, clips in
manifest order, whole batches. Each engine runs once at each of several batch sizes and its best one counts. All clips are of one language, since NeMo holds
one prompt for the model. Audio is decoded beforehand; features are not. A ratio counts only when at least 99 % of our transcripts are those of
NeMo's loop at batch size 1, checked in the same run; else the exit code is 1, as when a ratio is under its bar (exact 1.5, fast 5, at 80 ms).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
BARS = {"exact": 1.5, "fast": 5.0}
IDENTICAL_PERCENT = 99.0
SET, LOCALE = "es-ES_guard_test", "es-ES"
NEMO_BATCHES = (1, 16, 32, 64, 128)
BATCHES = (1, 16, 32, 64, 128)
WARM_UP = 2
"""Clips decoded before the clock starts."""
Tokens = list[tuple[int, ...]]


class Row(NamedTuple):
    engine: str
    batch_size: int
    rtfx: float
    identical_percent: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--checkpoint", default="embedded", help='"embedded" or a .nemo file')
    parser.add_argument("--utterances", type=int, default=160)
    parser.add_argument("--right", type=int, default=0, help="r of att_context_size [56, r]")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows, tokens = measure(options.checkpoint, options.utterances, (56, options.right))
    best = {engine: max((row for row in rows if row.engine == engine), key=lambda row: row.rtfx) for engine in ("nemo", "exact", "fast")}
    ratios = {engine: best[engine].rtfx / best["nemo"].rtfx for engine in BARS}
    held = tokens >= 3 * options.utterances and all(
        ratios[engine] >= bar and best[engine].identical_percent >= IDENTICAL_PERCENT for engine, bar in BARS.items()
    )
    if options.json:
        print(json.dumps({"rows": [row._asdict() for row in rows], "ratios": ratios, "bars": BARS, "identical_bar": IDENTICAL_PERCENT, "tokens": tokens, "held": held}))
        return int(not held)
    print(f"{'engine':8}{'batch':>6}{'audio s / s':>13}{'as NeMo batch 1':>17}")
    for row in rows:
        print(f"{row.engine:8}{row.batch_size:6}{row.rtfx:13.1f}{row.identical_percent:15.1f} %")
    for engine, ratio in ratios.items():
        print(f"{engine}: {ratio:.2f} times NeMo's best (bar {BARS[engine]}), {best[engine].identical_percent:.1f} % identical")
    return int(not held)


def measure(checkpoint: str, utterances: int, context: tuple[int, int]) -> tuple[list[Row], int]:
    """All rows, and the number of tokens in NeMo's transcripts at batch size 1 (a silent model proves nothing)."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    from asrcore.checkpoint import embedded_base
    from asrcore.embedded import shipped
    from asrcore.locales import PROMPT_DICTIONARY
    from asrcore.manifest import load_rows
    from asrcore.model.fast import FastDecoder
    from asrcore.model.restore import restore
    from asrcore.model.stream import StreamingDecoder, StreamItem
    from tests.model.nemo_loop import nemo_loop

    model = restore(embedded_base() if checkpoint == "embedded" else Path(checkpoint))
    with tempfile.TemporaryDirectory() as folder:
        manifest = shipped.unpack(Path(folder))[SET]
        from asrcore.audio import decode

        clips = [decode(row.audio) for row in load_rows(manifest)[:utterances]]
    seconds = sum(len(clip) for clip in clips) / 16_000
    items = [StreamItem(n, lambda clip=clip: clip, PROMPT_DICTIONARY[LOCALE], len(clip) / 16_000) for n, clip in enumerate(clips)]
    reference: Tokens = []

    def row(engine: str, batch_size: int, decode_first: Callable[[int], Tokens]) -> Row:
        decode_first(WARM_UP)
        started = time.perf_counter()
        found = decode_first(utterances)
        took = time.perf_counter() - started
        reference.extend(() if reference else found)  # the first row is NeMo's loop at batch size 1
        return Row(engine, batch_size, seconds / took, 100 * sum(a == b for a, b in zip(found, reference, strict=True)) / len(reference))

    rows = [row("nemo", size, lambda n, size=size: nemo_loop(model, clips[:n], LOCALE, size, context)) for size in NEMO_BATCHES]
    for engine, kind in (("exact", StreamingDecoder), ("fast", FastDecoder)):
        rows += [
            row(engine, size, lambda n, kind=kind, size=size: [d.tokens for d in kind(model, context, size).decode(items[:n])]) for size in BATCHES
        ]
    return rows, sum(map(len, reference))


if __name__ == "__main__":
    sys.exit(main())
