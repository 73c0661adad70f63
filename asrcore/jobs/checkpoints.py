"""One name for every checkpoint a tool can be given: `embedded`, a run id, a blend id, a base id, an export id, a `.nemo` path or a hub id."""

from __future__ import annotations

from pathlib import Path

from asrcore.checkpoint import checkpoint_ref, resolve_base
from asrcore.errors import UsageError, identifier
from asrcore.io import sha256_json
from asrcore.jobs.ledger import Ledger
from asrcore.requests import AddLocaleResult, Blend, CheckpointRef, EvalSubject, ExportResult, TrainResult
from asrcore.workspace import Workspace


def eval_subject(checkpoint: CheckpointRef, evals: Path) -> EvalSubject:
    """One folder per checkpoint below the workspace's `evals`: cells are content-addressed inside it, so a new request decodes only what is new."""
    return EvalSubject(checkpoint=checkpoint, out=str(evals / f"checkpoint_{sha256_json(checkpoint.sha256)[:12]}"))


def resolve_checkpoint(ws: Workspace, name: str) -> CheckpointRef:
    """The checkpoint behind a name. Raises `run_unknown`, `blend_unknown`, `base_unknown`, `export_unknown`, `export_not_nemo`, or what `resolve_base` raises.

    A run stands for its best candidate; its digest was taken when the run ended.
    """
    if name.startswith("run_"):
        return TrainResult.model_validate(Ledger.open(ws).require("run", name)).best
    if name.startswith("base_"):
        made = AddLocaleResult.model_validate(Ledger.open(ws).require("base", name))
        return made.checkpoint.model_copy(update={"name": name})
    if name.startswith("blend_"):
        blend = Blend.model_validate(Ledger.open(ws).require("blend", name))
        return blend.checkpoint.model_copy(update={"name": name})
    if name.startswith("export_"):
        exported = ExportResult.model_validate(Ledger.open(ws).require("export", name))
        if exported.target != "nemo":
            raise UsageError("export_not_nemo", f"{name} is an export for {exported.target}, which is no checkpoint that NeMo opens.",
                             next_step="pass the run, blend or base that it was made from, or an export with target nemo.")  # fmt: skip
        return CheckpointRef(name=name, path=exported.path, sha256=exported.sha256)
    info = resolve_base(ws, name)
    return checkpoint_ref(info, name if name == "embedded" else identifier(info.path.rsplit("/", 1)[-1]))
