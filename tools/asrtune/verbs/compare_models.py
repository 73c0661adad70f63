"""Compare a base and a tuned eval of the same set: better, worse, or inconclusive with the number of words that would decide it.

Use it after run_streaming_eval has scored both checkpoints on the target set at the same att_context_size and prompt mode; evals under different
conditions are refused. Do not use it for the other languages (check_replay does that), and do not read a winner out of two point WERs.
It returns both corpus rates with 95 % intervals, the difference in points and relative, its interval and p-value from a paired bootstrap over
speakers (sentences, with a warning, when there are under 20 speakers), and a verdict. Cost: seconds, no model is loaded.
"""

from __future__ import annotations

from pydantic import Field

from asrcore.errors import clean_text
from asrcore.jobs import Ledger
from asrcore.requests import EvalCell
from asrcore.results import Frozen, NextAction, Result
from asrcore.score.compare import Comparison, compare_cells
from asrcore.workspace import Workspace


class Input(Frozen):
    base_eval: str = Field(pattern=r"^eval_[0-9a-f]{12}$", description="Eval id of the base checkpoint.")
    tuned_eval: str = Field(pattern=r"^eval_[0-9a-f]{12}$", description="Eval id of the tuned checkpoint on the same set and conditions.")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of the bootstrap; the same seed gives the same numbers.")


Output = Comparison


def run(request: Input, ws: Workspace) -> Result[Output]:
    with Ledger.open(ws) as ledger:
        base, tuned = (EvalCell.model_validate(ledger.require("eval", eval_id)) for eval_id in (request.base_eval, request.tuned_eval))
        comparison = compare_cells(base, tuned, request.seed)
        ledger.put("comparison", comparison.comparison_id, comparison)
    return Result(summary=sentence(comparison), data=comparison, warnings=comparison.warnings, next_actions=_next(comparison))


def sentence(c: Comparison) -> str:
    """The verdict in one sentence."""
    unit, low, high = c.base.unit, *c.ci95
    where = f"{clean_text(c.set.name, 80)} at {c.latency_ms} ms, {c.prompt_mode}"
    numbers = f"{c.base.percent:.2f} % to {c.tuned.percent:.2f} %, {c.delta_points:+.2f} points (95 % {low:+.2f} to {high:+.2f}, {c.words:,} {unit}s)"
    more = f"; about {c.more_words:,} more {unit}s would decide a difference of this size" if c.more_words else ""
    return f"{c.verdict.capitalize()} on {where}: {numbers}{more}."


def _next(c: Comparison) -> tuple[NextAction, ...]:
    report = NextAction(tool="make_report", why="Put this comparison on a page.",
                        arguments={"title": "Base against tuned", "base_evals": [c.base_eval], "tuned_evals": [c.tuned_eval]})  # fmt: skip
    evals = NextAction(
        tool="list_objects",
        arguments={"kind": "eval"},
        why="Find the evals of the guard sets for check_replay, which decides about the other languages.",
    )
    return (evals, report) if c.verdict == "better" else (report,)
