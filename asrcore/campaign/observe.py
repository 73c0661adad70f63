"""From the ledger to evidence: pairs of evals, verdicts, signs of poisoned data, the learning curve's points. Every statistic is the score room's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asrcore.campaign.curve import Point, Refusal, fit
from asrcore.campaign.diagnosis import terms_share
from asrcore.campaign.evidence import Evidence, GuardsSeen, Lever, Outlook, TargetSeen
from asrcore.campaign.rules import GROWTH
from asrcore.campaign.state import Campaign, Decision, Round
from asrcore.errors import clean_text
from asrcore.jobs import ALL_ROWS, Ledger
from asrcore.jobs.store import train_request
from asrcore.requests import Blend, EvalCell, TrainResult
from asrcore.score.bootstrap import Clusters, count, draws, resample
from asrcore.score.bootstrap import cluster as clusters_of
from asrcore.score.compare import Comparison, Verdict, compare_cells
from asrcore.score.hypotheses import pair_up, read_hypotheses
from asrcore.score.replay import ReplayReport, check_guards
from asrcore.score.segments import wrong_tag

TAG_POINTS = 5.0
"""Points of utterances by which tags of another locale must rise in `auto`, and be shown to rise at 5 %, before the data is called poisoned. No tag at all
is what too few steps do, not wrong rows: 24 of 100 utterances where none of another locale was written, in a round with every tag right."""
SCRIPT_POINTS = 5.0
"""Points of letters that left the locale's script."""
CURVE_SEED = 0
OFF_CURVE: tuple[Lever, ...] = ("blend", "boost_terms")
"""Rounds of these levers were not trained on the data they carry."""
_HUNDREDTH_POINT = 1e-4
"""Added to the variances: transcripts of two rounds that are the same leave none."""


@dataclass(frozen=True)
class Behind:
    """The run that made a checkpoint, as far as this workspace knows it."""

    run_id: str | None
    shards_id: str | None
    target_hours: float | None
    gpu_hours: float


@dataclass(frozen=True)
class Seen:
    """Evidence with the verdicts it was made from."""

    evidence: Evidence
    comparisons: tuple[Comparison, ...]
    replay: ReplayReport | None


def behind(ledger: Ledger, checkpoint_sha256: str, locales: Sequence[str]) -> Behind:
    """Run, shards, hours of target audio of a checkpoint. Only the last run counts: a run that went on from another adds to its data unseen. A blend
    has the data of its first tuned checkpoint and took no training."""
    blend = next((one for one in (Blend.model_validate(row.data) for row in ledger.list("blend", ALL_ROWS)) if one.checkpoint.sha256 == checkpoint_sha256), None)
    if blend is not None:
        tuned = behind(ledger, blend.tuned[0].sha256, locales)
        return Behind(tuned.run_id, tuned.shards_id, tuned.target_hours, 0.0)
    runs = [TrainResult.model_validate(row.data) for row in ledger.list("run", ALL_ROWS)]
    run = next((one for one in runs if one.best.sha256 == checkpoint_sha256), None)
    if run is None:
        return Behind(None, None, None, 0.0)
    asked, hours = train_request(ledger, run.run_id), run.seconds / 3600
    if asked is None:
        return Behind(run.run_id, None, None, hours)
    shards = asked.shards
    seconds = sum(source.seconds_by_locale.get(locale, 0.0) for source in shards.sources if source.role == "train" for locale in set(locales))
    return Behind(run.run_id, shards.shards_id, seconds / 3600, hours)


def observe(ledger: Ledger, campaign: Campaign, earlier: Sequence[Decision], this: Round) -> Seen:
    """All that the rules may look at, from the evals that the round and the rounds before it name. Raises what compare_cells and check_guards raise."""
    targets = [(cell_of(ledger, before), cell_of(ledger, after)) for before, after in this.target_pairs]
    guards = [(cell_of(ledger, base), cell_of(ledger, tuned)) for base, tuned in this.guard_pairs]
    comparisons = tuple(compare_cells(before, after) for before, after in targets)
    replay = check_guards(guards, campaign.margin_points) if guards else None
    in_force = cell_of(ledger, this.incumbent_evals[0])
    poison = tuple(sign for (before, after), comparison in zip(targets, comparisons, strict=True) for sign in _poison(before, after, comparison))
    if this.target_hours == 0:
        poison = (*poison, "the shards hold no audio tagged with the target's locale")
    latest = targets[0][1] if targets else in_force
    evidence = Evidence(
        has_candidate=this.candidate is not None, targets=tuple(map(_target, comparisons)), guards=None if replay is None else _guards(replay), poison=poison,
        in_force_percent=comparisons[0].base.percent if comparisons else in_force.normalised.percent, goal_percent=campaign.goal_percent,
        min_gain_points=campaign.min_gain_points, spent=_spent(campaign, earlier, this), pulled=_pulled(earlier, this), terms_share=terms_share(latest),
        outlook=_outlook(ledger, campaign, earlier, this, is_suspect(poison, [c.verdict for c in comparisons])),
        boosted=any(decision.lever == "boost_terms" for decision in earlier),
    )  # fmt: skip
    return Seen(evidence, comparisons, replay)


