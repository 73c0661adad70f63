"""Uncertainty of corpus error rates: one clustered bootstrap for both systems.

Errors of one speaker (or of repeats of one sentence) go together, so whole clusters are drawn with replacement, never utterances (Liu & Peng,
arXiv:1912.09508). Both systems are seen through the same draws, so their difference is paired (Bisani & Ney, ICASSP 2004).

Two corrections, both applied to every bound and every p-value here:

* few clusters: the expanded percentile interval of Hesterberg, "What Teachers Should Know About the Bootstrap" (The American Statistician
  69(4), 2015, section 5.3). The percentile level alpha becomes Phi(-sqrt(n/(n-1)) t(alpha, n-1)); with 20 clusters 2.5 % becomes 1.6 %.
* few errors: the rule of three (Hanley & Lippman-Hand, JAMA 249(13), 1983). Words on which nothing happened cannot rule out a rate below
  -ln(alpha)/words, so no bound is nearer to the estimate than that. Without it, identical transcripts of 30 words would "prove" no loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from asrcore.errors import Problem
from asrcore.requests import Hypothesis, Wer
from asrcore.score.normalise import normalise
from asrcore.score.wer import ErrorCounts, count_errors

REPLICATIONS = 10_000
METHOD = "paired cluster bootstrap, 10000 replications, expanded percentile interval (Hesterberg 2015), rule-of-three floor"
MIN_SPEAKERS = 20
"""From so many distinct speakers on, speakers are the clusters and a claim is about new speakers."""
MIN_CLUSTERS = 10
"""With fewer clusters no verdict other than "inconclusive" is given: the t correction is then larger than what it corrects."""

NORMAL = NormalDist()
_DRAWS_AT_ONCE = 1 << 18
_PICKS_A_COUNT = 12
"""One multinomial count costs about as much as so many picks."""
Floats = NDArray[np.float64]
ClusterKind = Literal["speaker", "sentence"]


@dataclass(frozen=True)
class Clusters:
    """`index` maps each utterance to its cluster, 0 to `count` - 1."""

    kind: ClusterKind
    index: NDArray[np.intp]
    count: int
    warnings: tuple[Problem, ...]


@dataclass(frozen=True)
class Draws:
    """The bootstrap distribution of one number, in points (percent of reference words), from at least 2 clusters."""

    estimate: float
    replications: Floats
    """Sorted."""
    clusters: int
    point: float
    """What one error is worth, in points: 100 / words."""
    standard_error: float
    skewness: float
    """Of what the clusters have above or below their words' share; 0 when it is symmetric."""

    def lower(self, alpha: float) -> float:
        """One-sided lower bound: the true value is below it with probability `alpha`."""
        return min(float(np.quantile(self.replications, self._expanded(alpha))), self.estimate + math.log(alpha) * self.point)

    def upper(self, alpha: float) -> float:
        """One-sided upper bound."""
        return max(float(np.quantile(self.replications, 1 - self._expanded(alpha))), self.estimate - math.log(alpha) * self.point)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided interval with equal tails."""
        return self.lower((1 - level) / 2), self.upper((1 - level) / 2)

    def p_above_zero(self) -> float:
        """One-sided p-value of "the true value is not above zero": the `alpha` at which `lower` leaves zero. At most 1."""
        if self.estimate <= 0:
            return 1.0
        return max(self._tail(np.searchsorted(self.replications, 0.0, side="right")), math.exp(-self.estimate / self.point))

    def t_above_zero(self) -> float:
        """The same p-value from a t test over clusters, with Hall's correction where skewness would make it too small (JRSS B 54(1), 1992).

        Far out in the tail, where 40 guards are tested at once, the percentile method is a little too quick to fire with 20 to 50 clusters. An
        uncorrected t test is so too where a few clusters lose much less than the rest (docs/log.md).
        """
        if self.estimate <= 0 or self.standard_error == 0:
            return 1.0 if self.estimate <= 0 else 0.0
        n, g = self.clusters, self.skewness
        t = self.estimate / (self.standard_error * math.sqrt(n / (n - 1)))
        corrected = t + g * (t**2 / 3 + 1 / 6) / math.sqrt(n) + g**2 * t**3 / (27 * n)
        return float(stdtr(n - 1, -min(t, corrected)))

    def p_below_zero(self) -> float:
        """One-sided p-value of "the true value is not below zero"."""
        return Draws(-self.estimate, -self.replications[::-1], self.clusters, self.point, self.standard_error, -self.skewness).p_above_zero()

    def share_below_zero(self) -> float:
        """Share of replications below zero, ties half: the "probability of improvement" of Bisani & Ney when the number is tuned - base."""
        low, high = np.searchsorted(self.replications, 0.0, side="left"), np.searchsorted(self.replications, 0.0, side="right")
        return float(low + high) / 2 / len(self.replications)

    def _expanded(self, alpha: float) -> float:
        return NORMAL.cdf(few_clusters_quantile(alpha, self.clusters))

    def _tail(self, beyond: np.intp) -> float:
        n, share = self.clusters, (float(beyond) + 1) / (len(self.replications) + 1)
        return float(stdtr(n - 1, NORMAL.inv_cdf(share) / math.sqrt(n / (n - 1)))) if share < 1 else 1.0


def few_clusters_quantile(alpha: float, clusters: int) -> float:
    """The quantile that takes the place of the normal one: sqrt(n/(n-1)) t(alpha, n-1). Needs at least 2 clusters."""
    return math.sqrt(clusters / (clusters - 1)) * float(stdtrit(clusters - 1, alpha))


def cluster(hypotheses: Sequence[Hypothesis]) -> Clusters:
    """Speakers when every utterance names one and at least 20 differ, else sentences (same normalised reference) with the warning `few_speakers`.

    Speaker names are compared across sources: a name that two corpora share by chance merges two clusters, which widens the interval.
    """
    speakers = {h.speaker for h in hypotheses}
    if None not in speakers and len(speakers) >= MIN_SPEAKERS:
        return _index("speaker", [h.speaker or "" for h in hypotheses], ())
    known = len(speakers - {None})
    unnamed = sum(h.speaker is None for h in hypotheses)
    nameless = f", {unnamed} utterances without one" if unnamed else ""
    warning = Problem(
        code="few_speakers", severity="warning",
        message=f"{known} distinct speakers{nameless}; the interval is over sentences and says nothing about new speakers.",
        fix=f"name the speaker of every utterance in the manifest and use at least {MIN_SPEAKERS} of them.",
    )  # fmt: skip
    return _index("sentence", [f"{h.locale} {normalise(h.reference, h.locale)}" for h in hypotheses], (warning,))


def resample(
    errors: Sequence[NDArray[np.int64]], words: NDArray[np.int64], clusters: Clusters, seed: int, replications: int | None = None
) -> Floats:
    """Error rates in percent over the same draws of whole clusters: shape (systems, replications), by default `REPLICATIONS` of them.

    Exact, by the cheaper of two samplers of the same distribution: n picks among the clusters, or, as clusters with equal sums are
    interchangeable, multinomial counts of the distinct sums. 10,000 replications of 1,000 clusters take well under 0.3 s on one core.
    """
    columns = [np.bincount(clusters.index, weights=column, minlength=clusters.count) for column in (*errors, words)]
    rows = np.stack(columns, axis=1, dtype=np.float64)
    distinct, often = np.unique(rows, axis=0, return_counts=True)
    rng, total = np.random.default_rng(seed), replications or REPLICATIONS
    few = _PICKS_A_COUNT * len(distinct) < clusters.count
    sums = np.concatenate([
        rng.multinomial(clusters.count, often / clusters.count, size=size) @ distinct if few else _pick(rng, rows, size)
        for size in _portions(total, len(distinct) if few else clusters.count)
    ])  # fmt: skip
    return 100 * sums[:, :-1].T / sums[:, -1]


def _pick(rng: np.random.Generator, rows: Floats, size: int) -> Floats:
    """`size` sums over as many rows as there are, drawn with replacement."""
    picked = rng.integers(0, len(rows), size=(size, len(rows)), dtype=np.uint32).astype(np.intp)
    return np.stack([np.ascontiguousarray(column).take(picked).sum(axis=1) for column in rows.T], axis=1)


def _portions(total: int, width: int) -> list[int]:
    """Numbers of replications that sum to `total`, each small enough that its draws stay in the processor's cache."""
    step = max(1, _DRAWS_AT_ONCE // width)
    return [min(step, total - start) for start in range(0, total, step)]


def draws(rates: Floats, errors: NDArray[np.int64], words: NDArray[np.int64], clusters: Clusters) -> Draws:
    """The distribution of one error rate, or with signed `errors` of a difference, from its replications."""
    total = int(words.sum())
    return Draws(
        100 * int(errors.sum()) / total, np.sort(rates), clusters.count, 100 / total, float(np.std(rates)), _skewness(errors, words, clusters)
    )


def _skewness(errors: NDArray[np.int64], words: NDArray[np.int64], clusters: Clusters) -> float:
    """Skewness of the clusters' errors less what their words would let expect; 0 when no cluster differs."""
    wrong = np.bincount(clusters.index, weights=errors, minlength=clusters.count).astype(np.float64)
    size = np.bincount(clusters.index, weights=words, minlength=clusters.count).astype(np.float64)
    surplus: Floats = wrong - size * (wrong.sum() / size.sum())
    spread = float(np.mean(surplus**2)) ** 1.5
    return float(np.mean(surplus**3)) / spread if spread else 0.0


def with_ci(hypotheses: Sequence[Hypothesis], normalised: bool, seed: int = 0) -> Wer:
    """Corpus error rate of one system with its 95 % interval. Raises what `count_errors` raises."""
    counts = count([h.text for h in hypotheses], hypotheses, normalised)
    clusters = cluster(hypotheses)
    return rate(counts, resample([counts.errors], counts.words, clusters, seed)[0], clusters)


def count(texts: Sequence[str], hypotheses: Sequence[Hypothesis], normalised: bool) -> ErrorCounts:
    """Errors of `texts` against the references of `hypotheses`; empty references are named by manifest line."""
    return count_errors([h.reference for h in hypotheses], texts, [h.locale for h in hypotheses], normalised, [h.line for h in hypotheses])


def rate(counts: ErrorCounts, rates: Floats, clusters: Clusters) -> Wer:
    """The corpus error rate with its 95 % interval (never below zero; none from a single cluster), from its replications."""
    if clusters.count < 2:
        return counts.wer()
    low, high = draws(rates, counts.errors, counts.words, clusters).interval()
    return counts.wer(ci95=(max(0.0, low), high))


def _index(kind: ClusterKind, keys: Sequence[str], warnings: tuple[Problem, ...]) -> Clusters:
    numbers: dict[str, int] = {}
    index = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)
    return Clusters(kind, index, len(numbers), warnings)
