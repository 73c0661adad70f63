"""Gives a manifest its role (train, replay, dev, target, guard or blind) and refuses when it overlaps with sets of other roles.

Use it for every set that a result will be claimed on, before any training: a test set that was trained on measures memory. It compares with every
registered set: same recording, same sentence, same source recording (refused), shared 8-word passages and speakers (warnings). allow_overlap with a
reason accepts a kind; that is recorded, and is a person's decision. It returns the set_id, hours by locale, and the overlaps found with lines.
Cost: seconds for 100,000 rows a set; decode=true reads all audio that has no digest yet.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from asrcore.data.leakage import Decoding, OverlapKind
from asrcore.data.roles import Registration, SetRole, must_be_disjoint, register
from asrcore.errors import NotReadyError, Problem, UsageError
from asrcore.jobs import Ledger
from asrcore.manifest import manifest_ref
from asrcore.results import Frozen, NextAction, Result
from asrcore.workspace import Workspace


class Input(Frozen):
    manifest: str = Field(min_length=1, max_length=4096, description="JSON-lines manifest.")
    role: SetRole = Field(description="train and replay are learned from; dev chooses candidates; target, guard and blind are measured on.")
    allow_overlap: tuple[OverlapKind, ...] = Field((), max_length=5, description="Kinds of overlap that a person accepts.")
    reason: str = Field("", max_length=500, description="Why an overlap or a change of role is accepted; recorded.")
    change_role: bool = Field(False, description="Give a registered set another role.")
    decode: bool = Field(False, description="Decode audio that has no digest.")


Output = Registration


def run(request: Input, ws: Workspace) -> Result[Output]:
    if (request.allow_overlap or request.change_role) and len(request.reason.split()) < 3:
        raise UsageError("reason_missing", "an accepted overlap or a change of role needs a reason of at least three words.",
                         next_step="ask the person, and pass what they say as reason.")  # fmt: skip
    manifest = ws.resolve_data(request.manifest)
    decoding = Decoding(ws.data_roots) if request.decode else None
    with Ledger.open(ws) as ledger:
        if request.role == "blind":
            _refuse_used(ledger, manifest)
        found = register(ledger, manifest, request.role, allow=request.allow_overlap, reason=request.reason, change_role=request.change_role,
                         decoding=decoding)  # fmt: skip
    made = found.set
    state = f"is now a {made.role} set" if found.new else f"was registered as {made.role} already"
    return Result(
        summary=f"{made.set_id} {state}: {made.rows} rows, {made.hours:.2f} h; compared with {found.checked_sets} registered sets.",
        data=found,
        warnings=tuple(_warnings(found)),
        next_actions=(NextAction(tool="list_objects", arguments={"kind": "set"}, why="shows all registered sets and their roles"),),
    )


def _refuse_used(ledger: Ledger, manifest: Path) -> None:
    """A set that has guided a decision is not blind any more, whatever a person accepts."""
    from asrcore.campaign.blind import decisions_by_set  # scipy comes with the campaigns; the other roles need none

    used = decisions_by_set(ledger)[manifest_ref(manifest).sha256]
    if used:
        raise NotReadyError("set_was_used", f"this set has guided {used} decisions, so it is not blind.",
                            next_step="take recordings that no campaign was judged by; list_objects with kind set says which were.")  # fmt: skip


def _warnings(found: Registration) -> list[Problem]:
    problems = [
        Problem(code="set_overlap", severity="warning", file=found.set.manifest.path, line=o.lines_first[0] if o.lines_first else None,
                message=f"{o.kind}: {o.rows_first} rows are also in {c.set_id} ({c.role})",
                fix="fine for train and replay" if not must_be_disjoint(found.set.role, c.role) else "weakens what can be claimed; keep it in mind")
        for c in found.compared for o in c.report.overlaps
    ]  # fmt: skip
    problems += [Problem(code="set_unchecked", severity="warning", message=f"the manifest of {set_id} is gone or has changed, so it was not compared",
                         fix="put it back, or register the new one") for set_id in found.unchecked]  # fmt: skip
    return problems
