"""Trap 3.20: Lhotse streams have no length, so float limits and `len()` fail or are ignored."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from asrcore.locales import PROMPT_DICTIONARY
from tests.model.runs import Bench
from tests.traps.stock import embedded, prompt_dataset

pytestmark = pytest.mark.heavy


def test_the_stream_goes_on_past_the_end_of_the_data_and_has_no_length(tmp_path: Path) -> None:
    from asrcore.model.loader import batches
    from asrcore.model.restore import restore

    bench = Bench(tmp_path)
    utterances = sum(source.utterances for source in bench.shards.sources)
    tokenizer = restore(Path(bench.base.path), threads=1).tokenizer
    stream = batches(bench.request("endless"), tokenizer, PROMPT_DICTIONARY, sample_rate=16_000, skip=0)
    assert not hasattr(stream, "__len__")
    assert sum(len(batch.sources) for batch in islice(stream, utterances)) == 4 * utterances


@pytest.mark.xfail(strict=True, raises=TypeError, reason="trap 3.20: whoever asks a Lhotse stream for its length gets an error")
def test_the_stock_loader_knows_its_length(tmp_path: Path) -> None:
    from nemo.collections.common.data.lhotse import get_lhotse_dataloader_from_config

    from asrcore.model.loader import duration_bins, loader_config

    bench, model = Bench(tmp_path), embedded()
    config = loader_config(bench.request("stock"), duration_bins(bench.shards, 40.0), 16_000)
    assert len(get_lhotse_dataloader_from_config(config, global_rank=0, world_size=1, dataset=prompt_dataset(model, default_prompt_mode="langID")))
