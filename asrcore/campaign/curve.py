"""The learning curve: error rate against hours of target data, error = a * hours^-b + c, with intervals, or a refusal.

The form is the usual one for speech and text (Hestness et al., arXiv:1712.00409; Rosenfeld et al., arXiv:1909.12673). Three parameters from three to
ten rounds are never pinned down, so no single best curve is reported: all curves that fit are weighed (Bayes' rule) and every answer is a median with
a 90 % interval over them.

* Measurement noise is known: the covariance of the rounds' rates over the same bootstrap draws. The test set's own luck moves all rounds together
  and so hardly touches gains.
* Runs differ by their seed too. Its standard deviation is unknown and weighed over `RUN_SD` (points); the weights are a judgement, small values
  first, since public evals of one recipe scatter by tenths of a point on sets of this size.
* b is uniform on `EXPONENTS` (published speech curves lie between 0.2 and 0.6), a at the latest hours and c are flat, both at least 0.

Given b and the run noise, (a, c) is a truncated bivariate normal, so the whole posterior is a few thousand weighted curves on a fixed grid: no
sampling, the same points give the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from asrcore.campaign.evidence import Interval
from asrcore.results import Frozen

Floats = NDArray[np.float64]

EXPONENTS = (0.05, 1.5)
RUN_SD: tuple[tuple[float, float], ...] = ((0.05, 0.4), (0.15, 0.3), (0.3, 0.2), (0.6, 0.1))
"""(standard deviation in points, weight)."""
LEVEL = 0.9
FEWEST_AMOUNTS = 3
"""Distinct amounts of data; with fewer the answer would be the prior's."""
LEAST_SPAN = 2.0
"""Largest over smallest amount of data."""
FARTHEST = 4.0
"""No answer for more than so many times the largest amount of data: the interval would rest on the form of the curve alone."""

_B_NODES, _C_NODES, _A_NODES = 48, 25, 7
_TINY = 1e-12


class Point(Frozen):
    """One round on the first target: hours of target data, error rate in percent."""

    hours: float
    percent: float


@dataclass(frozen=True)
class Refusal:
    """Why there is no curve, in words that follow "what more data brings is not known yet"."""

    why: str


@dataclass(frozen=True)
class Curve:
    """Weighted curves error(h) = c + a * (h / reference)^-b. Weights sum to 1."""

    weight: Floats
    a: Floats
    b: Floats
    c: Floats
    reference: float

    def error(self, hours: float) -> Interval:
        """Error rate at `hours` in percent."""
        return self._interval(self.c + self.a * (hours / self.reference) ** -self.b)

    def gain(self, now: float, then: float) -> Interval:
        """Points from `now` to `then` hours, positive for `then` > `now`."""
        return self._interval(self._gains(now, then))

    def chance_gain_below(self, now: float, then: float, points: float) -> float:
        """Chance (0 to 1) that the gain is under `points`."""
        return float(self.weight[self._gains(now, then) < points].sum())

    def reaches(self, hours: float) -> bool:
        """Whether `hours` is near enough to the data for an answer."""
        return hours <= FARTHEST * self.reference

    def _gains(self, now: float, then: float) -> Floats:
        return self.a * ((now / self.reference) ** -self.b - (then / self.reference) ** -self.b)

    def _interval(self, values: Floats) -> Interval:
        order = np.argsort(values, kind="stable")
        share = np.cumsum(self.weight[order]) - self.weight[order] / 2
        low, middle, high = np.interp([(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], share, values[order])
        return float(low), float(middle), float(high)


def fit(points: Sequence[Point], covariance: Floats) -> Curve | Refusal:
    """All power laws weighed by how well they fit. `covariance` is that of the points' percents, in points squared."""
    if not points:
        return Refusal("no round with known hours of target data is measured")
    hours = np.array([point.hours for point in points], dtype=np.float64)
    amounts = len({point.hours for point in points})
    if amounts < FEWEST_AMOUNTS:
        return Refusal(f"{amounts} of at least {FEWEST_AMOUNTS} different amounts of data are measured")
    if hours.max() < LEAST_SPAN * hours.min():
        return Refusal(f"the amounts of data span less than a factor of {LEAST_SPAN:g}")
    percents = np.array([point.percent for point in points], dtype=np.float64)
    reference = float(hours.max())
    run_sd, prior = np.array(RUN_SD).T
    ceiling = float((percents + 5 * np.sqrt(np.diag(covariance) + run_sd[-1] ** 2)).min())
    exponents = EXPONENTS[0] + (EXPONENTS[1] - EXPONENTS[0]) * (np.arange(_B_NODES) + 0.5) / _B_NODES
    noise = _inverse(covariance + run_sd[:, None, None] ** 2 * np.eye(len(points)))
    logs, mean, spread = _least_squares(percents, (hours / reference) ** -exponents[:, None], noise)
    logs = logs + np.log(prior)[:, None]

    c, c_mass = _nodes(mean[..., 1], np.sqrt(spread[..., 1, 1]), 0.0, ceiling, _C_NODES)
    slope = spread[..., 0, 1] / spread[..., 1, 1]
    a_sd = np.sqrt(np.maximum(spread[..., 0, 0] - slope * spread[..., 0, 1], _TINY))
    a, a_mass = _nodes(mean[..., :1] + slope[..., None] * (c - mean[..., 1:]), a_sd[..., None], 0.0, math.inf, _A_NODES)
    logs = (logs + np.log(np.maximum(c_mass, _TINY)))[..., None] + np.log(np.maximum(a_mass, _TINY))
    weight = np.broadcast_to(np.exp(logs - logs.max())[..., None], a.shape).ravel()
    b, c = (np.broadcast_to(values, a.shape).ravel() for values in (exponents[:, None, None], c[..., None]))
    return Curve(weight / weight.sum(), a.ravel(), b, c, reference)


def _least_squares(percents: Floats, basis: Floats, noise: Floats) -> tuple[Floats, Floats, Floats]:
    """Generalised least squares of percents on [basis, 1], for every run noise (first axis) and exponent (second): log of the marginal likelihood,
    estimates (a, c) and their covariance, both before the bounds."""
    middle = percents.mean()
    columns = np.stack([basis, np.ones_like(basis)], axis=-1)
    weighted = np.einsum("tnm,bmi->tbni", noise, columns)
    spread = _inverse(np.einsum("bni,tbnj->tbij", columns, weighted))
    right = np.einsum("tbni,n->tbi", weighted, percents - middle)
    mean = np.einsum("tbij,tbj->tbi", spread, right)
    whole = np.einsum("n,tnm,m->t", percents - middle, noise, percents - middle)
    left = whole[:, None] - np.einsum("tbi,tbi->tb", right, mean)
    logs = (np.linalg.slogdet(noise)[1][:, None] + np.linalg.slogdet(spread)[1] - left) / 2
    return logs, mean + np.array([0.0, middle]), spread


def _nodes(mean: Floats, sd: Floats, low: float, high: float, count: int) -> tuple[Floats, Floats]:
    """Midpoints of `count` equal shares of each normal truncated to [low, high] along a new last axis, and the mass inside."""
    start: Floats = ndtr((low - mean) / sd)
    mass: Floats = ndtr((high - mean) / sd) - start
    shares = start[..., None] + mass[..., None] * (np.arange(count) + 0.5) / count
    nodes: Floats = mean[..., None] + sd[..., None] * ndtri(np.clip(shares, _TINY, 1 - _TINY))
    return np.clip(nodes, low, high), mass


def _inverse(matrices: Floats) -> Floats:
    return np.asarray(np.linalg.inv(matrices), dtype=np.float64)
