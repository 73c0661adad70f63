"""Trap 3.20: Lhotse streams have no length, so float limits and `len()` fail or are ignored."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from asrcore.locales import PROMPT_DICTIONARY
from tests.model.runs import Bench

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
