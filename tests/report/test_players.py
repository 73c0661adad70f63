"""Players for the user's own recordings: only below a data root, only while the manifest is the one that was decoded."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from asrcore.manifest import Utterance, manifest_ref, write_manifest
from asrcore.report import build_report
from asrcore.report.clips import find_clips
from asrcore.requests import ManifestRef
from asrcore.score import compare_cells
from tests.score.evals import BASE, TUNED, cell, hypotheses

REFS = [f"please call {n} the number of the station" for n in range(30)]
ODD = 'clip "1" <b>&amp; #2?%20 ά.wav'
"""A file name with everything that ends an attribute, an element or a path."""


def manifest(folder: Path, names: list[str], offset: float = 0.0) -> ManifestRef:
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "audio" / name).write_bytes(b"RIFF")
    write_manifest(
        folder / "set.jsonl",
        [
            Utterance(
                audio_filepath=f"audio/{name}", duration=2.0, text="a", target_lang="en-US", offset=offset, sampling_rate=None, id=f"u{n}"
            )
            for n, name in enumerate(names)
        ],
    )
    return manifest_ref(folder / "set.jsonl")


def policy(page: ET.Element) -> str:
    return next(e.get("content") or "" for e in page.iter("meta") if e.get("http-equiv") == "Content-Security-Policy")


def page_of(folder: Path, ref: ManifestRef, roots: list[Path]) -> ET.Element:
    said = ["something else was written here", *REFS[1:]]
    left, right = (cell(folder / "evals", c, hypotheses(REFS, texts), set=ref) for c, texts in ((BASE, REFS), (TUNED, said)))
    path = build_report("t", [(left, right)], [], [compare_cells(left, right)], None, None, folder / "report.html", roots)
    return ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314


def test_own_recordings_get_a_player_that_loads_nothing_until_it_is_asked(tmp_path: Path) -> None:
    ref = manifest(tmp_path / "data", [ODD, *(f"{n}.wav" for n in range(29))], offset=1.5)
    page = page_of(tmp_path, ref, [tmp_path / "data"])
    players = list(page.iter("audio"))
    assert len(players) == 2  # the same utterance became worse and has most errors left
    assert (players[0].get("preload"), players[0].get("controls")) == ("none", "controls")
    address = urlsplit(players[0].get("src") or "")
    assert (address.scheme, address.netloc, address.query, address.fragment) == ("file", "", "", "t=1.500,3.500")
    assert unquote(address.path) == str(tmp_path / "data" / "audio" / ODD)
    assert not set(players[0].get("src") or "") & set("\"<>' ά")
    assert policy(page) == "default-src 'none'; style-src 'unsafe-inline'; media-src file:"


def test_without_data_roots_the_page_may_load_no_sound(tmp_path: Path) -> None:
    ref = manifest(tmp_path / "data", [f"{n}.wav" for n in range(30)])
    page = page_of(tmp_path, ref, [])
    assert list(page.iter("audio")) == []
    assert policy(page) == "default-src 'none'; style-src 'unsafe-inline'"


def test_a_manifest_outside_the_roots_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = manifest(tmp_path / "elsewhere", ["a.wav"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set.jsonl").symlink_to(tmp_path / "elsewhere" / "set.jsonl")
    monkeypatch.setattr("asrcore.report.clips.row_positions", lambda path: pytest.fail("opened"))
    for path in (ref.path, str(tmp_path / "data" / "set.jsonl")):
        found = find_clips(ref.model_copy(update={"path": path}), [1], [tmp_path / "data"])
        assert found == ({}, "No players: the manifest is not below a data root.")


def test_a_manifest_that_changed_since_the_eval_gives_no_player(tmp_path: Path) -> None:
    ref = manifest(tmp_path, ["a.wav", "b.wav"])
    manifest(tmp_path, ["b.wav", "a.wav"])
    assert find_clips(ref, [1], [tmp_path]) == ({}, "No players: the manifest changed since the eval.")
    assert find_clips(ref.model_copy(update={"path": str(tmp_path / "gone.jsonl")}), [1], [tmp_path]).by_line == {}


@pytest.mark.parametrize("name", ["../secret.wav", "/etc/hostname", "gone.wav", "link.wav", "a.sph", "n\x00.wav", "x" * 5000 + ".wav"])
def test_sound_outside_the_roots_gone_or_unplayable_gets_no_player_and_the_page_says_so(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    manifest(data, ["ok.wav", "a.sph"])
    (tmp_path / "secret.wav").write_bytes(b"RIFF")
    (data / "audio" / "link.wav").symlink_to(tmp_path / "secret.wav")
    audio = name if name.startswith("/") else f"audio/{name}" if name != "../secret.wav" else name
    rows = [
        Utterance(audio_filepath=a, duration=2.0, text="a", target_lang="en-US", offset=0.0, sampling_rate=None, id=a)
        for a in ("audio/ok.wav", audio)
    ]
    write_manifest(data / "set.jsonl", rows)
    found = find_clips(manifest_ref(data / "set.jsonl"), [1, 2, 99], [data])
    assert set(found.by_line) == {1}
    assert found.missing.startswith("2 of 3 clips have no player")
