"""Write a checkpoint for deployment and prove that it says the same words.

Targets: nemo (one .nemo), transformers (a folder for AutoProcessor and Nemotron3_5AsrForRNNT), onnx (sherpa-onnx's layout, a folder a chunk size); the
finished files are opened by the library that runs them and must give the checkpoint's transcripts on the smoke manifests, at batch 1, at every asked
att_context_size, in langID and auto, else no artefact appears and the error says what differed. Use it on a run whose compare_models verdict is "better" and
whose check_replay verdict is "kept"; it does not judge quality itself. It answers at once with a job id; the finished job names the folder with files, model
card, checksums and what was compared. Cost: a minute or two on the embedded base; at 0.6B minutes, and on disk 3 times the file (onnx: 2, and 1 more a chunk size).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from asrcore.checkpoint import has_adapters, require_known_contexts, trained_contexts
from asrcore.errors import UsageError
from asrcore.export import card_facts, provenance
from asrcore.export_requests import ExportTarget
from asrcore.io import sha256_json
from asrcore.jobs import JobView, Ledger, answer, submit
from asrcore.jobs.checkpoints import resolve_checkpoint
from asrcore.manifest import manifest_ref
from asrcore.requests import AttContext, ExportRequest
from asrcore.results import Frozen, Result
from asrcore.workspace import Workspace

NEMO_CONTEXTS = ((56, 0), (56, 3))
"""A .nemo holds them all; two are compared."""


class Input(Frozen):
    checkpoint: str = Field(min_length=1, max_length=1000, description="A run id (run_…), a blend or base id, or a .nemo path below a data root.")
    smoke_manifest: str = Field(min_length=1, max_length=1000, description="A few held-out utterances to compare transcripts on, below a data root.")
    to: ExportTarget = Field("nemo", description="Target format.")
    smoke_utterances: int = Field(8, ge=1, le=200, description="How many utterances of the smoke manifests are compared, locales in turn.")
    extra_smoke_manifests: tuple[str, ...] = Field((), max_length=20, description="More manifests to draw from, for other locales (guard sets will do).")
    att_context_sizes: tuple[AttContext, ...] = Field(
        (), max_length=5, description="[left, right] to prove, and for onnx to write, one encoder each; run_streaming_eval has their ms. "
        "Left out: [56,0] and [56,3] for nemo, the trained ones for transformers, [56,6] for onnx.",
    )  # fmt: skip
    int8: bool = Field(False, description="onnx only: quantised graphs beside those in float32; refused where they change more than 5 % of the words.")
    sherpa_utterances: int = Field(
        200, ge=0, le=2000, description="onnx only: smoke utterances that sherpa-onnx itself transcribes from audio; refused where its WER is over 0.5 "
        "point worse. 0: not asked.",
    )  # fmt: skip


Output = JobView


def run(request: Input, ws: Workspace) -> Result[Output]:
    if request.to != "onnx" and (request.int8 or "sherpa_utterances" in request.model_fields_set):
        raise UsageError("onnx_only", f"int8 and sherpa_utterances are for the target onnx only, not for {request.to}.",
                         next_step='call export_model with to "onnx", or without them.')  # fmt: skip
    checkpoint = resolve_checkpoint(ws, request.checkpoint)
    if has_adapters(Path(checkpoint.path)):
        raise UsageError("adapters_not_exportable", "the checkpoint holds NeMo's adapters, which no other runtime reads and which cannot be merged.",
                         next_step="export a run with another surface: plan_finetune with lora:r ends in plain weights.")  # fmt: skip
    with Ledger.open(ws) as ledger:
        facts = card_facts(ledger, checkpoint)
    smoke, *extra = (manifest_ref(ws.resolve_data(path)) for path in dict.fromkeys((request.smoke_manifest, *request.extra_smoke_manifests)))
    wanted = ExportRequest(
        checkpoint=checkpoint, target=request.to, smoke=smoke, extra_smoke=tuple(extra), smoke_utterances=request.smoke_utterances,
        att_contexts=contexts(request, Path(checkpoint.path)), int8=request.int8, sherpa_utterances=request.sherpa_utterances if request.to == "onnx" else 0,
        provenance=provenance(facts, checkpoint), card=facts, out="",
    )  # fmt: skip
    export_id = f"export_{sha256_json(wanted)[:12]}"
    job = submit(ws, "export", wanted.model_copy(update={"out": str(ws.folder("exports", export_id))}))
    envelope = answer(job)
    return envelope.model_copy(update={"summary": f"{envelope.summary} It exports {checkpoint.name} to {request.to}."})


def contexts(request: Input, checkpoint: Path) -> tuple[tuple[int, int], ...]:
    """The asked ones, or the target's own: onnx writes a whole encoder for each, so it gets one. Raises `att_context_untrained`."""
    if request.att_context_sizes:
        require_known_contexts(checkpoint, request.att_context_sizes)
        return tuple(dict.fromkeys(request.att_context_sizes))
    if request.to == "nemo":
        return NEMO_CONTEXTS
    trained = trained_contexts(checkpoint)
    return trained if request.to == "transformers" else ((trained[0][0], 6),)
