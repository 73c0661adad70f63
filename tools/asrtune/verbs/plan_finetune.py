"""Dry run of a fine-tune: turns shards, a dev set and a base into a complete recipe, with a reason for every value, and a plan_id.
Use it after build_shards and before launch_finetune; call it again with other values to compare plans, and show the plan to the person.
It does not train: it checks shards, tags, overlap of dev and training data, latency, disk and memory, and refuses with all problems at once.
It returns decisions, how often each source will be seen, steps, time, memory and disk, and the expected gain where there is evidence, else unknown.
It takes seconds: the shard manifests are read once, and shards of up to 4 GB are hashed.
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
    return Result(
        summary=f"{summary.plan_id}: {training.max_steps} steps of {training.batch_size} utterances at peak {training.peak_lr:g} on {request.surface}, "
        f"{time}, {summary.estimates.memory_gb:g} GB memory, {summary.estimates.disk_gb:g} GB disk; expected gain {summary.expected_gain.expected}.",
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
