"""How large a set must be. Planning numbers from the standard error that the clustered bootstrap found at the present size.

The error of an estimate falls with the square root of the words, if more words come as more clusters of the same kind (more speakers or
sentences, not longer ones). The standard error is itself an estimate from few clusters; with normal quantiles the set that is asked for
would be too small more often than too large, so the quantiles are those of t at the present clusters (Stein, "A two-sample test for a linear
hypothesis whose power is independent of the variance", Annals of Mathematical Statistics 16(3), 1945).
"""

from __future__ import annotations

import math

from asrcore.score.bootstrap import MIN_CLUSTERS, NORMAL, few_clusters_quantile

POWER = 0.8
"""The chance of success for which "words needed" is stated."""


def chance_to_show_kept(margin: float, standard_error: float, words: int, clusters: int) -> float:
    """Chance (0 to 1) that a guard of this size proves a loss below `margin` points when there is none (one-sided 5 %)."""
    if _resolution(margin) >= words or clusters < MIN_CLUSTERS:
        return 0.0
    if standard_error == 0:
        return 1.0
    return NORMAL.cdf(margin / standard_error - few_clusters_quantile(0.95, clusters))


def words_to_show_kept(margin: float, standard_error: float, words: int, clusters: int) -> int:
    """Words at which that chance is 80 %, judged from `words` in `clusters` (at least 2)."""
    reach = few_clusters_quantile(0.95, clusters) + few_clusters_quantile(POWER, clusters)
    return round_up(max(words * (standard_error * reach / margin) ** 2, _resolution(margin), _fewest(words, clusters)))


def words_to_show_difference(delta: float, standard_error: float, words: int, clusters: int) -> int | None:
    """Words at which a true difference of `delta` points would be shown (two-sided 5 %) 80 times in 100; None when `delta` is zero."""
    if delta == 0:
        return None
    reach = few_clusters_quantile(0.975, clusters) + few_clusters_quantile(POWER, clusters)
    return round_up(max(words * (standard_error * reach / delta) ** 2, -100 * math.log(0.025) / abs(delta), _fewest(words, clusters)))


def _fewest(words: int, clusters: int) -> float:
    """Words that come with the fewest clusters for which a verdict is given; 0 when there are enough."""
    return words * MIN_CLUSTERS / clusters if clusters < MIN_CLUSTERS else 0.0


def _resolution(points: float) -> float:
    """Words below which not even zero errors rule out `points` (rule of three, one-sided 5 %)."""
    return -100 * math.log(0.05) / points


def round_up(words: float) -> int:
    """To two significant digits: the estimate carries no more."""
    unit = 10 ** max(0, math.floor(math.log10(max(words, 1))) - 1)
    return math.ceil(words / unit) * unit
