"""The build_shards tool: what it refuses, how shares are divided, and one real job."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest

from asrcore import io
from asrcore.data.shard_request import divide_shares, source_names
from asrcore.data.shards import verify_shards
from asrcore.errors import AsrtuneError, UsageError
from asrcore.jobs import ENDED, backends, get_job
from asrcore.requests import Role
from asrcore.workspace import Budgets, Config, Dask, Workspace, load_config
from asrtune import registry
from asrtune.verbs import build_shards
from tests.data.speech import corpus, manifest, row, wav


def refused(ws: Workspace, **arguments: Any) -> AsrtuneError:
    with pytest.raises(AsrtuneError) as caught:
        registry.call("build_shards", arguments, ws)
    assert not (ws.home / "shards").exists()
    assert not (ws.home / "jobs").exists()
    return caught.value


def test_a_build_is_a_job_whose_result_is_the_shards(ws: Workspace) -> None:
    train, replay = corpus(ws.base_folder, count=5), corpus(ws.base_folder, "keep", 2, target_lang="en-US")
    call = {"train": [str(train)], "replay": [str(replay)], "replay_share": 0.25, "utterances_per_shard": 2}
    job = registry.call("build_shards", call, ws).data
    view = get_job(ws, job.job_id)
    while view.state not in ENDED:
        view = get_job(ws, job.job_id, 45, wake_on_event=False)
    assert (view.state, view.error) == ("succeeded", None)
    assert view.result is not None
    root = Path(view.result["root"])
    assert [(s["name"], s["role"], s["share"], len(s["shards"])) for s in view.result["sources"]] == [
        ("train", "train", 0.75, 3),
        ("keep", "replay", 0.25, 1),
    ]
    assert verify_shards(root) == []
    listed = registry.call("list_objects", {"kind": "shards"}, ws).model_dump_json()
    assert view.result["shards_id"] == root.name
    assert root.name in listed
    again = registry.call("build_shards", call, ws).data
    assert (again.job_id, again.deduplicated) == (job.job_id, True)


def test_problems_of_all_manifests_come_in_one_answer_and_no_job_is_started(
    ws: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = wav(tmp_path_factory.mktemp("elsewhere") / "a.wav")
    wav(ws.base_folder / "a.wav")
    os.symlink(outside, ws.base_folder / "link.wav")
    first = manifest(ws.base_folder / "one.json", [row(), row("none.wav"), "{", row(text=""), row(target_lang="auto")])
    second = manifest(ws.base_folder / "two.json", [row("link.wav"), row(str(outside)), row("../../etc/hostname")])
    third = manifest(ws.base_folder / "three.json", [row(_skipme=True)])
    error = refused(ws, train=[str(first)], replay=[str(second), str(third)])
    assert error.code == "manifest_invalid"
    assert error.exit_code == 3
    assert [(Path(str(p.file)).name, p.line, p.code) for p in error.problems] == [
        ("one.json", 2, "audio_missing"), ("one.json", 3, "manifest_not_json"), ("one.json", 4, "text_empty"), ("one.json", 5, "tag_auto"),
        ("two.json", 1, "audio_refused"), ("two.json", 2, "audio_refused"), ("two.json", 3, "audio_refused"), ("three.json", None, "source_empty"),
    ]  # fmt: skip


def test_calls_that_cannot_be_meant_are_refused(ws: Workspace) -> None:
    path = str(corpus(ws.base_folder, count=2))
    assert refused(ws, train=[path], replay=[path]).code == "manifest_twice"
    assert refused(ws, train=[path, path]).code == "manifest_twice"
    assert refused(ws, train=[path], replay=[path], replay_share=0.0).code == "replay_share_zero"
    assert refused(ws, train=[]).code == "arguments_invalid"
    assert refused(ws, train=[path], replay_share=0.95).code == "arguments_invalid"
    assert refused(ws, train=["/etc/passwd"]).code == "path_refused"


def test_shards_that_cannot_be_divided_among_the_readers_are_refused_with_the_number_that_can(ws: Workspace) -> None:
    train, replay = corpus(ws.base_folder, count=9), corpus(ws.base_folder, "keep", 3, target_lang="en-US")
    call = {"train": [str(train)], "replay": [str(replay)], "utterances_per_shard": 3}
    error = refused(ws, **call, readers=4)
    assert (error.code, [(p.file, p.fix) for p in error.problems]) == (
        "shards_too_few", [(str(train), "pass utterances_per_shard=2, or less"), (str(replay), "read it with at most 3 workers x ranks")],
    )  # fmt: skip
    assert registry.call("build_shards", call | {"utterances_per_shard": 1, "readers": 3}, ws).data.job_id == registry.call(
        "build_shards", call | {"utterances_per_shard": 1}, ws
    ).data.job_id


def test_the_persons_disk_budget_is_kept(ws: Workspace) -> None:
    path = corpus(ws.base_folder, count=2)
    tight = Workspace(ws.home, Config(budgets=Budgets(max_disk_gb=1e-4)), ws.base_folder)
    assert refused(tight, train=[str(path)]).code == "disk_budget_exceeded"
    assert refused(tight, train=[str(path)], opus=25).code == "arguments_invalid"


def test_only_a_scheduler_that_the_person_named_is_asked_and_the_shards_are_the_same_job_without_it(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask unpickles what a scheduler sends: to name one is to trust it with the account."""
    path, address = str(corpus(ws.base_folder, count=2)), "tcp://127.0.0.1:8786"
    assert refused(ws, train=[path], scheduler=address).code == "scheduler_not_allowed"
    named = Workspace(ws.home, Config(dask=Dask(schedulers=(address,))), ws.base_folder)
    assert refused(named, train=[path], scheduler="tcp://127.0.0.1:8787").code == "scheduler_not_allowed"
    find = importlib.util.find_spec
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name, *rest: None if name == "distributed" else find(name, *rest))
    error = refused(named, train=[path], scheduler=address)
    assert (error.code, error.exit_code) == ("dask_missing", 4)
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name, *rest: find("json"))
    keys = list[str]()

    def submitted(ws: Workspace, kind: str, request: object, *, key: str) -> None:
        keys.append(key)
        raise UsageError("enough_seen", "the key is known.", next_step="compare.")

    monkeypatch.setattr(build_shards, "submit", submitted)
    for scheduler in (address, ""):
        with pytest.raises(UsageError, match="enough_seen"):
            registry.call("build_shards", {"train": [path], "scheduler": scheduler}, named)
    assert keys[0] == keys[1]


