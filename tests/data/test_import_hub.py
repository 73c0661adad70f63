"""import_dataset of a dataset on the Hugging Face hub, through the hub's own library and a hub on loopback."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asrcore.workspace import Budgets, Config, Workspace
from tests.data.hub_server import REPO, Hub, serving
from tests.data.layouts import TEXTS, clips
from tests.data.speech import noise, wav
from tests.data.test_import import left_out, reasons, refused, rows, take

pytest.importorskip("huggingface_hub")
CONSTANTS: Any = importlib.import_module("huggingface_hub.constants")
PLACE = f"hf://datasets/{REPO}"


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(tmp_path_factory.mktemp("cache"), monkeypatch) as found:
        yield found


def parquet(folder: Path, texts: Sequence[str], seed: int) -> bytes:
    """Rows with a recording each inside, none of them in another file."""
    audio = [{"bytes": wav(folder / f"{seed}-{n}.wav", noise(0.5, seed=seed + n)).read_bytes(), "path": f"{seed}-{n}.wav"} for n in range(len(texts))]
    with BytesIO() as file:
        pq.write_table(pa.table({"audio": audio, "text": list(texts)}), file)
        return file.getvalue()


def corpus(folder: Path) -> dict[str, bytes]:
    """Two configs, and a training split in two files."""
    return {
        "README.md": b"# Greek",
        "el_gr/train-00000-of-00002.parquet": parquet(folder, TEXTS[:2], 10),
        "el_gr/train-00001-of-00002.parquet": parquet(folder, TEXTS[2:], 20),
        "el_gr/test-00000-of-00001.parquet": parquet(folder, TEXTS[:1], 30),
        "fr_fr/train-00000-of-00001.parquet": parquet(folder, ["Bonjour."], 40),
    }


def test_a_split_is_read_file_by_file_at_one_commit_which_the_report_names(hub: Hub, ws: Workspace, tmp_path: Path) -> None:
    first = hub.push(corpus(tmp_path / "made"))
    result = take(ws, f"{PLACE}/el_gr", split="train")
    assert [row.utterance.text for row in rows(result.data)] == list(TEXTS)
    assert [row.audio.read_bytes() for row in rows(result.data)] == [(tmp_path / "made" / f"{name}.wav").read_bytes() for name in ("10-0", "10-1", "20-0")]
    assert all(row.audio.is_relative_to(ws.home / "audio") for row in rows(result.data))
    assert result.data.hub == f"{PLACE}@{first}/el_gr"
    assert json.loads(Path(result.data.manifest).with_name("dataset.json").read_text())["hub"] == result.data.hub
    assert result.data.hub in result.summary
    assert [path.rsplit("/", 1)[-1] for path in hub.downloads] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]


def test_a_named_commit_is_read_again_without_a_network_though_the_branch_moved(
    hub: Hub, ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.push(corpus(tmp_path / "made"))
    before = take(ws, f"{PLACE}/el_gr", split="train").data
    hub.push({"el_gr/train.parquet": parquet(tmp_path / "made", ["Νέο."], 50)})
    assert [row.utterance.text for row in rows(take(ws, f"{PLACE}/el_gr", split="train").data)] == ["Νέο."]
    hub.shutdown()
    hub.server_close()
    again = take(ws, before.hub, split="train").data
    assert (again.dataset_id, again.hub) == (before.dataset_id, before.hub)
    monkeypatch.setattr(CONSTANTS, "HF_HUB_OFFLINE", True)  # else the library tries again for half a minute
    assert refused(ws, before.hub, split="test").code == "hub_unreachable"  # at that commit, but never fetched
    assert refused(ws, f"{PLACE}/el_gr", split="train").code == "hub_unreachable"  # nobody can say what main is now


def test_a_stopped_import_goes_on_where_it_stopped_and_a_damaged_file_is_not_read(hub: Hub, ws: Workspace, tmp_path: Path) -> None:
    hub.push(corpus(tmp_path / "made"))
    hub.damaged.add("el_gr/train-00001-of-00002.parquet")
    error = refused(ws, f"{PLACE}/el_gr", split="train")
    assert (error.code, error.retryable) == ("hub_file_damaged", True)
    assert len(list((ws.home / "audio").rglob("*.wav"))) == 2  # of the first file
    assert not list((ws.home / "datasets").glob("dataset_*"))
    damaged = Path(error.next_step.removeprefix("delete ").removesuffix(" and call again."))
    assert refused(ws, f"{PLACE}/el_gr", split="train").code == "hub_file_damaged"
    damaged.unlink()
    hub.damaged.clear()
    hub.asked.clear()
    assert take(ws, f"{PLACE}/el_gr", split="train").data.rows_kept == 3
    assert [path.rsplit("/", 1)[-1] for path in hub.downloads] == ["train-00001-of-00002.parquet"]


def test_a_dataset_that_is_no_parquet_is_read_from_the_hubs_own_copy_unless_a_revision_is_named(hub: Hub, ws: Workspace, tmp_path: Path) -> None:
    main = hub.push({"data/el_gr.tar.gz": b"-", "el_gr.py": b"-"})
    copy = hub.push({f"el_gr/{split}/{n:04d}.parquet": parquet(tmp_path / "made", [text], 10 * n + seed) for seed, split, texts in
                     ((1, "train", TEXTS[:2]), (5, "test", TEXTS[2:])) for n, text in enumerate(texts)}, "refs/convert/parquet")  # fmt: skip
    report = take(ws, f"{PLACE}/el_gr", split="train").data
    assert (report.rows_kept, report.hub) == (2, f"{PLACE}@{copy}/el_gr")
    assert take(ws, f"{PLACE}/el_gr/test").data.rows_kept == 1
    assert take(ws, f"{PLACE}@refs/convert/parquet/el_gr", split="test").data.hub == f"{PLACE}@{copy}/el_gr"
    for revision in (main, "main"):
        assert refused(ws, f"{PLACE}@{revision}").code == "hub_file_unknown"
        assert refused(ws, f"{PLACE}@{revision}/el_gr").code == "hub_file_unknown"


def test_configs_are_never_mixed_and_a_single_file_can_be_named(hub: Hub, ws: Workspace, tmp_path: Path) -> None:
    hub.push(corpus(tmp_path / "made"), "a/b")
    error = refused(ws, f"{PLACE}@a%2Fb", split="train")
    assert (error.code, "el_gr, fr_fr" in error.message) == ("config_needed", True)
    assert refused(ws, f"{PLACE}@a%2Fb/el_gr").code == "split_needed"
    assert refused(ws, f"{PLACE}@a%2Fb/el_gr", split="dev").code == "split_unknown"
    assert not hub.downloads
    assert take(ws, f"{PLACE}@a%2Fb/el_gr/train-00001-of-00002.parquet").data.rows_kept == 1
    assert take(ws, f"{PLACE}@a%2Fb/el_gr", split="el_gr").data.rows_kept == 4  # the folder's name: all of it


@pytest.mark.parametrize(
    ("place", "spoil", "code", "exit_code"),
    [
        (f"{PLACE}/el_gr", lambda hub: setattr(hub, "token", "secret"), "hub_access_needed", 4),
        (f"{PLACE}/el_gr", lambda hub: (setattr(hub, "token", "secret"), setattr(hub, "private", True)), "hub_access_needed", 4),
        ("hf://datasets/speech/nowhere", lambda hub: None, "hub_access_needed", 4),
        (f"{PLACE}@v9/el_gr", lambda hub: None, "hub_revision_unknown", 2),
        (f"{PLACE}@{'0' * 40}/el_gr", lambda hub: None, "hub_revision_unknown", 2),
        (f"{PLACE}@main/de_de", lambda hub: None, "hub_file_unknown", 2),
        (f"{PLACE}/de_de", lambda hub: None, "hub_file_unknown", 2),
        (f"{PLACE}/el_gr/dev.parquet", lambda hub: None, "hub_file_unknown", 2),
        (f"{PLACE}/el_gr", lambda hub: setattr(hub, "down", True), "hub_unreachable", 4),
        (f"{PLACE}/el_gr", lambda hub: (hub.shutdown(), hub.server_close()), "hub_unreachable", 4),
    ],
)  # fmt: skip
def test_what_the_hub_refuses_becomes_a_coded_error_with_a_way_on(
    place: str, spoil: Callable[[Hub], Any], code: str, exit_code: int, hub: Hub, ws: Workspace, tmp_path: Path
) -> None:
    hub.push(corpus(tmp_path / "made"))
    spoil(hub)
    error = refused(ws, place, split="train") if not place.endswith(".parquet") else refused(ws, place)
    assert (error.code, error.exit_code) == (code, exit_code)
    assert error.next_step
    assert not (ws.home / "datasets").exists() or not list((ws.home / "datasets").glob("dataset_*"))


@pytest.mark.parametrize(
    "place",
    ["hf://", f"hf://{REPO}", f"hf://models/{REPO}", "hf://datasets/greek", f"{PLACE}@", f"{PLACE}/../etc", f"{PLACE}/a/../b", f"{PLACE}/.git", f"{PLACE}@main/a//b", f"{PLACE}?x", f"{PLACE}\n"],
)  # fmt: skip
def test_what_is_no_place_of_a_dataset_is_refused_before_anybody_is_asked(place: str, hub: Hub, ws: Workspace) -> None:
    assert refused(ws, place).code == "hub_place_invalid"
    assert not hub.asked


def test_arguments_that_mean_nothing_on_the_hub_are_refused(hub: Hub, ws: Workspace, tmp_path: Path) -> None:
    hub.push(corpus(tmp_path / "made"))
    assert refused(ws, f"{PLACE}/el_gr", split="train", format="table").code == "arguments_unused"
    assert refused(ws, f"{PLACE}/el_gr", split="train", audio_root=".").code == "arguments_unused"


def test_the_token_of_the_environment_opens_a_gated_dataset_and_is_written_nowhere(hub: Hub, ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.push(corpus(tmp_path / "made"))
    hub.token = "hf_of_a_person"
    monkeypatch.setenv("HF_TOKEN", hub.token)
    result = take(ws, f"{PLACE}/el_gr", split="test")
    assert result.data.rows_kept == 1
    assert hub.token not in result.model_dump_json()
    assert not [path for path in ws.home.rglob("*") if path.is_file() and hub.token.encode() in path.read_bytes()]


def test_without_network_by_the_persons_own_setting_nothing_is_asked(hub: Hub, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CONSTANTS, "HF_HUB_OFFLINE", True)
    assert refused(ws, f"{PLACE}/el_gr", split="train").code == "hub_unreachable"
    assert not hub.asked


def test_rows_that_name_files_instead_of_holding_them_reach_no_file_of_this_machine(hub: Hub, ws: Workspace, tmp_path: Path) -> None:
    inside = clips(ws.base_folder / "corpus", ["mine"])[0]
    with BytesIO() as file:
        audio = [{"bytes": None, "path": name} for name in (str(inside), "../../etc/hostname", "mine.wav", None)]
        pq.write_table(pa.table({"audio": audio, "text": ["Ναι."] * 4}), file)
        hub.push({"train.parquet": file.getvalue(), "train-00001-of-00002.parquet": b"PAR1 and nothing more", "dev.parquet": parquet(tmp_path / "made", ["Ναι."], 1)})
    assert {problem.message.split(":")[0] for problem in refused(ws, PLACE, split="train").problems} == {"audio_missing", "file_unreadable"}


def test_a_file_with_bad_rows_gives_the_rest_and_their_places_name_the_commit(hub: Hub, ws: Workspace, tmp_path: Path) -> None:
    good = wav(tmp_path / "made" / "good.wav", noise(0.5)).read_bytes()
    with BytesIO() as file:
        pq.write_table(pa.table({"audio": [{"bytes": data, "path": None} for data in (good, b"", b"no audio")], "text": ["Ναι."] * 3}), file)
        made = hub.push({"train.parquet": file.getvalue()})
    report = take(ws, PLACE).data
    assert (report.rows_kept, reasons(report)) == (1, {"audio_empty": 1, "audio_unreadable": 1})
    assert left_out(report) == [("train.parquet", 2, "audio_empty"), ("train.parquet", 3, "audio_unreadable")]
    assert made in Path(report.manifest).with_name("not_imported.jsonl").read_text()


def test_more_than_the_person_allows_is_not_fetched(hub: Hub, ws: Workspace, tmp_path: Path) -> None:
    hub.push(corpus(tmp_path / "made"))
    tight = Workspace(ws.home, Config(budgets=Budgets(max_disk_gb=6e-5)), ws.base_folder)
    assert refused(tight, f"{PLACE}/el_gr", split="train").code == "disk_budget_exceeded"
    assert not hub.downloads


def test_the_command_line_finds_hub_cache_and_token_where_the_environment_says(hub: Hub, ws: Workspace, tmp_path: Path) -> None:
    hub.push(corpus(tmp_path / "made"))
    hub.token, hub.private = "hf_of_a_person", True
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | {
        "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": hub.token, "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip
    command = [sys.executable, "-m", "asrtune", "import-dataset", f"{PLACE}/el_gr", "--target-lang", "el-GR", "--split", "train", "--json"]
    done = subprocess.run(command, cwd=ws.base_folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["data"]["rows_kept"] == 3
    assert list((tmp_path / "hf" / "hub").glob("datasets--speech--greek/snapshots/*/el_gr/*.parquet"))


def test_listed_paths_that_climb_or_hide_are_no_data(hub: Hub, ws: Workspace, tmp_path: Path) -> None:
    data = parquet(tmp_path / "made", ["Ναι."], 1)
    hub.push({"train.parquet": data, "../train.parquet": data, "/train.parquet": data, "a/../../train.parquet": data, ".git/train.parquet": data, "train.parquet.txt": b"-"})
    assert take(ws, PLACE).data.rows_kept == 1
    assert [path.rsplit("/resolve/", 1)[1].split("/", 1)[1] for path in hub.downloads] == ["train.parquet"]
