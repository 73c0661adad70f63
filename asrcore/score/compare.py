"""Is the tuned model better than the base on one set? A paired, clustered answer with "inconclusive" as a third outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from asrcore import io
from asrcore.errors import Problem
from asrcore.requests import CheckpointRef, EvalCell, ManifestRef, PromptMode, Wer
from asrcore.results import Frozen
from asrcore.score.bootstrap import METHOD, MIN_CLUSTERS, ClusterKind, Clusters
from asrcore.score.hypotheses import Pair, condition_warnings, pair_up
from asrcore.score.normalise import NORMALISER
from asrcore.score.power import round_up, words_to_show_difference

Verdict = Literal["better", "worse", "inconclusive"]


class LocaleDelta(Frozen):
    """One locale of a mixed set. No verdict: with many slices some differ by chance."""

    locale: str
    utterances: int
    words: int
    base_percent: float
    tuned_percent: float
    delta_points: float


class Comparison(Frozen):
    """tuned - base on one set, att_context_size and prompt mode. Rates in percent after normalisation, differences in points; negative is better."""

    comparison_id: str
    base_eval: str
    tuned_eval: str
    base_checkpoint: CheckpointRef
    tuned_checkpoint: CheckpointRef
    set: ManifestRef
    att_context: tuple[int, int]
    latency_ms: int
    prompt_mode: PromptMode
    base: Wer
    tuned: Wer
    base_raw: Wer
    tuned_raw: Wer
    delta_points: float
    relative_percent: float | None = Field(description="Change relative to the base's rate; null when the base makes no error.")
    ci95: tuple[float, float] = Field(description="95 % interval of delta_points.")
    p_value: float = Field(description="Two-sided, of no difference; agrees with ci95.")
    improved_share: float = Field(description="Share of bootstrap replications in which tuned is better, ties half.")
    verdict: Verdict
    words: int
    words_needed: int | None = Field(
        description="When inconclusive: words at which the observed difference would be shown 80 times in 100; null when it is zero."
    )
    more_words: int | None = Field(description="words_needed less the words there are, rounded up to two digits.")
    clusters: int
    cluster_kind: ClusterKind
    by_locale: tuple[LocaleDelta, ...]
    normaliser: str
    method: str
    seed: int
    warnings: tuple[Problem, ...]


def compare_cells(base: EvalCell, tuned: EvalCell, seed: int = 0) -> Comparison:
    """Scores both hypothesis files anew and compares them under the same draws of whole clusters.

    `better` when the 95 % interval of tuned - base lies below zero, `worse` when above, else `inconclusive`; also `inconclusive` with fewer than
    10 clusters. Raises `sets_differ`, `latency_differs`, `prompt_mode_differs`, `hypotheses_*`, `empty_references`, `mixed_units`, `too_few_clusters`.
    """
    pair = pair_up(base, tuned, seed)
    raw = pair_up(base, tuned, seed, normalised=False)
    difference = pair.difference
    interval = difference.interval()
    verdict = judge(interval, pair.clusters)
    words = pair.base_wer.words
    clusters = pair.clusters.count
    needed = (
        words_to_show_difference(difference.estimate, difference.standard_error, words, clusters) if verdict == "inconclusive" else None
    )
    return Comparison(
        comparison_id="comparison_" + io.sha256_json([base.eval_id, tuned.eval_id, seed, METHOD, NORMALISER])[:12],
        base_eval=base.eval_id, tuned_eval=tuned.eval_id, base_checkpoint=base.checkpoint, tuned_checkpoint=tuned.checkpoint,
        set=base.set, att_context=base.att_context, latency_ms=base.latency_ms, prompt_mode=base.prompt_mode,
        base=pair.base_wer, tuned=pair.tuned_wer, base_raw=raw.base_wer, tuned_raw=raw.tuned_wer,
        delta_points=difference.estimate, relative_percent=100 * difference.estimate / pair.base_wer.percent if pair.base_wer.errors else None,
        ci95=interval, p_value=min(1.0, 2 * min(difference.p_above_zero(), difference.p_below_zero())),
        improved_share=difference.share_below_zero(), verdict=verdict,
        words=words, words_needed=needed, more_words=None if needed is None else round_up(max(0, needed - words)),
        clusters=clusters, cluster_kind=pair.clusters.kind, by_locale=_by_locale(pair), normaliser=NORMALISER, method=METHOD, seed=seed,
        warnings=(*pair.clusters.warnings, *few_clusters_warning(pair.clusters), *condition_warnings(base, tuned)),
    )  # fmt: skip


def judge(interval: tuple[float, float], clusters: Clusters) -> Verdict:
    """What the interval of tuned - base allows to say."""
    if clusters.count < MIN_CLUSTERS:
        return "inconclusive"
    return "better" if interval[1] < 0 else "worse" if interval[0] > 0 else "inconclusive"


def few_clusters_warning(clusters: Clusters) -> tuple[Problem, ...]:
    if clusters.count >= MIN_CLUSTERS:
        return ()
    return (Problem(code="few_clusters", severity="warning", message=f"{clusters.count} distinct {clusters.kind}s, so no verdict is given.",
                    fix=f"use a set with at least {MIN_CLUSTERS}."),)  # fmt: skip


def _by_locale(pair: Pair) -> tuple[LocaleDelta, ...]:
    locales = [h.locale for h in pair.base]
    names = sorted(set(locales))
    return tuple(_slice(pair, name, [locale == name for locale in locales]) for name in names) if len(names) > 1 else ()


def _slice(pair: Pair, locale: str, mask: Sequence[bool]) -> LocaleDelta:
    keep = np.array(mask)
    words = int(pair.base_counts.words[keep].sum())
    base, tuned = (100 * int(c.errors[keep].sum()) / words for c in (pair.base_counts, pair.tuned_counts))
    return LocaleDelta(
        locale=locale, utterances=int(keep.sum()), words=words, base_percent=base, tuned_percent=tuned, delta_points=tuned - base
    )
