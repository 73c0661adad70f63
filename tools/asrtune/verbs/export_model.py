"""Write a checkpoint for deployment and prove that it says the same words.

The exported file is opened afresh and must give transcripts identical to the source's on a smoke manifest, at batch 1 and in streaming mode,
and its output must react to the language prompt; otherwise no artefact appears. Use it on a run whose compare_models verdict is "better" and
whose check_replay verdict is "kept"; it does not judge quality itself. It answers at once with a job id; the finished job names the folder
with model.nemo, its sha256 and what was compared. Cost: seconds on the embedded base, minutes and three times the file's size on disk for 0.6B.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asrcore.io import sha256_json
from asrcore.jobs import JobView, answer, submit
from asrcore.jobs.checkpoints import resolve_checkpoint
from asrcore.manifest import manifest_ref
from asrcore.requests import ExportRequest
from asrcore.results import Frozen, Result
from asrcore.workspace import Workspace


class Input(Frozen):
    checkpoint: str = Field(min_length=1, max_length=1000, description="A run id (run_…) or a .nemo path below a data root.")
    smoke_manifest: str = Field(min_length=1, max_length=1000, description="A few held-out utterances to compare transcripts on, below a data root.")
    to: Literal["nemo"] = Field("nemo", description="Target format. Transformers and ONNX are not built yet.")
    smoke_utterances: int = Field(8, ge=1, le=200, description="How many utterances of the smoke manifest are compared.")


Output = JobView


def run(request: Input, ws: Workspace) -> Result[Output]:
    checkpoint = resolve_checkpoint(ws, request.checkpoint)
    wanted = ExportRequest(
        checkpoint=checkpoint, target=request.to, smoke=manifest_ref(ws.resolve_data(request.smoke_manifest)), smoke_utterances=request.smoke_utterances,
        att_contexts=((56, 0), (56, 3)), provenance={"checkpoint": checkpoint.name, "sha256": checkpoint.sha256}, out="",
    )  # fmt: skip
    export_id = f"export_{sha256_json(wanted)[:12]}"
    job = submit(ws, "export", wanted.model_copy(update={"out": str(ws.folder("exports", export_id))}))
    envelope = answer(job)
    return envelope.model_copy(update={"summary": f"{envelope.summary} It exports {checkpoint.name} to {request.to}."})
