"""build_shards under SIGKILL at each of its writes: the next run completes with the same bytes, and never trusts what is half there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from asrcore.data.shard_request import check_manifests, make_request
from asrcore.data.shards import run, verify_shards
from asrcore.requests import ShardsRequest
from tests.data.speech import corpus, noise, wav
from tests.data.test_datasets import killed_at
from tests.data.test_shards import Reporter, bytes_of


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("opus", [0, 24])
def test_a_kill_at_any_write_of_shard_manifest_record_sums_or_index_is_made_good_by_the_next_run(tmp_path: Path, opus: int) -> None:
    path = corpus(tmp_path, count=2)
    wav(path.parent / "0.wav", noise(2.0, 8_000), 8_000)
    facts = check_manifests([path], [], [tmp_path])

    def request(home: str) -> ShardsRequest:
        return make_request(facts, 0.1, utterances_per_shard=1, seed=0, folder=tmp_path / home, shar=True, opus=opus)

    whole = bytes_of(Path(run(request("whole"), Reporter()).root))
    step = 0
    while killed_at(step := step + 1, lambda folder: run(request("shards"), Reporter()), tmp_path):
        out = Path(request("shards").out)
        assert not out.exists() or bytes_of(out) == whole  # killed after the last rename
        assert run(request("shards"), Reporter()).sources[0].utterances == 2
        assert bytes_of(out) == whole
        assert verify_shards(out) == []
        assert [found.name for found in (tmp_path / "shards").iterdir()] == [out.name]
        shutil.rmtree(tmp_path / "shards")
    # Each shard has five files, the set two more; each is synced, renamed and its folder synced.
    assert step > 3 * (2 * 5 + 2)
