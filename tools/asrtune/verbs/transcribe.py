"""Transcribe audio files with a checkpoint, streamed chunk by chunk as it would be served, with word times and captions.

Use it to hear what a checkpoint writes on recordings that nobody has transcribed: before export, for a demonstration, or to look for what to add to
the training data; give files or folders (every audio file in them, not in their subfolders), a language tag or auto, and names to boost.
Do not use it to measure (run_streaming_eval scores), and do not train on its output unchecked. It answers at once with a job id; the finished job's folder
holds one transcript a file as JSON and, if asked, SRT, VTT or TXT, all of it untrusted text; unreadable files are named with a code and the rest goes on.
Cost: about the length of the audio divided by 60 on 2 cores with the embedded base; the full model needs a GPU to be faster than real time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from asrcore.captions import CaptionFormat
from asrcore.checkpoint import require_known_contexts
from asrcore.data.audio_files import audio_files
from asrcore.data.importing import is_locale
from asrcore.errors import UsageError
from asrcore.io import sha256_file, sha256_json
from asrcore.jobs import JobView, answer, submit
from asrcore.jobs.checkpoints import resolve_checkpoint
from asrcore.requests import AttContext, TranscribeRequest
from asrcore.results import Frozen, Result
from asrcore.workspace import Workspace


class Input(Frozen):
    checkpoint: str = Field(
        min_length=1, max_length=1000, description='"embedded", a run, blend or export id, or a .nemo path below a data root.'
    )
    audio: tuple[str, ...] = Field(min_length=1, max_length=1000, description="Audio files or folders of them, below a data root.")
    language: str = Field(
        "auto", min_length=2, max_length=16, description="Prompt tag such as el-GR, or auto to let the model tell the language."
    )
    att_context_size: AttContext = Field(
        (56, 13), description="[left, right] frames of 80 ms; [56,13] is the most accurate, 1120 ms chunks."
    )
    formats: tuple[CaptionFormat, ...] = Field(
        ("json",), min_length=1, max_length=4, description="What to write besides JSON: srt, vtt, txt."
    )
    engine: Literal["exact", "fast"] = Field("exact", description="exact: streamed, each file whole; fast: one pass, files over 30 s cut in pauses.")
    batch_size: int = Field(16, ge=1, le=512, description="Files in flight.")
    boost: tuple[Annotated[str, Field(min_length=2, max_length=100)], ...] = Field(
        (), max_length=500, description="Names and terms as they should be written; they win over what sounds alike."
    )
    boost_weight: float = Field(1.0, gt=0, le=20, description="How much; above a few, phrases are written where nobody said them.")


Output = JobView


def run(request: Input, ws: Workspace) -> Result[Output]:
    if request.language != "auto" and not is_locale(request.language):
        raise UsageError("locale_invalid", "language is no locale tag.", next_step="pass the tag of the spoken language, such as el-GR, or auto.")
    checkpoint = resolve_checkpoint(ws, request.checkpoint)
    require_known_contexts(Path(checkpoint.path), [request.att_context_size])
    files = audio_files([ws.resolve_data(path) for path in request.audio], ws.data_roots)
    wanted = TranscribeRequest(
        checkpoint=checkpoint, files=tuple(str(file) for file in files), digests=tuple(sha256_file(file) for file in files), language=request.language,
        att_context=request.att_context_size, engine=request.engine, batch_size=request.batch_size, formats=tuple(dict.fromkeys(request.formats)),
        boost=request.boost, boost_weight=request.boost_weight, out="",
    )  # fmt: skip
    transcript_id = f"transcript_{sha256_json(wanted)[:12]}"
    job = submit(ws, "transcribe", wanted.model_copy(update={"out": str(ws.folder("transcripts", transcript_id))}))
    envelope = answer(job)
    return envelope.model_copy(update={"summary": f"{envelope.summary} It transcribes {len(files)} file(s) with {checkpoint.name}."})
