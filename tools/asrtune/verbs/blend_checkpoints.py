"""Mix a base with tuned checkpoints: points on the way from the base to the mean of the tuned ones, each a checkpoint of its own.

Use it when a tuned model gains on the target but check_replay says forgotten: a smaller alpha gives back what the other languages lost and part
of the gain, without training. With alphas 1 and several tuned checkpoints it averages them. Do not use it on checkpoints of different bases; they
are refused (blend_mismatch). It answers at once with a job id; list_objects with kind blend then names one blend id for each alpha, which
run_streaming_eval, check_replay's evals and export_model take like a run id. It does not judge: take the largest alpha whose guards are all kept.
Cost: seconds on the embedded base; for 0.6B about a minute, 2.5 GB on disk for each alpha and three times that in memory.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asrcore.io import sha256_json
from asrcore.jobs import JobView, answer, submit
from asrcore.jobs.checkpoints import resolve_checkpoint
from asrcore.requests import BlendRequest
from asrcore.results import Frozen, Result
from asrcore.workspace import Workspace

Alpha = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class Input(Frozen):
    base: str = Field(
        min_length=1, max_length=1000, description='The checkpoint that the tuned ones started from: "embedded", a run id, or a .nemo path.'
    )
    tuned: tuple[str, ...] = Field(
        min_length=1, max_length=20, description="Run ids or .nemo paths; of several, their mean is taken first."
    )
    alphas: tuple[Alpha, ...] = Field(
        (0.25, 0.5, 0.75), min_length=1, max_length=20, description="0 would be the base, 1 is the (mean of the) tuned."
    )


Output = JobView


def run(request: Input, ws: Workspace) -> Result[Output]:
    wanted = BlendRequest(
        base=resolve_checkpoint(ws, request.base), tuned=tuple(resolve_checkpoint(ws, name) for name in dict.fromkeys(request.tuned)),
        alphas=tuple(sorted(set(request.alphas))), out="",
    )  # fmt: skip
    blend_id = f"blend_{sha256_json(wanted)[:12]}"
    job = submit(ws, "blend", wanted.model_copy(update={"out": str(ws.folder("blends", blend_id))}))
    envelope = answer(job)
    return envelope.model_copy(
        update={"summary": f"{envelope.summary} It makes {len(wanted.alphas)} checkpoint(s) between {wanted.base.name} and the tuned."}
    )
