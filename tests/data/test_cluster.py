"""Shards written by the workers of a real Dask cluster on this machine: the bytes of one process, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asrcore.data import cluster, shard_files, shards
from asrcore.data.channel import parse_chains
from asrcore.data.shard_files import Outcome, Task
from asrcore.data.shard_request import check_manifests, make_request
from asrcore.data_requests import ChannelPlan
from asrcore.errors import EnvironmentFault, NotReadyError, Stopped, ToolFault
from asrcore.requests import ShardsRequest
from tests.data.speech import corpus, noise, wav
from tests.data.test_shards import Reporter, bytes_of

dask_config: Any = pytest.importorskip("dask.config", reason="the extra `dask` is not installed")
distributed: Any = pytest.importorskip("distributed", reason="the extra `dask` is not installed")

MARK = "ASRTUNE_TEST_MARK"
"""Environment variable of the workers: a folder for marks of what they did."""


def local_cluster(folder: Path, workers: int) -> Any:
    return distributed.LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0", local_directory=str(folder / "dask"))


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("marks")
    os.environ[MARK] = str(folder)
    yield folder
    del os.environ[MARK]


@pytest.fixture(scope="module")
def scheduler(marks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two worker processes, each started again by its nanny when it dies."""
    with local_cluster(tmp_path_factory.mktemp("dask"), 2) as made:
        yield made.scheduler_address


def requests_for(tmp_path: Path, scheduler: str) -> tuple[ShardsRequest, ShardsRequest]:
    """The same shards by one process and by the cluster: copies, re-encoded audio, a channel, replay and a Shar twin."""
    path, replay = corpus(tmp_path, count=7), corpus(tmp_path, "keep", 3, target_lang="en-US")
    wav(path.parent / "0.wav", noise(2.0, 8000), 8000, subtype="GSM610")
    facts, heard = check_manifests([path], [replay], [tmp_path]), {"replay": ChannelPlan(chains=parse_chains(["ulaw"]))}
    one, other = (make_request(facts, 0.2, utterances_per_shard=2, seed=0, folder=tmp_path / home, channels=heard, shar=True, scheduler=address)
                  for home, address in (("one", ""), ("cluster", scheduler)))  # fmt: skip
    return one, other


def dies_in_the_middle(task: Task) -> Outcome:
    """The work of a shard, on a worker that is killed before the second row of the first shard that any worker begins."""
    rows = 0

    def tick() -> None:
        nonlocal rows
        rows += 1
        if rows == 2:
            try:
                (Path(os.environ[MARK]) / "killed").touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

    return shard_files.do(task, tick)


def test_a_cluster_gives_the_bytes_of_one_process_and_its_address_is_no_part_of_the_id(tmp_path: Path, scheduler: str) -> None:
    one, other = requests_for(tmp_path, scheduler)
    assert Path(one.out).name == Path(other.out).name
    reporter = Reporter()
    first, second = shards.run(one, Reporter()), shards.run(other, reporter)
    assert second == first.model_copy(update={"root": second.root})
    assert bytes_of(Path(one.out)) == bytes_of(Path(other.out))
    assert reporter.events == [(0, 10), (2, 10), (4, 10), (6, 10), (7, 10), (9, 10), (10, 10)]
    assert shards.verify_shards(Path(other.out)) == []


