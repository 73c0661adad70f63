"""Dry run of a fine-tune: a complete recipe with a reason for every value, and a plan_id.
Use it after build_shards, again with other values to compare, and show the plan to the person. It trains nothing: it checks shards, tags, overlap of
dev and training data, latency, disk and memory, and refuses with all problems at once. It returns decisions, what each source gives, time, cost, memory, disk,
and the expected gain where there is evidence. It takes seconds.
"""

from __future__ import annotations

from asrcore.errors import Problem
from asrcore.recipe import FinetuneSpec, PlanSummary, make_plan
from asrcore.results import NextAction, Result
from asrcore.workspace import Workspace

Input = FinetuneSpec
Output = PlanSummary


def run(request: FinetuneSpec, ws: Workspace) -> Result[PlanSummary]:
    plan, warnings = make_plan(request, ws)
    summary, training = plan.summary, plan.request
    time = f"about {summary.estimates.seconds:.0f} s" if summary.estimates.seconds is not None else "unknown time"
    cost = f" for about {summary.estimates.cost:g} at {ws.config.budgets.price_per_gpu_hour:g} a GPU-hour" if summary.estimates.cost is not None else ""
    return Result(
        summary=f"{summary.plan_id}: {training.max_steps} steps of {'about ' if training.batch_seconds else ''}{training.batch_size} utterances at peak {training.peak_lr:g} on {request.surface}, "
        f"{time}{cost}, {summary.estimates.memory_gb:g} GB memory, {summary.estimates.disk_gb:g} GB disk; expected gain {summary.expected_gain.expected}.",
        data=summary,
        warnings=(*warnings, *_approval(summary)),
        next_actions=(NextAction(tool="launch_finetune", arguments={"plan_id": summary.plan_id},
                                 why="starts just this plan" + (", once a person approved it" if summary.needs_approval else "")),),
    )  # fmt: skip


def _approval(summary: PlanSummary) -> tuple[Problem, ...]:
    return tuple(
        Problem(code="approval_needed", severity="warning", message=f"the plan is over a limit: {limit}",
                fix=f"ask the person to run `asrtune approve {summary.plan_id}` in a terminal, or plan with fewer max_steps")
        for limit in summary.needs_approval
    )  # fmt: skip
