"""NeMo's linear adapters: small residual networks behind each encoder layer, trained while every tensor of the base stays as it is.

They have a non-linearity inside, so they cannot be folded into the base's weights as LoRA can: a checkpoint with them is restored by NeMo and decoded by
everything here, and nothing else reads it; `export_model` refuses it. The base model's encoder class takes none (trap 3.26: "No adapter compatible
module, skipping"); its sub-class does, and has the same tensors. Attention adapters are left out: they have no caches and cannot stream (tried).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import open_dict

from asrcore.model.tensor_file import write_tensors

NAME = "asrtune"
FILE = "adapters.safetensors"
"""Beside best.nemo: the adapters' tensors alone, under their names in the model."""


def add_linear_adapters(model: Any, width: int, seed: int) -> dict[str, Any]:
    """Puts an adapter with `width` hidden units behind each encoder layer, started from `seed`, and returns their parameters, the only ones that need
    gradients then. Their last layers start at zero, so the model computes what it did before."""
    from nemo.collections.asr.modules.conformer_encoder import ConformerEncoderAdapter
    from nemo.collections.common.parts.adapter_modules import LinearAdapterConfig

    model.encoder.__class__ = ConformerEncoderAdapter
    with open_dict(model.cfg):
        model.cfg.encoder._target_ = f"{ConformerEncoderAdapter.__module__}.{ConformerEncoderAdapter.__qualname__}"
    torch.manual_seed(seed)
    model.add_adapter(name=f"encoder:{NAME}", cfg=LinearAdapterConfig(in_features=int(model.encoder.d_model), dim=width))
    device = next(model.parameters()).device
    model.encoder.to(device)
    parameters = adapter_tensors(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in parameters)
    return parameters


def adapter_tensors(model: Any) -> dict[str, Any]:
    """Parameters of the model's linear adapters by name; empty without any."""
    return {name: parameter for name, parameter in model.named_parameters() if f".adapter_layer.{NAME}." in name}


def write_adapters(model: Any, folder: Path) -> None:
    """The adapters apart, complete or not at all; nothing where the model has none."""
    if tensors := adapter_tensors(model):
        write_tensors(folder / FILE, tensors)
