"""import_dataset of a local copy of a Hugging Face dataset: the library that writes such copies is the oracle of their form."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from asrcore.audio import decode
from asrcore.workspace import Budgets, Config, Workspace
from asrtune import registry
from tests.data.layouts import TEXTS, clips, hugging_face
from tests.data.speech import wav
from tests.data.test_import import left_out, reasons, refused, rows, take


def written(path: Path, audio: list[Any], **columns: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"audio": audio, "text": ["Ναι."] * len(audio), **columns}), path)
    return path


def test_recordings_inside_are_written_out_once_by_content_and_labels_become_their_names(ws: Workspace) -> None:
    hugging_face(ws.base_folder / "corpus")
    report = take(ws, "corpus", split="train").data
    made = rows(report)
    assert [row.utterance.id for row in made] == ["a", "b", "c"]
    assert [row.utterance.speaker for row in made] == ["1", "2", "2"]
    assert [(row.utterance.model_extra or {})["gender"] for row in made] == ["female", "male", "male"]
    originals = clips(ws.base_folder / "again")
    assert [row.audio.read_bytes() for row in made] == [path.read_bytes() for path in originals]
    assert all(row.audio.is_relative_to(ws.home / "audio") for row in made)
    before = {path: path.stat().st_mtime_ns for path in (ws.home / "audio").rglob("*.wav")}
    assert len(before) == 3
    assert take(ws, "corpus", split="test").data.rows_kept == 3
    assert {path: path.stat().st_mtime_ns for path in (ws.home / "audio").rglob("*.wav")} == before


def test_splits_are_never_chosen_for_the_caller(ws: Workspace) -> None:
    hugging_face(ws.base_folder / "corpus")
    assert refused(ws, "corpus").code == "split_needed"
    assert refused(ws, "corpus", split="dev").code == "split_unknown"
    assert take(ws, "corpus/data/test-00000-of-00001.parquet").data.rows_kept == 3


def test_files_of_two_configs_are_never_read_as_one_set(ws: Workspace) -> None:
    """Configs are languages as often as not: their files lie in folders, or side by side under longer names."""
    made = [{"bytes": path.read_bytes(), "path": None} for path in clips(ws.base_folder / "made", "abcd")]
    places = {"el_gr/train-00000-of-00001-6aa63953db8ab5b6": "Ναι.", "fr_fr/train/0000": "Oui.", "fr_fr/train/0001": "Non.", "fr_fr/test/0000": "Si."}
    for audio, (place, text) in zip(made, places.items(), strict=True):
        written(ws.base_folder / "corpus" / f"{place}.parquet", [audio], sentence=[text])
    error = refused(ws, "corpus", split="train")
    assert (error.code, "el_gr, fr_fr" in error.message) == ("config_needed", True)
    assert take(ws, "corpus/el_gr", split="train", columns={"text": "sentence"}).data.rows_kept == 1
    for source, split in (("corpus/fr_fr", "train"), ("corpus/fr_fr/train", None), ("corpus/fr_fr/train", "train")):
        report = take(ws, source, columns={"text": "sentence"}, **({} if split is None else {"split": split})).data
        assert [row.utterance.text for row in rows(report)] == ["Oui.", "Non."]
    for audio, name in zip(made, ("el-train", "fr-train", "part-a", "part-b"), strict=True):
        written(ws.base_folder / "flat" / f"{name}.parquet", [audio])
    error = refused(ws, "flat", split="train")
    assert (error.code, "el-train, fr-train" in error.message) == ("split_needed", True)
    assert take(ws, "flat", split="fr-train").data.rows_kept == 1
    assert take(ws, "flat", split="flat").data.rows_kept == 4  # the folder's own name: all of it


@pytest.mark.heavy
def test_what_the_datasets_library_saves_is_read_back(ws: Workspace) -> None:
    """`Dataset.save_to_disk` and `DatasetDict.save_to_disk` of datasets 5, with the recordings as files or inside."""
    datasets: Any = pytest.importorskip("datasets")
    files = clips(ws.base_folder / "clips")
    whole = datasets.Dataset.from_dict({"audio": [str(path) for path in files], "text": list(TEXTS), "gender": [1, 0, 1]})
    whole = whole.cast_column("audio", datasets.Audio(decode=False)).cast_column("gender", datasets.ClassLabel(names=["female", "male"]))
    whole.save_to_disk(str(ws.base_folder / "single"))
    datasets.DatasetDict({"train": whole, "dev": whole.select([0])}).save_to_disk(str(ws.base_folder / "several"))
    for folder, split, count in (("single", None, 3), ("several", "train", 3), ("several", "dev", 1)):
        report = take(ws, folder, **({} if split is None else {"split": split})).data
        assert (report.format, report.rows_kept, report.not_imported) == ("hugging_face", count, ())
        assert [row.utterance.text for row in rows(report)] == list(TEXTS)[:count]
        for row, original in zip(rows(report), files, strict=False):
            np.testing.assert_array_equal(decode(row.audio), decode(original))
        assert [(row.utterance.model_extra or {})["gender"] for row in rows(report)] == ["male", "female", "male"][:count]


def test_fleurs_gives_the_transcript_with_case_and_punctuation_and_its_sentence_numbers_are_no_ids(ws: Workspace) -> None:
    audio = [{"bytes": path.read_bytes(), "path": f"{n}{path.name}"} for n, path in enumerate(clips(ws.base_folder / "made"))]
    written(ws.base_folder / "corpus" / "train.parquet", audio, id=[7, 7, 8], raw_transcription=["Ναι, ένα.", "Ναι, ένα.", "Όχι."], transcription=["ναι ένα", "ναι ένα", "όχι"])
    report = take(ws, "corpus").data
    assert [row.utterance.text for row in rows(report)] == ["Ναι, ένα.", "Ναι, ένα.", "Όχι."]
    assert take(ws, "corpus", style="spoken").data.rows_kept == 3
    assert [row.utterance.text for row in rows(take(ws, "corpus", style="spoken").data)] == ["ναι ένα", "ναι ένα", "όχι"]
    assert [row.utterance.text for row in rows(take(ws, "corpus", columns={"text": "text"}).data)] == ["Ναι."] * 3


def test_bad_rows_and_files_are_left_out_with_their_places_and_the_rest_is_taken(ws: Workspace) -> None:
    good, other = clips(ws.base_folder / "corpus" / "wavs", ["good", "other"])
    audio = [{"bytes": good.read_bytes(), "path": "good.wav"}, {"bytes": b"", "path": "empty.wav"}, {"bytes": b"no audio", "path": "text.wav"},
             {"bytes": None, "path": None}, {"bytes": None, "path": "wavs/other.wav"}, {"bytes": None, "path": "../../etc/hostname"}, None]  # fmt: skip
    written(ws.base_folder / "corpus" / "train-00000-of-00002.parquet", audio)
    (ws.base_folder / "corpus" / "train-00001-of-00002.parquet").write_bytes(b"PAR1 and nothing more")
    report = take(ws, "corpus").data
    assert report.rows_kept == 2
    assert {line: reason for name, line, reason in left_out(report) if name.startswith("train-00000")} == {
        2: "audio_empty", 3: "audio_unreadable", 4: "audio_missing", 6: "audio_refused", 7: "audio_missing"}  # fmt: skip
    assert reasons(report)["file_unreadable"] == 1
    assert report.rows_read == 8
    assert rows(report)[1].audio == other


def test_audio_that_needs_more_room_than_the_person_allows_is_not_written_out(ws: Workspace) -> None:
    hugging_face(ws.base_folder / "corpus")
    tight = Workspace(ws.home, Config(budgets=Budgets(max_disk_gb=1e-5)), ws.base_folder)
    assert refused(tight, "corpus", split="train").code == "disk_budget_exceeded"
    assert not (ws.home / "audio").exists()


def test_a_copy_inside_a_hub_cache_is_found_and_its_own_bookkeeping_is_not_taken_for_data(ws: Workspace) -> None:
    hugging_face(ws.base_folder / "corpus")
    shutil.move(ws.base_folder / "corpus" / "data" / "test-00000-of-00001.parquet", ws.base_folder / "corpus" / "cache-0123.parquet")
    assert take(ws, "corpus").data.rows_kept == 3


def test_extra_columns_keep_their_values_and_nested_ones_are_left_behind(ws: Workspace) -> None:
    path = wav(ws.base_folder / "corpus" / "a.wav")
    written(ws.base_folder / "corpus" / "train.parquet", [{"bytes": None, "path": path.name}], age=["twenties"], votes=[3], words=[[{"word": "ναι"}]], target_lang=["el-GR"])
    (row,) = rows(registry.call("import_dataset", {"source": "corpus"}, ws).data)
    assert row.utterance.model_extra == {"age": "twenties", "votes": 3}
