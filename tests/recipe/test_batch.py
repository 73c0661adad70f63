"""The batch of a plan: what fits by the formulas, what a search on this device found, and what a GPU changes (its driver is a stand-in)."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from asrcore.batch_requests import BatchRequest, BatchResult, Trial
from asrcore.checkpoint import CheckpointInfo, embedded_base, read_checkpoint
from asrcore.errors import EnvironmentFault
from asrcore.jobs import Ledger
from asrcore.machine import Gpu
from asrcore.recipe import FinetuneSpec, estimates, launch, make_plan
from asrcore.recipe.overlap import ShardRows
from asrcore.workspace import Workspace
from asrtune.cli import app
from tests.recipe.corpora import build, corpus
from tests.recipe.test_memory import FULL

ROWS = ShardRows((), 20.0, 0, 180)
"""Longest utterance 20 s, at most 60 tokens."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU of 24 GB."""
    monkeypatch.setattr(estimates, "_gpu", lambda: True)
    monkeypatch.setattr(estimates, "_gpus", lambda: (Gpu(uuid="GPU-0", name="NVIDIA L4", memory_gb=24.0),))


@pytest.fixture
def spec(ws: Workspace) -> FinetuneSpec:
    folder = ws.base_folder
    shards = build(ws, [corpus(folder, "greek", "el-GR", 12)], [corpus(folder, "bulgarian", "bg-BG", 6)], share=0.4)
    return FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(corpus(folder, "dev", "el-GR", 2, seed=1)), max_steps=60)


def batch_of(spec: FinetuneSpec, ws: Workspace) -> tuple[str, str]:
    plan = make_plan(spec, ws).plan.summary
    return next((one.value, one.reason) for one in plan.decisions if one.name == "batch_size")


def search(base: CheckpointInfo, **changes: object) -> BatchResult:
    values = {"device": "cpu", "base_sha256": base.sha256, "surface": "full", "averaged": False, "longest_seconds": 30.0, "labels": 200, "memory_gb": 1.0,
              "batch_size": 5, "tried": [Trial(batch_size=5, fits=True, peak_gb=1.5, predicted_gb=1.4)], "seconds": 1.0}  # fmt: skip
    return BatchResult.model_validate(values | changes)


def test_the_formulas_choose_a_batch_that_the_longest_utterances_fit_into(gpu: None) -> None:
    """Trap 3.17: the rare long batch ends a run, not the usual one."""
    found = estimates.fitting_batch(FULL, "full", ROWS)
    assert found is not None
    batch, reason = found
    assert "this GPU (NVIDIA L4) of 24 GB" in reason
    assert estimates.memory(FULL, "full", batch, ROWS).training <= 0.9 * 24e9 < estimates.memory(FULL, "full", batch + 1, ROWS).training
    lora = estimates.fitting_batch(FULL, "lora:8", ROWS)
    assert lora is not None
    assert lora[0] > batch


def test_a_driver_that_does_not_answer_bounds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "_gpu", lambda: True)
    monkeypatch.setattr(estimates, "_gpus", lambda: ())
    assert estimates.fitting_batch(FULL, "full", ROWS) is None
    assert estimates.device_name() == "unknown GPU"


def test_a_plan_goes_by_the_search_that_covers_it_and_by_no_other(ws: Workspace, spec: FinetuneSpec) -> None:
    base = read_checkpoint(embedded_base())
    assert batch_of(spec, ws)[0] == "16"
    ledger = Ledger.open(ws)
    for other in ({"device": "NVIDIA L4"}, {"base_sha256": "0" * 64}, {"surface": "lora:8"}, {"averaged": True}, {"longest_seconds": 0.2}, {"labels": 1}, {"memory_gb": 1e6}):
        found = search(base, **other)
        ledger.put("batch", found.batch_id, found)
    assert batch_of(spec, ws)[0] == "16", "another device, base, surface, average, shorter or poorer utterances, a larger machine"
    covering = search(base)
    ledger.put("batch", covering.batch_id, covering)
    value, reason = batch_of(spec, ws)
    assert value == "5"
    assert covering.batch_id in reason
    assert "more memory would hold 16" in reason


def test_what_was_asked_for_is_kept_and_too_much_of_it_is_told(gpu: None, ws: Workspace, spec: FinetuneSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "_gpus", lambda: (Gpu(uuid="GPU-0", name="NVIDIA L4", memory_gb=0.2),))
    planned = make_plan(spec.model_copy(update={"batch_size": 1024}), ws)
    [short] = [problem for problem in planned.warnings if problem.code == "memory_short"]
    assert "this GPU (NVIDIA L4) is 0.2 GB" in short.message
    assert planned.plan.request.batch_size == 1024
    assert planned.plan.summary.estimates.gpus == 1


def test_searches_that_cannot_start_say_why(ws: Workspace, spec: FinetuneSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(app, ["find-batch", "plan_000000000000"])
    assert done.exit_code == 3
    assert "[plan_unknown]" in done.output
    plan = make_plan(spec, ws).plan
    monkeypatch.setattr(launch, "usable_memory", lambda: None)
    with pytest.raises(EnvironmentFault, match="memory_unknown"):
        launch.find_batch(ws, plan.summary.plan_id)


def test_the_search_is_asked_about_the_worst_utterances_of_the_shards(ws: Workspace, spec: FinetuneSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, BatchRequest]] = []
    monkeypatch.setattr(launch, "submit", lambda ws, kind, request: asked.append((kind, request)))
    plan = make_plan(spec, ws).plan
    launch.find_batch(ws, plan.summary.plan_id)
    [(kind, request)] = asked
    assert kind == "find_batch"
    assert request.train == plan.request
    assert request.longest_seconds == pytest.approx(0.7 + 0.02 * 11)
    assert request.labels >= 5
