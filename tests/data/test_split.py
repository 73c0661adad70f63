"""split_dataset: no speaker, sentence or recording on two sides, the same parts for the same rows, every row in exactly one."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrcore.data.sentences import sentence, telling
from asrcore.data.split import SplitReport, assign
from asrcore.errors import AsrtuneError
from asrcore.manifest import Row, load_rows
from asrcore.results import Result
from asrcore.workspace import Workspace
from asrtune import registry
from tests.data.speech import manifest, row


def rows_of(speakers: int, each: int, *, shared: bool = False) -> list[dict[str, Any]]:
    """`each` rows of every speaker; with `shared` all of them read the same sentences."""
    return [
        row(f"{s}_{n}.wav", id=f"{s}_{n}", speaker=f"s{s}", text=f"Πρόταση με τον αριθμό {n if shared else f'{s} {n}'} εδώ.")
        for s in range(speakers) for n in range(each)
    ]  # fmt: skip


def cut(ws: Workspace, rows: list[dict[str, Any]], **arguments: Any) -> Result[SplitReport]:
    path = manifest(ws.base_folder / "all.jsonl", rows)
    return registry.call("split_dataset", {"manifest": str(path), **arguments}, ws)


def refused(ws: Workspace, rows: list[dict[str, Any]], **arguments: Any) -> AsrtuneError:
    with pytest.raises(AsrtuneError) as caught:
        cut(ws, rows, **arguments)
    return caught.value


def parts(report: SplitReport) -> dict[str, tuple[Row, ...]]:
    return {part.part: load_rows(Path(part.manifest)) for part in report.parts}


def used(rows: tuple[Row, ...], key: Any) -> set[Any]:
    return {key(row.utterance) for row in rows if not row.utterance.skipped}


def test_parts_share_no_speaker_and_no_sentence_and_hold_every_row_once(ws: Workspace) -> None:
    result = cut(ws, rows_of(30, 4))
    made = parts(result.data)
    assert Counter(row.utterance.id for rows in made.values() for row in rows) == Counter(r["id"] for r in rows_of(30, 4))
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        for key in (lambda u: u.speaker, lambda u: sentence(u.text)):
            assert used(made[one], key) & used(made[other], key) == set()
    assert [p.rows for p in result.data.parts] == [96, 12, 12]
    assert [(a.tool, a.arguments["role"]) for a in result.next_actions] == [("register_set", "dev"), ("register_set", "target")]


def test_audio_is_found_from_where_the_parts_stand(ws: Workspace) -> None:
    report = cut(ws, rows_of(10, 1)).data
    assert {row.audio for rows in parts(report).values() for row in rows} == {ws.base_folder / f"{s}_0.wav" for s in range(10)}


def test_the_order_of_rows_does_not_matter_and_the_seed_does(ws: Workspace) -> None:
    rows = rows_of(30, 2)
    first = {name: {r.utterance.id for r in part} for name, part in parts(cut(ws, rows).data).items()}
    shuffled = random.Random(1).sample(rows, len(rows))
    assert {name: {r.utterance.id for r in part} for name, part in parts(cut(ws, shuffled).data).items()} == first
    assert {name: {r.utterance.id for r in part} for name, part in parts(cut(ws, rows, seed=1).data).items()} != first


def test_sentences_that_everybody_reads_cannot_be_split_unless_rows_are_marked(ws: Workspace) -> None:
    rows = rows_of(20, 5, shared=True) + [
        row(f"own{s}.wav", id=f"own{s}", speaker=f"s{s}", text=f"Μια δική μου πρόταση {s}.") for s in range(20)
    ]
    error = refused(ws, rows)
    assert (error.code, 'conflicts="mark"' in error.next_step) == ("split_too_coarse", True)
    report = cut(ws, rows, conflicts="mark").data
    made = parts(report)
    assert sum(len(part) for part in made.values()) == len(rows)
    assert report.marked == {"sentence_in_test:split_dataset": sum(p.rows_marked for p in report.parts)}
    assert not any(row.utterance.skipped for row in made["test"])
    assert used(made["train"], lambda u: sentence(u.text)) & used(made["test"], lambda u: sentence(u.text)) == set()
    assert used(made["train"], lambda u: u.speaker) & used(made["test"], lambda u: u.speaker) == set()
    assert refused(ws, rows_of(20, 5, shared=True), conflicts="mark").code == "split_nothing_left"


def test_short_phrases_tie_nobody_together(ws: Workspace) -> None:
    rows = [r | {"text": "Ναι, βέβαια."} for r in rows_of(20, 2)]
    assert cut(ws, rows).data.groups == 20


def test_pieces_of_one_recording_stay_on_one_side(ws: Workspace) -> None:
    rows = [row(f"{b}_{n}.wav", id=f"{b}_{n}", recording=f"book{b}", text=f"Κομμάτι {b} και {n} εδώ.") for b in range(20) for n in range(3)]
    result = cut(ws, rows)
    where = {name: {(r.utterance.model_extra or {})["recording"] for r in part} for name, part in parts(result.data).items()}
    assert sum(len(books) for books in where.values()) == 20
    assert "speakers_unknown" in {w.code for w in result.warnings}


def test_rows_of_a_registered_set_are_refused_or_marked(ws: Workspace) -> None:
    rows = rows_of(20, 2)
    guard = manifest(ws.base_folder / "guard.jsonl", [row("g.wav", text=rows[7]["text"], speaker="other")])
    registry.call("register_set", {"manifest": str(guard), "role": "guard"}, ws)
    error = refused(ws, rows)
    assert (error.code, [p.line for p in error.problems]) == ("split_overlaps", [8])
    report = cut(ws, rows, conflicts="mark").data
    assert report.marked == {"in_guard_set:split_dataset": 1}


def test_the_same_split_again_is_the_one_that_stands_even_when_its_parts_are_registered(ws: Workspace) -> None:
    result = cut(ws, rows_of(20, 2))
    for action in result.next_actions:
        registry.call(action.tool, action.arguments, ws)
    assert cut(ws, rows_of(20, 2)).data == result.data
    assert refused(ws, rows_of(20, 2), seed=1).code == "split_overlaps"


def test_the_same_recording_under_two_names_stays_on_one_side(ws: Workspace) -> None:
    rows = [r | {"audio_digest": f"d{n // 2}", "speaker": None} for n, r in enumerate(rows_of(40, 1))]
    assert cut(ws, rows).data.groups == 20


def test_a_single_speaker_cannot_be_split(ws: Workspace) -> None:
    assert refused(ws, rows_of(1, 10)).code == "split_too_coarse"


@pytest.mark.parametrize(("shares", "code"), [
    ({"dev_share": 0.0, "test_share": 0.0}, "shares_zero"), ({"dev_share": 0.5, "test_share": 0.5}, "shares_too_large"),
    ({"dev_share": 0.9}, "arguments_invalid"),
])  # fmt: skip
def test_shares_that_leave_nothing_are_refused(ws: Workspace, shares: dict[str, float], code: str) -> None:
    assert refused(ws, rows_of(5, 1), **shares).code == code


def test_a_part_of_share_zero_is_left_out(ws: Workspace) -> None:
    assert [p.part for p in cut(ws, rows_of(20, 1), dev_share=0.0).data.parts] == ["train", "test"]


def test_a_bad_line_stops_the_split_with_its_place(ws: Workspace) -> None:
    path = manifest(ws.base_folder / "all.jsonl", [*rows_of(10, 1), "{"])
    with pytest.raises(AsrtuneError) as caught:
        registry.call("split_dataset", {"manifest": str(path)}, ws)
    assert (caught.value.code, [p.line for p in caught.value.problems]) == ("manifest_invalid", [11])


def test_a_folder_is_no_manifest(ws: Workspace) -> None:
    (ws.base_folder / "folder").mkdir()
    with pytest.raises(AsrtuneError) as caught:
        registry.call("split_dataset", {"manifest": "folder"}, ws)
    assert caught.value.code == "manifest_missing"


ROWS = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from([f"Μεγάλη πρόταση αριθμός {n}" for n in range(12)] + ["Ναι."]), st.floats(0.5, 20.0)),
    min_size=6, max_size=40,
)  # fmt: skip


@settings(max_examples=40)
@given(ROWS, st.sampled_from(["refuse", "mark"]), st.integers(0, 5))
def test_whatever_the_rows_parts_are_disjoint_or_the_split_is_refused(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, str, float]], conflicts: str, seed: int
) -> None:
    ws = Workspace.open(tmp_path_factory.mktemp("split"))
    rows = [row(f"{n}.wav", id=str(n), speaker=f"s{s}", text=text, duration=seconds) for n, (s, text, seconds) in enumerate(drawn)]
    try:
        report = cut(ws, rows, conflicts=conflicts, seed=seed, dev_share=0.2, test_share=0.2).data
    except AsrtuneError as error:
        assert error.code in ("split_too_coarse", "split_nothing_left")
        return
    made = parts(report)
    assert sorted(int(r.utterance.id or "") for part in made.values() for r in part) == list(range(len(rows)))
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        assert used(made[one], lambda u: u.speaker) & used(made[other], lambda u: u.speaker) == set()
        shared = used(made[one], lambda u: sentence(u.text)) & used(made[other], lambda u: sentence(u.text))
        assert not any(telling(text, "el-GR") for text in shared)
    assert conflicts == "mark" or report.marked == {}


@given(st.dictionaries(st.integers(0, 999), st.tuples(st.floats(0.1, 50.0), st.integers(0, 2**32)), min_size=1, max_size=60), st.randoms())
def test_groups_are_assigned_by_what_they_are_and_no_part_is_overfull(groups: dict[int, tuple[float, int]], shuffle: random.Random) -> None:
    order = list(groups)
    shuffle.shuffle(order)
    unique = {g: (seconds, number * 1000 + g) for g, (seconds, number) in groups.items()}  # no two alike
    parts_of = assign(unique, {"dev": 0.1, "test": 0.2})
    assert assign({g: unique[g] for g in order}, {"dev": 0.1, "test": 0.2}) == parts_of
    total = sum(seconds for seconds, _ in groups.values())
    for part, share in (("dev", 0.1), ("test", 0.2)):
        assert sum(groups[g][0] for g, where in parts_of.items() if where == part) <= 1.1 * share * total + 1e-9
