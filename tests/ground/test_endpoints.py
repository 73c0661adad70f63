"""Cuts of a long recording: everything is in one piece, no piece is too long, and a pause is found where there is one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from asrcore.audio import MODEL_RATE, Samples
from asrcore.endpoints import STEP, pieces


def noise(seconds: float, level: float = 0.1) -> Samples:
    return np.random.default_rng(0).normal(0, level, int(seconds * MODEL_RATE)).astype(np.float32)


@given(st.integers(0, 200_000), st.floats(0.2, 4.0), st.sampled_from([0.0, 1e-3, 0.3]))
def test_pieces_are_the_whole_recording_in_order_and_none_is_too_long(samples: int, longest: float, level: float) -> None:
    found = pieces(noise(13, level)[:samples], longest)
    assert found[0][0] == 0
    assert [start for start, _ in found[1:]] == [end for _, end in found[:-1]]
    assert all(start % STEP == 0 for start, _ in found)
    assert found[-1][1] == samples
    assert all(end - start <= longest * MODEL_RATE for start, end in found[:-1] if len(found) > 1)


def test_a_recording_that_is_short_enough_stays_whole() -> None:
    assert pieces(noise(29)) == [(0, 29 * MODEL_RATE)]


def test_a_cut_lies_in_the_pause_even_when_noise_fills_it() -> None:
    said = [noise(22), noise(1.0, 0.002), noise(20), noise(0.7, 0.002), noise(15)]
    borders = np.cumsum([len(part) for part in said])
    cuts = [end for _, end in pieces(np.concatenate(said))[:-1]]
    assert len(cuts) == 2
    assert all(before < cut < after for cut, before, after in zip(cuts, borders[[0, 2]], borders[[1, 3]], strict=True))
