"""A launch over a limit, where the client can show a form: the person types the plan's digest there, in both protocol eras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client

from asrcore.jobs import Ledger
from asrcore.recipe import FinetuneSpec, Plan, make_plan
from asrcore.recipe.approval import approval_of, plan_digest
from asrcore.workspace import Budgets, Config, Workspace
from asrtune import mcp_server
from tests.recipe.corpora import build, corpus

pytestmark = pytest.mark.anyio
both_eras = pytest.mark.parametrize("era", ["auto", "legacy"])


class Person:
    """What stands at the client: sees forms, answers each as told."""

    def __init__(self, action: str, typed: str = "") -> None:
        self.action = action
        self.typed = typed
        self.seen: list[str] = []

    async def __call__(self, context: Any, params: Any) -> types.ElicitResult:
        assert list(params.requested_schema["properties"]) == ["digest"]
        self.seen.append(params.message)
        return types.ElicitResult(action=self.action, content={"digest": self.typed} if self.action == "accept" else None)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def over(ws: Workspace, tmp_path: Path) -> tuple[Workspace, Plan]:
    """A plan that takes longer than its workspace allows."""
    shards = build(ws, [corpus(tmp_path, "greek", "el-GR", 8)])
    dev = corpus(tmp_path, "dev", "el-GR", 3, seed=1)
    tight = Workspace(ws.home, Config(budgets=Budgets(max_run_hours=0.001)), ws.base_folder)
    return tight, make_plan(FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(dev), max_steps=8), tight).plan


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs that reached the job queue, which then refuses them so that none is started."""
    from asrcore.errors import NotReadyError

    seen: list[str] = []

    def catch(ws: Workspace, kind: str, request: Any, **options: Any) -> None:
        seen.append(request.run_id)
        raise NotReadyError("caught", "not started in this test.", next_step="none.")

    monkeypatch.setattr("asrcore.recipe.launch.submit", catch)
    return seen


async def launch(ws: Workspace, plan: Plan, era: str, person: Person | None) -> str:
    """The code of the answer."""
    async with Client(mcp_server.build_server(ws), mode=era, raise_exceptions=True, elicitation_callback=person) as session:
        answer = await session.call_tool("launch_finetune", {"plan_id": plan.summary.plan_id})
    assert answer.structured_content is not None
    return answer.structured_content["code"]


@both_eras
async def test_the_digest_typed_into_the_form_starts_exactly_that_plan_once(over: tuple[Workspace, Plan], launched: list[str], era: str) -> None:
    ws, plan = over
    person = Person("accept", plan_digest(plan))
    assert await launch(ws, plan, era, person) == "caught"
    assert launched == [plan.request.run_id]
    assert len(person.seen) == 1
    assert "max_run_hours is 0.001" in person.seen[0]
    assert "ended at twice its time" in person.seen[0]
    approval = approval_of(Ledger.open(ws), plan.summary.plan_id)
    assert approval is not None
    assert (approval.digest, approval.runs, approval.unspent) == (plan_digest(plan), (plan.request.run_id,), False)
    assert await launch(ws, plan, era, person) == "caught"  # the same run: no second question
    assert len(person.seen) == 1


@both_eras
@pytest.mark.parametrize(("action", "typed"), [("decline", ""), ("cancel", ""), ("accept", ""), ("accept", "yes"), ("accept", "00000000")])
async def test_anything_else_approves_nothing(over: tuple[Workspace, Plan], launched: list[str], era: str, action: str, typed: str) -> None:
    ws, plan = over
    assert await launch(ws, plan, era, Person(action, typed)) == "approval_needed"
    assert launched == []
    assert approval_of(Ledger.open(ws), plan.summary.plan_id) is None


@both_eras
async def test_a_client_without_forms_gets_the_refusal_with_the_command_for_a_person(over: tuple[Workspace, Plan], launched: list[str], era: str) -> None:
    ws, plan = over
    assert await launch(ws, plan, era, None) == "approval_needed"
    assert launched == []


@both_eras
async def test_no_other_refusal_asks_anybody(ws: Workspace, era: str) -> None:
    person = Person("accept", "00000000")
    async with Client(mcp_server.build_server(ws), mode=era, raise_exceptions=True, elicitation_callback=person) as session:
        answer = await session.call_tool("launch_finetune", {"plan_id": "plan_000000000000"})
    assert answer.structured_content is not None
    assert (answer.structured_content["code"], person.seen) == ("plan_unknown", [])
