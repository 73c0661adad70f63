"""Trap 3.4: `limit_train_batches` ends an "epoch" after 1,000 batches whatever the data; seen epochs must be computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from asrcore.recipe import FinetuneSpec, make_plan
from asrcore.workspace import Workspace
from tests.recipe.corpora import build, corpus
from tests.traps.stock import fit, trap


def test_a_plan_says_how_often_each_utterance_is_seen_from_steps_batch_and_weights(ws: Workspace, tmp_path: Path) -> None:
    shards = build(ws, [corpus(tmp_path, "greek", "el-GR", 20)], [corpus(tmp_path, "bulgarian", "bg-BG", 10)])
    dev = corpus(tmp_path, "dev", "el-GR", 2, seed=1)
    plan = make_plan(FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(dev), max_steps=2500, batch_size=8), ws).plan
    assert plan.request.max_steps == 2500
    assert sum(use.expected_utterances for use in plan.summary.sources) == pytest.approx(2500 * 8, abs=2)
    for use, source in zip(plan.summary.sources, shards.sources, strict=True):
        assert use.epochs == pytest.approx(2500 * 8 * source.weight / source.utterances, rel=0.01)


@pytest.mark.heavy
@trap("3.4", "limit_train_batches ends the epoch, whatever the data")
def test_a_stock_epoch_sees_every_row(tmp_path: Path) -> None:
    assert sorted(set(fit(tmp_path, rows=10, max_epochs=1, limit_train_batches=3).rows_seen)) == list(range(10))
