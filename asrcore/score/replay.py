"""Were the other languages kept? A non-inferiority test per guard set, with the margin and the power stated.

For each guard, with loss = tuned - base in points and margin m (given, or the larger of 0.5 point and 5 % of the base's rate):

* kept          the one-sided 95 % upper bound of the loss is below m. "All kept" is an intersection-union test: every guard must pass at 5 %,
                no correction is needed (Berger, Technometrics 24(4), 1982).
* forgotten     the loss is shown to be above zero, at 5 % over all guards of the call (Holm, Scand. J. Statist. 6, 1979; corrected p-value
                below 4 %, see `LOSS_LEVEL`), and its estimate exceeds m. So something was lost and the best guess is more than m; a loss above m itself is not proven.
* inconclusive  else; also with fewer than 10 clusters. `more_words` says what an 80 % chance of "kept" would take if nothing was lost.

The default margin takes the base's measured rate as known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from asrcore import io
from asrcore.errors import NotReadyError, Problem, UsageError
from asrcore.requests import CheckpointRef, EvalCell, ManifestRef, PromptMode, Wer
from asrcore.results import Frozen
from asrcore.score.bootstrap import METHOD, MIN_CLUSTERS, ClusterKind, Draws
from asrcore.score.compare import few_clusters_warning
from asrcore.score.hypotheses import Pair, condition_warnings, pair_up
from asrcore.score.normalise import NORMALISER
from asrcore.score.power import chance_to_show_kept, round_up, words_to_show_kept

ALPHA = 0.05
LOSS_LEVEL = 0.04
"""Holm's level for naming a loss. Far out in the tail p-values from 20 to 50 clusters are up to a fifth too small, so that 4 % makes 5 %: in simulation
one of 40 unharmed guards passed a level of 5 % in 4.9 % (20 clusters) and 5.9 % (50 clusters, standard error 0.5) of calls."""
LOSS_METHOD = f"{METHOD}; a loss is shown by the larger p-value of it and a t test corrected for skewness (Hall 1992), Holm over the guards"
MARGIN_POINTS = 0.5
MARGIN_RELATIVE = 0.05

GuardVerdict = Literal["kept", "forgotten", "inconclusive"]


class GuardResult(Frozen):
    """One guard set at one att_context_size and prompt mode. Rates in percent after normalisation, loss in points; positive is worse."""

    base_eval: str
    tuned_eval: str
    set: ManifestRef
    locales: tuple[str, ...]
    att_context: tuple[int, int]
    latency_ms: int
    prompt_mode: PromptMode
    base: Wer
    tuned: Wer
    loss_points: float
    bounds95: tuple[float, float] = Field(description="One-sided 95 % lower and upper bound of the loss.")
    margin_points: float
    p_loss: float = Field(description="One-sided p-value of no loss.")
    p_loss_holm: float = Field(description="The same, corrected over the guards of this call.")
    verdict: GuardVerdict
    power: float = Field(description="Chance to prove `kept` at this size if nothing was lost.")
    words: int
    words_needed: int = Field(description="Words at which that chance is 80 %.")
    more_words: int
    clusters: int
    cluster_kind: ClusterKind
    wrong_tag_rates: tuple[float, float] | None = Field(description="Base and tuned, in `auto`; null in `langID`.")
    warnings: tuple[Problem, ...]


class ReplayReport(Frozen):
    """`kept` only when every guard is kept; `forgotten` when any is."""

    replay_id: str
    base_checkpoint: CheckpointRef
    tuned_checkpoint: CheckpointRef
    verdict: GuardVerdict
    guards: tuple[GuardResult, ...]
    power_all: float = Field(
        description="Chance that all guards are proven kept at these sizes if nothing was lost and they err independently."
    )
    margin_rule: str
    normaliser: str
    method: str
    seed: int


def check_guards(pairs: Sequence[tuple[EvalCell, EvalCell]], margin_points: float | None = None, seed: int = 0) -> ReplayReport:
    """Tests every (base, tuned) pair of guard evals. `margin_points` must be above 0 and at most 100.

    Raises `no_guards`, `margin_invalid`, `checkpoints_mixed` when the pairs are not all of one base and one tuned checkpoint, and what
    `compare_cells` raises.
    """
    if not pairs:
        raise UsageError(
            "no_guards",
            "there is no guard to check.",
            next_step="run run_streaming_eval on the guard manifests for both checkpoints first.",
        )
    if margin_points is not None and not (math.isfinite(margin_points) and 0 < margin_points <= 100):
        raise UsageError(
            "margin_invalid", "margin_points must be above 0 and at most 100.", next_step="leave it out for the default, or pass e.g. 0.5."
        )
    for side in zip(*pairs, strict=True):
        if len({cell.checkpoint.sha256 for cell in side}) != 1:
            raise NotReadyError("checkpoints_mixed", "the guards come from several checkpoints on one side.",
                                next_step="pass evals of one base checkpoint and of one tuned checkpoint.")  # fmt: skip
    scored = [pair_up(base, tuned, seed) for base, tuned in pairs]
    p_values = [p_of_loss(pair.difference) for pair in scored]
    guards = tuple(
        _guard(base, tuned, pair, margin_points, p, p_holm)
        for (base, tuned), pair, p, p_holm in zip(pairs, scored, p_values, holm(p_values), strict=True)
    )
    key = [[[base.eval_id, tuned.eval_id] for base, tuned in pairs], margin_points, seed, LOSS_METHOD, NORMALISER]
    return ReplayReport(
        replay_id="replay_" + io.sha256_json(key)[:12], base_checkpoint=pairs[0][0].checkpoint, tuned_checkpoint=pairs[0][1].checkpoint,
        verdict=overall([guard.verdict for guard in guards]), guards=guards, power_all=math.prod(guard.power for guard in guards),
        margin_rule=f"{margin_points:g} points" if margin_points is not None else f"the larger of {MARGIN_POINTS} point and {100 * MARGIN_RELATIVE:g} % of the base's rate",
        normaliser=NORMALISER, method=LOSS_METHOD, seed=seed,
    )  # fmt: skip


def p_of_loss(difference: Draws) -> float:
    """One-sided p-value of "nothing was lost": the larger of the bootstrap's and the t test's over clusters, corrected for skewness.

    Alone each is too small far out in the tail, and in different sets (tests/score/test_promises.py).
    """
    return max(difference.p_above_zero(), difference.t_above_zero())


def overall(verdicts: Sequence[GuardVerdict]) -> GuardVerdict:
    """Intersection-union: one guard that is not proven kept keeps the whole from being proven."""
    return "forgotten" if "forgotten" in verdicts else "kept" if all(v == "kept" for v in verdicts) else "inconclusive"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down p-values, in the order given."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def default_margin(base_percent: float) -> float:
    """Points that a guard may lose: 0.5, or 5 % of the base's rate where that is more."""
    return max(MARGIN_POINTS, MARGIN_RELATIVE * base_percent)


