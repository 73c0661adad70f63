"""Write down what a loop of measure, add data, retrain is for: targets, guards, goal and budget, from the base's evals.

Use it once, after run_streaming_eval has scored the base on target and guard sets; sets, latencies and prompt modes are those of the evals. The first
target decides about promotion and carries the goal, other targets must not get worse, guards must be kept. Agree goal, margin and budget with the
person before: they cannot be changed, and a margin chosen after a result proves nothing. It returns the campaign_id for decide_next_step, in
milliseconds; the same call again finds the same campaign.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asrcore.campaign import Budget, Campaign, start
from asrcore.campaign.blind import blind_set
from asrcore.errors import Problem, clean_text
from asrcore.jobs import Ledger
from asrcore.results import Frozen, NextAction, Result
from asrcore.workspace import Workspace

EvalId = Annotated[str, Field(pattern=r"^eval_[0-9a-f]{12}$")]


class Input(Frozen):
    title: str = Field(min_length=1, max_length=200, description="What the campaign is for, e.g. Greek telephony.")
    target_evals: tuple[EvalId, ...] = Field(min_length=1, max_length=20, description="Eval ids of the base on the target sets; the first one decides.")
    guard_evals: tuple[EvalId, ...] = Field((), max_length=200, description="Eval ids of the base on the sets that must not get worse.")
    goal_percent: float | None = Field(
        None, gt=0, lt=100, allow_inf_nan=False, description="Error rate on the first target that ends it; left out, the plateau does."
    )
    min_gain_points: float = Field(
        1.0, gt=0, le=50, allow_inf_nan=False, description="Least gain that is worth a round; under it more data is a plateau."
    )
    margin_points: float | None = Field(
        None, gt=0, le=100, allow_inf_nan=False, description="Largest acceptable loss of a guard; else the larger of 0.5 point and 5 % of the base's rate.",
    )  # fmt: skip
    max_rounds: int = Field(10, ge=1, le=1000, description="Candidates that may be judged.")
    max_gpu_hours: float | None = Field(None, gt=0, le=1e6, allow_inf_nan=False, description="Hours of training over all rounds.")
    max_target_hours: float | None = Field(
        None, gt=0, le=1e6, allow_inf_nan=False, description="Hours of target audio that can be had."
    )


Output = Campaign


def run(request: Input, ws: Workspace) -> Result[Output]:
    budget = Budget(max_rounds=request.max_rounds, max_gpu_hours=request.max_gpu_hours, max_target_hours=request.max_target_hours)
    with Ledger.open(ws) as ledger:
        campaign = start(ledger, request.title, request.target_evals, request.guard_evals, goal_percent=request.goal_percent, budget=budget,
                         min_gain_points=request.min_gain_points, margin_points=request.margin_points)  # fmt: skip
        warnings = _warnings(campaign, has_blind=blind_set(ledger) is not None)
    goal = f"{campaign.goal_percent:g} %" if campaign.goal_percent is not None else "the plateau"
    main = campaign.targets[0]
    step = NextAction(tool="decide_next_step", arguments={"campaign_id": campaign.campaign_id}, why="Says what to do first, from the base's evals.")
    return Result(
        summary=f"{campaign.campaign_id}: {clean_text(main.set.name, 60)} at {main.latency_ms} ms, {main.prompt_mode}, down to {goal}, "
        f"{len(campaign.targets) - 1} more targets, {len(campaign.guards)} guards, at most {campaign.budget.max_rounds} rounds.",
        data=campaign, warnings=warnings, next_actions=(step,),
    )  # fmt: skip


def _warnings(campaign: Campaign, *, has_blind: bool) -> tuple[Problem, ...]:
    found: list[Problem] = []
    if not campaign.guards:
        found.append(Problem(code="guards_missing", severity="warning", message="no guard: nobody will notice if other languages are forgotten",
                             fix="pass guard_evals, unless the product serves this one language only"))  # fmt: skip
    if not has_blind:
        found.append(Problem(code="blind_set_missing", severity="warning", message="no blind set: every target guides decisions, so its last rate will be too friendly",
                             fix="keep recordings apart now: register_set with role blind, before anything is trained"))  # fmt: skip
    return tuple(found)
