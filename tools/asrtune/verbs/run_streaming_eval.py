"""Decode manifests in streaming mode at deployment latency and score them.

Every utterance goes chunk by chunk through the encoder's caches with its own language prompt (or auto), so the WER is what users get at that
latency. Use it for the base before a fine-tune, for the tuned run after it, and for the guard sets of both; do not use the val_wer of training
logs instead (trap 3.6). It answers at once with a job id; the finished job holds one cell per checkpoint, set, context and prompt mode with raw
and normalised WER, 95 % interval, S/D/I and an eval id for compare_models. Cost: on a CPU about the audio's length divided by 20 for the
embedded base; a 0.6B checkpoint needs a GPU; passes that were decoded before cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from asrcore.checkpoint import trained_contexts
from asrcore.errors import Problem
from asrcore.jobs import JobView, answer, submit
from asrcore.jobs.checkpoints import eval_subject, resolve_checkpoint
from asrcore.locales import latency_ms
from asrcore.manifest import manifest_ref
from asrcore.requests import AttContext, CheckpointRef, EngineChoice, EvalRequest, PromptMode
from asrcore.results import Frozen, Result
from asrcore.workspace import Workspace


class Input(Frozen):
    checkpoint: str = Field(
        min_length=1, max_length=1000, description='"embedded", a run id (run_…), an export id, or a .nemo path below a data root.'
    )
    more_checkpoints: tuple[str, ...] = Field((), max_length=20, description="Others, for the same passes.")
    manifests: tuple[str, ...] = Field(min_length=1, max_length=100, description="Held-out manifests to decode, each below a data root.")
    att_context_sizes: tuple[AttContext, ...] = Field(
        ((56, 0),), min_length=1, max_length=8, description="[left, right] in frames of 80 ms: [56,0] 80 ms, [56,1] 160, [56,3] 320, [56,6] 560, [56,13] 1120.",
    )  # fmt: skip
    prompt_modes: tuple[PromptMode, ...] = Field(
        ("langID",), min_length=1, max_length=2, description="langID: the row's own tag; auto: language detection."
    )
    batch_size: int = Field(16, ge=1, le=512, description="Streams in flight. 1 is the reference mode.")
    engine: EngineChoice = Field(
        "exact", description="exact: chunk by chunk, as served. fast: one pass under the same mask, an error where a sample shows it is not equivalent. "
        "auto: fast where it is, else exact."
    )  # fmt: skip
    slice_by: tuple[str, ...] = Field(
        (),
        max_length=8,
        description="Manifest fields that split the score: speaker, source, sampling_rate, duration, any other.",
    )
    terms: tuple[str, ...] = Field((), max_length=1000, description="Words and names to report recall and precision for.")


Output = JobView


def run(request: Input, ws: Workspace) -> Result[Output]:
    named = (resolve_checkpoint(ws, name) for name in (request.checkpoint, *request.more_checkpoints))
    subjects = [eval_subject(one, ws.home / "evals") for one in {one.sha256: one for one in named}.values()]
    first, *more = subjects
    sets = tuple(manifest_ref(ws.resolve_data(path)) for path in request.manifests)
    wanted = EvalRequest(
        checkpoint=first.checkpoint, sets=sets, att_contexts=tuple(dict.fromkeys(request.att_context_sizes)),
        prompt_modes=tuple(dict.fromkeys(request.prompt_modes)), batch_size=request.batch_size, engine=request.engine,
        slice_by=tuple(dict.fromkeys(request.slice_by)), terms=tuple(dict.fromkeys(request.terms)), out=first.out, more=tuple(more),
    )  # fmt: skip
    job = submit(ws, "eval", wanted)
    passes = len(subjects) * len(sets) * len(wanted.att_contexts) * len(wanted.prompt_modes)
    what = f"{passes} pass(es) over {len(sets)} set(s) with {', '.join(one.checkpoint.name for one in subjects)}"
    envelope = answer(job)
    warnings = (*envelope.warnings, *(warning for one in subjects for warning in untrained(one.checkpoint, wanted.att_contexts)))
    return envelope.model_copy(update={"summary": f"{envelope.summary} It decodes {what}.", "warnings": warnings})


def untrained(checkpoint: CheckpointRef, contexts: Sequence[tuple[int, int]]) -> tuple[Problem, ...]:
    """A warning for each asked context that the checkpoint never saw in training (trap 3.23)."""
    trained = trained_contexts(Path(checkpoint.path))
    return tuple(
        Problem(code="context_not_trained", severity="warning", message=f"att_context_size {list(context)} ({latency_ms(context)} ms) is not among the "
                f"{[list(one) for one in trained]} of {checkpoint.name}; its WER may be worse than at a trained one.", fix="serve a trained context")
        for context in contexts if context not in trained
    )  # fmt: skip
