"""Which sets have guided decisions, and the blind set that has not: it is measured once, on the model that ships.

A set is used from the first decision that looked at it, in whichever campaign. Marks are computed from the decisions and their evals, so nothing has to
be written down twice and nothing can be taken back.
"""

from __future__ import annotations

from collections import Counter

from asrcore.jobs import ALL_ROWS, Ledger
from asrcore.requests import CheckpointRef, ManifestRef
from asrcore.results import Frozen


class BlindSet(Frozen):
    """A set registered as blind that has guided no decision. `seen_by` are the checkpoints that were measured on it."""

    manifest: ManifestRef
    seen_by: tuple[CheckpointRef, ...]

    def fresh_for(self, candidate: CheckpointRef, base: CheckpointRef) -> bool:
        """Whether nothing but the base and the candidate itself was measured on it: whoever saw other rates may have chosen by them."""
        return {one.sha256 for one in self.seen_by} <= {candidate.sha256, base.sha256}

    def shows(self, candidate: CheckpointRef) -> bool:
        return candidate.sha256 in {one.sha256 for one in self.seen_by}


def decisions_by_set(ledger: Ledger) -> Counter[str]:
    """Digest of a set's manifest -> decisions of all campaigns that looked at it."""
    sets = {row.id: str(row.data["set"]["sha256"]) for row in ledger.list("eval", ALL_ROWS)}
    return Counter(sha256 for row in ledger.list("decision", ALL_ROWS) for sha256 in {sets[one] for one in row.data["evals"] if one in sets})


def blind_set(ledger: Ledger) -> BlindSet | None:
    """The newest blind set that has guided no decision; None when there is none."""
    used = decisions_by_set(ledger)
    manifests = [ManifestRef.model_validate(row.data["manifest"]) for row in ledger.list("set", ALL_ROWS) if row.data["role"] == "blind"]
    found = next((one for one in manifests if not used[one.sha256]), None)
    if found is None:
        return None
    seen = (CheckpointRef.model_validate(row.data["checkpoint"]) for row in ledger.list("eval", ALL_ROWS) if row.data["set"]["sha256"] == found.sha256)
    return BlindSet(manifest=found, seen_by=tuple({one.sha256: one for one in seen}.values()))
