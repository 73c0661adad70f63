"""The MCP server through the SDK's own client, in both protocol eras, and over real stdio."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import anyio
import jsonschema
import pytest
from mcp import Client, MCPError

from asrcore.errors import ErrorView, NotReadyError
from asrcore.workspace import Workspace
from asrtune import catalog, mcp_answers, mcp_server

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("error::mcp.MCPDeprecationWarning")]
both_eras = pytest.mark.parametrize("era", ["auto", "legacy"])


def client(ws: Workspace, era: str) -> Client:
    return Client(mcp_server.build_server(ws), mode=era, raise_exceptions=True)


@both_eras
async def test_the_tools_are_listed_in_the_order_of_the_work_with_all_four_hints(ws: Workspace, era: str) -> None:
    async with client(ws, era) as session:
        tools = (await session.list_tools()).tools
    assert [tool.name for tool in tools] == list(catalog.NAMES)
    for tool in tools:
        hints = tool.annotations
        assert hints is not None
        assert None not in (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)
        assert tool.input_schema["additionalProperties"] is False


@both_eras
@pytest.mark.parametrize("name", catalog.NAMES)
async def test_every_tool_refuses_unknown_arguments_with_a_structured_error(ws: Workspace, era: str, name: str) -> None:
    async with client(ws, era) as session:
        answer = await session.call_tool(name, {"limitt": 5})
    assert answer.is_error
    error = ErrorView.model_validate(answer.structured_content)
    assert error.code == "arguments_invalid"
    assert "argument_unknown" in {p.code for p in error.problems}
    assert answer.content[0].text.startswith("[arguments_invalid] ")
    assert error.next_step in answer.content[0].text


UNHAPPY: dict[str, tuple[dict[str, Any], str]] = {
    "inspect_dataset": ({"manifest": "none.jsonl"}, "path_missing"),
    "validate_language_tags": ({"manifest": "../outside.jsonl"}, "path_refused"),
    "find_corpora": ({"locale": "auto"}, "locale_invalid"),
    "import_dataset": ({"source": "none"}, "path_missing"),
    "fix_manifest": ({"manifest": "none.jsonl", "whitespace": True}, "path_missing"),
    "split_dataset": ({"manifest": "none.jsonl"}, "path_missing"),
    "register_set": ({"manifest": "none.jsonl", "role": "guard"}, "path_missing"),
    "apply_channel": ({"manifest": "none.jsonl"}, "path_missing"),
    "build_shards": ({"train": ["none.jsonl"]}, "path_missing"),
    "plan_finetune": ({"shards_id": "shards_000000000000", "dev_manifest": "none.jsonl"}, "shards_unknown"),
    "launch_finetune": ({"plan_id": "plan_000000000000"}, "plan_unknown"),
    "get_job": ({"job_id": "job_000000000000"}, "job_unknown"),
    "cancel_job": ({"job_id": "job_000000000000"}, "job_unknown"),
    "resume_job": ({"job_id": "job_000000000000"}, "job_unknown"),
    "list_objects": ({"kind": "nothing"}, "arguments_invalid"),
    "run_streaming_eval": ({"checkpoint": "run_000000000000", "manifests": ["none.jsonl"]}, "run_unknown"),
    "score_hypotheses": ({"manifest": "none.jsonl", "hypotheses": "none.txt", "system": "peer"}, "path_missing"),
    "compare_models": ({"base_eval": "eval_000000000000", "tuned_eval": "eval_111111111111"}, "eval_unknown"),
    "check_replay": ({"base_evals": ["eval_000000000000"], "tuned_evals": ["eval_111111111111"], "margin_points": None},
                     "eval_unknown"),
    "add_locale": ({"locale": "se-NO", "neighbour": "fi-FI", "manifest": "none.jsonl"}, "path_missing"),
    "blend_checkpoints": ({"base": "embedded", "tuned": ["run_000000000000"]}, "run_unknown"),
    "start_campaign": ({"title": "T", "target_evals": ["eval_000000000000"]}, "eval_unknown"),
    "decide_next_step": ({"campaign_id": "campaign_000000000000"}, "campaign_unknown"),
    "transcribe": ({"checkpoint": "run_000000000000", "audio": ["none.wav"]}, "run_unknown"),
    "export_model": ({"checkpoint": "run_000000000000", "smoke_manifest": "none.jsonl"}, "run_unknown"),
    "make_report": ({"title": "T", "base_evals": ["eval_000000000000"], "tuned_evals": ["eval_111111111111"]}, "eval_unknown"),
}  # fmt: skip


@both_eras
@pytest.mark.parametrize("name", UNHAPPY)
async def test_a_call_that_cannot_work_answers_with_its_own_code_and_a_next_step(ws: Workspace, era: str, name: str) -> None:
    arguments, code = UNHAPPY[name]
    async with client(ws, era) as session:
        answer = await session.call_tool(name, arguments)
    assert answer.is_error
    error = ErrorView.model_validate(answer.structured_content)
    assert error.code == code
    assert error.next_step
    # The SDK's Python client does not look, version 1 of the TypeScript SDK does: a failed result that its schema does not know never reaches the model.
    jsonschema.validate(answer.structured_content, mcp_server.wire_tool(catalog.tool(name)).output_schema or False)
    assert "Error executing tool" not in answer.content[0].text


def test_an_output_schema_takes_an_envelope_or_an_error_and_no_mixture() -> None:
    error = ErrorView(code="c", message="m", next_step="n", exit_code=2).model_dump(mode="json")
    for tool in catalog.TOOLS:
        valid = jsonschema.Draft202012Validator(mcp_server.wire_tool(tool).output_schema or False).is_valid
        assert valid(error)
        assert not valid({"summary": "s"})
        assert not valid({**error, "summary": "s"})
        assert not valid({key: value for key, value in error.items() if key != "next_step"})


def test_every_tool_but_the_one_without_arguments_has_an_unhappy_path() -> None:
    assert set(catalog.NAMES) - set(UNHAPPY) == {"doctor"}


@both_eras
async def test_the_cheap_tools_answer_with_the_envelope_that_their_schema_promises(ws: Workspace, manifest: str, era: str) -> None:
    """The client validates structured content against the output schema of `tools/list` and raises on a difference."""
    async with client(ws, era) as session:
        await session.list_tools()
        for name, arguments in (("doctor", {}), ("inspect_dataset", {"manifest": manifest}), ("validate_language_tags", {"manifest": manifest}),
                                ("list_objects", {"kind": "run"})):  # fmt: skip
            answer = await session.call_tool(name, arguments)
            assert not answer.is_error, answer.content[0].text
            assert set(answer.structured_content) == {"summary", "data", "warnings", "next_actions", "artifacts", "truncated"}
            assert answer.content[0].text.startswith(answer.structured_content["summary"])


@both_eras
async def test_a_crash_in_a_verb_reaches_the_model_as_a_coded_error_without_its_text(ws: Workspace, plant: Any, era: str) -> None:
    def run(request: Any, ws: Workspace) -> Any:
        raise KeyError("s3cret")

    plant("doctor", run)
    async with client(ws, era) as session:
        answer = await session.call_tool("doctor", {})
    assert answer.structured_content["code"] == "internal_error"
    assert "s3cret" not in str(answer)


@both_eras
async def test_an_unknown_tool_is_an_error_the_model_can_read(ws: Workspace, era: str) -> None:
    async with client(ws, era) as session:
        answer = await session.call_tool("transcribe_all", {})
    assert answer.is_error
    assert answer.structured_content["code"] == "tool_unknown"


@both_eras
async def test_a_call_that_takes_long_says_that_it_is_still_at_work(ws: Workspace, plant: Any, era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told, seen = threading.Event(), list[float]()
    monkeypatch.setattr(mcp_server, "PROGRESS_S", 0.01)

    def run(request: Any, ws: Workspace) -> Any:
        raise NotReadyError("told" if told.wait(60) else "never_told", "it is over.", next_step="none.")

    plant("doctor", run)

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)
        if len(seen) == 2:
            told.set()

    async with client(ws, era) as session:
        answer = await session.call_tool("doctor", {}, progress_callback=hear)
    assert answer.structured_content["code"] == "told"
    assert seen == sorted(set(seen)), "progress only grows"


@both_eras
async def test_a_cancelled_call_leaves_its_work_alone(ws: Workspace, plant: Any, note: Any, era: str) -> None:
    started, release, finished = threading.Event(), threading.Event(), threading.Event()

    def run(request: Any, ws: Workspace) -> Any:
        started.set()
        release.wait(30)
        finished.set()
        return note("done")

    plant("doctor", run)
    async with client(ws, era) as session:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(session.call_tool, "doctor", {})
                await anyio.to_thread.run_sync(started.wait, 30)
                scope.cancel()
        release.set()
        assert await anyio.to_thread.run_sync(finished.wait, 30)


@both_eras
async def test_resources_that_are_not_there_or_not_ours_are_refused(ws: Workspace, era: str) -> None:
    async with client(ws, era) as session:
        templates = (await session.list_resource_templates()).resource_templates
        assert {t.uri_template for t in templates} == {"asrtune://jobs/{job_id}/log", "asrtune://docs/{topic}", "asrtune://reports/{report_id}"}
        for uri in ("asrtune://jobs/job_000000000000/log", "asrtune://reports/report_0", "asrtune://reports/..%2F..%2Fetc", "asrtune://docs/../errors", "asrtune://jobs/../../x/log"):
            with pytest.raises(MCPError) as caught:
                await session.read_resource(uri)
            assert caught.value.code == -32602


@both_eras
async def test_a_report_can_be_read_as_a_resource(ws: Workspace, era: str) -> None:
    folder = ws.folder("reports", "report_1")
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<h1>Ελληνικά</h1>", encoding="utf-8")
    async with client(ws, era) as session:
        (page,) = (await session.read_resource("asrtune://reports/report_1")).contents
    assert page.text == "<h1>Ελληνικά</h1>"
    assert page.mime_type == "text/html"


def test_the_text_block_stays_short_whatever_the_data_and_says_what_it_left_out() -> None:
    envelope = {"summary": "Many rows.", "data": {"rows": [{"id": n, "text": "word " * 40} for n in range(5000)], "none": None, "empty": []},
                "warnings": [], "next_actions": [{"tool": "doctor", "arguments": {}, "why": "x"}], "artifacts": [], "truncated": False}  # fmt: skip
    text = mcp_answers.result_text(envelope)
    assert len(text) <= mcp_answers.TEXT_LIMIT
    assert text.startswith("Many rows.\n")
    assert "more in the structured content" in text
    assert '"doctor"' in text


async def test_the_instructions_name_the_tools_in_order_and_the_rule_about_untrusted_text() -> None:
    assert len(mcp_server.INSTRUCTIONS) < 1600
    assert "untrusted_text" in mcp_server.INSTRUCTIONS
    named = [name for name in catalog.NAMES if name in mcp_server.INSTRUCTIONS]
    assert {"doctor", "inspect_dataset", "build_shards", "plan_finetune", "launch_finetune", "get_job", "check_replay", "export_model"} <= set(named)


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_a_client_of_an_older_revision_is_answered_in_its_own(stdio_server: Callable[..., Any], revision: str) -> None:
    server = stdio_server("-m", "asrtune", "mcp")
    said = server.ask("initialize", {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}})
    assert said["protocolVersion"] == revision
    server.send({"method": "notifications/initialized"})
    assert [tool["name"] for tool in server.ask("tools/list", {})["tools"]] == list(catalog.NAMES)
    assert server.call("list_objects", kind="job")["objects"] == []


NOISY = """
import sys
from asrtune.verbs import doctor
quiet = doctor.run
def run(request, ws):
    print("noise from a library")
    sys.stdout.write("half a line")
    return quiet(request, ws)
