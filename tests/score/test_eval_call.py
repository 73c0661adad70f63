"""What a call of run_streaming_eval asks its job for, and what it says at once. The job itself is not started."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from asrcore import io
from asrcore.checkpoint import embedded_base
from asrcore.jobs import JobView
from asrcore.requests import EvalRequest
from asrcore.workspace import Workspace
from asrtune import registry
from asrtune.verbs import run_streaming_eval


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[EvalRequest]:
    found: list[EvalRequest] = []

    def submit(_: Workspace, kind: str, request: EvalRequest) -> JobView:
        found.append(request)
        return JobView.model_validate({
            "job_id": "job_0123456789ab", "kind": kind, "state": "queued", "attempt": 1, "created": datetime.now(UTC), "folder": "none", "poll_after_s": 1.0,
            "health": {"status": "unknown", "detail": ""},
        })  # fmt: skip

    monkeypatch.setattr(run_streaming_eval, "submit", submit)
    return found


def call(ws: Workspace, **arguments: Any) -> Any:
    io.write_text(Path("test.jsonl"), json.dumps({"audio_filepath": "a.wav", "duration": 1.0, "text": "one", "target_lang": "en-US"}) + "\n")
    return registry.call("run_streaming_eval", {"checkpoint": "embedded", "manifests": ["test.jsonl"], **arguments}, ws)


def test_several_checkpoints_go_into_one_job_each_with_a_folder_of_its_own_and_none_twice(ws: Workspace, submitted: list[EvalRequest]) -> None:
    Path("other.nemo").write_bytes(embedded_base().read_bytes() + b"\0")
    result = call(ws, more_checkpoints=["other.nemo", "embedded"], att_context_sizes=[[56, 0], [56, 3]], prompt_modes=["langID", "auto"])
    [asked] = submitted
    assert asked.checkpoint.name == "embedded"
    [other] = asked.more
    assert other.checkpoint.path == str(Path("other.nemo").resolve())
    assert asked.out != other.out
    assert Path(asked.out).parent == Path(other.out).parent == ws.home / "evals"
    assert "It decodes 8 pass(es) over 1 set(s) with embedded, " in result.summary


def test_a_context_that_was_never_trained_is_decoded_with_a_note(ws: Workspace, submitted: list[EvalRequest]) -> None:
    """Trap 3.23: [56,1] is documented, and no checkpoint was trained at it."""
    result = call(ws, att_context_sizes=[[56, 1], [56, 3]])
    assert submitted[0].att_contexts == ((56, 1), (56, 3))
    [warning] = [one for one in result.warnings if one.code == "context_not_trained"]
    assert "[56, 1] (160 ms)" in warning.message
