"""A training as a job: planned, launched, cancelled in the middle, resumed, and found in the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from asrcore.jobs import Ledger, follow, get_job
from asrcore.jobs.view import JobView
from asrcore.requests import TrainResult
from asrcore.workspace import Workspace
from asrtune import registry
from tests.recipe.corpora import build, corpus

pytestmark = [pytest.mark.heavy, pytest.mark.slow]


def ended(ws: Workspace, job_id: str) -> JobView:
    for _ in follow(ws, job_id):
        pass
    return get_job(ws, job_id)


def test_a_cancelled_training_saves_and_goes_on_where_it_was(ws: Workspace, tmp_path: Path) -> None:
    shards = build(ws, [corpus(tmp_path, "greek", "el-GR", 40)], [corpus(tmp_path, "bulgarian", "bg-BG", 20)])
    dev = corpus(tmp_path, "dev", "el-GR", 2, seed=1)
    plan = registry.call("plan_finetune", {"shards_id": shards.shards_id, "dev_manifest": str(dev), "max_steps": 60, "batch_size": 8}, ws)
    job: JobView = registry.call("launch_finetune", {"plan_id": plan.data.plan_id}, ws).data
    for event in follow(ws, job.job_id):
        if event.step >= 2:
            registry.call("cancel_job", {"job_id": job.job_id}, ws)
    assert get_job(ws, job.job_id).state == "cancelled"
    assert (ws.home / "runs" / plan.data.run_id / "state.safetensors").is_file()
    registry.call("resume_job", {"job_id": job.job_id}, ws)
    done = ended(ws, job.job_id)
    assert done.state == "succeeded", done.untrusted_text
    row = Ledger.open(ws).get("run", plan.data.run_id)
    result = TrainResult.model_validate(row)
    assert 2 <= result.resumed_from < 60
    assert sum(consumed.utterances for consumed in result.consumed) == 60 * 8
    again: JobView = registry.call("launch_finetune", {"plan_id": plan.data.plan_id}, ws).data
    assert (again.job_id, again.deduplicated) == (job.job_id, True)
