"""Target `nemo`: one `.nemo` with the provenance and the decoding that the gate saw inside its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf, open_dict

from asrcore.errors import AsrtuneError
from asrcore.export_requests import ExportCheck
from asrcore.model.export_smoke import Smoke, decode_case, refuse, runtime
from asrcore.model.restore import prompt_slots, restore
from asrcore.model.stream import MAX_SYMBOLS
from asrcore.requests import ExportRequest

FILE = "model.nemo"
DECODING = {"strategy": "greedy_batch", "greedy": {"max_symbols": MAX_SYMBOLS}}
"""What NeMo decodes with when nobody says otherwise: the search that the transcripts were compared with."""


def write(model: Any, folder: Path, request: ExportRequest) -> None:
    with open_dict(model.cfg):
        model.cfg.asrtune = OmegaConf.create({"provenance": request.provenance, "source_sha256": request.checkpoint.sha256})
        model.cfg.decoding = OmegaConf.merge(model.cfg.decoding, DECODING)
    model.save_to(str(folder / FILE))


def verify(model: Any, folder: Path, smoke: Smoke) -> tuple[ExportCheck, ...]:
    """Opens the file afresh: same weights, dictionary and contexts, same words. Raises `export_not_identical`."""
    try:
        reopened = restore(folder / FILE)
    except AsrtuneError as error:
        refuse("nemo", [f"the finished file cannot be opened ({error.code})"])
        raise
    library = runtime("nemo_toolkit")
    differences = [f"tensor {name} differs" for name in differing(model.state_dict(), reopened.state_dict())]
    if prompt_slots(reopened) != prompt_slots(model):
        differences.append("the prompt dictionary differs")
    if list(reopened.cfg.encoder.att_context_size) != list(model.cfg.encoder.att_context_size):
        differences.append("the att_context_size list differs")
    if any(OmegaConf.to_container(reopened.cfg[part]) != OmegaConf.to_container(model.cfg[part]) for part in ("decoding", "asrtune")):
        differences.append("decoding defaults or provenance differ")
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
