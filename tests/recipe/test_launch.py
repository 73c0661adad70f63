"""Launching: what was planned is what is submitted, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore.errors import NotReadyError
from asrcore.jobs import JobView
from asrcore.recipe import FinetuneSpec, Plan, launch_plan, make_plan
from asrcore.requests import TrainRequest
from asrcore.workspace import Workspace
from asrtune import registry
from tests.recipe.corpora import build, corpus


@pytest.fixture
def plan(ws: Workspace, tmp_path: Path) -> Plan:
    shards = build(ws, [corpus(tmp_path, "greek", "el-GR", 8)])
    dev = corpus(tmp_path, "dev", "el-GR", 3, seed=1)
    return make_plan(FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(dev), max_steps=8), ws).plan


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[TrainRequest]:
    """Requests that reach the job queue; none is run."""
    seen: list[TrainRequest] = []

    def catch(ws: Workspace, kind: str, request: TrainRequest, **options: Any) -> JobView:
        assert kind == "train"
        seen.append(request)
        return JobView.model_construct(job_id="job_000000000000")

    monkeypatch.setattr("asrcore.recipe.launch.submit", catch)
    return seen


def test_the_planned_request_is_submitted_unchanged(ws: Workspace, plan: Plan, submitted: list[TrainRequest]) -> None:
    launch_plan(ws, plan.summary.plan_id)
    assert submitted == [plan.request]


def test_a_forced_run_differs_in_its_name_and_folder_only(ws: Workspace, plan: Plan, submitted: list[TrainRequest]) -> None:
    Path(plan.request.out + "_2").mkdir(parents=True)
    launch_plan(ws, plan.summary.plan_id, force_new=True)
    (forced,) = submitted
    assert forced.run_id == f"{plan.request.run_id}_3"
    assert forced.model_copy(update={"run_id": plan.request.run_id, "out": plan.request.out}) == plan.request


def test_every_input_that_changed_since_the_plan_is_named(ws: Workspace, plan: Plan, submitted: list[TrainRequest]) -> None:
    root = Path(plan.request.shards.root)
    shard = plan.request.shards.sources[0].shards[0]
    (root / shard.tar).unlink()
    (root / shard.manifest).write_text("{}\n", encoding="utf-8")
    Path(plan.request.dev.path).write_text("{}\n", encoding="utf-8")
    with pytest.raises(NotReadyError, match="fingerprint_mismatch") as caught:
        launch_plan(ws, plan.summary.plan_id)
    assert {(problem.code, Path(problem.file or "").name) for problem in caught.value.problems} == {
        ("file_missing", Path(shard.tar).name), ("file_changed", Path(shard.manifest).name), ("file_changed", "manifest.json"),
    }  # fmt: skip
    assert submitted == []


def test_a_plan_that_does_not_exist_is_refused_by_the_tool(ws: Workspace) -> None:
    with pytest.raises(NotReadyError, match="plan_unknown"):
        registry.call("launch_finetune", {"plan_id": "plan_000000000000"}, ws)
