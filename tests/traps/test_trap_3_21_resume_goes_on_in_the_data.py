"""Trap 3.21: a relaunched run starts its data from the beginning, so it trains on the first batches again and again."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from tests.model.runs import Bench
from tests.traps.stock import embedded, prompt_dataset, trap

pytestmark = pytest.mark.heavy
DONE = 2
"""Steps before the stop."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("resume"))


@trap("3.21", "the same seed gives the same order from its beginning")
def test_a_stock_loader_that_is_built_again_does_not_repeat_what_was_seen(bench: Bench) -> None:
    import torch
    from nemo.collections.common.data.lhotse import get_lhotse_dataloader_from_config

    from asrcore.model.loader import duration_bins, loader_config

    config = loader_config(bench.request("stock"), duration_bins(bench.shards, 40.0), 16_000)
    dataset = prompt_dataset(embedded(), default_prompt_mode="langID")

    def launched() -> list[Any]:
        return list(islice(get_lhotse_dataloader_from_config(config, global_rank=0, world_size=1, dataset=dataset), DONE))

    assert not all(torch.equal(first[0], again[0]) for first, again in zip(launched(), launched(), strict=True))


def test_ours_goes_on_with_the_batch_after_the_last(bench: Bench) -> None:
    import torch

    from asrcore.model.loader import batches
    from asrcore.model.restore import prompt_slots

    model = embedded()

    def stream(skip: int) -> Any:
        return batches(bench.request("ours"), model.tokenizer, prompt_slots(model), sample_rate=16_000, skip=skip)

    straight, resumed = list(islice(stream(0), DONE + 2)), list(islice(stream(DONE), 2))
    for expected, found in zip(straight[DONE:], resumed, strict=True):
        assert torch.equal(expected.audio, found.audio)
        assert torch.equal(expected.slots, found.slots)
