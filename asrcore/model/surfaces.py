"""Which tensors a fine-tune may move, and the proof that it moved those and no others.

The stock script reads `freeze_updates` from the checkpoint, not from its command line (speech_to_text_finetune.py), so a wish to freeze is easily
ignored without a word. Here the surface is set on the tensors and checked after the smoke steps. LoRA (Hu et al. 2021, arXiv 2106.09685) is the
peft library's; its adapters exist only while a run trains: every candidate holds plain merged weights, so whatever reads a checkpoint of this
class reads it (trap 3.26: NeMo's own adapters are skipped, cannot stream or cannot be restored; asrcore/model/linear_adapters.py holds the kind that can).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from asrcore.errors import ToolFault
from asrcore.model.linear_adapters import add_linear_adapters
from asrcore.model.tensor_file import bytes_of
from asrcore.requests import split_surface

ABOVE_ENCODER = ("prompt_kernel.", "decoder.", "joint.")
LORA_MODULES = r"encoder\.layers\.\d+\.(self_attn\.linear_(q|k|v|out)|feed_forward[12]\.linear[12])|joint\.(enc|pred)"
"""Linear layers that get an adapter. The LSTM of the prediction network and the convolutions have none in peft's sense and stay frozen."""
LORA_SCALE = 2.0
"""alpha / r, the same at every rank, so that a rate found at one rank serves another."""
_ADAPTER = "default"


@dataclass(frozen=True)
class Trainable:
    """`parameters` is what the optimiser holds; `moves` names the tensors of the saved checkpoint that differ from the base afterwards."""

    parameters: dict[str, Any]
    moves: frozenset[str]


def select(model: Any, surface: str, seed: int = 0) -> Trainable:
    """Makes exactly the tensors of `surface` trainable; for `lora:r` and `adapter:d` adapters are put in, started from `seed`. Raises `surface_empty`."""
    kind, number = split_surface(surface)
    if kind == "lora":
        return _add_adapters(model, number, seed)
    if kind == "adapter":
        added = add_linear_adapters(model, number, seed)
        return Trainable(_some_of(added, surface), frozenset(added))
    prefixes = _prefixes(model, kind, number)
    parameters: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        wanted = name.startswith(prefixes)
        parameter.requires_grad_(wanted)
        if wanted:
            parameters[name] = parameter
    return Trainable(_some_of(parameters, surface), frozenset(parameters))


class PlainTensors(Mapping[str, Any]):
    """The state dict of the checkpoint that this model stands for: adapters merged, names as in the base. A layer is merged when it is asked for, since
    all of them at once are most of the model again."""

    def __init__(self, model: Any) -> None:
        self._adapters = {f"{name}.weight": layer for name, layer in _adapters(model).items()}
        self._tensors = {name.replace(".base_layer.", "."): tensor for name, tensor in model.state_dict().items() if ".lora_" not in name}

    def __getitem__(self, name: str) -> Any:
        layer = self._adapters.get(name)
        if layer is None:
            return self._tensors[name]
        with torch.no_grad():
            return layer.base_layer.weight + layer.get_delta_weight(_ADAPTER)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def remove_adapters(model: Any) -> None:
    """Puts the plain layers back, with the weights they had before `select`; a candidate's merged weights can be loaded then."""
    for name, layer in _adapters(model).items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.base_layer)


class Movement:
    """Digests of all saved tensors at the base checkpoint; `check` compares them with now. Holds no copy of the weights."""

    def __init__(self, model: Any) -> None:
        self.before = _digests(model)

    def start(self, model: Any) -> None:
        """Takes in the tensors that a surface brought with it (linear adapters), as they are now."""
        self.before = _digests(model, known=self.before)

    def check(self, model: Any, moves: frozenset[str]) -> None:
        """Raises `surface_not_moved` or `surface_leaked`, naming up to three tensors, unless exactly the tensors of `moves` differ."""
        moved = {name for name, digest in _digests(model).items() if digest != self.before[name]}
        if still := moves - moved:
            raise ToolFault("surface_not_moved", f"{len(still)} trainable tensor(s) did not move in the smoke steps: {_some(still)}.",
                            next_step="report this with the plan id; nothing was written.")  # fmt: skip
        if leaked := moved - moves:
            raise ToolFault("surface_leaked", f"{len(leaked)} frozen tensor(s) moved in the smoke steps: {_some(leaked)}.",
                            next_step="report this with the plan id; nothing was written.")  # fmt: skip


def _prefixes(model: Any, kind: str, number: int) -> tuple[str, ...]:
    """Prefixes of the trainable parameters' names."""
    match kind:
        case "full":
            return ("",)
        case "decoder_joint":
            return ("decoder.", "joint.")
        case "prompt":
            return ("prompt_kernel.",)
        case _:  # top_layers:k
            layers = len(model.encoder.layers)
            return (*(f"encoder.layers.{layer}." for layer in range(max(0, layers - number), layers)), *ABOVE_ENCODER)


def _add_adapters(model: Any, rank: int, seed: int) -> Trainable:
    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=round(LORA_SCALE * rank), lora_dropout=0.0, target_modules=LORA_MODULES)
    inject_adapter_in_model(config, model, adapter_name=_ADAPTER)
    parameters: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name)
        if ".lora_" in name:
            parameters[name] = parameter
    return Trainable(_some_of(parameters, f"lora:{rank}"), frozenset(f"{name}.weight" for name in _adapters(model)))


def _adapters(model: Any) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def _some_of(parameters: dict[str, Any], surface: str) -> dict[str, Any]:
    if not parameters:
        raise ToolFault("surface_empty", f"the checkpoint has no parameter for the surface {surface!r}.",
                        next_step="plan again with another surface.")  # fmt: skip
    return parameters


def _some(names: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(names)[:3])


def _digests(model: Any, known: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    tensors = PlainTensors(model)
    return {name: known.get(name) or _digest(tensors[name]) for name in tensors}


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.blake2b(bytes_of(tensor), digest_size=16).hexdigest()
