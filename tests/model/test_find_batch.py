"""The search for the largest batch: its steps by arithmetic, and real ones on the embedded base under a limit of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrcore.batch_requests import BatchRequest, BatchResult
from asrcore.checkpoint import embedded_base, read_checkpoint
from asrcore.jobs import Ledger, get_job
from asrcore.recipe import FinetuneSpec, make_plan
from asrcore.recipe.launch import find_batch
from asrcore.workspace import Workspace
from tests.model.runs import Bench, Watch
from tests.recipe.corpora import build, corpus

pytestmark = pytest.mark.heavy


@given(st.integers(0, 400), st.integers(0, 300), st.integers(1, 256))
def test_the_largest_that_fits_is_found_wherever_the_search_starts(limit: int, first: int, most: int) -> None:
    from asrcore.model.find_batch import NARROW, search

    asked: list[int] = []
    found = search(lambda n: (asked.append(n), n <= limit)[1], first, most)
    wanted = min(limit, most)
    assert wanted - found <= max(1, found // NARROW) - (wanted > found == 0)
    assert found <= wanted
    assert len(asked) == len(set(asked)) <= 20
    assert all(1 <= n <= most for n in asked)


@pytest.mark.slow
def test_steps_that_do_not_fit_are_noticed_and_the_process_goes_on(tmp_path: Path) -> None:
    import torch

    from asrcore.model import find_batch as child

    bench = Bench(tmp_path)
    request = BatchRequest(train=bench.request("search"), longest_seconds=8.0, labels=60, memory_gb=2.5, most=64)
    found = child.run(request, Watch(tmp_path / "job"))
    fitting = [trial for trial in found.tried if trial.fits]
    assert 1 <= found.batch_size == max(trial.batch_size for trial in fitting) < 64
    assert any(not trial.fits for trial in found.tried), "the limit was met"
    assert all(trial.peak_gb <= 2.6 for trial in found.tried)
    assert found.device == "cpu"
    torch.zeros(200_000_000)  # 0.8 GB: the limit is gone


@pytest.mark.slow
def test_what_a_search_found_is_in_the_ledger_and_the_next_plan_goes_by_it(tmp_path: Path) -> None:
    ws = Workspace.open(tmp_path)
    shards = build(ws, [corpus(tmp_path, "greek", "el-GR", 12)], [corpus(tmp_path, "bulgarian", "bg-BG", 6)], share=0.4)
    spec = FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(corpus(tmp_path, "dev", "el-GR", 2, seed=1)), max_steps=6)
    plan = make_plan(spec, ws).plan
    job = find_batch(ws, plan.summary.plan_id)
    while job.state in ("queued", "starting", "running"):
        job = get_job(ws, job.job_id, 45)
    assert job.state == "succeeded"
    [row] = Ledger.open(ws).list("batch", 10)
    found = BatchResult.model_validate(row.data)
    assert row.id == found.batch_id
    assert found.base_sha256 == read_checkpoint(embedded_base()).sha256
    assert found.batch_size > 0
    Ledger.open(ws).put("batch", row.id, found.model_copy(update={"batch_size": 3}))
    [batch] = [one for one in make_plan(spec, ws).plan.summary.decisions if one.name == "batch_size"]
    assert batch.value == "3"
    assert row.id in batch.reason
    longer: dict[str, Any] = found.model_dump() | {"batch_size": 3, "longest_seconds": 0.1}
    Ledger.open(ws).put("batch", row.id, BatchResult.model_validate(longer))
    [batch] = [one for one in make_plan(spec, ws).plan.summary.decisions if one.name == "batch_size"]
    assert batch.value == "16", "a search on shorter utterances says nothing about these"