def test_a_worker_killed_in_the_middle_of_a_shard_changes_no_byte(tmp_path: Path, scheduler: str, marks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = requests_for(tmp_path, scheduler)
    shards.run(one, Reporter())
    monkeypatch.setattr(shards, "do", dies_in_the_middle)
    shards.run(other, Reporter())
    assert (marks / "killed").exists()
    assert bytes_of(Path(one.out)) == bytes_of(Path(other.out))
    assert list(Path(other.out).rglob(".*")) == []


def test_bad_rows_are_all_found_by_a_cluster_and_nothing_is_left(tmp_path: Path, scheduler: str) -> None:
    path = corpus(tmp_path, count=6)
    request = make_request(check_manifests([path], [], [tmp_path]), 0.1, utterances_per_shard=2, seed=0, folder=tmp_path / "shards", scheduler=scheduler)
    for n in (1, 4):
        (path.parent / f"{n}.wav").write_bytes(b"no audio")
    with pytest.raises(NotReadyError, match="shards_bad_rows") as caught:
        shards.run(request, Reporter())
    assert sorted(p.line or 0 for p in caught.value.problems) == [2, 5]
    assert list((tmp_path / "shards").iterdir()) == []


def test_a_stop_leaves_what_the_cluster_finished_to_a_later_process_without_one(tmp_path: Path, scheduler: str) -> None:
    one, other = requests_for(tmp_path, scheduler)
    shards.run(one, Reporter())
    reporter = Reporter()
    reporter.stop_if_asked = lambda: reporter.asked(any(step for step, _ in reporter.events))
    with pytest.raises(Stopped):
        shards.run(other, reporter)
    assert not Path(other.out).exists()
    assert len(list((tmp_path / "cluster").rglob("record_*.json"))) >= 1
    shards.run(other.model_copy(update={"scheduler": ""}), Reporter())
    assert bytes_of(Path(one.out)) == bytes_of(Path(other.out))


def always_dies(item: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def lacks_a_package(item: int) -> None:
    raise ModuleNotFoundError("No module named 'soxr'", name="soxr")


def test_work_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    with dask_config.set({"distributed.scheduler.allowed-failures": 0}), local_cluster(tmp_path, 1) as made, pytest.raises(ToolFault, match="worker_died") as caught:
        list(cluster.on_workers(always_dies, [1], made.scheduler_address, tmp_path, lambda: None))
    assert caught.value.retryable


def test_a_scheduler_that_goes_away_while_it_works_ends_the_work(tmp_path: Path) -> None:
    with local_cluster(tmp_path, 1) as made:
        results = cluster.on_workers(abs, range(-500, 0), made.scheduler_address, tmp_path, lambda: None)
        assert next(results) == (-500, 500)
        made.close()
        with pytest.raises(ToolFault, match="scheduler_lost") as caught:
            list(results)
    assert caught.value.retryable


def test_workers_with_another_installation_or_other_files_do_nothing(tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentFault, match=r"workers_differ.*a worker has no soxr"):
        list(cluster.on_workers(lacks_a_package, [1], scheduler, tmp_path, lambda: None))
    mine = cluster.versions()
    monkeypatch.setattr(cluster, "versions", lambda: mine | {"libsndfile": "0.9"})
    with pytest.raises(EnvironmentFault, match=r"workers_differ.*libsndfile .* \(here 0.9\)"):
        list(cluster.on_workers(always_dies, [1], scheduler, tmp_path, lambda: None))
    monkeypatch.setattr(cluster, "versions", lambda: mine)
    monkeypatch.setattr(cluster.io, "write_text", lambda path, text: path.write_text("of another machine", encoding="utf-8"))
    with pytest.raises(EnvironmentFault, match=r"workers_differ.*does not see"):
        list(cluster.on_workers(always_dies, [1], scheduler, tmp_path, lambda: None))
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_without_our_code_is_named_and_nothing_is_sent_to_its_workers(tmp_path: Path) -> None:
    shadow = tmp_path / "shadow" / "asrcore"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text('raise ImportError("not here")\n', encoding="utf-8")
    command = [sys.executable, "-c", "from distributed.cli.dask_scheduler import main; main()", "--port", "0", "--no-dashboard"]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(shadow.parent)}, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            address = next(line.split()[-1] for line in process.stderr if "Scheduler at:" in line)
            with pytest.raises(EnvironmentFault, match=r"workers_differ.*scheduler cannot import asrtune"):
                list(cluster.on_workers(abs, [-1], address, tmp_path, lambda: None))
        finally:
            process.terminate()


def test_a_cluster_without_workers_and_a_scheduler_that_is_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LOOK_S", 0.0)
    monkeypatch.setattr(cluster, "NO_WORKERS_S", 0.0)
    with local_cluster(tmp_path, 0) as empty:
        address = empty.scheduler_address
        with pytest.raises(EnvironmentFault, match="workers_missing") as caught:
            list(cluster.on_workers(always_dies, [1], address, tmp_path, lambda: None))
        assert caught.value.retryable
    monkeypatch.setattr(cluster, "CONNECT_S", 0.5)
    with pytest.raises(EnvironmentFault, match="scheduler_unreachable"):
        list(cluster.on_workers(always_dies, [1], address, tmp_path, lambda: None))
