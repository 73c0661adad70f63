"""Is the fast engine good for this checkpoint, set and latency? It is when a random sample reads the same from the exact engine at batch size 1.

The bar (design of the measuring rooms): at least 98 % identical transcripts and at most 0.1 point of normalised WER between them, on
min(300, all) utterances. Where the model is silent the check would hold for nothing, so such a sample fails it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from asrcore.manifest import Row
from asrcore.model.decode import transcribe_rows
from asrcore.model.stream import StreamingDecoder
from asrcore.requests import Hypothesis, Parity
from asrcore.score.bootstrap import count

SAMPLE = 300
IDENTICAL_PERCENT = 98.0
DELTA_POINTS = 0.1


def sample_size(utterances: int) -> int:
    return min(SAMPLE, utterances)


def check_parity(
    model: Any,
    rows: Sequence[Row],
    slots: Sequence[int],
    att_context: tuple[int, int],
    fast: Sequence[Hypothesis],
    seed: str,
    on_done: Callable[[Hypothesis], None] | None = None,
) -> Parity:
    """Decodes a sample of `rows` exactly and compares it with `fast`, which has one hypothesis a row in the same order.

    `seed` fixes the sample; the set's digest makes it the same for every checkpoint.
    """
    chosen = sorted(random.Random(seed).sample(range(len(rows)), sample_size(len(rows))))
    exact = transcribe_rows(
        model, StreamingDecoder(model, att_context, batch_size=1), [rows[n] for n in chosen], [slots[n] for n in chosen], on_done
    )
    return compare([fast[n] for n in chosen], exact)


def compare(fast: Sequence[Hypothesis], exact: Sequence[Hypothesis]) -> Parity:
    """Parity of two decodings of the same utterances in the same order."""
    identical = 100 * sum(a.raw_text == b.raw_text for a, b in zip(fast, exact, strict=True)) / len(exact)
    ours, theirs = (count([h.text for h in side], exact, normalised=True) for side in (fast, exact))
    delta = ours.wer().percent - theirs.wer().percent
    speaks = any(h.raw_text for h in exact)
    return Parity(
        utterances=len(exact), identical_percent=round(identical, 2), delta_points=round(delta, 4),
        held=speaks and identical >= IDENTICAL_PERCENT and abs(delta) <= DELTA_POINTS,
    )  # fmt: skip
