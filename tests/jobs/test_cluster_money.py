"""What a launch on a cluster may cost without a person's yes: its hard limits count, not this machine's estimate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore.errors import ApprovalNeeded, UsageError
from asrcore.jobs import Ledger
from asrcore.recipe import FinetuneSpec, Plan, make_plan
from asrcore.recipe.approval import approve, over_anywhere, over_on, plan_digest, require_approval
from asrcore.workspace import Config, Workspace
from asrtune import registry
from tests.recipe.corpora import build, corpus


@pytest.fixture
def plan(ws: Workspace, tmp_path: Path) -> Plan:
    shards = build(ws, [corpus(tmp_path, "greek", "el-GR", 8)])
    dev = corpus(tmp_path, "dev", "el-GR", 3, seed=1)
    return make_plan(FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(dev), max_steps=8), ws).plan


@pytest.mark.parametrize(
    ("backend", "settings", "over"),
    [
        ("sky", {}, ["up to 24 paid GPU-hours on sky, max_gpu_hours is 0"]),
        ("sky", {"sky": {"time_hours": 2, "price_per_gpu_hour": 3}}, ["up to 2 paid GPU-hours on sky (up to 6.00 at 3 an hour), max_gpu_hours is 0"]),
        ("sky", {"sky": {"time_hours": 2}, "budgets": {"max_gpu_hours": 2}}, []),
        ("sky", {"sky": {"price_per_gpu_hour": 0}}, []),
        ("sky", {"sky": {"gpus": 0}}, []),
        ("slurm", {}, []),
        ("slurm", {"slurm": {"price_per_gpu_hour": 2}}, ["up to 24 paid GPU-hours on slurm (up to 48.00 at 2 an hour), max_gpu_hours is 0"]),
        ("slurm", {"budgets": {"max_run_hours": 8}}, ["up to 24 h of wall-clock time on slurm, max_run_hours is 8"]),
        ("local", {"sky": {"price_per_gpu_hour": 9}}, []),
    ],
)
def test_the_limits_of_a_backend_are_its_own(plan: Plan, backend: Any, settings: dict[str, Any], over: list[str]) -> None:
    assert list(over_on(plan, Config.model_validate(settings), backend)) == over


def test_a_yes_holds_for_what_was_shown_and_for_no_other_backend(ws: Workspace, plan: Plan) -> None:
    here = Workspace(ws.home, Config.model_validate({"budgets": {"max_run_hours": 0.001}}), ws.base_folder)
    there = Workspace(ws.home, Config.model_validate({"budgets": {"max_run_hours": 0.001}, "backends": ["local", "sky"]}), ws.base_folder)
    with Ledger.open(ws) as ledger:
        approve(here, ledger, plan, plan_digest(plan))
        require_approval(here, ledger, plan)
        with pytest.raises(ApprovalNeeded, match="paid GPU-hours on sky"):
            require_approval(there, ledger, plan, "sky")
        assert len(over_anywhere(plan, there.config)) == 3
        approve(there, ledger, plan, plan_digest(plan))
        require_approval(there, ledger, plan, "sky")
        require_approval(there, ledger, plan)


def test_the_tool_names_the_backends_that_a_person_allowed(ws: Workspace, plan: Plan) -> None:
    with pytest.raises(UsageError, match=r"backend_not_allowed.*\(local\)"):
        registry.call("launch_finetune", {"plan_id": plan.summary.plan_id, "backend": "slurm"}, ws)
    with pytest.raises(UsageError, match="arguments_invalid"):
        registry.call("launch_finetune", {"plan_id": plan.summary.plan_id, "backend": "moon"}, ws)
