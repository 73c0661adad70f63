"""Trap 3.19: ranks whose loaders hold different numbers of batches wait for each other until a time-out hides why."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from asrcore import io
from asrcore.requests import ShardsResult
from asrcore.workspace import Workspace
from tests.model.runs import Bench
from tests.recipe.corpora import build, corpus
from tests.traps.stock import embedded, prompt_dataset, trap

pytestmark = pytest.mark.heavy

STOCK = """
import sys
from datetime import timedelta
from pathlib import Path
import torch, torch.distributed as dist
from asrcore.requests import ShardsResult
from tests.traps.test_trap_3_19_ranks_take_the_same_steps import stock_loader

dist.init_process_group("gloo", timeout=timedelta(seconds=20))
shards = ShardsResult.model_validate_json(Path(sys.argv[1]).read_bytes())
for batch in stock_loader(shards, dist.get_rank(), dist.get_world_size()):
    dist.all_reduce(torch.zeros(1))  # what DDP does at the end of a step
dist.destroy_process_group()
"""
"""One pass over the data by two ranks that only count."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardsResult:
    """60 clips of 0.7 to 1.9 s."""
    folder = tmp_path_factory.mktemp("ranks")
    return build(Workspace.open(folder), [corpus(folder, "greek", "el-GR", 60)])


def stock_loader(shards: ShardsResult, rank: int, world_size: int) -> Any:
    """NeMo's loader over one pass of tarred data, batches by seconds, its own way to tell ranks apart: as its docs set validation up, for one."""
    from nemo.collections.common.data.lhotse import get_lhotse_dataloader_from_config

    from asrcore.model.loader import input_cfg

    config = {
        "use_lhotse": True, "input_cfg": input_cfg(shards), "sample_rate": 16_000, "text_field": "text", "lang_field": "target_lang",
        "batch_duration": 3.0, "force_finite": True, "shuffle": True, "seed": 0, "shard_seed": "randomized", "num_workers": 1,
    }  # fmt: skip
    dataset = prompt_dataset(embedded(), default_prompt_mode="langID")
    return get_lhotse_dataloader_from_config(config, global_rank=rank, world_size=world_size, dataset=dataset)


@trap("3.19", "each rank reads the data in an order of its own, so batches by seconds come out differently")
def test_the_stock_ranks_of_a_finite_set_have_as_many_batches_each(shards: ShardsResult) -> None:
    first, second = (sum(1 for _ in stock_loader(shards, rank, 2)) for rank in range(2))
    assert first == second


@pytest.mark.slow
@trap("3.19", "the rank with fewer batches goes, and the other waits")
def test_two_stock_processes_come_to_the_end_of_a_finite_set(shards: ShardsResult, tmp_path: Path) -> None:
    io.write_text(tmp_path / "stock.py", STOCK)
    io.write_json(tmp_path / "shards.json", shards)
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(tmp_path / "stock.py"), str(tmp_path / "shards.json")],
                          check=False, capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}:{root / 'tools'}"})  # fmt: skip
    if done.returncode and "all_reduce" not in done.stderr:
        raise RuntimeError(f"it failed elsewhere: {done.stderr[-3000:]}")
    assert done.returncode == 0


def test_our_ranks_take_their_rows_of_the_very_same_batches(tmp_path: Path) -> None:
    from asrcore.model.loader import batches
    from asrcore.model.restore import prompt_slots
    from asrcore.model.train_ranks import Ranks

    bench, model = Bench(tmp_path), embedded()
    request = bench.request("ranks", batch_size=5)
    first, second = (
        list(islice(batches(request, model.tokenizer, prompt_slots(model), sample_rate=16_000, skip=0, ranks=Ranks(rank, 2)), 12)) for rank in range(2)
    )
    assert [(one.sources, one.seconds, one.locales) for one in first] == [(one.sources, one.seconds, one.locales) for one in second]
    assert {(len(one.audio), len(other.audio)) for one, other in zip(first, second, strict=True)} == {(3, 2)}
