"""How an attempt ended, judged from its exit code and from what it left in its folder. One cause, one stable code, one next step."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ValidationError

from asrcore.errors import EnvironmentFault, ErrorView, ToolFault
from asrcore.jobs import child
from asrcore.jobs.store import Job, State
from asrcore.requests import AddLocaleResult, BlendResult, EvalResult, ExportResult, ShardsResult, TrainResult, TranscribeResult

LOG = "log.txt"
_TAIL_BYTES = 16_384

RESULTS: dict[str, type[BaseModel]] = {"build_shards": ShardsResult, "train": TrainResult, "blend": BlendResult, "add_locale": AddLocaleResult, "eval": EvalResult, "export": ExportResult, "transcribe": TranscribeResult}
"""Job kind -> what its `result.json` must be. A kind that is not here may leave any JSON object."""

Why = Literal["cancel", "walltime"]
"""Why the supervisor stopped the child, if it did."""


class Outcome(NamedTuple):
    state: State
    reason: str
    error: ErrorView | None = None
    result: dict[str, Any] | None = None


class _Free(BaseModel):
    model_config = {"extra": "allow"}


def attempt_folder(home: Path, job_id: str, attempt: int) -> Path:
    """Holds request.json, events.jsonl, result.json or error.json, log.txt and supervisor.log of one attempt."""
    return home / "jobs" / job_id / f"attempt_{attempt}"


def read_result(kind: str, folder: Path) -> BaseModel | None:
    """The validated result, or None if there is none or it is not valid."""
    try:
        return RESULTS.get(kind, _Free).model_validate_json((folder / child.RESULT).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def judge(job: Job, folder: Path, exit_code: int | None, why: Why | None) -> Outcome:
    """`exit_code` is negative for a signal and None when nobody saw it: the supervisor died before the child. Then the files decide alone."""
    result = read_result(job.kind, folder)
    if result is not None and exit_code in (0, None):
        return Outcome("succeeded", "complete", result=result.model_dump(mode="json"))
    if why == "cancel":
        return Outcome("cancelled", "cancelled on request" if job.cancel_at is not None else "its supervisor was told to end (SIGTERM), as at a shutdown")
    error = _walltime(job) if why == "walltime" else _left_error(folder)
    if error is None and exit_code is None:
        return Outcome("lost", "the work and its supervisor ended without a result, as after a reboot or a kill of both")
    if error is None:
        error = _classify(job, folder, exit_code or 0)
    return Outcome("failed", error.code, error=error)


def _left_error(folder: Path) -> ErrorView | None:
    try:
        return ErrorView.model_validate_json((folder / child.ERROR).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _walltime(job: Job) -> ErrorView:
    return ErrorView.of(ToolFault(
        "walltime_exceeded", f"the attempt was stopped at its limit of {job.walltime_s:g} s.",
        next_step=f"{_resume(job)} to go on from what it saved.", retryable=True,
    ))  # fmt: skip


def _classify(job: Job, folder: Path, exit_code: int) -> ErrorView:
    """Causes that a child could not name itself, from its exit code and the end of its log. The log's own words are not repeated."""
    log = read_tail(folder / LOG, _TAIL_BYTES)
    again, ended = _resume(job), _ended(exit_code)
    if exit_code == 0:
        return _fault("result_missing", "it exited 0 without a valid result.", f"read untrusted_text of get_job, then {again}.")
    if (folder / child.RESULT).exists():
        return _fault("unclean_exit", f"it left a result, but {ended}.", f"{again}; the finished work is taken from its folder.", retryable=True)
    if re.search(r"CUDA out of memory|torch\.(cuda\.)?OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED", log):
        return _environment("gpu_out_of_memory", f"the GPU had too little memory ({ended}).", _smaller(job))
    if re.search(r"^MemoryError\b|DefaultCPUAllocator: can't allocate memory", log, re.MULTILINE) or exit_code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return _environment("out_of_memory_or_killed", f"it was killed or ran out of main memory ({ended}).", _smaller(job))
    if re.search(r"\[disk_full\]|No space left on device|Disk quota exceeded", log):
        return _environment("disk_full", "the disk is full; finished parts are kept.", f"free disk space, then {again}.", retryable=True)
    if re.search(r"loss is nan|non-finite (loss|gradient)|NaN or Inf (found|encountered)", log, re.IGNORECASE):
        return _fault("training_diverged", f"the loss is no longer a finite number ({ended}).", "call plan_finetune with half the peak_lr, then launch that plan.")
    if re.search(r"^(ModuleNotFoundError|ImportError)\b|: No module named ", log, re.MULTILINE):
        return _environment("package_missing", "a Python package could not be imported.", f"call doctor {{}} and install what it names, then {again}.")
    if exit_code in (-signal.SIGTERM, child.STOPPED_EXIT):
        return _fault("terminated", "something outside asrtune asked it to stop (SIGTERM).", f"{again} to go on from what it saved.", retryable=True)
    return _fault("child_failed", f"{ended}.", f"read untrusted_text of get_job for the cause, mend it, then {again}.")


def _fault(code: str, message: str, next_step: str, *, retryable: bool = False) -> ErrorView:
    return ErrorView.of(ToolFault(code, message, next_step=next_step, retryable=retryable))


def _environment(code: str, message: str, next_step: str, *, retryable: bool = False) -> ErrorView:
    return ErrorView.of(EnvironmentFault(code, message, next_step=next_step, retryable=retryable))


def _ended(exit_code: int) -> str:
    if exit_code >= 0:
        return f"the process exited with code {exit_code}"
    known = {s.value: s.name for s in signal.Signals}
    return f"the process was ended by {known.get(-exit_code, f'signal {-exit_code}')}"


def _smaller(job: Job) -> str:
    again = _resume(job)
    if job.kind == "train":
        return f"call plan_finetune with half the batch_size and launch that plan, or free memory and {again}."
    if job.kind == "eval":
        return f"call run_streaming_eval with half the batch_size, or free memory and {again}."
    return f"free memory, then {again}."


def _resume(job: Job) -> str:
    return f'call resume_job with {{"job_id": "{job.id}"}}'


def read_tail(path: Path, limit: int) -> str:
    """The last `limit` bytes of a text file, empty if there is none; a file of 0 bytes and a missing one read the same."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - limit))
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