def is_suspect(poison: Sequence[str], verdicts: Sequence[Verdict]) -> bool:
    """Whether a round's data or training spoiled something, so that it says nothing about what more data brings."""
    return bool(poison) or "worse" in verdicts


def cell_of(ledger: Ledger, eval_id: str) -> EvalCell:
    """Raises `eval_unknown`."""
    return EvalCell.model_validate(ledger.require("eval", eval_id))


def on_curve(ledger: Ledger, earlier: Sequence[Decision], this: Round | None = None, target: int = 0) -> list[tuple[Round, EvalCell]]:
    """The rounds that the learning curve of a target (by its place, the first is 0) is fitted to, with their evals on it as it is now. Rounds with
    poisoned data or a target that got worse are left out, blends too, those that forgot a guard with another recipe, and those whose hours are not known or whose
    set has grown since; a checkpoint that was judged again on more words is one point."""
    rounds = [one.round for one in earlier if one.judgement_rule not in ("poisoned", "worse") and not _bought_by_forgetting(one)]
    asked = [one for one in (*rounds, *([this] if this is not None else [])) if one.lever not in OFF_CURVE]
    known = [(one, cell_of(ledger, one.target_pairs[target][1])) for one in asked if one.target_pairs and hours_of(ledger, one, target)]
    return list({cell.checkpoint.sha256: (one, cell) for one, cell in known if cell.set.sha256 == known[-1][1].set.sha256}.values())


def _bought_by_forgetting(decision: Decision) -> bool:
    """Whether the round forgot a guard and changed more than its data: without replay, or at a higher rate, a target gains at the others' cost, and its rate
    says nothing of what more data brings to a model that keeps them."""
    return decision.judgement_rule == "forgotten" and bool({*decision.round.changed} - {"target_data"})


def hours_of(ledger: Ledger, this: Round, target: int = 0) -> float | None:
    """Hours of a round's training audio in the locales of a target; None when not known. Only those of the first target can have been given by the caller."""
    if target == 0 or this.candidate is None:
        return this.target_hours
    return behind(ledger, this.candidate.sha256, cell_of(ledger, this.target_pairs[target][1]).locales).target_hours


def points_of(
    ledger: Ledger, earlier: Sequence[Decision], this: Round | None = None, target: int = 0
) -> tuple[tuple[Point, ...], NDArray[np.float64]]:
    """The points of a target's learning curve (`on_curve`), with the covariance of their measurement."""
    kept = [(hours_of(ledger, one, target) or 0.0, cell) for one, cell in on_curve(ledger, earlier, this, target)]
    if not kept:
        return (), np.zeros((0, 0))
    hyps = [{h.id: h for h in read_hypotheses(Path(cell.hypotheses))} for _, cell in kept]
    order = list(hyps[0])
    first = [hyps[0][key] for key in order]
    counts = [count([side[key].text for key in order], first, normalised=True) for side in hyps]
    return measured([hours for hours, _ in kept], [one.errors for one in counts], counts[0].words, clusters_of(first))


def measured(
    hours: Sequence[float], errors: Sequence[NDArray[np.int64]], words: NDArray[np.int64], clusters: Clusters
) -> tuple[tuple[Point, ...], NDArray[np.float64]]:
    """Points of the curve and the covariance of their measurement, from each utterance's errors in every round, over the same draws of clusters."""
    rates = resample(errors, words, clusters, CURVE_SEED)
    spread = np.atleast_2d(np.cov(rates)) + _HUNDREDTH_POINT * np.eye(len(errors))
    return tuple(Point(hours=h, percent=100 * int(one.sum()) / int(words.sum())) for h, one in zip(hours, errors, strict=True)), spread


