"""Data sets drawn with a known truth, to see how often the statistics keep their word."""

from __future__ import annotations

import numpy as np

from asrcore.score.bootstrap import Clusters, Draws, draws, resample


def difference(rng: np.random.Generator, clusters: int, base: float, loss: float, seed: int) -> Draws:
    """tuned - base over speakers that differ in length, in error rate and in how much they lose; the true mean loss is `loss` (0 to 1)."""
    words = rng.integers(30, 150, size=clusters)
    errors = rng.binomial(words, rng.beta(1.5, 1.5 * (1 - base) / base, size=clusters))
    lost = loss * rng.gamma(2.0, 0.5, size=clusters)
    return _drawn(words, errors, errors - rng.binomial(errors, 0.2) + rng.poisson(words * (0.2 * base + lost)), seed)


def guard(rng: np.random.Generator, clusters: int, loss: float, seed: int) -> Draws:
    """A guard: base rate 10 %, true loss `loss` (0 to 1); speakers differ in length, rate and loss."""
    words = rng.integers(80, 200, size=clusters)
    errors = rng.binomial(words, rng.beta(4, 36, size=clusters))
    lost = loss * rng.gamma(4.0, 0.25, size=clusters)
    return _drawn(words, errors, errors - rng.binomial(errors, 0.3) + rng.poisson(words * (0.03 + lost)), seed)


def words_of(d: Draws) -> int:
    """Reference words behind simulated draws."""
    return round(100 / d.point)


def _drawn(words: np.ndarray, before: np.ndarray, after: np.ndarray, seed: int) -> Draws:
    found = Clusters("speaker", np.arange(len(words)), len(words), ())
    rates = resample([before, after], words, found, seed)
    return draws(rates[1] - rates[0], after - before, words, found)
