"""export_model as a caller sees it: what it asks the job for. The job itself: tests/model/test_export*.py."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from asrcore.checkpoint import embedded_base
from asrcore.errors import AsrtuneError
from asrcore.requests import ExportRequest
from asrcore.workspace import Workspace
from asrtune import registry
from asrtune.verbs import export_model


@pytest.fixture
def asked(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[ExportRequest]:
    """Requests that would have become jobs. A base lies beside two smoke manifests."""
    requests: list[ExportRequest] = []

    def submit(_: Workspace, kind: str, request: ExportRequest) -> Any:
        assert kind == "export"
        requests.append(request)
        raise AsrtuneError("submitted", "kept for the test.", next_step="none")

    monkeypatch.setattr(export_model, "submit", submit)
    shutil.copy(embedded_base(), "base.nemo")
    for name in ("greek", "guards"):
        Path(f"{name}.jsonl").write_text("", encoding="utf-8")
    return requests


def call(ws: Workspace, **arguments: Any) -> str:
    with pytest.raises(AsrtuneError) as caught:
        registry.call("export_model", {"checkpoint": "base.nemo", "smoke_manifest": "greek.jsonl"} | arguments, ws)
    return caught.value.code


@pytest.mark.parametrize(
    ("target", "contexts"),
    [("nemo", ((56, 0), (56, 3))), ("transformers", ((56, 3), (56, 0), (56, 6), (56, 13))), ("onnx", ((56, 6),))],
)
def test_each_target_proves_its_own_contexts_when_none_are_named(
    ws: Workspace, asked: list[ExportRequest], target: str, contexts: tuple[tuple[int, int], ...]
) -> None:
    """An encoder a chunk size is gigabytes, so onnx gets one."""
    assert call(ws, to=target) == "submitted"
    assert (asked[0].target, asked[0].att_contexts) == (target, contexts)


def test_named_contexts_and_smoke_manifests_are_taken_once_each(ws: Workspace, asked: list[ExportRequest]) -> None:
    call(ws, to="onnx", att_context_sizes=[[56, 0], [56, 13], [56, 0]], extra_smoke_manifests=["guards.jsonl", "greek.jsonl"])
    assert asked[0].att_contexts == ((56, 0), (56, 13))
    assert [ref.name for ref in asked[0].extra_smoke] == ["guards"]


def test_the_cards_facts_travel_with_the_request_and_the_same_call_has_the_same_folder(ws: Workspace, asked: list[ExportRequest]) -> None:
    call(ws)
    call(ws)
    call(ws, to="transformers")
    assert asked[0].card is not None
    assert asked[0].card.synthetic_base
    assert asked[0].out == asked[1].out != asked[2].out


@pytest.mark.parametrize(("option", "value"), [("int8", True), ("sherpa_utterances", 300)])
def test_what_only_onnx_has_is_refused_for_other_targets(ws: Workspace, asked: list[ExportRequest], option: str, value: Any) -> None:
    assert call(ws, to="transformers", **{option: value}) == "onnx_only"
    assert asked == []
    assert call(ws, to="onnx", **{option: value}) == "submitted"
    assert getattr(asked[0], option) == value


def test_sherpa_onnx_is_asked_unless_the_caller_says_no(ws: Workspace, asked: list[ExportRequest]) -> None:
    for arguments in ({"to": "onnx"}, {"to": "onnx", "sherpa_utterances": 0}, {"to": "nemo"}):
        call(ws, **arguments)
    assert [request.sherpa_utterances for request in asked] == [200, 0, 0]


@pytest.mark.parametrize("wrong", [[70, 6], [56, 5]])
def test_a_context_that_was_never_trained_is_refused_before_a_job_is_made(ws: Workspace, asked: list[ExportRequest], wrong: list[int]) -> None:
    assert call(ws, to="onnx", att_context_sizes=[[56, 6], wrong]) == "att_context_untrained"
    assert asked == []


def test_an_unknown_target_is_refused_with_the_ones_there_are(ws: Workspace) -> None:
    with pytest.raises(AsrtuneError) as caught:
        registry.call("export_model", {"checkpoint": "base.nemo", "smoke_manifest": "greek.jsonl", "to": "coreml"}, ws)
    assert caught.value.code == "arguments_invalid"
