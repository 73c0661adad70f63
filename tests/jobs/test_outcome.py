"""Every cause of an end has one code, one next step, and next actions that its tools accept."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from asrcore.errors import ErrorView, NotReadyError
from asrcore.jobs import Health, JobView, store
from asrcore.jobs.answer import answer
from asrcore.jobs.outcome import judge
from asrtune import registry

JOB = "job_0123456789ab"


def job(kind: str = "train", **changes: Any) -> store.Job:
    values = dict.fromkeys(store.Job._fields)
    known = {"id": JOB, "kind": kind, "backend": "local", "state": "running", "grace_s": 30.0, "request": {}, "worked_s": 0.0, "earlier_s": 0.0,
             "earlier_gpu_s": 0.0, "gpus": 0, "walltime_s": 60.0, "gpu_hours": 2.0}  # fmt: skip
    return store.Job(**values | known | changes)


CAUSES = [
    ("gpu_out_of_memory", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", 1, None, "half the batch_size"),
    ("gpu_out_of_memory", "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", 1, None, "half the batch_size"),
    ("out_of_memory_or_killed", "Traceback\nMemoryError", 1, None, "half the batch_size"),
    ("out_of_memory_or_killed", "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes", 1, None, "half"),
    ("out_of_memory_or_killed", "", -signal.SIGKILL, None, "half the batch_size"),
    ("out_of_memory_or_killed", "", 128 + signal.SIGKILL, None, "half the batch_size"),
    ("training_diverged", "ValueError: loss is NaN at step 12", 1, None, "half the peak_lr"),
    ("disk_full", "OSError: [Errno 28] No space left on device", 1, None, "free disk space"),
    ("package_missing", "ModuleNotFoundError: No module named 'nemo'", 1, None, "doctor"),
    ("terminated", "", -signal.SIGTERM, None, "resume_job"),
    ("terminated", "", 143, None, "resume_job"),
    ("child_failed", "RuntimeError: a bug", 1, None, "untrusted_text"),
    ("result_missing", "", 0, None, "untrusted_text"),
    ("walltime_exceeded", "", 143, "walltime", "max_run_hours"),
    ("gpu_hours_exceeded", "", -signal.SIGKILL, "gpu_hours", "max_gpu_hours"),
]  # fmt: skip


def view_of(error: ErrorView | None, state: str) -> JobView:
    return JobView.model_validate({
        "job_id": JOB, "kind": "train", "state": state, "attempt": 1, "created": datetime(2026, 1, 1, tzinfo=UTC), "health": Health(status="ok", detail=""),
        "folder": "/w", "poll_after_s": 0.0, "error": error, "reason": "x",
    })  # fmt: skip


def require_callable(view: JobView) -> list[str]:
    """Names of the next actions, each of which its tool's input takes."""
    actions = answer(view).next_actions
    for action in actions:
        registry.validate(registry.load(action.tool), action.arguments)
    return [action.tool for action in actions]


@pytest.mark.parametrize(("code", "log", "exit_code", "why", "step"), CAUSES)
def test_each_cause_has_its_code_its_next_step_and_actions_that_tools_accept(
    tmp_path: Path, code: str, log: str, exit_code: int, why: Any, step: str
) -> None:
    (tmp_path / "log.txt").write_text(f"epoch 1\n{log}\n", encoding="utf-8")
    outcome = judge(job(), tmp_path, exit_code, why)
    assert outcome.error is not None
    assert (outcome.state, outcome.error.code) == ("failed", code)
    assert step in outcome.error.next_step
    assert not log or log not in outcome.error.model_dump_json()
    tools = require_callable(view_of(outcome.error, "failed"))
    assert tools[-1] == ("list_objects" if why else "resume_job")
    assert ("doctor" in tools) == (outcome.error.exit_code == 4 and not outcome.error.retryable)


def test_the_words_of_a_data_error_are_the_works_own(tmp_path: Path) -> None:
    own = NotReadyError("manifest_invalid", "3 rows have no text.", next_step="call fix_manifest.")
    (tmp_path / "error.json").write_text(ErrorView.of(own).model_dump_json(), encoding="utf-8")
    (tmp_path / "log.txt").write_text("CUDA out of memory\n", encoding="utf-8")
    outcome = judge(job(), tmp_path, 3, None)
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.next_step) == ("manifest_invalid", "call fix_manifest.")


@pytest.mark.parametrize(("why", "exit_code"), [("cancel", 143), ("cancel", -signal.SIGKILL), ("cancel", None)])
def test_a_cancel_is_no_failure_whatever_the_work_did(tmp_path: Path, why: Any, exit_code: int | None) -> None:
    outcome = judge(job(cancel_at=1.0), tmp_path, exit_code, why)
    assert (outcome.state, outcome.error, outcome.reason) == ("cancelled", None, "cancelled on request")
    assert require_callable(view_of(None, "cancelled")) == ["resume_job"]


def test_an_end_that_nobody_saw_and_left_nothing_is_lost(tmp_path: Path) -> None:
    assert judge(job(), tmp_path, None, None).state == "lost"
    (tmp_path / "result.json").write_text(json.dumps({"n": 1}), encoding="utf-8")
    assert judge(job("probe"), tmp_path, None, None).state == "succeeded"
    for said_otherwise in (1, -signal.SIGKILL):
        error = judge(job("probe"), tmp_path, said_otherwise, None).error
        assert error is not None
        assert (error.code, error.retryable) == ("unclean_exit", True)


def test_an_unknown_end_with_a_result_of_the_wrong_shape_is_lost_and_no_success(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    assert judge(job("train"), tmp_path, None, None).state == "lost"
