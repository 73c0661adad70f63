"""What a campaign reached round by round, put together for a reader: rates on the first target over rounds and over hours of data, and the curve."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from asrcore.campaign.curve import Curve, Refusal, fit
from asrcore.campaign.evidence import Interval, Judgement, Lever
from asrcore.campaign.observe import cell_of, on_curve, points_of
from asrcore.campaign.rules import GROWTH
from asrcore.campaign.state import Campaign, Decision, decisions_of
from asrcore.jobs import ALL_ROWS, Ledger
from asrcore.requests import PromptMode, Wer
from asrcore.results import Frozen
from asrcore.score.replay import GuardVerdict

CURVE_POINTS = 33


class RoundRate(Frozen):
    """One measured checkpoint on the campaign's first target; round 0 is the base."""

    number: int
    checkpoint: str
    wer: Wer
    hours: float | None
    """Of target audio; null when not known, and for the base."""
    lever: Lever | None
    """What this round changed."""
    judgement: Judgement
    guards: GuardVerdict | None
    on_curve: bool
    """Whether the learning curve was fitted to it (`asrcore.campaign.observe.on_curve`)."""


class CurveAt(Frozen):
    """The fitted error rate at so many hours: lower bound, median and upper bound of 90 %, in percent."""

    hours: float
    error: Interval


class History(Frozen):
    """All rounds of a campaign so far, oldest first."""

    campaign_id: str
    decision_id: str
    """Of the last round."""
    set_name: str
    latency_ms: int
    prompt_mode: PromptMode
    goal_percent: float | None
    rounds: tuple[RoundRate, ...]
    in_force: str
    """Name of the checkpoint in force after the last round."""
    times_used: int
    """Decisions that looked at the set, so that its last rate is too friendly."""
    curve: tuple[CurveAt, ...]
    """From the fewest hours to those of the next round; empty when there is no curve."""
    refused: str | None
    """Why there is no curve, in words that follow "what more data brings is not known yet"."""


def history_of(ledger: Ledger, campaign: Campaign) -> History:
    """From the decisions of a campaign (at least one) and the evals they name. Raises `eval_unknown`, and what reading hypotheses raises."""
    decisions = decisions_of(ledger, campaign.campaign_id)
    main = campaign.targets[0]
    points, spread = points_of(ledger, decisions)
    found = fit(points, spread)
    fitted = {one.number for one, _ in on_curve(ledger, decisions)}
    return History(
        campaign_id=campaign.campaign_id, decision_id=decisions[-1].decision_id, set_name=main.set.name, latency_ms=main.latency_ms, prompt_mode=main.prompt_mode,
        goal_percent=campaign.goal_percent,
        rounds=(_base(ledger, campaign), *(_rate(ledger, decision, decision.round.number in fitted) for decision in decisions if decision.round.target_pairs)),
        in_force=decisions[-1].in_force.name, times_used=len(decisions),
        curve=() if isinstance(found, Refusal) else _curve(found, [point.hours for point in points]),
        refused=found.why if isinstance(found, Refusal) else None,
    )  # fmt: skip


def campaign_of(ledger: Ledger, eval_ids: Collection[str]) -> Campaign | None:
    """The newest campaign that judged one of these evals as a candidate's on a target; None where there is none."""
    for row in ledger.list("campaign", ALL_ROWS):
        campaign = Campaign.model_validate(row.data)
        judged = {after for decision in decisions_of(ledger, campaign.campaign_id) for _, after in decision.round.target_pairs}
        if not judged.isdisjoint(eval_ids):
            return campaign
    return None


def _base(ledger: Ledger, campaign: Campaign) -> RoundRate:
    wer = cell_of(ledger, campaign.targets[0].base_eval).normalised
    return RoundRate(number=0, checkpoint=campaign.base.name, wer=wer, hours=None, lever=None, judgement="none", guards=None, on_curve=False)


def _rate(ledger: Ledger, decision: Decision, fitted: bool) -> RoundRate:
    cell, this = cell_of(ledger, decision.round.target_pairs[0][1]), decision.round
    guards = decision.evidence.guards
    return RoundRate(
        number=this.number, checkpoint=cell.checkpoint.name, wer=cell.normalised, hours=this.target_hours, lever=this.lever, judgement=decision.judgement,
        guards=guards.verdict if guards else None, on_curve=fitted,
    )  # fmt: skip


def _curve(found: Curve, hours: Sequence[float]) -> tuple[CurveAt, ...]:
    grid: list[float] = np.geomspace(min(hours), GROWTH * max(hours), CURVE_POINTS).tolist()
    return tuple(CurveAt(hours=one, error=found.error(one)) for one in grid)
