"""One name for every checkpoint a tool can be given: `embedded`, a run id, an export id, a `.nemo` path or a hub id."""

from __future__ import annotations

from asrcore.checkpoint import checkpoint_ref, resolve_base
from asrcore.jobs.ledger import Ledger
from asrcore.requests import CheckpointRef, ExportResult, TrainResult
from asrcore.workspace import Workspace


def resolve_checkpoint(ws: Workspace, name: str) -> CheckpointRef:
    """The checkpoint behind a name. Raises `run_unknown`, `export_unknown`, or what `resolve_base` raises.

    A run stands for its best candidate; its digest was taken when the run ended.
    """
    if name.startswith("run_"):
        return TrainResult.model_validate(Ledger.open(ws).require("run", name)).best
    if name.startswith("export_"):
        exported = ExportResult.model_validate(Ledger.open(ws).require("export", name))
        return CheckpointRef(name=name, path=exported.path, sha256=exported.sha256)
    info = resolve_base(ws, name)
    return checkpoint_ref(info, name if name == "embedded" else info.path.rsplit("/", 1)[-1])