@pytest.mark.parametrize("schedulers", [["http://host:80"], ["tcp://host:80/x"], ["tcp://host 80"], "tcp://host:80"])
def test_addresses_in_the_config_that_are_none_are_refused(ws: Workspace, schedulers: Any) -> None:
    (ws.base_folder / "asrtune.toml").write_text(f"[dask]\nschedulers = {json.dumps(schedulers)}\n", encoding="utf-8")
    with pytest.raises(AsrtuneError, match=r"config_invalid.*dask\.schedulers"):
        Workspace.open(ws.base_folder)


def test_a_job_has_a_cluster_write_its_lossy_shards(ws: Workspace) -> None:
    """The whole way: the person's config, the tool, the job's process, a scheduler and a worker, the result."""
    distributed: Any = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0", local_directory=str(ws.base_folder / "dask")) as cluster:
        io.write_text(ws.config_file, f'[dask]\nschedulers = ["{cluster.scheduler_address}"]\n')
        named = Workspace(ws.home, load_config(ws.config_file), ws.base_folder)
        call = {"train": [str(corpus(ws.base_folder, count=5))], "opus": 32, "utterances_per_shard": 2}
        answer = registry.call("build_shards", call | {"scheduler": cluster.scheduler_address}, named)
        assert {"shards_lossy", "replay_missing"} <= {problem.code for problem in answer.warnings}
        view = get_job(named, answer.data.job_id)
        while view.state not in ENDED:
            view = get_job(named, view.job_id, 45, wake_on_event=False)
    assert (view.state, view.error) == ("succeeded", None)
    assert view.result is not None
    assert view.result["opus"]["kbits"] == 32
    assert verify_shards(Path(view.result["root"])) == []
    again = registry.call("build_shards", call, named).data
    assert (again.job_id, again.deduplicated) == (view.job_id, True)


def test_train_shares_follow_the_seconds_and_replay_is_split_evenly() -> None:
    """Trap 3.12: a small replay language gets as many seconds as a large one."""
    shares = divide_shares([("train", {"el": 300.0}), ("train", {"el": 100.0}), ("replay", {"en": 1000.0}), ("replay", {"es": 10.0})], 0.2)
    assert shares == pytest.approx([0.6, 0.2, 0.1, 0.1])
    assert divide_shares([("train", {"el": 5.0}), ("train", {"el": 5.0})], 0.2) == [0.5, 0.5]


def test_alpha_lifts_small_locales_then_the_small_sources_within_them() -> None:
    """Weights by (hours)^alpha for each locale, then for each source in it: 400 to 100 hours are 2 to 1 at alpha 0.5."""
    sources: list[tuple[Role, dict[str, float]]] = [
        ("train", {"el-GR": 360.0}), ("train", {"el-GR": 40.0}), ("train", {"bg-BG": 100.0}), ("replay", {"en-US": 50.0}),
    ]  # fmt: skip
    assert divide_shares(sources, 0.25, 1.0) == pytest.approx([0.54, 0.06, 0.15, 0.25])
    assert divide_shares(sources, 0.25, 0.5) == pytest.approx([0.5 * 0.75, 0.5 * 0.25, 0.25, 0.25])
    assert divide_shares(sources, 0.25, 0.0) == pytest.approx([0.75 / 4, 0.75 / 4, 0.75 / 2, 0.25])
    mixed = divide_shares([("train", {"el-GR": 90.0, "bg-BG": 10.0}), ("train", {"bg-BG": 90.0})], 0.1, 0.5)
    greek = 90**0.5 / (90**0.5 + 100**0.5)
    assert mixed == pytest.approx([greek + (1 - greek) * 0.25, (1 - greek) * 0.75])


def test_sources_are_named_after_files_or_their_folders_and_never_alike() -> None:
    paths = [
        Path(p)
        for p in (
            "/d/el-GR_phone/manifest.json",
            "/e/el-GR phone/manifest.json",
            "/d/a.b.jsonl",
            "/d/日本.json",
            "/d/x_OP_1_CL_2.json",
            "/d/" + "n" * 99,
        )
    ]
    assert source_names(paths) == ["el_GR_phone", "el_GR_phone_2", "a_b", "source", "x_op_1_cl_2", "n" * 56]
