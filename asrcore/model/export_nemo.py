"""Target `nemo`: one `.nemo` with the provenance inside its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf, open_dict

from asrcore.export_requests import ExportCheck
from asrcore.model.export_smoke import Smoke, decode_case, refuse, runtime
from asrcore.model.restore import prompt_slots, restore
from asrcore.requests import ExportRequest

FILE = "model.nemo"


def write(model: Any, folder: Path, request: ExportRequest) -> None:
    with open_dict(model.cfg):
        model.cfg.asrtune = OmegaConf.create({"provenance": request.provenance, "source_sha256": request.checkpoint.sha256})
    model.save_to(str(folder / FILE))


def verify(model: Any, folder: Path, smoke: Smoke) -> tuple[ExportCheck, ...]:
    """Opens the file afresh: same weights, dictionary and contexts, same words. Raises `export_not_identical`."""
    reopened = restore(folder / FILE)
    library = runtime("nemo_toolkit")
    differences = [f"tensor {name} differs" for name in differing(model.state_dict(), reopened.state_dict())]
    if prompt_slots(reopened) != prompt_slots(model):
        differences.append("the prompt dictionary differs")
    if list(reopened.cfg.encoder.att_context_size) != list(model.cfg.encoder.att_context_size):
        differences.append("the att_context_size list differs")
    differences += [
        f"{case.name} at {list(context)} reads differently"
        for context, case, expected in smoke.pairs() if decode_case(reopened, case, context).tokens != expected.tokens
    ]  # fmt: skip
    refuse("nemo", differences)
    tensors, decodes = len(model.state_dict()), len(smoke.expected)
    return (
        ExportCheck(what="weights", runtime=library, bar="every tensor equal to the bit", compared=tensors, identical=tensors),
        ExportCheck(what="transcripts, streamed at batch size 1", runtime=library, bar="every one identical", compared=decodes, identical=decodes),
    )


def differing(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> list[str]:
    """Names of tensors that only one side has or that are not equal to the bit."""
    return [name for name in sorted({*ours} | {*theirs}) if name not in ours or name not in theirs or not torch.equal(ours[name].cpu(), theirs[name].cpu())]
