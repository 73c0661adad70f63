"""register_set: what is measured on overlaps with nothing that is learned from, unless a person says so and that is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore.data.roles import ROLES, Registration, must_be_disjoint, overlaps_of_training
from asrcore.errors import AsrtuneError
from asrcore.jobs import Ledger
from asrcore.results import Result
from asrcore.workspace import Workspace
from asrtune import registry
from tests.data.speech import manifest, row, wav

KNOWN = "Θέλω να κλείσω ένα τραπέζι."


def register(ws: Workspace, name: str, role: str, rows: list[dict[str, Any]] | None = None, **arguments: Any) -> Result[Registration]:
    path = ws.base_folder / f"{name}.jsonl"
    if rows is not None:
        manifest(path, rows)
    return registry.call("register_set", {"manifest": str(path), "role": role, **arguments}, ws)


def refused(ws: Workspace, name: str, role: str, rows: list[dict[str, Any]] | None = None, **arguments: Any) -> AsrtuneError:
    with pytest.raises(AsrtuneError) as caught:
        register(ws, name, role, rows, **arguments)
    return caught.value


def test_a_set_gets_a_role_and_is_listed_with_it(ws: Workspace) -> None:
    result = register(ws, "guard", "guard", [row("a.wav", speaker="s"), row("b.wav", text="Τίποτα.", _skipme="too_long:fix_manifest")])
    made = result.data.set
    assert (result.data.new, made.role, made.rows, made.rows_skipped, made.speakers) == (True, "guard", 1, 1, 1)
    (line,) = registry.call("list_objects", {"kind": "set"}, ws).data.objects
    assert (line.id, line.facts) == (made.set_id, "guard, 1 rows, 0.00 h")


def test_the_same_registration_again_changes_nothing(ws: Workspace) -> None:
    first = register(ws, "dev", "dev", [row()]).data
    again = register(ws, "dev", "dev").data
    assert (again.new, again.set) == (False, first.set)


def test_a_set_that_shares_a_sentence_with_a_set_of_another_role_is_refused_with_its_lines(ws: Workspace) -> None:
    register(ws, "target", "target", [row("t.wav", text=KNOWN)])
    error = refused(ws, "train", "train", [row("a.wav"), row("b.wav", text=KNOWN.upper())])
    assert (error.code, error.exit_code) == ("set_overlaps", 3)
    assert [(p.code, p.line, p.message.startswith("text: 1 rows")) for p in error.problems] == [("set_overlap", 2, True)]
    with Ledger.open(ws) as ledger:
        assert len(ledger.list("set")) == 1


def test_an_overlap_is_accepted_only_with_a_reason_and_stays_on_record(ws: Workspace) -> None:
    target = register(ws, "target", "target", [row("t.wav", text=KNOWN)]).data.set
    rows = [row("a.wav", text=KNOWN)]
    assert refused(ws, "train", "train", rows, allow_overlap=["text"]).code == "reason_missing"
    made = register(ws, "train", "train", rows, allow_overlap=["text"], reason="fixed prompts of the product").data.set
    assert [(a.with_set, a.kinds, a.reason) for a in made.accepted] == [(target.set_id, ("text",), "fixed prompts of the product")]
    with Ledger.open(ws) as ledger:
        assert overlaps_of_training(ledger, [ws.base_folder / "train.jsonl"]) == []


def test_replay_and_guard_must_be_apart_and_train_and_replay_need_not(ws: Workspace) -> None:
    """The replay pool and the guard of forgetting: rows in both would make the guard blind."""
    register(ws, "replay", "replay", [row("a.wav", text=KNOWN)])
    result = register(ws, "train", "train", [row("a.wav", text=KNOWN, speaker="s")])
    assert {w.code for w in result.warnings} == {"set_overlap"}
    assert refused(ws, "guard", "guard", [row("a.wav", text=KNOWN, speaker="x")]).code == "set_overlaps"


def test_shared_speakers_are_a_warning(ws: Workspace) -> None:
    register(ws, "train", "train", [row("a.wav", speaker="s1")])
    result = register(ws, "target", "target", [row("b.wav", text=KNOWN, speaker="s1")])
    assert [(w.code, w.message.split(":")[0]) for w in result.warnings] == [("set_overlap", "speaker")]


def test_a_role_is_not_changed_in_passing(ws: Workspace) -> None:
    register(ws, "blind", "blind", [row()])
    assert refused(ws, "blind", "train").code == "role_taken"
    made = register(ws, "blind", "train", change_role=True, reason="a new blind set exists").data.set
    assert (made.role, made.previous_roles) == ("train", ("blind",))


def test_a_registered_set_whose_file_has_changed_is_named_as_unchecked(ws: Workspace) -> None:
    old = register(ws, "target", "target", [row("t.wav", text=KNOWN)]).data.set
    manifest(ws.base_folder / "target.jsonl", [row("x.wav", text="Κάτι άλλο.")])
    result = register(ws, "train", "train", [row("a.wav", text=KNOWN)])
    assert (result.data.unchecked, [w.code for w in result.warnings]) == ((old.set_id,), ["set_unchecked"])


def test_training_manifests_are_checked_against_what_is_measured_on(ws: Workspace) -> None:
    register(ws, "guard", "guard", [row("g.wav", text=KNOWN)])
    leaking = manifest(ws.base_folder / "new.jsonl", [row("a.wav"), row("b.wav", text=KNOWN)])
    clean = manifest(ws.base_folder / "clean.jsonl", [row("c.wav")])
    with Ledger.open(ws) as ledger:
        found = overlaps_of_training(ledger, [clean, leaking])
    assert [(Path(p.file or "").name, p.line) for p in found] == [("new.jsonl", 2)]


def test_a_broken_or_empty_manifest_has_no_role(ws: Workspace) -> None:
    assert refused(ws, "bad", "dev", [row(), row(id=None, text="")]).code == "manifest_invalid"
    assert refused(ws, "none", "dev", [row(_skipme=True)]).code == "source_empty"


def test_only_sets_that_are_learned_from_may_overlap() -> None:
    free = {(a, b) for a in ROLES for b in ROLES if a != b and not must_be_disjoint(a, b)}
    assert free == {("train", "replay"), ("replay", "train")}


def test_training_on_a_registered_guard_is_refused_until_a_person_accepts_it(ws: Workspace) -> None:
    register(ws, "guard", "guard", [row("a.wav", text=KNOWN)])
    for name in ("b.wav", "c.wav"):
        wav(ws.base_folder / name)
    train = manifest(ws.base_folder / "train.jsonl", [row("b.wav"), row("c.wav", text=KNOWN)])
    with pytest.raises(AsrtuneError, match="training_overlaps") as caught:
        registry.call("build_shards", {"train": [str(train)]}, ws)
    assert [(p.code, p.line) for p in caught.value.problems] == [("set_overlap", 2)]
