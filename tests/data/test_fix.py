"""fix_manifest: chosen fixes only, into a new file, with a diff that says exactly what changed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrcore.data.fix import Fixer, Fixes, FixReport
from asrcore.errors import AsrtuneError
from asrcore.manifest import load_rows
from asrcore.results import Result
from asrcore.workspace import Workspace
from asrtune import registry
from tests.data.speech import GREEK, manifest, row, wav


def mend(ws: Workspace, rows: list[Any], **arguments: Any) -> Result[FixReport]:
    path = manifest(ws.base_folder / "data/old.jsonl", rows)
    return registry.call("fix_manifest", {"manifest": str(path), **arguments}, ws)


def refused(ws: Workspace, rows: list[Any], **arguments: Any) -> AsrtuneError:
    with pytest.raises(AsrtuneError) as caught:
        mend(ws, rows, **arguments)
    return caught.value


def texts(report: FixReport) -> list[str]:
    return [row.utterance.text for row in load_rows(Path(report.manifest))]


def marks(report: FixReport) -> dict[int, str]:
    return {row.line: (row.utterance.model_extra or {})["_skipme"] for row in load_rows(Path(report.manifest)) if row.utterance.skipped}


def test_the_original_stays_and_the_copy_finds_its_audio(ws: Workspace) -> None:
    result = mend(ws, [row(text="  δύο   λέξεις ")], whitespace=True)
    old = ws.base_folder / "data/old.jsonl"
    assert json.loads(old.read_text())["text"] == "  δύο   λέξεις "
    (made,) = load_rows(Path(result.data.manifest))
    assert (made.utterance.text, made.audio) == ("δύο λέξεις", old.parent / "a.wav")
    assert result.next_actions[0].arguments == {"manifest": result.data.manifest}


def test_texts_are_changed_as_chosen_and_no_further(ws: Workspace) -> None:
    rows = [row(text="e\u0301tait  là"), row(text="<el-GR> Ναι <el-GR>"), row(text="it’s €5")]
    assert texts(mend(ws, rows, unicode_nfc=True).data) == ["\u00e9tait  là", "<el-GR> Ναι <el-GR>", "it’s €5"]
    assert texts(mend(ws, rows, strip_tags=True).data) == ["e\u0301tait  là", "Ναι", "it’s €5"]
    report = mend(ws, rows, characters={"’": "'", "€": "euro "}).data
    assert texts(report)[2] == "it's euro 5"
    assert (report.rows, report.rows_changed, report.changes) == (3, 1, {"characters": 1})


def test_tags_are_replaced_wherever_a_row_names_them_and_only_by_tags_of_the_checkpoint(ws: Workspace) -> None:
    """Trap 3.3: `es` is es-US; a Castilian set needs es-ES."""
    rows = [row(target_lang="es", lang="es"), row(), {"audio_filepath": "a.wav", "duration": 1.0, "text": "Uno.", "lang": "es"}]
    report = mend(ws, rows, tags={"es": "es-ES"}, names=True).data
    assert [r.utterance.target_lang for r in load_rows(Path(report.manifest))] == ["es-ES", "el-GR", "es-ES"]
    assert report.changes == {"tags": 2, "names": 1}
    assert refused(ws, rows, tags={"es": "es-XX"}).code == "tags_unknown"
    assert refused(ws, rows, tags={"es": "auto"}).code == "tags_unknown"


def test_aliases_get_our_names_and_both_locale_fields_agree(ws: Workspace) -> None:
    rows = [{"audio_file": "a.wav", "duration": 1.0, "sentence": GREEK, "language": "el-GR"}, row(lang="bg-BG")]
    report = mend(ws, rows, names=True).data
    assert report.findings == ()
    assert [set(json.loads(line)) for line in Path(report.manifest).read_text().splitlines()] == [
        {"audio_filepath", "duration", "text", "target_lang"}, {"audio_filepath", "duration", "text", "target_lang", "lang"}
    ]  # fmt: skip


def test_rows_that_cannot_be_mended_are_marked_with_reason_and_filter(ws: Workspace) -> None:
    wav(ws.base_folder / "data/a.wav")
    rows = [row(), row(text=""), row(text="5 λεπτά."), row(text="Kalimera sas"), row(duration=45.0), row(duration=0.05), row("none.wav"), row(),
            row(text="[γέλια] Ναι.", _skipme="old:mark")]  # fmt: skip
    report = mend(ws, rows, mark=["text_empty", "text_digits", "script_mismatch", "audio_unusable", "duplicate", "text_markup"], min_duration=0.1,
                  max_duration=40.0).data  # fmt: skip
    assert marks(report) == {
        2: "text_empty:fix_manifest", 3: "text_digits:fix_manifest", 4: "script_mismatch:fix_manifest", 5: "too_long:fix_manifest",
        6: "too_short:fix_manifest", 7: "audio_unusable:fix_manifest", 8: "duplicate:fix_manifest", 9: "old:mark",
    }  # fmt: skip
    assert (report.rows, report.rows_marked) == (9, 7)
    assert report.hours_marked == pytest.approx((2 * 5 + 45.05) / 3600, abs=1e-4)


def test_lines_are_marked_by_number_and_unknown_ones_refused(ws: Workspace) -> None:
    rows = [row(id=str(n)) for n in range(4)]
    assert marks(mend(ws, rows, mark_lines={"wrong_text": [2, 4]}).data) == {2: "wrong_text:fix_manifest", 4: "wrong_text:fix_manifest"}
    assert refused(ws, rows, mark_lines={"wrong_text": [5]}).code == "lines_unknown"


def test_the_diff_turns_the_old_manifest_into_the_new_texts(ws: Workspace) -> None:
    rows = [row(id=str(n), text=f" κείμενο  {n}" if n % 2 else "σωστό") for n in range(6)]
    report = mend(ws, [*rows[:3], "", *rows[3:]], whitespace=True).data
    copy = ws.base_folder / "copy.jsonl"
    copy.write_bytes((ws.base_folder / "data/old.jsonl").read_bytes())
    subprocess.run(["git", "apply", "--unidiff-zero", "-p0", "-"], cwd=ws.base_folder, check=True,
                   input=Path(report.diff).read_bytes().replace(b"--- old.jsonl", b"--- copy.jsonl").replace(b"+++ manifest.jsonl", b"+++ copy.jsonl"))  # fmt: skip
    patched = [json.loads(line) for line in copy.read_text().splitlines()]
    made = [json.loads(line) for line in Path(report.manifest).read_text().splitlines()]
    assert [r["text"] for r in patched] == [r["text"] for r in made]
    assert len(patched) == 6


def test_byte_order_mark_crlf_and_blank_lines_go_and_broken_lines_stay_a_finding(ws: Workspace) -> None:
    good = json.dumps(row()).encode()
    report = mend(ws, [b"\xef\xbb\xbf" + good + b"\r", b"\r", b"{broken", json.dumps(row("b.wav")).encode() + b"\r"], whitespace=True)
    made = Path(report.data.manifest).read_bytes()
    assert b"\r" not in made
    assert not made.startswith(b"\xef\xbb\xbf")
    assert len(made.splitlines()) == 3
    assert [(f.code, f.lines) for f in report.data.findings] == [("manifest_not_json", (2,))]
    assert "manifest_still_invalid" in {w.code for w in report.warnings}


def test_no_fix_is_an_error_and_the_same_fix_is_the_same_dataset(ws: Workspace) -> None:
    assert refused(ws, [row()]).code == "fixes_missing"
    assert mend(ws, [row()], whitespace=True).data == mend(ws, [row()], whitespace=True).data


def test_a_folder_is_no_manifest(ws: Workspace) -> None:
    (ws.base_folder / "folder").mkdir()
    with pytest.raises(AsrtuneError) as caught:
        registry.call("fix_manifest", {"manifest": "folder", "whitespace": True}, ws)
    assert caught.value.code == "manifest_unreadable"


@given(st.text(max_size=40), st.booleans(), st.booleans(), st.booleans())
def test_fixing_twice_changes_nothing_more(text: str, unicode_nfc: bool, strip_tags: bool, whitespace: bool) -> None:
    fixer = Fixer(Fixes(unicode_nfc=unicode_nfc, strip_tags=strip_tags, whitespace=whitespace, mark=("text_empty",)), Path("m.jsonl"), ())
    once = fixer.row(1, row(text=text))
    twice = fixer.row(2, once.fields)
    assert twice.fields == once.fields
    assert twice.changes == []
