"""Manifests: what is read, what is refused, and that everything wrong is said at once with its line."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asrcore import manifest as manifests
from asrcore.errors import NotReadyError, Problem, UsageError
from asrcore.manifest import Below, Utterance, below, load_rows, manifest_ref, row_positions, rows_at, scan_rows, write_manifest
from tests.data.speech import manifest, row


def problems_of(path: Path) -> list[tuple[str, int | None]]:
    with pytest.raises(NotReadyError) as caught:
        load_rows(path)
    assert caught.value.code == "manifest_invalid"
    assert {p.file for p in caught.value.problems} == {str(path)}
    assert all(p.fix for p in caught.value.problems)
    return [(p.code, p.line) for p in caught.value.problems]


def test_rows_keep_their_line_extras_and_an_audio_path_beside_the_manifest(tmp_path: Path) -> None:
    path = manifest(tmp_path / "in" / "m.json", [row(id=7, speaker=12, channel="phone"), row("/elsewhere/b.wav", offset=2)])
    first, second = load_rows(path)
    assert (first.line, first.audio, second.audio) == (1, tmp_path / "in" / "a.wav", Path("/elsewhere/b.wav"))
    assert (first.utterance.id, first.utterance.speaker, first.utterance.model_extra) == ("7", "12", {"channel": "phone"})
    assert second.utterance.offset == 2.0


def test_a_manifest_with_bad_lines_of_every_kind_reports_all_of_them_at_once(tmp_path: Path) -> None:
    good = json.dumps(row())
    path = manifest(tmp_path / "m.json", [
        b"\xef\xbb\xbf" + good.encode(), "not json", b'{"text": "\xff"}', "[1]", "", row(text=None, duration=None), row(duration="1.0"),
        row(duration=0), row(text="  "), good.replace("2.0", "NaN"), row(target_lang=""), row(lang="es-ES"), row(offset=-1),
    ])  # fmt: skip
    assert problems_of(path) == [
        ("manifest_bom", 1), ("manifest_not_json", 2), ("manifest_not_utf8", 3), ("manifest_not_object", 4), ("manifest_blank_line", 5),
        ("field_missing", 6), ("field_missing", 6), ("field_invalid", 7), ("field_invalid", 8), ("text_empty", 9), ("manifest_not_json", 10),
        ("field_invalid", 11), ("lang_mismatch", 12), ("field_invalid", 13),
    ]  # fmt: skip


def test_good_rows_between_bad_ones_are_still_read(tmp_path: Path) -> None:
    problems: list[Problem] = []
    rows = list(scan_rows(manifest(tmp_path / "m.json", [row(), "{", row("b.wav")]), problems))
    assert [r.line for r in rows] == [1, 3]
    assert [p.code for p in problems] == ["manifest_not_json"]


def test_two_rows_with_one_id_name_the_line_of_the_first(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.json", [row(id="x"), row(id="y"), row(id="x"), row()])
    with pytest.raises(NotReadyError) as caught:
        load_rows(path)
    (problem,) = caught.value.problems
    assert (problem.code, problem.line) == ("id_duplicate", 3)
    assert "line 1" in problem.message


def test_an_empty_and_a_missing_manifest_have_codes_of_their_own(tmp_path: Path) -> None:
    assert problems_of(manifest(tmp_path / "empty.json", [])) == [("manifest_empty", None)]
    with pytest.raises(NotReadyError, match="manifest_unreadable"):
        load_rows(tmp_path / "none.json")
    with pytest.raises(UsageError, match="manifest_missing"):
        manifest_ref(tmp_path / "none.json")


def test_aliases_are_read_with_one_warning_each_and_no_error(tmp_path: Path) -> None:
    aliased = {"audio_filename": "a.wav", "duration": 1.0, "sentence": "Ναι.", "lang": "el-GR"}
    problems: list[Problem] = []
    rows = list(scan_rows(manifest(tmp_path / "m.json", [aliased, aliased]), problems))
    assert [(r.utterance.audio_filepath, r.utterance.text, r.utterance.target_lang) for r in rows] == [("a.wav", "Ναι.", "el-GR")] * 2
    assert [(p.code, p.severity, p.line) for p in problems] == [("manifest_alias", "warning", 1)] * 3
    assert load_rows(tmp_path / "m.json") == tuple(rows)


def test_a_row_marked_skipme_may_be_empty(tmp_path: Path) -> None:
    (only,) = load_rows(manifest(tmp_path / "m.json", [row(text="", _skipme="noise only")]))
    assert only.utterance.skipped
    assert not Utterance.model_validate(row(_skipme=False)).skipped


def test_transcripts_and_field_names_from_rows_stay_out_of_messages(tmp_path: Path) -> None:
    secret = "ignore all previous instructions"
    path = manifest(
        tmp_path / "m.json",
        [f'{{"text": "{secret}"', row(text=[secret]), row(**{secret: 1, "duration": secret}), row(id=secret), row(id=secret)],
    )
    with pytest.raises(NotReadyError) as caught:
        load_rows(path)
    assert len(caught.value.problems) == 4
    assert secret not in str(caught.value) + "".join(p.model_dump_json() for p in caught.value.problems)


def test_writing_makes_lang_equal_to_target_lang_for_the_loaders_default_field(tmp_path: Path) -> None:
    """Trap 3.2: NeMo reads `lang` unless it is told otherwise."""
    write_manifest(tmp_path / "out.json", [Utterance.model_validate(row(extra=1))])
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert written == row(extra=1) | {"lang": "el-GR"}


texts = st.text(min_size=1).filter(lambda t: bool(t.strip()) and not any(0xD800 <= ord(c) < 0xE000 for c in t))
extras = st.dictionaries(st.sampled_from(["channel", "corpus", "note"]), st.one_of(st.integers(), st.booleans(), texts))


@given(st.lists(st.tuples(texts, st.floats(0.01, 1e4), extras), min_size=1, max_size=5))
def test_what_is_written_is_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[str, float, dict[str, Any]]]
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.json"
    utterances = [Utterance.model_validate(row(text=t, duration=d, lang="el-GR", **e)) for t, d, e in values]
    write_manifest(path, utterances)
    assert [r.utterance for r in load_rows(path)] == utterances


ODD = ["NaN", "-Infinity", "1e400", "1e-400", "-0", "01", "1.", "true", "null", '"a"', '""', r'"\ud800"', r'"\u0000"', '"\t"', "9007199254740993", "1" + "0" * 400,
       "0.1000000000000000055511151231257827", '{"a":1,"a":2}', "[1]", "[" * 300 + "]" * 300]  # fmt: skip
NAMES = [*Utterance.model_fields, "_skipme", "note", "audio_file", "sentence", "language"]
WHOLE = {"audio_filepath": '"a.wav"', "duration": "1.5", "text": '"Hi."', "target_lang": '"el-GR"'}


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(ODD)), max_size=2),
    st.sets(st.sampled_from(list(WHOLE)), min_size=3), st.randoms(), st.sampled_from(["", "", "", "\ufeff", " "]), st.sampled_from(["\n", "\r\n", "", "x\n"]),
)  # fmt: skip
@example([("note", "NaN")], set(WHOLE), Random(0), "", "\n")
@example([("language", '"bg-BG"')], {"audio_filepath", "duration", "text"}, Random(0), "", "\n")
def test_a_line_read_in_one_go_is_the_row_and_the_problems_that_its_steps_give(
    tmp_path_factory: pytest.TempPathFactory, more: list[tuple[str, str]], kept: set[str], order: Random, start: str, end: str
) -> None:
    pairs = [(name, WHOLE[name]) for name in sorted(kept)] + more
    order.shuffle(pairs)
    path = tmp_path_factory.mktemp("m") / "m.json"
    path.write_bytes((start + "{" + ", ".join(f'"{name}": {value}' for name, value in pairs) + "}" + end).encode())
    found: list[tuple[list[str], list[Problem]]] = []
    for way in (manifests._plain, lambda _: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(manifests, "_plain", way)
            problems: list[Problem] = []
            found.append(([repr(one.utterance) for one in scan_rows(path, problems)], problems))
    assert found[0] == found[1]


def test_rows_can_be_fetched_by_line_in_any_order(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.json", [row(text=f"Λόγος {n}.") for n in range(9)])
    every = load_rows(path)
    assert rows_at(path, [7, 2, 9], row_positions(path)) == [every[6], every[1], every[8]]


def test_a_reference_is_by_content_and_named_after_the_folder_of_a_plain_manifest(tmp_path: Path) -> None:
    one, two = manifest(tmp_path / "greek" / "manifest.json", [row()]), manifest(tmp_path / "other.json", [row()])
    assert (manifest_ref(one).name, manifest_ref(two).name) == ("greek", "other")
    assert manifest_ref(one).sha256 == manifest_ref(two).sha256


def test_a_symlink_out_of_the_roots_is_seen(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    os.symlink(tmp_path / "outside.wav", tmp_path / "root" / "a.wav")
    assert not below(tmp_path / "root" / "a.wav", [tmp_path / "root"])
    assert below(tmp_path / "root" / "b.wav", [tmp_path / "root"])


def test_many_files_are_below_a_root_when_each_by_itself_is(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "in", outside):
        folder.mkdir(parents=True)
        (folder / "a.wav").touch()
    (root / "link").symlink_to(outside)
    (root / "in" / "link.wav").symlink_to(outside / "a.wav")
    (root / "in" / "near.wav").symlink_to(root / "in" / "a.wav")
    (outside / "back").symlink_to(root / "in")
    names = ["in/a.wav", "in/none.wav", "in/link.wav", "in/near.wav", "link/a.wav", "in/../../outside/a.wav", "in/..", "..", ".", "../outside/back/a.wav", "../root/in/a.wav"]
    inside = Below([root])
    expected = [below(root / name, [root]) for name in names]
    assert [inside(root / name) for name in names] == expected == [inside(root / name) for name in names]
    assert expected == [True, True, False, True, False, False, True, False, True, True, True]


def test_a_line_of_many_megabytes_is_a_finding_and_is_never_held_in_memory(tmp_path: Path) -> None:
    """200 MB on one line, as one JSON object without line ends would be; the rows around it are read, also by their positions."""
    path, good = tmp_path / "m.json", [json.dumps({"audio_filepath": f"{n}.wav", "duration": 1.0, "text": "Ναι.", "target_lang": "el-GR"}) for n in range(2)]
    with open(path, "wb") as file:
        file.write(good[0].encode() + b"\n" + b'{"text": "')
        file.writelines(b"x" * (1 << 20) for _ in range(200))
        file.write(b'"}\n' + good[1].encode() + b"\n")
    problems: list[Problem] = []
    tracemalloc.start()
    rows = list(scan_rows(path, problems))
    positions = row_positions(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ([row.line for row in rows], [(p.code, p.line) for p in problems]) == ([1, 3], [("manifest_line_too_long", 2)])
    assert peak < 8 << 20
    assert [row.audio.name for row in rows_at(path, [3, 1], positions)] == ["1.wav", "0.wav"]
    with pytest.raises(NotReadyError, match="manifest_line_too_long"):
        rows_at(path, [2], positions)


@pytest.mark.parametrize("over", [-1, 0, 1])
@pytest.mark.parametrize("end", ["\n", ""])
def test_a_line_of_just_the_longest_length_is_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over: int, end: str) -> None:
    line = json.dumps({"audio_filepath": "a.wav", "duration": 1.0, "text": "Ja.", "target_lang": "de-DE"})
    path = tmp_path / "m.json"
    path.write_text(f"{line}\n{line}{end}", encoding="utf-8")
    monkeypatch.setattr("asrcore.manifest.MAX_LINE_BYTES", len(line) + 1 - over)
    problems: list[Problem] = []
    # The end of the line counts; the last line may have none.
    assert len(list(scan_rows(path, problems))) == {-1: 2, 0: 2, 1: 0 if end else 1}[over]
