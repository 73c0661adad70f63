"""Tensors to and from safetensors files, one tensor at a time: a state of the 0.6 B model is 7.7 GB, and a second copy of it in memory is what
ends a run on a machine that trains it well. The library's `save` builds the whole file in memory (twice, in 0.8.0), and its `save_file` renames a file of
its own over a temp file, unsynced. Format: README of huggingface/safetensors, "Format".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from asrcore import io

_TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
    torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_ALIGNMENT = 8
"""Bytes; the data begins at a multiple of it, and wide types come first, so that every tensor can be mapped where it lies."""


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes tensors of any device, complete or not at all. Each is asked for twice: once for its shape, once for its data. Raises `disk_full`."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    sizes = {name: tensor.element_size() for name, tensor in tensors.items()}
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    end = 0
    for name in names:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * sizes[name]
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % _ALIGNMENT)
    with io.atomic_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            file.write(bytes_of(tensors[name]))


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The data of a tensor; no copy of one that lies contiguous in main memory. Through uint8, since numpy has no bfloat16."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def read_tensor(path: Path, name: str) -> torch.Tensor:
    """One tensor. The file is opened for each, since a mapped file counts as memory of this process as far as it was read."""
    with safe_open(path, framework="pt", device="cpu") as file:
        return file.get_tensor(name).clone()


def tensor_names(path: Path) -> list[str]:
    with safe_open(path, framework="pt", device="cpu") as file:
        return list(file.keys())
