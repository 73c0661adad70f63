"""What only a person may do: limits are set and lifted at a terminal, by typing, and by no tool."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from asrcore.errors import ApprovalNeeded
from asrcore.recipe import FinetuneSpec, Plan, launch_plan, make_plan
from asrcore.recipe.approval import plan_digest
from asrcore.workspace import Budgets, Config, Workspace
from asrtune import cli_person, registry
from asrtune.cli import app
from tests.recipe.corpora import build, corpus


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A person at a terminal, who types what is put into the list."""
    answers: list[Any] = []
    monkeypatch.setattr(cli_person, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True), stdout=SimpleNamespace(isatty=lambda: True)))
    monkeypatch.setattr(cli_person.typer, "prompt", lambda *words, **settings: answers.pop(0))
    yield answers
    assert not answers


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr("asrcore.recipe.launch.submit", lambda ws, kind, request, **options: seen.append(request.run_id))
    return seen


def limited(ws: Workspace, **budgets: float) -> Workspace:
    """The same workspace, read again with a config that holds these limits; on disk too, for the command line."""
    lines = [f"{name} = {value}" for name, value in budgets.items()]
    (ws.base_folder / "asrtune.toml").write_text("[budgets]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return Workspace(ws.home, Config(budgets=Budgets.model_validate(budgets)), ws.base_folder)


@pytest.fixture
def over(ws: Workspace, tmp_path: Path) -> tuple[Workspace, Plan]:
    """A plan that takes longer than its workspace allows."""
    shards = build(ws, [corpus(tmp_path, "greek", "el-GR", 8)])
    dev = corpus(tmp_path, "dev", "el-GR", 3, seed=1)
    tight = limited(ws, max_run_hours=0.001)
    return tight, make_plan(FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(dev), max_steps=8), tight).plan


def test_a_plan_over_a_limit_says_so_and_does_not_start(over: tuple[Workspace, Plan], launched: list[str]) -> None:
    ws, plan = over
    assert "max_run_hours is 0.001" in plan.summary.needs_approval[0]
    with pytest.raises(ApprovalNeeded, match="approval_needed") as caught:
        launch_plan(ws, plan.summary.plan_id)
    assert f"asrtune approve {plan.summary.plan_id}" in caught.value.next_step
    assert not launched


def test_the_typed_digest_lets_exactly_that_plan_start(over: tuple[Workspace, Plan], terminal: list[Any], launched: list[str]) -> None:
    ws, plan = over
    terminal.append(plan_digest(plan).upper())
    assert cli_person.approve_plan(plan.summary.plan_id) == 0
    launch_plan(ws, plan.summary.plan_id)
    assert launched == [plan.request.run_id]


@pytest.mark.parametrize("typed", ["", "yes", "00000000", "y\n"])
def test_anything_else_approves_nothing(over: tuple[Workspace, Plan], terminal: list[Any], launched: list[str], typed: str) -> None:
    ws, plan = over
    terminal.append(typed)
    assert cli_person.approve_plan(plan.summary.plan_id) == 3
    with pytest.raises(ApprovalNeeded):
        launch_plan(ws, plan.summary.plan_id)


def test_a_plan_that_became_dearer_needs_another_yes(over: tuple[Workspace, Plan], terminal: list[Any], launched: list[str]) -> None:
    from asrcore.jobs import Ledger

    ws, plan = over
    terminal.append(plan_digest(plan))
    assert cli_person.approve_plan(plan.summary.plan_id) == 0
    estimates = plan.summary.estimates.model_copy(update={"seconds": 1e6})
    dearer = plan.model_copy(update={"summary": plan.summary.model_copy(update={"estimates": estimates})})
    Ledger.open(ws).put("plan", plan.summary.plan_id, dearer)
    with pytest.raises(ApprovalNeeded):
        launch_plan(ws, plan.summary.plan_id)


def test_without_a_terminal_nobody_approves_or_sets_limits(ws: Workspace) -> None:
    for command in (["approve", "plan_000000000000"], ["init"]):
        assert CliRunner().invoke(app, command).exit_code == 6
    assert not (ws.base_folder / "asrtune.toml").exists()


def test_no_tool_approves(over: tuple[Workspace, Plan]) -> None:
    """What a client of the server can say is the registry; there is no word for approving in it."""
    assert not [name for name in registry.shipped_schemas() if "approve" in name or "init" in name]


@pytest.mark.parametrize(
    ("budgets", "gpus", "seconds", "asks"),
    [
        ({}, 1, 1e9, False),
        ({"price_per_gpu_hour": 2.0}, 0, 1e9, False),
        ({"price_per_gpu_hour": 2.0}, 1, 10.0, True),
        ({"price_per_gpu_hour": 2.0, "max_gpu_hours": 1.0}, 1, 3500.0, False),
        ({"price_per_gpu_hour": 2.0, "max_gpu_hours": 1.0}, 2, 3500.0, True),
        ({"price_per_gpu_hour": 2.0, "max_gpu_hours": 1.0}, 1, None, True),
        ({"max_run_hours": 1.0}, 0, None, True),
    ],
)
def test_what_costs_money_or_may_take_too_long_is_asked_about(
    over: tuple[Workspace, Plan], budgets: dict[str, float], gpus: int, seconds: float | None, asks: bool
) -> None:
    from asrcore.recipe.approval import over_limits

    _, plan = over
    estimates = plan.summary.estimates.model_copy(update={"gpus": gpus, "seconds": seconds})
    changed = plan.model_copy(update={"summary": plan.summary.model_copy(update={"estimates": estimates})})
    assert bool(over_limits(changed, Budgets.model_validate(budgets))) is asks


def test_init_writes_what_a_person_answers_and_never_over_an_old_file(ws: Workspace, terminal: list[Any]) -> None:
    terminal += ['data, /srv/"audio"', 2.5, 12.5, 2, 300.0]
    assert cli_person.write_config(Path(".")) == 0
    config = Config.model_validate(tomllib.loads((ws.base_folder / "asrtune.toml").read_text(encoding="utf-8")))
    assert config.data_roots == ("data", '/srv/"audio"')
    assert (config.budgets.price_per_gpu_hour, config.budgets.max_gpu_hours) == (2.5, 12.5)
    assert cli_person.write_config(Path(".")) == 2
