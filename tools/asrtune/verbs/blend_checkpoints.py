"""Mix a base with tuned checkpoints: points on the way to the mean of the tuned ones, each a checkpoint.

Use it when a tuned model gains but check_replay says forgotten: a smaller alpha gives back what other languages lost, without training. With guard_evals
the job decodes the same sets with the blends and names as chosen the largest alpha that keeps all, or none; without, it does not judge. It answers at once
with a job id; list_objects with kind blend names a blend id for each alpha, which other tools take like a run id. Cost: seconds on the embedded base;
at 0.6B a minute and 2.5 GB of disk an alpha; with guards their decoding.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asrcore.errors import UsageError
from asrcore.io import sha256_json
from asrcore.jobs import JobView, Ledger, answer, submit
from asrcore.jobs.checkpoints import resolve_checkpoint
from asrcore.requests import BlendGuards, BlendRequest, CheckpointRef, EvalCell
from asrcore.results import Frozen, Result
from asrcore.workspace import Workspace

Alpha = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
EvalId = Annotated[str, Field(pattern=r"^eval_[0-9a-f]{12}$")]


class Input(Frozen):
    base: str = Field(
        min_length=1, max_length=1000, description='What the tuned ones started from.'
    )
    tuned: tuple[str, ...] = Field(
        min_length=1, max_length=20, description="Run ids or .nemo paths; of several, their mean."
    )
    alphas: tuple[Alpha, ...] = Field(
        (0.25, 0.5, 0.75), min_length=1, max_length=20, description="1 is the tuned."
    )
    guard_evals: tuple[EvalId, ...] = Field((), description="Evals of the base on the guards.")
    margin_points: float | None = Field(None, gt=0, le=100, allow_inf_nan=False, description="As in check_replay.")


Output = JobView


def run(request: Input, ws: Workspace) -> Result[Output]:
    wanted = BlendRequest(
        base=resolve_checkpoint(ws, request.base), tuned=tuple(resolve_checkpoint(ws, name) for name in dict.fromkeys(request.tuned)),
        alphas=tuple(sorted(set(request.alphas))), out="",
    )  # fmt: skip
    out = ws.folder("blends", f"blend_{sha256_json(wanted)[:12]}")  # the same files with and without guards
    job = submit(ws, "blend", wanted.model_copy(update={"guards": _guards(request, wanted.base, ws), "out": str(out)}))
    envelope = answer(job)
    gate = f"; {len(request.guard_evals)} guard set(s) choose among them" if request.guard_evals else ""
    return envelope.model_copy(
        update={"summary": f"{envelope.summary} It makes {len(wanted.alphas)} checkpoint(s) between {wanted.base.name} and the tuned{gate}."}
    )


def _guards(request: Input, base: CheckpointRef, ws: Workspace) -> BlendGuards | None:
    """Raises `evals_not_of_base` with all that are another checkpoint's."""
    if not request.guard_evals:
        return None
    with Ledger.open(ws) as ledger:
        cells = tuple(EvalCell.model_validate(ledger.require("eval", eval_id)) for eval_id in dict.fromkeys(request.guard_evals))
    if others := [cell.eval_id for cell in cells if cell.checkpoint.sha256 != base.sha256]:
        raise UsageError("evals_not_of_base", f"{len(others)} of the guard_evals are of another checkpoint than {base.name} ({', '.join(others[:5])}).",
                         next_step="call run_streaming_eval with the base on the guard sets, and pass those eval ids.")  # fmt: skip
    return BlendGuards(base=cells, margin_points=request.margin_points, evals=str(ws.home / "evals"))
