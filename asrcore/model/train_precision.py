"""In which numbers a training computes: bf16 where the GPU has it, with the prompt layer in fp32; fp32 elsewhere.

Weights, gradients, moments and the loss stay fp32 (mixed precision; Micikevicius et al. 2017, arXiv:1710.03740). In bf16 the one-hot of the
language would be rounded away beside a thousand encoder features (trap 3.9). On a CPU bf16 was slower than fp32 (docs/log.md).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Precision:
    """How one model computes its forward pass in training."""

    device: str
    bf16: bool

    @classmethod
    def of(cls, device: torch.device) -> Precision:
        return cls(device.type, device.type == "cuda" and torch.cuda.is_bf16_supported())

    def forward(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16)

    def prepare(self, model: Any) -> None:
        """Keeps the prompt layer of the model in fp32 inside `forward`. Weights and names are left as they are."""
        if self.bf16:
            keep_fp32(model.prompt_kernel)


def keep_fp32(module: torch.nn.Module) -> None:
    """Makes the module compute in fp32 whatever autocast says around it."""
    inner = module.forward

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return inner(inputs.float())

    module.forward = forward
