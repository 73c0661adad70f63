"""Lhotse on both sides: it reads the Shar twin of our shards, and its own cuts become rows, sample for sample."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from asrcore.audio import decode
from asrcore.data.shard_request import check_manifests, make_request
from asrcore.data.shards import run
from asrcore.errors import AsrtuneError
from asrcore.workspace import Workspace
from asrtune import registry
from tests.data.speech import corpus, manifest, noise, row, wav

pytestmark = pytest.mark.heavy


class Silent:
    def event(self, stage: str, step: int = 0, total: int = 0, message: str = "", **metrics: float) -> None: ...

    def stop_if_asked(self) -> None: ...


def rows_of(path: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


# --- Shar out ---------------------------------------------------------------------------------------------------------------------------


def shar_of(folder: Path) -> tuple[Path, Path]:
    """(shards folder, manifest) of a corpus with copies, a piece of a longer file, and Greek and free fields."""
    path = corpus(folder, count=5)
    wav(folder / "train" / "long.flac", noise(6.0, seed=9), subtype="PCM_24")
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row("long.flac", offset=1.25, duration=3.0, id="ένα-sub1", topic="bank"), ensure_ascii=False) + "\n")
    facts = check_manifests([path], [], [folder])
    return Path(run(make_request(facts, 0.1, utterances_per_shard=4, seed=0, folder=folder / "shards", shar=True), Silent()).root), path


def test_lhotse_reads_every_utterance_of_the_shar_twin_sample_for_sample(tmp_path: Path) -> None:
    from lhotse import CutSet

    root, path = shar_of(tmp_path)
    wanted = {r["id"]: r for r in rows_of(path)}
    seen: set[str] = set()
    cuts: Any = CutSet.from_shar(in_dir=root / "train" / "shar")
    for cut in cuts:
        source = wanted[cut.custom["id"]]
        supervision = cut.supervisions[0]
        assert (supervision.text, supervision.language, supervision.speaker) == (source["text"], source["target_lang"], source.get("speaker"))
        heard = cut.load_audio()[0]
        assert (cut.sampling_rate, cut.num_samples) == (16_000, len(heard))
        original = tmp_path / "train" / source["audio_filepath"]
        if "offset" in source:
            np.testing.assert_allclose(heard, decode(original, offset=1.25, duration=3.0), atol=1 / 32768)
            assert cut.custom["topic"] == "bank"
        else:
            np.testing.assert_array_equal(heard, sf.read(original, dtype="float32")[0])
        seen.add(cut.custom["id"])
    assert seen == set(wanted)


NEMO = """
import json, sys
from nemo.collections.common.data.lhotse.cutset import read_cutset_from_config
from omegaconf import OmegaConf
entry = {"type": "lhotse_shar", "shar_path": sys.argv[1], "weight": 1.0}
cuts, tarred = read_cutset_from_config(OmegaConf.create({"input_cfg": [entry], "shard_seed": 0, "shuffle": False, "force_finite": True}))
assert tarred
print(json.dumps([[c.custom["id"], c.supervisions[0].language, c.supervisions[0].text, int(c.load_audio().shape[1])] for c in cuts]))
"""


def test_nemos_loader_reads_the_shar_twin_too(tmp_path: Path) -> None:
    root, path = shar_of(tmp_path)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", NEMO, str(root / "train" / "shar")], capture_output=True, text=True,
                          env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    assert sorted(map(tuple, seen)) == sorted((r["id"], r["target_lang"], r["text"], round(r["duration"] * 16_000)) for r in rows_of(path))


# --- cuts in ----------------------------------------------------------------------------------------------------------------------------


def recording_of(path: Path) -> Any:
    from lhotse import Recording

    return Recording.from_file(path, recording_id=path.stem)


def said(identity: str, recording: str, start: float, duration: float, text: str | None, **fields: Any) -> Any:
    from lhotse import SupervisionSegment

    return SupervisionSegment(id=identity, recording_id=recording, start=start, duration=duration, text=text, **fields)


def cuts_of(folder: Path) -> list[Any]:
    """A whole file, a piece of one, a dialogue of two supervisions."""
    from lhotse import MonoCut

    wav(folder / "audio" / "a.wav", noise(2.0, seed=1))
    wav(folder / "audio" / "b.flac", noise(5.0, 22_050, seed=2), 22_050)
    a, b = recording_of(folder / "audio" / "a.wav"), recording_of(folder / "audio" / "b.flac")
    return [
        MonoCut("whole", 0.0, a.duration, 0, [said("w", "a", 0.0, 2.0, "Όλο.", language="el-GR", speaker="s1", gender="f")], recording=a),
        MonoCut("piece", 1.0, 2.5, 0, [said("p", "b", 0.0, 2.5, "Κομμάτι.", language="Greek", custom={"topic": "bank"})], recording=b),
        MonoCut("talk", 0.5, 4.0, 0, [said("t1", "b", 0.25, 1.5, "Πρώτος."), said("t2", "b", 2.0, 1.75, "Δεύτερος.")], recording=b),
    ]


def take(ws: Workspace, source: str = "corpus", **arguments: Any) -> Any:
    return registry.call("import_dataset", {"source": source, "target_lang": "el-GR", **arguments}, ws).data


@pytest.mark.parametrize("name", ["cuts.jsonl", "corpus_cuts_train.jsonl.gz"])
def test_cuts_become_rows_that_decode_to_the_very_samples_that_lhotse_loads(ws: Workspace, name: str) -> None:
    from lhotse import CutSet

    made = cuts_of(ws.base_folder / "corpus")
    CutSet.from_cuts(made).to_file(ws.base_folder / "corpus" / name)
    report = take(ws)
    assert (report.format, report.rows_kept, report.not_imported) == ("lhotse", 4, ())
    rows = {r["id"]: r for r in rows_of(report.manifest)}
    assert {i: (r["text"], r.get("speaker")) for i, r in rows.items()} == {
        "whole": ("Όλο.", "s1"), "piece": ("Κομμάτι.", None), "t1": ("Πρώτος.", None), "t2": ("Δεύτερος.", None)
    }  # fmt: skip
    assert (rows["piece"]["topic"], rows["piece"]["lhotse_language"], rows["whole"]["gender"]) == ("bank", "Greek", "f")
    pieces = [*made[:2], *made[2].trim_to_supervisions(keep_overlapping=False)]
    for cut, identity in zip(pieces, ("whole", "piece", "t1", "t2"), strict=True):
        made_of = rows[identity]
        samples = decode(Path(made_of["audio_filepath"]), rate=made_of["sampling_rate"], offset=made_of.get("offset", 0.0), duration=made_of["duration"])
        np.testing.assert_array_equal(samples, cut.load_audio()[0])


def test_recordings_and_supervisions_of_a_recipe_are_read_as_one_part_each(ws: Workspace) -> None:
    from lhotse import RecordingSet, SupervisionSet

    folder = ws.base_folder / "corpus"
    for part, seed in (("train", 1), ("dev", 2)):
        file = wav(folder / "audio" / f"{part}.wav", noise(3.0, seed=seed))
        RecordingSet.from_recordings([recording_of(file)]).to_file(folder / f"c_recordings_{part}.jsonl.gz")
        SupervisionSet.from_segments([said(part, part, 0.5, 2.0, f"Μέρος {part}.")]).to_file(folder / f"c_supervisions_{part}.jsonl.gz")
    with pytest.raises(AsrtuneError, match="split_needed"):
        take(ws)
    with pytest.raises(AsrtuneError, match="split_unknown"):
        take(ws, split="test")
    (made,) = rows_of(take(ws, split="dev").manifest)
    assert made["text"] == "Μέρος dev."


def test_cuts_that_are_no_plain_piece_of_a_file_and_lines_that_are_no_cut_are_left_out_with_their_line(ws: Workspace) -> None:
    from lhotse import AudioSource, CutSet, MonoCut, MultiCut, Recording

    folder = ws.base_folder / "corpus"
    whole = cuts_of(folder)[0]
    web = Recording("web", [AudioSource("url", [0], "https://example.org/a.wav")], 16_000, 32_000, 2.0)
    stereo = recording_of(wav(folder / "audio" / "stereo.wav", np.stack([noise(1.0), noise(1.0, seed=5)], axis=1)))
    text = [said("x", "x", 0.0, 1.0, "Ναι.")]
    bad = [
        whole.perturb_speed(1.1), whole.pad(duration=3.0), MonoCut("left", 0.0, 1.0, 0, text, recording=stereo), MultiCut("both", 0.0, 1.0, [0, 1], text, recording=stereo),
        MonoCut("web", 0.0, 1.0, 0, text, recording=web), MonoCut("silent", 0.0, 1.0, 0, [], recording=whole.recording), MonoCut("none", 0.0, 1.0, 0, text),
        MonoCut("unwritten", 0.0, 1.0, 0, [said("u", "a", 0.0, 1.0, None)], recording=whole.recording),
    ]  # fmt: skip
    reasons = ["cut_computed"] * 5 + ["text_missing", "audio_missing", "text_missing"]
    CutSet.from_cuts([cut.with_id(f"c{n}") for n, cut in enumerate(bad)] + [whole]).to_file(folder / "cuts.jsonl")
    with open(folder / "cuts.jsonl", "a", encoding="utf-8") as file:
        file.write('{"id": "broken", "start": \n[]\n{"type": "MonoCut"}\n')
    report = take(ws)
    assert report.rows_kept == 1
    left_out = rows_of(Path(report.manifest).with_name("not_imported.jsonl"))
    assert [(r["line"], r["reason"]) for r in left_out] == [*enumerate(reasons, 1), (10, "line_invalid"), (11, "line_invalid"), (12, "line_invalid")]


def test_a_shar_archive_a_torn_file_and_a_file_of_something_else_are_refused_with_a_code(ws: Workspace) -> None:
    root, _ = shar_of(ws.base_folder / "made")
    with pytest.raises(AsrtuneError, match="lhotse_missing"):
        take(ws, str(root / "train" / "shar"), format="lhotse")
    with pytest.raises(AsrtuneError) as caught:
        take(ws, str(root / "train" / "shar" / "cuts.000000.jsonl"))
    assert (caught.value.code, {p.message.split(":")[0] for p in caught.value.problems}) == ("import_empty", {"cut_computed"})
    torn = ws.base_folder / "torn" / "cuts.jsonl.gz"
    torn.parent.mkdir()
    with BytesIO() as buffer:
        with gzip.open(buffer, "wb") as file:
            file.write(os.urandom(4096))
        torn.write_bytes(buffer.getvalue()[:-2000])
    with pytest.raises(AsrtuneError, match="lhotse_unreadable"):
        take(ws, "torn")
    assert not list((ws.home / "datasets").glob("dataset_*"))


def test_a_link_out_of_the_roots_is_not_followed(ws: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = manifest(tmp_path_factory.mktemp("elsewhere") / "cuts.jsonl", ['{"id": "a", "start": 0, "supervisions": []}'])
    (ws.base_folder / "corpus").mkdir()
    os.symlink(outside, ws.base_folder / "corpus" / "cuts.jsonl")
    with pytest.raises(AsrtuneError, match="path_refused"):
        take(ws, format="lhotse")
