"""Which tensors a fine-tune may move, and the proof that it moved those and no others.

The stock script reads `freeze_updates` from the checkpoint, not from its command line (speech_to_text_finetune.py), so a wish to freeze is easily
ignored without a word. Here the surface is set on the tensors and checked after the smoke steps.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from asrcore.errors import ToolFault
from asrcore.requests import Surface

PREFIXES: dict[Surface, tuple[str, ...]] = {
    "full": ("",),
    "decoder_joint": ("decoder.", "joint."),
    "prompt": ("prompt_kernel.",),
}
"""Surface -> prefixes of the trainable parameters' names."""


def select(model: Any, surface: Surface) -> dict[str, Any]:
    """Sets `requires_grad` on every parameter and returns the trainable ones by name. Raises `surface_empty`."""
    trainable: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        wanted = name.startswith(PREFIXES[surface])
        parameter.requires_grad_(wanted)
        if wanted:
            trainable[name] = parameter
    if not trainable:
        raise ToolFault("surface_empty", f"the checkpoint has no parameter for the surface {surface!r}.",
                        next_step="plan again with another surface.")  # fmt: skip
    return trainable


class Movement:
    """Digests of all saved tensors at the base checkpoint; `check` compares them with now. Holds no copy of the weights."""

    def __init__(self, model: Any) -> None:
        self.before = _digests(model)

    def check(self, model: Any, trainable: dict[str, Any]) -> None:
        """Raises `surface_not_moved` or `surface_leaked`, naming up to three tensors, unless exactly the trainable tensors differ."""
        after = _digests(model)
        moved = {name for name, digest in after.items() if digest != self.before[name]}
        if still := trainable.keys() - moved:
            raise ToolFault("surface_not_moved", f"{len(still)} trainable tensor(s) did not move in the smoke steps: {_some(still)}.",
                            next_step="report this with the plan id; nothing was written.")  # fmt: skip
        if leaked := moved - trainable.keys():
            raise ToolFault("surface_leaked", f"{len(leaked)} frozen tensor(s) moved in the smoke steps: {_some(leaked)}.",
                            next_step="report this with the plan id; nothing was written.")  # fmt: skip


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:3])


def _digests(model: Any) -> dict[str, str]:
    return {name: _digest(tensor) for name, tensor in model.state_dict().items()}


def _digest(tensor: torch.Tensor) -> str:
    # As bytes: numpy has no bfloat16.
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    return hashlib.blake2b(data, digest_size=16).hexdigest()
