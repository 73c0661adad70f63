"""No answer over MCP is longer than a model can read (8,000 tokens) or later than a host waits (50 s), whatever the data and however long the work."""

from __future__ import annotations

import json
import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest
from mcp import Client

from asrcore.errors import ErrorView, NotReadyError, Problem, ToolFault
from asrcore.jobs import Ledger
from asrcore.results import Frozen
from asrcore.workspace import Workspace
from asrtune import catalog, mcp_answers, mcp_calls, mcp_server, registry

LIMIT = 32_000
"""8,000 tokens at 4 characters each."""


class Which(Frozen):
    """Input of a planted verb."""

    number: int = 0


def client(ws: Workspace) -> Client:
    return Client(mcp_server.build_server(ws), raise_exceptions=True)


def length(structured: Any) -> int:
    return len(json.dumps(structured, ensure_ascii=False, separators=(",", ":")))


# --- time -----------------------------------------------------------------------------------------------------------------------------


class Work:
    """A verb that ends only when it is let go, and counts how often it was begun; its outcome is an error with the code `ended`."""

    def __init__(self, plant: Any) -> None:
        self.begun: list[int] = []
        self.at_work, self.go = threading.Event(), threading.Event()
        plant("doctor", self.run, Which)

    def run(self, request: Which, ws: Workspace) -> Any:
        self.begun.append(request.number)
        self.at_work.set()
        raise NotReadyError("ended" if self.go.wait(60) else "never_let_go", "it is over.", next_step="none.")


@pytest.fixture
def work(plant: Any) -> Work:
    return Work(plant)


@pytest.mark.anyio
async def test_a_call_that_takes_too_long_is_answered_in_time_and_the_same_call_again_gets_its_end(ws: Workspace, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    async with client(ws) as session:
        with monkeypatch.context() as soon:
            soon.setattr(mcp_calls, "LONGEST_S", 0.01)
            for _ in range(2):
                early = await session.call_tool("doctor", {"number": 1})
                error = ErrorView.model_validate(early.structured_content)
                assert (early.is_error, error.code, error.retryable) == (True, "still_working", True)
                assert "same call again" in error.next_step
        work.go.set()
        assert (await session.call_tool("doctor", {"number": 1})).structured_content["code"] == "ended"
        assert work.begun == [1]
        assert (await session.call_tool("doctor", {"number": 1})).structured_content["code"] == "ended"
    assert work.begun == [1, 1], "an answer that was given is not given twice: what was read may have changed"


@pytest.mark.anyio
async def test_other_arguments_are_another_call(ws: Workspace, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    async with client(ws) as session:
        with monkeypatch.context() as soon:
            soon.setattr(mcp_calls, "LONGEST_S", 0.01)
            await session.call_tool("doctor", {"number": 1})
        work.go.set()
        assert (await session.call_tool("doctor", {"number": 2})).structured_content["code"] == "ended"
    assert work.begun == [1, 2]


@pytest.mark.anyio
async def test_a_client_that_gave_up_and_asks_again_gets_what_it_asked_for_first(ws: Workspace, work: Work) -> None:
    async with client(ws) as session:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(session.call_tool, "doctor", {})
                await anyio.to_thread.run_sync(work.at_work.wait, 30)
                scope.cancel()
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await session.call_tool("doctor", {}))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await session.call_tool("list_objects", {"kind": "run"})  # the server has taken the call above by now, and answers others meanwhile
            work.go.set()
    assert answers[0].structured_content["code"] == "ended"
    assert work.begun == [0]


@pytest.mark.anyio
async def test_calls_that_nobody_comes_back_for_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_calls, "LONGEST_S", 0.001)
    calls, go = mcp_calls.Calls[bool](), threading.Event()
    for number in range(mcp_calls.MOST_KEPT + 3):
        assert await calls.answer("doctor", {"number": number}, lambda: go.wait(60)) is None
    assert len(calls._going_on) == mcp_calls.MOST_KEPT  # pyright: ignore[reportPrivateUsage]
    go.set()


def test_get_job_waits_no_longer_than_a_call_may_take() -> None:
    wait = catalog.shipped()["get_job"]["input_schema"]["properties"]["wait_s"]
    assert wait["maximum"] < mcp_calls.LONGEST_S < 50


