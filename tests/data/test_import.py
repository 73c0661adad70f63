"""import_dataset: every layout becomes a manifest that the rest reads, and every row of the corpus is accounted for."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given
from hypothesis import strategies as st

from asrcore.data.importers.formats import FORMATS
from asrcore.data.importers.lines import Line, read_lines, read_records
from asrcore.data.importers.rows import BadRow
from asrcore.data.importing import ImportReport
from asrcore.errors import AsrtuneError
from asrcore.jobs import Ledger
from asrcore.manifest import Row, load_rows
from asrcore.results import Result
from asrcore.workspace import Workspace
from asrtune import registry
from tests.data.layouts import LAYOUTS, TEXTS, clips, lines
from tests.data.speech import RATE, noise, wav


def take(ws: Workspace, source: Path | str, **arguments: Any) -> Result[ImportReport]:
    return registry.call("import_dataset", {"source": str(source), "target_lang": "el-GR", **arguments}, ws)


def refused(ws: Workspace, source: Path | str, **arguments: Any) -> AsrtuneError:
    with pytest.raises(AsrtuneError) as caught:
        take(ws, source, **arguments)
    return caught.value


def rows(report: ImportReport) -> tuple[Row, ...]:
    return load_rows(Path(report.manifest))


def reasons(report: ImportReport) -> dict[str, int]:
    return {one.reason: one.rows for one in report.not_imported}


def left_out(report: ImportReport) -> list[tuple[str, int | None, str]]:
    text = Path(report.manifest).with_name("not_imported.jsonl").read_text()
    return [(Path(row["file"]).name, row["line"], row["reason"]) for row in map(json.loads, text.splitlines())]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised_and_read_whole(ws: Workspace, layout: str) -> None:
    expected, build = LAYOUTS[layout]
    folder = ws.base_folder / "corpus"
    result = take(ws, **{"source": folder, **build(folder)})
    report = result.data
    assert (report.format, report.rows_read, report.rows_kept, report.not_imported) == (expected, 3, 3, ())
    made = rows(report)
    assert sorted(row.utterance.text for row in made) == sorted(TEXTS)
    assert {row.utterance.target_lang for row in made} == {"el-GR"}
    assert all(row.audio.is_file() and row.utterance.duration == pytest.approx(0.5) for row in made)
    assert report.hours_by_locale == {"el-GR": report.hours}
    assert [action.tool for action in result.next_actions] == ["validate_language_tags", "inspect_dataset"]


def test_the_layouts_tried_here_are_all_formats_there_are() -> None:
    assert {expected for expected, _ in LAYOUTS.values()} == set(FORMATS) - {"lhotse", "pseudo"}  # tests/model/test_lhotse_io.py, tests/data/test_pseudo.py


@pytest.mark.parametrize("layout", ["table", "common_voice", "librispeech", "mls", "kaldi", "voxpopuli"])
def test_speakers_come_along_where_the_corpus_names_them(ws: Workspace, layout: str) -> None:
    folder = ws.base_folder / "corpus"
    report = take(ws, folder, **LAYOUTS[layout][1](folder)).data
    assert all(row.utterance.speaker for row in rows(report))
    assert report.speakers == (1 if layout in ("librispeech", "mls") else 3)


def test_what_the_corpus_warns_of_is_marked_and_not_dropped(ws: Workspace) -> None:
    LAYOUTS["mosel"][1](ws.base_folder / "corpus")
    report = take(ws, "corpus").data
    assert (report.rows_kept, report.rows_marked) == (3, 1)
    assert [(row.utterance.model_extra or {})["_skipme"] for row in rows(report) if row.utterance.skipped] == [
        "hallucination:hall_long_word"
    ]


def test_pieces_of_a_recording_keep_their_place_in_it(ws: Workspace) -> None:
    LAYOUTS["kaldi"][1](ws.base_folder / "corpus")
    made = rows(take(ws, "corpus").data)
    assert [(row.utterance.id, row.utterance.offset, (row.utterance.model_extra or {})["recording"]) for row in made] == [
        ("u0", 0.0, "call"), ("u1", 0.5, "call"), ("u2", 1.0, "call")
    ]  # fmt: skip


def test_fleurs_is_imported_with_case_and_punctuation_and_ids_from_file_names(ws: Workspace) -> None:
    """Sentence ids repeat: keyed by them, clips would overwrite each other."""
    LAYOUTS["fleurs"][1](ws.base_folder / "corpus")
    made = rows(take(ws, "corpus", split="dev").data)
    assert [row.utterance.id for row in made] == ["a", "b", "c"]
    assert {row.utterance.text for row in rows(take(ws, "corpus", split="dev", style="spoken").data)} == {"plain"}


def test_parts_of_a_corpus_are_never_chosen_for_the_caller(ws: Workspace) -> None:
    LAYOUTS["fleurs"][1](ws.base_folder / "corpus")
    error = refused(ws, "corpus")
    assert (error.code, "dev, test" in error.message) == ("split_needed", True)
    assert refused(ws, "corpus", split="train").code == "split_unknown"


def test_a_locale_is_never_guessed(ws: Workspace) -> None:
    folder = ws.base_folder / "corpus"
    LAYOUTS["common_voice"][1](folder)
    error = refused(ws, folder, target_lang=None, split="train")
    assert (error.code, "locale_missing" in error.message) == ("import_empty", True)
    assert refused(ws, folder, target_lang="auto", split="train").code == "locale_invalid"
    assert refused(ws, folder, split="train", columns={"target_lang": "locale"}).code == "locale_twice"
    report = take(ws, folder, target_lang=None, split="train", columns={"target_lang": "locale"}).data
    assert report.hours_by_locale.keys() == {"el"}


def test_a_manifest_with_another_locale_than_the_one_named_is_not_relabelled(ws: Workspace) -> None:
    clips(ws.base_folder)
    tags = ("el-GR", "bg-BG", "a tag")
    lines(
        ws.base_folder / "m.jsonl",
        [json.dumps({"audio_filepath": f"{n}.wav", "text": "Ναι.", "target_lang": t}) for n, t in zip("abc", tags, strict=True)],
    )
    assert reasons(take(ws, "m.jsonl").data) == {"locale_conflict": 1, "locale_invalid": 1}


def test_columns_that_could_be_meant_are_listed_and_not_chosen(ws: Workspace) -> None:
    clips(ws.base_folder)
    lines(ws.base_folder / "t.csv", ["path,sentence,text", "a.wav,Ένα.,Δύο."])
    assert refused(ws, "t.csv").code == "columns_ambiguous"
    assert refused(ws, "t.csv", columns={"text": "words"}).code == "columns_unknown"
    assert [r.utterance.text for r in rows(take(ws, "t.csv", columns={"text": "text"}).data)] == ["Δύο."]
    lines(ws.base_folder / "u.csv", ["clip;said", "a.wav;Ένα, δύο."])
    assert refused(ws, "u.csv").code == "columns_missing"
    assert [r.utterance.text for r in rows(take(ws, "u.csv", columns={"audio": "clip", "text": "said"}).data)] == ["Ένα, δύο."]


def test_a_table_without_header_is_read_by_column_numbers(ws: Workspace) -> None:
    clips(ws.base_folder / "wavs")
    lines(ws.base_folder / "metadata.txt", [f"{n}|Raw {n}.|Spoken {n}." for n in "abc"])
    assert refused(ws, "metadata.txt").code == "columns_missing"
    report = take(ws, "metadata.txt", format="table", columns={"audio": "1", "text": "3"}).data
    assert [r.utterance.text for r in rows(report)] == ["Spoken a.", "Spoken b.", "Spoken c."]


def test_arguments_that_mean_nothing_for_the_format_are_refused(ws: Workspace) -> None:
    LAYOUTS["sidecar"][1](ws.base_folder / "corpus")
    for unused in ({"columns": {"text": "text"}}, {"split": "train"}, {"style": "spoken"}, {"audio_root": "."}):
        assert refused(ws, "corpus", **unused).code == "arguments_unused"


def test_a_folder_of_no_known_layout_or_of_two_is_refused_with_the_choices(ws: Workspace) -> None:
    clips(ws.base_folder / "bare")
    error = refused(ws, "bare")
    assert (error.code, "common_voice" in error.message) == ("format_unknown", True)
    LAYOUTS["kaldi"][1](ws.base_folder / "both")
    LAYOUTS["common_voice"][1](ws.base_folder / "both")
    assert refused(ws, "both").code == "format_ambiguous"
    assert take(ws, "both", format="kaldi").data.rows_kept == 3


def test_a_command_in_wav_scp_is_never_run(ws: Workspace) -> None:
    LAYOUTS["kaldi"][1](ws.base_folder / "corpus")
    lines(ws.base_folder / "corpus/wav.scp", ["call touch run_by_import; cat call.wav |"])
    assert "audio_command" in refused(ws, "corpus").message
    assert list(ws.base_folder.rglob("run_by_import")) == []


def test_the_same_corpus_gives_the_same_dataset_and_one_folder(ws: Workspace) -> None:
    LAYOUTS["table"][1](ws.base_folder / "corpus")
    first, second = take(ws, "corpus").data, take(ws, "corpus").data
    assert first == second
    assert [p.name for p in (ws.home / "datasets").iterdir()] == [first.dataset_id]
    with Ledger.open(ws) as ledger:
        assert ledger.get("dataset", first.dataset_id) == first.model_dump(mode="json")


@pytest.mark.parametrize(("name", "form", "rate"), [
    ("a.ogg", {"format": "OGG", "subtype": "OPUS"}, 48_000), ("a.mp3", {"format": "MP3"}, 44_100), ("a.flac", {}, 96_000), ("a.wav", {"subtype": "ULAW"}, 8000),
])  # fmt: skip
def test_any_audio_that_libsndfile_reads_is_imported_with_its_rate(ws: Workspace, name: str, form: dict[str, str], rate: int) -> None:
    wav(ws.base_folder / "corpus" / name, np.stack([noise(1.0, rate, level=0.02)] * 2, axis=1), rate, **form)
    lines((ws.base_folder / "corpus" / name).with_suffix(".txt"), ["Ναι, βέβαια."])
    report = take(ws, "corpus").data
    assert report.hours_by_sample_rate.keys() == {str(rate)}
    assert rows(report)[0].utterance.duration == pytest.approx(1.0, abs=0.15)


def test_decoding_writes_a_digest_that_is_equal_for_wav_and_flac(ws: Workspace) -> None:
    pcm = (noise() * 32767).astype(np.int16)
    for name in ("a.wav", "b.flac"):
        (ws.base_folder / "corpus").mkdir(exist_ok=True)
        sf.write(ws.base_folder / "corpus" / name, pcm, RATE, subtype="PCM_16")
        lines((ws.base_folder / "corpus" / name).with_suffix(".txt"), ["Ναι."])
    report = take(ws, "corpus", decode=True).data
    assert report.decoded
    assert len({(row.utterance.model_extra or {})["audio_digest"] for row in rows(report)}) == 1


def test_a_folder_of_nothing_and_one_full_of_links_are_refused_and_not_a_crash(ws: Workspace) -> None:
    (ws.base_folder / "loop").symlink_to(ws.base_folder / "loop")
    assert refused(ws, ".").code == "format_unknown"


# --- bad input ------------------------------------------------------------------------------------------------------------------------


def test_bad_audio_is_left_out_with_file_line_and_reason_and_the_rest_is_taken(ws: Workspace) -> None:
    here = ws.base_folder / "corpus"
    clips(here, ["good", "long"])
    (here / "zero.wav").write_bytes(b"")
    (here / "text.wav").write_text("no audio at all")
    (here / "header.wav").write_bytes((here / "good.wav").read_bytes()[:44])
    sf.write(here / "nan.wav", np.full(8000, np.nan, dtype=np.float32), RATE, subtype="FLOAT")
    flac = wav(here / "cut.flac", noise(2.0))
    flac.write_bytes(flac.read_bytes()[:20_000])
    wav(here / "tiny.wav", noise(0.01))
    (here / "out.wav").symlink_to("/etc/hostname")
    names = ["good.wav", "zero.wav", "text.wav", "header.wav", "nan.wav", "cut.flac", "tiny.wav", "out.wav", "../../etc/hostname", "none.wav", "good.wav",
             "/etc/hostname", "a\0b.wav", "x" * 5000]  # fmt: skip
    lines(here / "t.csv", ["audio,text", *(f"{name},Ναι." for name in names)])
    report = take(ws, "corpus/t.csv", decode=True).data
    found = {line: reason for _, line, reason in left_out(report)}
    assert {line: found[line] for line in (3, 4, 6, 9, 11, 12, 13)} == {
        3: "audio_empty", 4: "audio_unreadable", 6: "audio_unreadable", 9: "audio_refused", 11: "audio_missing", 12: "id_duplicate", 13: "audio_refused",
    }  # fmt: skip
    assert found[5] in ("audio_empty", "audio_unreadable")
    assert found[7] in ("audio_truncated", "audio_unreadable")
    assert found[10] in ("audio_refused", "audio_missing")
    assert {14, 15} <= set(found)
    assert (report.rows_kept, report.rows_read) == (2, len(names))
    assert [row.audio.name for row in rows(report)] == ["good.wav", "tiny.wav"]


def test_pieces_outside_their_recording_and_numbers_that_are_none_are_left_out(ws: Workspace) -> None:
    clips(ws.base_folder, seconds=1.0)
    pieces = [("0", "1"), ("0.5", "0.5"), ("0.9", "0.9"), ("2", "1"), ("-1", "1"), ("nan", "1"), ("0", "inf"), ("x", "1"), ("0.2", "0")]
    lines(ws.base_folder / "t.csv", ["audio,text,offset,duration", *(f"a.wav,Ναι.,{offset},{seconds}" for offset, seconds in pieces)])
    report = take(ws, "t.csv").data
    assert report.rows_kept == 2
    assert reasons(report) == {"piece_outside": 2, "number_invalid": 5}


def test_lines_that_cannot_be_read_do_not_stop_the_ones_that_can(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asrcore.data.importers.lines.MAX_LINE_BYTES", 200)
    clips(ws.base_folder)
    content = ["a.wav,Πρώτο.".encode(), b"b.wav,\xff\xfe", b"c.wav," + b"x" * 5000, b"", 'b.wav,"Δύο\nσειρές."'.encode(), b'c.wav,"open', b"c.wav",
               b"c.wav, ", "c.wav,Τέλος.".encode()]  # fmt: skip
    (ws.base_folder / "t.csv").write_bytes(b"\xef\xbb\xbf" + b"audio,text\r\n" + b"\r\n".join(content) + b"\r\n")
    report = take(ws, "t.csv").data
    assert [row.utterance.text for row in rows(report)] == ["Πρώτο.", "Δύο σειρές.", "Τέλος."]
    assert left_out(report) == [("t.csv", 3, "not_utf8"), ("t.csv", 4, "line_too_long"), ("t.csv", 8, "quote_unbalanced"), ("t.csv", 9, "columns_short"),
                                ("t.csv", 10, "text_empty")]  # fmt: skip
    assert report.not_imported[0].untrusted_text


def test_bad_json_lines_are_left_out_one_by_one(ws: Workspace) -> None:
    clips(ws.base_folder)
    good = json.dumps({"audio_filepath": "a.wav", "text": "Ναι."})
    lines(ws.base_folder / "m.jsonl", [good, "{", "[]", '{"audio_filepath": "a.wav", "text": 5}', '{"text": "Ναι."}', "[" * 100_000,
                                       '{"audio_filepath": "a.wav", "text": "Ναι.", "x": NaN}', '{"audio_filepath": "b.wav", "text": "Ναι.", "duration": "2"}'])  # fmt: skip
    report = take(ws, "m.jsonl").data
    assert (report.rows_kept, reasons(report)) == (1, {"line_invalid": 6, "number_invalid": 1})


def test_duplicate_ids_keep_the_first_row(ws: Workspace) -> None:
    clips(ws.base_folder)
    lines(ws.base_folder / "t.csv", ["id,audio,text", "u1,a.wav,Πρώτο.", "u1,b.wav,Δεύτερο.", "u2,c.wav,Τρίτο."])
    report = take(ws, "t.csv").data
    assert ([row.utterance.text for row in rows(report)], left_out(report)) == (["Πρώτο.", "Τρίτο."], [("t.csv", 3, "id_duplicate")])


def test_audio_and_text_without_partner_are_counted(ws: Workspace) -> None:
    clips(ws.base_folder / "corpus")
    for name in ("a", "d"):
        lines(ws.base_folder / f"corpus/{name}.txt", ["Ναι."])
    assert left_out(take(ws, "corpus").data) == [
        ("b.wav", None, "text_missing"),
        ("c.wav", None, "text_missing"),
        ("d.txt", None, "audio_missing"),
    ]


def test_links_out_of_the_root_are_not_followed(ws: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    clips(outside / "more")
    lines(outside / "secret.txt", ["Μυστικό."])
    here = ws.base_folder / "corpus"
    clips(here, ["a", "b"])
    lines(here / "a.txt", ["Ναι."])
    (here / "b.txt").symlink_to(outside / "secret.txt")
    (here / "linked").symlink_to(outside / "more")
    report = take(ws, "corpus").data
    assert (report.rows_kept, reasons(report)) == (1, {"file_refused": 1, "folder_link": 1})


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom file permissions stop; root is above them."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except OSError:
        pytest.skip("this sandbox has no unprivileged user")
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_read_is_reported_and_the_rest_imported(ws: Workspace) -> None:
    LAYOUTS["sidecar"][1](ws.base_folder / "corpus")
    take(ws, "corpus")  # loads every module that the other user may have no access to
    with unprivileged(), tempfile.TemporaryDirectory() as name:
        here = Path(name).resolve()
        LAYOUTS["sidecar"][1](here / "corpus")
        (here / "corpus/locked").mkdir(mode=0)
        report = take(Workspace.open(here), "corpus").data
        (here / "corpus/locked").chmod(0o700)
    assert (report.rows_kept, reasons(report)) == (3, {"folder_unreadable": 1})


def test_nothing_usable_is_an_error_with_the_places(ws: Workspace) -> None:
    lines(ws.base_folder / "t.csv", ["audio,text", "a.wav,Ναι.", "b.wav,Όχι."])
    error = refused(ws, "t.csv")
    assert (error.code, error.exit_code) == ("import_empty", 3)
    assert [(p.code, p.line) for p in error.problems] == [("row_not_imported", 2), ("row_not_imported", 3)]
    assert not (ws.home / "datasets").exists() or list((ws.home / "datasets").iterdir()) == []


def test_a_disk_that_fills_up_leaves_no_dataset(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    LAYOUTS["table"][1](ws.base_folder / "corpus")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        error = refused(ws, "corpus")
    assert (error.code, error.exit_code) == ("disk_full", 4)
    assert list((ws.home / "datasets").glob("*")) == []
    assert take(ws, "corpus").data.rows_kept == 3


# --- properties -----------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40).filter(lambda raw: b"\n" not in raw), max_size=30))
def test_every_line_that_is_not_blank_comes_back_as_text_or_as_a_reason(tmp_path_factory: pytest.TempPathFactory, raw: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("lines") / "x.txt"
    path.write_bytes(b"".join(line + b"\n" for line in raw))
    found = {item.place.line for item in read_lines(path, (path.parent.resolve(),))}
    for number, line in enumerate(raw, 1):
        try:
            blank = not (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).decode().strip()
        except UnicodeDecodeError:
            blank = False
        assert (number in found) is not blank


@given(st.lists(st.text(alphabet='ab",\r x', max_size=12), min_size=1, max_size=25))
def test_no_line_of_a_table_is_lost_however_its_quotes_stand(tmp_path_factory: pytest.TempPathFactory, raw: list[str]) -> None:
    """Every line is part of exactly one record, or bad."""
    path = lines(tmp_path_factory.mktemp("table") / "x.csv", raw)
    roots = (path.parent.resolve(),)
    wanted = {item.place.line: item.text for item in read_lines(path, roots) if isinstance(item, Line)}
    starts = sorted(item.place.line or 0 for item in read_records(path, roots, ","))
    bad = {item.place.line for item in read_records(path, roots, ",") if isinstance(item, BadRow)}
    assert len(starts) == len(set(starts))
    assert bool(starts) == bool(wanted)
    for start, end in zip(starts, [*starts[1:], len(raw) + 1][: len(starts)], strict=True):
        inside = [number for number in range(start, end) if number in wanted]
        quotes = sum(wanted[number].count('"') for number in inside)
        assert inside[0] == start
        assert start in bad or quotes % 2 == 0
        assert start not in bad or len(inside) == 1
    assert starts[:1] == sorted(wanted)[:1]
