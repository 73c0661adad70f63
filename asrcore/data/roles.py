"""Which set is for what: every registered manifest has one role, and what a model is measured by never overlaps with anything else.

    train, replay     learned from; these two may share rows (a warning)
    dev               chooses the best candidate of a run
    target            the test set of the fine-tune's goal
    guard             a language or domain that must not get worse
    blind             looked at once, at the very end

Sets are `set` objects of the ledger, by the digest of their manifest's bytes. An overlap that a person accepts is recorded with its reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from asrcore.data.importers.rows import PSEUDO_LABEL
from asrcore.data.importing import is_locale
from asrcore.data.leakage import Decoding, KeySet, LeakReport, OverlapKind, compare_sets, read_keys
from asrcore.data.split import Held
from asrcore.errors import NotReadyError, Problem, clean_text
from asrcore.fingerprint import check_ref
from asrcore.jobs.ledger import Ledger, put_object
from asrcore.manifest import manifest_ref, refuse_errors, scan_rows
from asrcore.requests import ManifestRef
from asrcore.results import Frozen

SetRole = Literal["train", "replay", "dev", "target", "guard", "blind"]
ROLES: tuple[SetRole, ...] = get_args(SetRole)
LEARNED: frozenset[SetRole] = frozenset({"train", "replay"})
_ALL = 1_000_000


class Accepted(Frozen):
    """An overlap that a person accepted."""

    with_set: str
    kinds: tuple[OverlapKind, ...]
    reason: str


class RegisteredSet(Frozen):
    """A manifest with its role, as the ledger holds it. Rows and hours are without rows marked `_skipme`."""

    set_id: str
    role: SetRole
    manifest: ManifestRef
    rows: int
    rows_skipped: int
    hours: float
    hours_by_locale: dict[str, float] = Field(description="By tag, the 20 largest; `other` for what is no tag.")
    speakers: int
    previous_roles: tuple[SetRole, ...] = ()
    accepted: tuple[Accepted, ...] = ()


class Compared(Frozen):
    """One registered set that the new one was compared with. Overlaps: first is the new set, second the registered one."""

    set_id: str
    role: SetRole
    report: LeakReport


class Registration(Frozen):
    """What a registration found. `compared` holds the sets with overlaps; `unchecked` those whose manifest is gone or has changed."""

    set: RegisteredSet
    new: bool
    checked_sets: int
    compared: tuple[Compared, ...]
    unchecked: tuple[str, ...]


def must_be_disjoint(one: SetRole, other: SetRole) -> bool:
    """Sets of one role may share rows, and so may train and replay."""
    return one != other and not {one, other} <= LEARNED


def registered(ledger: Ledger) -> tuple[RegisteredSet, ...]:
    """All registered sets, newest first."""
    return tuple(RegisteredSet.model_validate(row.data) for row in ledger.list("set", _ALL))


def register(
    ledger: Ledger, manifest: Path, role: SetRole, *, allow: Iterable[OverlapKind] = (), reason: str = "", change_role: bool = False,
    decoding: Decoding | None = None,
) -> Registration:  # fmt: skip
    """Gives a manifest its role. The same again changes nothing.

    Raises `manifest_missing`, `manifest_invalid`, `set_is_pseudo` (a model wrote the texts), `role_taken` (it has another role) and `set_overlaps` (it shares recordings or sentences with
    sets of other roles; `allow` names the kinds that a person accepts for `reason`).
    """
    ref, allowed = manifest_ref(manifest), tuple(dict.fromkeys(allow))
    set_id = f"set_{ref.sha256[:12]}"
    compared: dict[str, Compared] = {}
    unchecked: list[str] = []
    checked: set[str] = set()
    described: RegisteredSet | None = None
    while True:
        old = next((s for s in registered(ledger) if s.set_id == set_id), None)
        _refuse_other_role(old, role, change_role)
        if old is not None and old.role == role:
            return Registration(set=old, new=False, checked_sets=0, compared=(), unchecked=())
        described = described or _describe(set_id, role, ref)
        for other in registered(ledger):
            if other.set_id in checked or other.set_id == set_id:
                continue
            checked.add(other.set_id)
            if check_ref(other.manifest):
                unchecked.append(other.set_id)
                continue
            report = compare_sets(manifest, Path(other.manifest.path), decoding)
            if report.overlaps:
                compared[other.set_id] = Compared(set_id=other.set_id, role=other.role, report=report)
        blocking = {c.set_id: c.report.blocking() for c in compared.values() if must_be_disjoint(role, c.role)}
        _refuse_overlaps(ref, role, [c for c in compared.values() if c.set_id in blocking and c.report.blocking(allowed)], allowed)
        made = described.model_copy(update={
            "accepted": tuple(Accepted(with_set=other, kinds=tuple(o.kind for o in found), reason=reason) for other, found in blocking.items() if found),
            "previous_roles": () if old is None else (*old.previous_roles, old.role),
        })  # fmt: skip
        with ledger.transaction() as connection:
            # Another process may have registered a set meanwhile: then that one is compared first.
            if {row["id"] for row in ledger.rows("SELECT id FROM objects WHERE kind = 'set'")} <= checked | {set_id}:
                put_object(connection, "set", set_id, made)
                return Registration(set=made, new=True, checked_sets=len(checked), compared=tuple(compared.values()), unchecked=tuple(unchecked))


def overlaps_of_training(ledger: Ledger, manifests: Sequence[Path]) -> list[Problem]:
    """One problem for every train or replay manifest and registered dev, target, guard or blind set that share recordings or sentences.

    Overlaps that were accepted when one of the two was registered are left out. For build_shards and plan_finetune.
    """
    sets = registered(ledger)
    problems: list[Problem] = []
    for manifest in manifests:
        ref = manifest_ref(manifest)
        own = next((s for s in sets if s.manifest.sha256 == ref.sha256), None)
        for other in sets:
            if other.role in LEARNED or check_ref(other.manifest):
                continue
            fine = [*_accepted(own, other), *_accepted(other, own)]
            found = compare_sets(manifest, Path(other.manifest.path)).blocking(fine)
            problems += [_problem(Path(ref.path), other.role, other.manifest.name, o.kind, o.rows_first, o.lines_first) for o in found]
    return problems


def held_sets(ledger: Ledger, manifest: Path) -> list[Held]:
    """The keys of all registered sets that are measured by, but for the manifest itself. Sets whose file is gone or changed are left out."""
    sha256 = manifest_ref(manifest).sha256
    found: list[Held] = []
    for one in registered(ledger):
        if one.role in LEARNED or one.manifest.sha256 == sha256 or check_ref(one.manifest):
            continue
        keys = KeySet()
        for _, row in read_keys(Path(one.manifest.path)):
            keys.add(row)
        found.append(Held(one.role, keys))
    return found


def _accepted(one: RegisteredSet | None, other: RegisteredSet | None) -> tuple[OverlapKind, ...]:
    if one is None or other is None:
        return ()
    return tuple(kind for a in one.accepted if a.with_set == other.set_id for kind in a.kinds)


def _describe(set_id: str, role: SetRole, ref: ManifestRef) -> RegisteredSet:
    problems: list[Problem] = []
    rows = skipped = pseudo = 0
    seconds: defaultdict[str, float] = defaultdict(float)
    speakers: set[str] = set()
    path = Path(ref.path)
    for row in scan_rows(path, problems):
        if row.utterance.skipped:
            skipped += 1
            continue
        rows += 1
        pseudo += bool((row.utterance.model_extra or {}).get(PSEUDO_LABEL))
        tag = row.utterance.target_lang
        seconds[tag if is_locale(tag) else "other"] += row.utterance.duration
        if row.utterance.speaker is not None:
            speakers.add(row.utterance.speaker)
    refuse_errors(path, problems)
    if rows == 0:
        raise NotReadyError("source_empty", f"{path} holds no row that is not marked _skipme.", next_step="pass a manifest with rows.")
    if pseudo and role not in LEARNED:
        raise NotReadyError("set_is_pseudo", f"a model wrote the texts of {pseudo} rows, so the set cannot be {role}: it would measure agreement with that model.",
                            next_step="have people transcribe a set for this, and keep pseudo-labels for training.")  # fmt: skip
    ranked = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))[:20]
    return RegisteredSet(set_id=set_id, role=role, manifest=ref, rows=rows, rows_skipped=skipped, hours=round(sum(seconds.values()) / 3600, 4),
                         hours_by_locale={tag: round(value / 3600, 4) for tag, value in ranked}, speakers=len(speakers))  # fmt: skip


def _refuse_other_role(old: RegisteredSet | None, role: SetRole, change_role: bool) -> None:
    if old is not None and old.role != role and not change_role:
        raise NotReadyError("role_taken", f"{old.set_id} is registered as {old.role}; results may have been judged by it.",
                            next_step=f"keep it as {old.role}, or, if a person wants it, pass change_role=true and a reason.")  # fmt: skip


def _refuse_overlaps(ref: ManifestRef, role: SetRole, found: Sequence[Compared], allowed: Sequence[OverlapKind]) -> None:
    problems = [
        _problem(Path(ref.path), c.role, c.set_id, o.kind, o.rows_first, o.lines_first) for c in found for o in c.report.blocking(allowed)
    ]
    if problems:
        raise NotReadyError("set_overlaps", f"the manifest overlaps with {len(found)} registered set(s), so it cannot be a {role} set.",
                            next_step="take the rows out (split_dataset or fix_manifest mark them), or, if a person accepts it, pass allow_overlap "
                            "with the kinds in problems and a reason.", problems=problems)  # fmt: skip


def _problem(file: Path, role: SetRole, name: str, kind: OverlapKind, rows: int, lines: Sequence[int]) -> Problem:
    return Problem(
        code="set_overlap", file=str(file), line=lines[0] if lines else None,
        message=f"{kind}: {rows} rows are also in the {role} set {clean_text(name, 60)} (lines {', '.join(map(str, lines))}{' …' if rows > len(lines) else ''})",
        fix="take them out of one of the two sets",
    )  # fmt: skip