# --- length ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_long_answer_is_shortened_and_says_what_it_lacks_and_where_the_whole_is(ws: Workspace, era: str) -> None:
    with Ledger.open(ws) as ledger:
        for number in range(100):
            ledger.put("campaign", f"campaign_{number:012d}", {"goal_percent": None, "targets": [], "guards": [], "title": f"{number} " + "τ" * 250})
    asked = {"kind": "campaign", "limit": 100}
    assert length(registry.envelope(registry.call("list_objects", asked, ws))) > LIMIT
    async with Client(mcp_server.build_server(ws), mode=era, raise_exceptions=True) as session:
        await session.list_tools()  # so that the client holds the answer against the tool's schema
        answer = await session.call_tool("list_objects", asked)
    said = answer.structured_content
    assert length(said) <= LIMIT
    assert said["truncated"]
    assert said["data"]["objects"][0]["id"] == "campaign_000000000099", "the first ones stay"
    [warning] = said["warnings"]
    assert warning["code"] == "answer_shortened"
    assert f"{100 - len(said['data']['objects'])} of data.objects" in warning["message"]
    assert "asrtune list-objects campaign --limit 100 --json" in warning["fix"]


def envelope(data: dict[str, Any], actions: int = 0) -> dict[str, Any]:
    action = {"tool": "check_replay", "arguments": {"base_evals": [f"eval_{n:012d}" for n in range(200)]}, "why": "w"}
    return {"summary": "s", "data": data, "warnings": [], "next_actions": [action] * actions, "artifacts": [], "truncated": False}


def test_an_answer_that_fits_is_left_alone() -> None:
    fits = envelope({"cells": [{"att_context": [56, 0]}] * 300}, actions=1)
    assert mcp_answers.within_limit(fits, "get_job", {"job_id": "job_000000000000"}) is fits


def test_lists_and_tables_of_names_are_cut_but_pairs_triples_and_records_stay_whole() -> None:
    cell = {"att_context": [56, 0], "gain": [1.0, 2.0, 3.0], "slices": [{"name": "x" * 80} for _ in range(60)], **{f"field_{n}": n for n in range(29)}}
    made = mcp_answers.within_limit(envelope({"cells": [cell] * 400, "hours": {f"speaker {n}": 1.0 for n in range(900)}}, actions=1), "get_job", {"job_id": "job_000000000000"})
    assert length(made) <= LIMIT
    assert 3 <= len(made["data"]["cells"]) < 400
    assert len(made["data"]["hours"]) < 900
    for kept in made["data"]["cells"]:
        assert (kept["att_context"], kept["gain"], kept["field_28"]) == ([56, 0], [1.0, 2.0, 3.0], 28)
    assert made["next_actions"] == [], "a call is dropped whole, never sent with half of its arguments"
    told = made["warnings"][-1]["message"]
    assert all(place in told for place in ("data.cells", "data.cells.slices", "data.hours", "1 of next_actions"))


def test_no_record_of_any_tool_is_taken_for_a_table_of_names() -> None:
    largest = 0
    waiting: list[Any] = [tool["output_schema"] for tool in catalog.shipped().values()]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            largest = max(largest, len(node.get("properties", {})))
        waiting += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    assert 10 < largest < mcp_answers._FIELDS  # pyright: ignore[reportPrivateUsage]


def test_an_answer_that_no_list_makes_long_is_a_coded_error() -> None:
    with pytest.raises(ToolFault, match="answer_too_long") as caught:
        mcp_answers.within_limit(envelope({"log": "x" * 40_000}), "get_job", {"job_id": "job_000000000000"})
    assert "asrtune get-job job_000000000000 --json" in caught.value.next_step


@pytest.mark.anyio
async def test_an_error_with_many_long_problems_keeps_as_many_as_fit(ws: Workspace, plant: Any) -> None:
    problems = [Problem(code="row", message="m" * 900, file="f" * 300, line=n, fix="x" * 300) for n in range(70)]

    def fail(request: Any, ws: Workspace) -> Any:
        raise NotReadyError("manifest_invalid", "bad rows.", next_step="mend them.", problems=problems)

    plant("doctor", fail)
    async with client(ws) as session:
        answer = await session.call_tool("doctor", {})
    view = ErrorView.model_validate(answer.structured_content)
    assert 10 <= len(view.problems) < 50
    assert f"{70 - len(view.problems)} more problems" in view.message
    assert length(answer.structured_content) <= LIMIT
    assert len(answer.content[0].text) <= mcp_answers.TEXT_LIMIT
