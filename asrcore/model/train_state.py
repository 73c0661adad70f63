"""What a stopped run goes on from: one safetensors file with the trained tensors, the optimiser's moments and a JSON header. No pickle.

Guarantee: a run that was stopped and resumed on the same machine, with the same thread count and package versions, ends with the same
weights, bit for bit, as one that was not (tests/model/test_train.py). With several processes that holds for the same number of them; another
number is refused with `world_size_changed`. Each step's randomness and each batch's prompts are functions of
(seed, step), and the data stream is replayed up to the saved step without decoding its audio. A run killed without warning loses at most the
steps since its last candidate. Anything else that differs (request, base, shards) refuses with `resume_mismatch`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import Field
from safetensors import safe_open

from asrcore import io
from asrcore.errors import NotReadyError, Problem
from asrcore.model.tensor_file import write_tensors
from asrcore.requests import TrainRequest
from asrcore.results import Frozen

STATE = "state.safetensors"
_HEADER = "asrtune"
_MODEL = "model."
_ADAM = "adam."
_AVERAGE = "average."


class Fingerprint(Frozen):
    """What a state belongs to. Resume refuses when a field differs."""

    request: str
    base: str
    shards: str
    format: int = 1
    world_size: int = 1

    @classmethod
    def of(cls, request: TrainRequest, world_size: int) -> Fingerprint:
        return cls(request=io.sha256_json(request), base=request.base.sha256, shards=io.sha256_json(request.shards), world_size=world_size)


class Counters(Frozen):
    """Everything a run has counted up to `step` (steps done)."""

    step: int = 0
    utterances: dict[str, int] = Field(default_factory=dict, description="Trained utterances by source.")
    seconds: dict[str, dict[str, float]] = Field(default_factory=dict, description="Trained seconds by source and locale.")
    skipped: int = 0
    skipped_in_a_row: int = 0
    train_seconds: float = 0.0
    loss: float = 0.0
    smoke_passed: bool = False
    base_dev_wer: float | None = None


class Header(Frozen):
    fingerprint: Fingerprint
    counters: Counters


class Kept(NamedTuple):
    """What a state holds besides the counters, as the loop has it. `average` is empty without a moving average."""

    trainable: dict[str, Any]
    optimiser: Any
    average: dict[str, Any]


def save_state(out: Path, request: TrainRequest, counters: Counters, kept: Kept, world_size: int = 1) -> None:
    trainable, optimiser, average = kept
    tensors = {_MODEL + name: parameter for name, parameter in trainable.items()} | {_AVERAGE + name: tensor for name, tensor in average.items()}
    for index, values in optimiser.state_dict()["state"].items():
        tensors |= {f"{_ADAM}{index}.{key}": value for key, value in values.items()}
    header = Header(fingerprint=Fingerprint.of(request, world_size), counters=counters)
    write_tensors(out / STATE, tensors, {_HEADER: header.model_dump_json()})


def load_state(out: Path, request: TrainRequest, kept: Kept, world_size: int = 1) -> Counters | None:
    """Puts tensors and moments back and returns the counters; None without a state. Raises `resume_mismatch`, `world_size_changed`."""
    path, (trainable, optimiser, average) = out / STATE, kept
    if not path.exists():
        return None
    with safe_open(path, framework="pt", device="cpu") as file:
        header = Header.model_validate_json(file.metadata()[_HEADER])
        _refuse_other(header.fingerprint, Fingerprint.of(request, world_size), path)
        moments: dict[int, dict[str, Any]] = {}
        for key in file.keys():  # noqa: SIM118 - not a dict
            if key.startswith(_ADAM):
                index, name = key.removeprefix(_ADAM).split(".")
                moments.setdefault(int(index), {})[name] = file.get_tensor(key)
        with torch.no_grad():
            for name, parameter in trainable.items():
                parameter.copy_(file.get_tensor(_MODEL + name))
            for name, tensor in average.items():
                tensor.copy_(file.get_tensor(_AVERAGE + name))
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    return header.counters


def _refuse_other(found: Fingerprint, wanted: Fingerprint, path: Path) -> None:
    differing = [name for name in Fingerprint.model_fields if getattr(found, name) != getattr(wanted, name)]
    if differing == ["world_size"]:
        raise NotReadyError(
            "world_size_changed", f"the saved state is of {found.world_size} process(es), and this attempt has {wanted.world_size}; its steps would be others.",
            next_step=f"ask the person to set processes (or gpus) back to {found.world_size} in asrtune.toml, then resume_job; "
            "or plan_finetune and launch_finetune with force_new=true for a new run.",
        )  # fmt: skip
    if differing:
        raise NotReadyError(
            "resume_mismatch", f"the saved state belongs to another {' and '.join(differing)}; going on would mix two runs.",
            next_step="start a new run: plan_finetune, then launch_finetune with force_new=true.",
            problems=[Problem(code="resume_mismatch", message=f"{name} differs", file=str(path), fix="start a new run") for name in differing],
        )  # fmt: skip
