"""Where a long recording is cut: in its pauses, so that an engine which sees a piece whole never sees one that is too long for it.

Energy alone decides, which is enough to find a pause within half a minute of speech; no piece is thrown away, so a wrong guess costs a word at a border
and never a stretch of audio.
"""

from __future__ import annotations

import numpy as np

from asrcore.audio import MODEL_RATE, Samples

LONGEST_S = 30.0
"""Seconds of a piece, at most. Utterances of the training sets are shorter than that."""
STEP = 1280
"""Samples of an encoder frame (80 ms). Cuts lie on its multiples, so the times of a piece's frames are those of the file plus whole frames."""
SENTENCE_PAUSE_S = 1.2
"""Seconds without a written token after which a sentence counts as over, so that the next one is decoded as a new one: what k2's online recognisers take by default."""
QUIET_DB = 6.0
"""Decibels over the quietest step up to which the others count as pause, too."""


def pieces(samples: Samples, longest_s: float = LONGEST_S) -> list[tuple[int, int]]:
    """Sample ranges [start, end) in order, which together are the whole recording; one range when it is short enough.

    A cut lies in the middle of the longest pause of the second half of what may still be added to the piece.
    """
    longest = int(longest_s * MODEL_RATE) // STEP
    steps = -(-len(samples) // STEP)
    padded = np.zeros(steps * STEP, dtype=np.float32)
    padded[: len(samples)] = samples
    level = 10 * np.log10(np.square(padded.reshape(-1, STEP)).mean(axis=1) + 1e-10)
    found: list[tuple[int, int]] = []
    start = 0
    while steps - start > longest:
        end = start + _pause(level[start : start + longest])
        found.append((start * STEP, end * STEP))
        start = end
    return [*found, (start * STEP, len(samples))]


def _pause(level: np.ndarray) -> int:
    """Steps before the cut, at least half of them. `level` in dB, a value a step."""
    half = len(level) // 2
    late = level[half:]
    quiet = late <= late.min() + QUIET_DB
    best, length, run = len(late) - 1, 0, 0
    for at, one in enumerate(quiet):
        run = run + 1 if one else 0
        if run > length:
            best, length = at - run // 2, run
    return max(1, half + best)