def outlook(points: Sequence[Point], spread: NDArray[np.float64], min_gain: float, most_hours: float | None = None) -> Outlook:
    """What the next doubling of the data is expected to bring. `most_hours` caps it (budget)."""
    now = max((point.hours for point in points), default=None)
    then = None if now is None else min(GROWTH * now, most_hours or GROWTH * now)
    amounts = sorted({point.hours for point in points})
    last = _mean(points, amounts[-2]) - _mean(points, amounts[-1]) if len(amounts) > 1 else None
    found = fit(points, spread)
    if isinstance(found, Refusal) or now is None or then is None or then <= now:
        why = found.why if isinstance(found, Refusal) else "the budget allows no more data"
        return Outlook(hours_now=now, hours_next=then, next_error=None, next_gain=None, chance_below_min_gain=None, last_gain_points=last, refused=why)
    return Outlook(hours_now=now, hours_next=then, next_error=found.error(then), next_gain=found.gain(now, then),
                   chance_below_min_gain=found.chance_gain_below(now, then, min_gain), last_gain_points=last, refused=None)  # fmt: skip


def _outlook(ledger: Ledger, campaign: Campaign, earlier: Sequence[Decision], this: Round, suspect: bool) -> Outlook:
    points, spread = points_of(ledger, earlier, None if suspect else this)
    return outlook(points, spread, campaign.min_gain_points, campaign.budget.max_target_hours)


def _mean(points: Sequence[Point], hours: float) -> float:
    found = [point.percent for point in points if point.hours == hours]
    return sum(found) / len(found)


def _target(c: Comparison) -> TargetSeen:
    return TargetSeen(verdict=c.verdict, before_percent=c.base.percent, percent=c.tuned.percent, gain_points=0.0 - c.delta_points, gain95=(-c.ci95[1], -c.ci95[0]),
                      words=c.words, more_words=c.more_words)  # fmt: skip


def _guards(report: ReplayReport) -> GuardsSeen:
    lost = sorted({clean_text(locale, 20) for guard in report.guards if guard.verdict == "forgotten" for locale in guard.locales})
    short = max((guard.more_words for guard in report.guards if guard.verdict == "inconclusive"), default=0)
    return GuardsSeen(verdict=report.verdict, forgotten=tuple(lost), worst_loss_points=max(g.loss_points for g in report.guards), more_words=short)


def _poison(before: EvalCell, after: EvalCell, comparison: Comparison) -> list[str]:
    """Signs in one target. Another locale's tag or script is what a row with a wrong `target_lang` teaches."""
    signs: list[str] = []
    left = 100 * (before.script_share - after.script_share)
    if left >= SCRIPT_POINTS and comparison.verdict != "better":
        signs.append(f"{left:.0f} points of the letters left the locale's script")
    if after.prompt_mode == "auto":
        pair = pair_up(before, after, CURVE_SEED)
        other = [np.array([h.tag is not None and wrong_tag(h) for h in side], dtype=np.int64) for side in (pair.base, pair.tuned)]
        ones = np.ones(len(pair.base), dtype=np.int64)
        rates = resample(other, ones, pair.clusters, CURVE_SEED)
        rise = draws(rates[1] - rates[0], other[1] - other[0], ones, pair.clusters)
        if rise.estimate >= TAG_POINTS and rise.lower(0.05) > 0:
            signs.append(f"tags of other locales in auto rose by {rise.estimate:.0f} points")
    return signs


def _spent(campaign: Campaign, earlier: Sequence[Decision], this: Round) -> tuple[str, ...]:
    budget, rounds = campaign.budget, [*(decision.round for decision in earlier), this]
    gpu, hours = sum(one.gpu_hours for one in rounds), max((one.target_hours or 0.0 for one in rounds), default=0.0)
    spent = [f"{this.number} rounds"] if this.number >= budget.max_rounds else []
    spent += [f"{gpu:.3g} GPU-hours"] if budget.max_gpu_hours is not None and gpu >= budget.max_gpu_hours else []
    spent += [f"{hours:.3g} hours of data"] if budget.max_target_hours is not None and hours >= budget.max_target_hours else []
    return tuple(spent)


def _pulled(earlier: Sequence[Decision], this: Round) -> tuple[Lever, ...]:
    """Levers since the last promotion, this round's last."""
    since = max((decision.round.number for decision in earlier if decision.judgement == "promote"), default=0)
    rounds = [*(decision.round for decision in earlier if decision.round.number > since), this]
    return tuple(one.lever for one in rounds if one.lever is not None)
