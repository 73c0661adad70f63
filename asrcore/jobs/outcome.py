"""How an attempt ended, judged from its exit code and from what it left in its folder. One cause, one stable code, one next step."""

from __future__ import annotations

import math
import re
import signal
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ValidationError

from asrcore.batch_requests import BatchResult
from asrcore.errors import AsrtuneError, EnvironmentFault, ErrorView, ToolFault
from asrcore.jobs import child
from asrcore.jobs.backends.base import NOT_LET_GO_EXIT, NOT_SHARED_EXIT, Seen
from asrcore.jobs.store import Cap, Job, State
from asrcore.requests import AddLocaleResult, BlendResult, EvalResult, ExportResult, ShardsResult, TrainResult, TranscribeResult

_TAIL_BYTES = 16_384

RESULTS: dict[str, type[BaseModel]] = {"build_shards": ShardsResult, "train": TrainResult, "find_batch": BatchResult, "blend": BlendResult, "add_locale": AddLocaleResult, "eval": EvalResult, "export": ExportResult, "transcribe": TranscribeResult}
"""Job kind -> what its `result.json` must be. A kind that is not here may leave any JSON object."""

Why = Literal["cancel"] | Cap
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


def judge(job: Job, folder: Path, exit_code: int | None, why: Why | None, seen: Seen | None = None) -> Outcome:
    """`exit_code` is negative for a signal and None when nobody saw it: the supervisor died before the child, or the cluster has forgotten.

    Then the files decide alone. `seen` is what a cluster said of the end.
    """
    result = read_result(job.kind, folder)
    if result is not None and exit_code in (0, None):
        return Outcome("succeeded", "complete", result=result.model_dump(mode="json"))
    if why == "cancel":
        return Outcome("cancelled", "cancelled on request" if job.cancel_at is not None else "its supervisor was told to end (SIGTERM), as at a shutdown")
    if seen is not None and seen.phase == "cancelled":
        return Outcome("cancelled", "cancelled in the cluster, not through asrtune")
    error = ErrorView.of(over_cap(job, why)) if why == "walltime" or why == "gpu_hours" else _left_error(folder) or (_cluster(job, folder, seen) if seen is not None else None)
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


def over_cap(job: Job, cap: Cap) -> AsrtuneError:
    """The job used all that a person's limits allow it: `walltime_exceeded`, `gpu_hours_exceeded`."""
    kept = "what it saved is kept: ask the person to raise {} in asrtune.toml, then launch the same again to go on."
    if cap == "walltime":
        return ToolFault("walltime_exceeded", f"the job worked the {job.walltime_s:g} s that it may, over all its attempts.", next_step=kept.format("max_run_hours"))
    return ToolFault("gpu_hours_exceeded", f"the job used the {job.gpu_hours:g} GPU-hours that it may, over all its attempts.", next_step=kept.format("max_gpu_hours"))


def _time_limit(job: Job) -> ErrorView:
    """A cluster ended it for its time: at the job's own cap, or at what the cluster gives one attempt."""
    seconds, cap = job.allowance
    if math.isfinite(seconds) and job.worked_s + job.grace_s + _NEAR_LIMIT_S >= seconds:
        return ErrorView.of(over_cap(job, cap))
    return _fault("walltime_exceeded", "the attempt was stopped at the cluster's time limit.", f"{resume_call(job)} to go on from what it saved.", retryable=True)


_NEAR_LIMIT_S = 90.0
"""A signal before the limit may come up to a minute early (sbatch --signal), and saving takes its time."""


def _cluster(job: Job, folder: Path, seen: Seen) -> ErrorView | None:
    """Ends that only the cluster knows the cause of; None for those that the exit code and the log tell."""
    again = resume_call(job)
    near_limit = seen.left_s is not None and seen.left_s <= job.grace_s + _NEAR_LIMIT_S
    match seen.phase:
        case "timeout":
            return _time_limit(job)
        case "failed" if near_limit and _stopped(folder, seen.exit_code):
            return _time_limit(job)
        case "memory":
            return _environment("out_of_memory_or_killed", f"the cluster ended it for its memory ({seen.word}).",
                                f"ask the person for a larger memory_gb under [{job.backend}], or: {_smaller(job)}")  # fmt: skip
        case "node":
            return _environment("node_failed", f"the machine or the cluster's own service under it failed ({seen.word}).", f"{again}.", retryable=True)
        case "preempted":
            return _environment("preempted", "the cluster took the machine back for other work.", f"{again} to go on from what it saved.", retryable=True)
        case "unstarted":
            return _environment("cluster_could_not_start", f"the cluster took the job but could not start it ({seen.word}).",
                                f"mend [{job.backend}] in asrtune.toml by hand, then {again}.", retryable=True)  # fmt: skip
        case "failed" if seen.exit_code == NOT_SHARED_EXIT or (seen.exit_code in (None, 1) and not (folder / child.LOG).exists()):
            return _environment("workspace_not_mounted", "the machine that got the job does not see the workspace.",
                                f"put the workspace on storage that all nodes mount at the same path, then {again}.")  # fmt: skip
        case "failed" if seen.exit_code == NOT_LET_GO_EXIT:
            return _fault("never_let_go", "it waited in vain for the word to begin, so it did nothing.", f"{again}.", retryable=True)
        case _:
            return None


def _classify(job: Job, folder: Path, exit_code: int) -> ErrorView:
    """Causes that a child could not name itself, from its exit code and the end of its log. The log's own words are not repeated."""
    log = read_tail(folder / child.LOG, _TAIL_BYTES)
    again, ended = resume_call(job), _ended(exit_code)
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
    if _stopped(folder, exit_code):
        return _fault("terminated", "something outside asrtune asked it to stop (SIGTERM).", f"{again} to go on from what it saved.", retryable=True)
    return _fault("child_failed", f"{ended}.", f"read untrusted_text of get_job for the cause, mend it, then {again}.")


def _stopped(folder: Path, exit_code: int | None) -> bool:
    """Whether the work ended because it was told to (SIGTERM). torchrun then exits 1 and says so at the end of the log."""
    if exit_code == 1:
        return re.search(r"SignalException: Process \d+ got signal: 15\b", read_tail(folder / child.LOG, _TAIL_BYTES)) is not None
    return exit_code in (-signal.SIGTERM, child.STOPPED_EXIT)


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
    again = resume_call(job)
    if job.kind == "train":
        return f"call plan_finetune with half the batch_size and launch that plan, or free memory and {again}."
    if job.kind == "eval":
        return f"call run_streaming_eval with half the batch_size, or free memory and {again}."
    return f"free memory, then {again}."


def resume_call(job: Job) -> str:
    """Words of a next step."""
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
