"""Trap 3.13: replay rows stood in the manifest, the run ended before they came, and the model forgot."""

from __future__ import annotations

from pathlib import Path

import pytest

from asrcore.errors import ToolFault
from tests.model.runs import Bench

pytestmark = pytest.mark.heavy


def test_a_run_in_which_a_source_gave_nothing_fails_and_names_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    train, replay = bench.shards.sources
    never = bench.shards.model_copy(
        update={"sources": (train.model_copy(update={"weight": 1.0}), replay.model_copy(update={"weight": 1e-9}))}
    )
    request = bench.request("never", shards=never, max_steps=3, candidate_every=3)
    with pytest.raises(ToolFault, match="replay_not_consumed") as caught:
        bench.train(request)
    assert replay.name in caught.value.message
    assert train.name not in caught.value.message
    assert not (Path(request.out) / "best.nemo").exists()