doctor.run = run
from asrtune.mcp_server import serve
serve()
"""


def test_what_a_verb_prints_never_reaches_the_wire(stdio_server: Callable[..., Any]) -> None:
    server = stdio_server("-c", NOISY)
    server.handshake()
    answer = server.ask("tools/call", {"name": "doctor", "arguments": {}})
    assert answer["structuredContent"]["data"]["verdict"] in ("READY", "NEEDS FIX")
    rest, errors = server.close()
    assert rest == ""
    assert "noise from a library" in errors


def test_the_first_calls_of_all_tools_at_once_each_get_their_own_answer(stdio_server: Callable[..., Any]) -> None:
    """Agents send their first calls together. Without one import at a time, up to 17 of these ended in `internal_error`: half-made modules."""
    server = stdio_server("-m", "asrtune", "mcp")
    server.handshake()
    for name, (arguments, _) in UNHAPPY.items():
        server.send({"id": name, "method": "tools/call", "params": {"name": name, "arguments": arguments}})
    answers = [server.receive() for _ in UNHAPPY]
    codes = {answer["id"]: answer["result"]["structuredContent"]["code"] for answer in answers}
    assert codes == {name: code for name, (_, code) in UNHAPPY.items()}


def test_a_job_outlives_the_server_that_started_it(stdio_server: Callable[..., Any], ws: Workspace, manifest: str) -> None:
    first = stdio_server("-m", "asrtune", "mcp")
    first.handshake()
    job_id = first.call("build_shards", train=[manifest])["job_id"]
    first.process.kill()
    first.process.wait(30)
    second = stdio_server("-m", "asrtune", "mcp")
    second.handshake()
    seen = second.job_at_its_end(job_id, polls=5)
    assert seen["state"] == "succeeded", seen["error"]
    log = second.ask("resources/read", {"uri": f"asrtune://jobs/{job_id}/log"})
    assert log["contents"][0]["mimeType"] == "text/plain"
    shards = second.call("list_objects", kind="shards")["objects"]
    assert [row["id"] for row in shards] == [seen["result"]["shards_id"]]

    from typer.testing import CliRunner

    from asrtune.cli import app

    waited = CliRunner().invoke(app, ["build-shards", manifest, "--wait", "--json"], catch_exceptions=False)
    assert waited.exit_code == 0
    assert json.loads(waited.stdout)["data"]["job_id"] == job_id