def judge_guard(loss: float, upper: float, p_holm: float, margin: float, clusters: int) -> GuardVerdict:
    """The rule of this module's docstring."""
    if clusters < MIN_CLUSTERS:
        return "inconclusive"
    if upper < margin:
        return "kept"
    return "forgotten" if p_holm < LOSS_LEVEL and loss > margin else "inconclusive"


def _guard(base: EvalCell, tuned: EvalCell, pair: Pair, margin_points: float | None, p_loss: float, p_holm: float) -> GuardResult:
    difference = pair.difference
    margin = margin_points if margin_points is not None else default_margin(pair.base_wer.percent)
    bounds = difference.lower(ALPHA), difference.upper(ALPHA)
    words, clusters = pair.base_wer.words, pair.clusters
    needed = words_to_show_kept(margin, difference.standard_error, words, clusters.count)
    rates = None if base.wrong_tag_rate is None or tuned.wrong_tag_rate is None else (base.wrong_tag_rate, tuned.wrong_tag_rate)
    return GuardResult(
        base_eval=base.eval_id, tuned_eval=tuned.eval_id, set=base.set, locales=base.locales, att_context=base.att_context, latency_ms=base.latency_ms,
        prompt_mode=base.prompt_mode, base=pair.base_wer, tuned=pair.tuned_wer, loss_points=difference.estimate, bounds95=bounds, margin_points=margin,
        p_loss=p_loss, p_loss_holm=p_holm, verdict=judge_guard(difference.estimate, bounds[1], p_holm, margin, clusters.count),
        power=chance_to_show_kept(margin, difference.standard_error, words, clusters.count), words=words, words_needed=needed,
        more_words=round_up(max(0, needed - words)), clusters=clusters.count, cluster_kind=clusters.kind, wrong_tag_rates=rates,
        warnings=(*clusters.warnings, *few_clusters_warning(clusters), *condition_warnings(base, tuned)),
    )  # fmt: skip
