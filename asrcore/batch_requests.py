"""Job `find_batch`: the largest batch that a planned run can step with on this device, tried and not estimated."""

from __future__ import annotations

from pydantic import Field

from asrcore import io
from asrcore.requests import TrainRequest
from asrcore.results import Frozen


class BatchRequest(Frozen):
    """A planned run, and the worst utterances that its data can put into one batch."""

    train: TrainRequest
    longest_seconds: float = Field(gt=0)
    labels: int = Field(ge=1, description="Tokens of the richest utterance.")
    memory_gb: float = Field(gt=0, description="10^9 bytes of the device that a step may take.")
    most: int = Field(default=256, ge=1, description="Utterances at which the search ends.")


class Trial(Frozen):
    """One batch that was tried: two steps, the second with the optimiser's moments in place."""

    batch_size: int
    fits: bool
    peak_gb: float
    """Most memory of the two steps: held by CUDA's allocator, or resident in the process on a CPU. Up to the failure where it does not fit."""
    predicted_gb: float
    """The same by the formulas of `asrcore.memory`."""


class BatchResult(Frozen):
    """Kept in the ledger under `batch_id`; `plan_finetune` goes by it on the same device."""

    device: str
    base_sha256: str
    surface: str
    averaged: bool
    longest_seconds: float
    labels: int
    memory_gb: float
    batch_size: int
    """0: not even one such utterance fits."""
    tried: tuple[Trial, ...]
    seconds: float

    @property
    def batch_id(self) -> str:
        return "batch_" + io.sha256_json([self.device, self.base_sha256, self.surface, self.averaged, self.longest_seconds, self.labels, self.memory_gb])[:12]
