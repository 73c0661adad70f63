"""One name for every checkpoint a tool can be given: `embedded`, a run id, an export id, a `.nemo` path or a hub id."""

from __future__ import annotations

from asrcore.checkpoint import checkpoint_ref, resolve_base
from asrcore.errors import NotReadyError
from asrcore.jobs.ledger import Ledger
from asrcore.requests import CheckpointRef, ExportResult, TrainResult
from asrcore.workspace import Workspace


def resolve_checkpoint(ws: Workspace, name: str) -> CheckpointRef:
    """The checkpoint behind a name. Raises `run_unknown`, `export_unknown`, or what `resolve_base` raises.

    A run stands for its best candidate; its digest was taken when the run ended.
    """
    if name.startswith("run_"):
        row = Ledger.open(ws).get("run", name)
        if row is None:
            raise NotReadyError("run_unknown", f"the ledger has no finished run {name[:40]!r}.",
                                next_step='call list_objects with {"kind": "run"}; a run appears there when its training job has succeeded.')  # fmt: skip
        return TrainResult.model_validate(row).best
    if name.startswith("export_"):
        row = Ledger.open(ws).get("export", name)
        if row is None:
            raise NotReadyError("export_unknown", f"the ledger has no export {name[:40]!r}.", next_step='call list_objects with {"kind": "export"}.')
        exported = ExportResult.model_validate(row)
        return CheckpointRef(name=name, path=exported.path, sha256=exported.sha256)
    info = resolve_base(ws, name)
    return checkpoint_ref(info, name if name == "embedded" else info.path.rsplit("/", 1)[-1])
