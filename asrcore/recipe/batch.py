"""The largest batch of a device, found by job `find_batch` (launch.py) and remembered in the ledger: every later plan that it covers goes by it."""

from __future__ import annotations

from asrcore.batch_requests import BatchResult
from asrcore.checkpoint import CheckpointInfo
from asrcore.jobs import Ledger
from asrcore.recipe.estimates import device_name, labels_of, usable_memory
from asrcore.recipe.overlap import ShardRows

SAME_MEMORY = 1.02
"""A search counts on a device whose memory is as large as then, give or take what the system keeps for itself."""


def found_batch(ledger: Ledger, base: CheckpointInfo, surface: str, rows: ShardRows, *, averaged: bool) -> tuple[int, str] | None:
    """The newest search on this device for this base and surface whose utterances were at least as long and rich; and what it rests on."""
    device, usable = device_name(), usable_memory()
    for row in ledger.list("batch", 200):
        found = BatchResult.model_validate(row.data)
        same = (found.device, found.base_sha256, found.surface, found.averaged) == (device, base.sha256, surface, averaged)
        covers = found.longest_seconds >= rows.longest_seconds and found.labels >= labels_of(rows)
        if same and covers and usable is not None and found.memory_gb <= usable * SAME_MEMORY and found.batch_size:
            peak = max(trial.peak_gb for trial in found.tried if trial.fits)
            return found.batch_size, f"tried on {found.device}: {found.batch_size} utterances of {found.longest_seconds:.0f} s fit with {peak:.1f} GB ({row.id})"
    return None
