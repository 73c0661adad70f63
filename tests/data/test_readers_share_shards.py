"""Several processes and loader workers share the shards: Lhotse's own split gives every cut to one of them, once an epoch, whatever their number."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from asrcore.data.shard_request import check_manifests, make_request, require_shards
from asrcore.data.shards import run
from asrcore.errors import UsageError
from tests.data.speech import corpus

pytestmark = pytest.mark.heavy

ROWS = 9


class Silent:
    def event(self, stage: str, step: int = 0, total: int = 0, message: str = "", **metrics: float) -> None: ...

    def stop_if_asked(self) -> None: ...


@pytest.mark.parametrize(("ranks", "workers"), [(1, 1), (1, 3), (2, 2), (3, 1)])
def test_ranks_and_workers_read_each_cut_once_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: int, workers: int) -> None:
    """Upstream 8.3 wants at least ranks x workers shards: with five, each of up to four readers has audio of its own. NeMo's tarred reader does not
    split shards at all: each reader mixes all of them, so what an epoch is there, our loader counts itself (trap 3.4)."""
    from lhotse import CutSet

    request = make_request(check_manifests([corpus(tmp_path, count=ROWS)], [], [tmp_path]), 0.1, utterances_per_shard=2, seed=0,
                           folder=tmp_path / "shards", shar=True)  # fmt: skip
    folder = Path(run(request, Silent()).root) / "train" / "shar"
    for _ in range(2):  # epochs
        seen: Counter[str] = Counter()
        for rank in range(ranks):
            for worker in range(workers):
                for name, value in {"RANK": rank, "WORLD_SIZE": ranks, "WORKER": worker, "NUM_WORKERS": workers}.items():
                    monkeypatch.setenv(name, str(value))
                cuts: Any = CutSet.from_shar(in_dir=folder, split_for_dataloading=True, shuffle_shards=True, seed=0)
                own = [cut.custom["id"] for cut in cuts if cut.load_audio().shape[1] == cut.num_samples]
                assert own
                seen.update(own)
        assert seen == {f"train-{number}": 1 for number in range(ROWS)}


@pytest.mark.parametrize("readers", [4, 5, 6, 9])
def test_shards_for_so_many_readers_leave_none_of_them_without_audio_and_fewer_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readers: int) -> None:
    from lhotse import CutSet

    facts = check_manifests([corpus(tmp_path, count=ROWS)], [], [tmp_path])
    size = 2
    try:
        require_shards(facts, size, readers)
    except UsageError as error:
        assert (error.code, readers > -(-ROWS // size)) == ("shards_too_few", True)
        size = int(error.problems[0].fix.split("=")[1].split(",")[0])  # what it says to pass
        require_shards(facts, size, readers)
    request = make_request(facts, 0.1, utterances_per_shard=size, seed=0, folder=tmp_path / "shards", shar=True)
    folder = Path(run(request, Silent()).root) / "train" / "shar"
    monkeypatch.setenv("WORLD_SIZE", str(readers))
    for rank in range(readers):
        monkeypatch.setenv("RANK", str(rank))
        assert list(CutSet.from_shar(in_dir=folder, split_for_dataloading=True))
