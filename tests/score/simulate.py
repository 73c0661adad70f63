"""Data sets drawn with a known truth, to see how often the statistics keep their word."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr

from asrcore.score.bootstrap import Clusters, Draws, draws, resample


def difference(rng: np.random.Generator, clusters: int, base: float, loss: float, seed: int) -> Draws:
    """tuned - base over speakers that differ in length, in error rate and in how much they lose; the true mean loss is `loss` (0 to 1)."""
    words = rng.integers(30, 150, size=clusters)
    errors = rng.binomial(words, rng.beta(1.5, 1.5 * (1 - base) / base, size=clusters))
    lost = loss * rng.gamma(2.0, 0.5, size=clusters)
    return _drawn(words, errors, errors - rng.binomial(errors, 0.2) + rng.poisson(words * (0.2 * base + lost)), seed)


def guard(rng: np.random.Generator, clusters: int, loss: float, seed: int) -> Draws:
    """A guard: base rate 10 %, true loss `loss` (0 to 1); speakers differ in length, rate and loss."""
    return _drawn(*_guards(rng, (clusters,), loss), seed)


def suspects(rng: np.random.Generator, clusters: int, guards: int, p_value: float, seed: int) -> list[Draws]:
    """Of so many guards that lost nothing, those whose plain t test over clusters says less than `p_value`. Only they cost a bootstrap."""
    words, before, after = _guards(rng, (guards, clusters), 0.0)
    change, total = after - before, words.sum(axis=1)
    rates = change.sum(axis=1) / total
    surplus = change - rates[:, None] * words
    error = np.sqrt(clusters / (clusters - 1) * (surplus**2).sum(axis=1)) / total
    found = np.flatnonzero(stdtr(clusters - 1, -rates / error) < p_value)
    return [_drawn(words[k], before[k], after[k], seed + int(k)) for k in found]


def words_of(d: Draws) -> int:
    """Reference words behind simulated draws."""
    return round(100 / d.point)


def _guards(rng: np.random.Generator, shape: tuple[int, ...], loss: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Words, and errors before and after."""
    words = rng.integers(80, 200, size=shape)
    errors = rng.binomial(words, rng.beta(4, 36, size=shape))
    lost = loss * rng.gamma(4.0, 0.25, size=shape)
    return words, errors, errors - rng.binomial(errors, 0.3) + rng.poisson(words * (0.03 + lost))


def _drawn(words: np.ndarray, before: np.ndarray, after: np.ndarray, seed: int) -> Draws:
    found = Clusters("speaker", np.arange(len(words)), len(words), ())
    rates = resample([before, after], words, found, seed)
    return draws(rates[1] - rates[0], after - before, words, found)
