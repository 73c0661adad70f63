"""What a training step keeps in memory, counted: the constants of asrcore/memory.py.

    python bench/count_memory.py [--width 1024]

activations   bytes of all tensors that autograd keeps in a forward pass of the encoder with prompt, random weights of the published widths, 1 and 3 layers,
              at three lengths; the lines through them give FRONT, LAYER and ATTENTION, in fp32 and under bf16 autocast (BF16_SHARE)
joint         growth of resident memory in forward and backward pass of joint and loss, over the size of the joint's output (JOINT_COPIES)
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from asrcore.memory import HEADS
from asrcore.model.restore import quiet
from asrcore.model.rnnt_loss import rnnt_loss
from asrcore.model.topology import FULL, build_config, write_tokenizer

FRAMES = (51, 126, 251)
ROWS, T, U, CLASSES, HIDDEN = 2, 125, 30, 13_088, 640


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=FULL.d_model)
    parser.add_argument("--joint", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.joint:
        print(joint_copies())
        return 0
    for bf16 in (False, True):
        one, three = ([kept_bytes(layers, options.width, frames, bf16=bf16) for frames in FRAMES] for layers in (1, 3))
        front, layer, attention = constants(one, three, options.width)
        print(f"{'bf16' if bf16 else 'fp32'}: FRONT {front:.1f}, LAYER {layer:.1f}, ATTENTION {attention:.2f}", flush=True)
    # In a process of its own: resident memory never falls again.
    done = subprocess.run([sys.executable, __file__, "--joint"], check=True, capture_output=True, text=True)
    print(f"JOINT_COPIES {float(done.stdout):.2f}")
    return 0


def kept_bytes(layers: int, width: int, frames: int, *, bf16: bool = False) -> int:
    """Of all tensors that the backward pass of one utterance of `frames` encoder frames needs, parameters left out."""
    model = random_model(layers, width)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    audio = torch.randn(1, round((frames - 1) * 0.08 * 16_000))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        encoded, lengths = model.forward(input_signal=audio, input_signal_length=torch.tensor([audio.shape[1]]), prompt_indices=torch.zeros(1, dtype=torch.long))
    if int(lengths[0]) != frames:
        raise SystemExit(f"{audio.shape[1]} samples gave {int(lengths[0])} frames, not {frames}")
    del encoded
    return sum(storage.nbytes() for storage in kept.values())


def random_model(layers: int, width: int) -> Any:
    quiet()
    from nemo.collections.asr.models.rnnt_bpe_models_prompt import EncDecRNNTBPEModelWithPrompt

    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(2000, Path(folder))
        model: Any = EncDecRNNTBPEModelWithPrompt(cfg=build_config(dataclasses.replace(FULL, layers=layers, d_model=width), Path(folder)))
    return model.train()


def constants(one: list[int], three: list[int], width: int) -> tuple[float, float, float]:
    """FRONT, LAYER and ATTENTION in floats, from bytes at `FRAMES` with one layer and with three.

    What a layer keeps is c + a T + b T^2: the slopes between the lengths give b and a. c (position tables, bf16 copies of weights) does not grow with
    a batch and is left out.
    """
    layer = [(more - less) / 2 / 4 for less, more in zip(one, three, strict=True)]
    slopes = [(layer[n + 1] - layer[n]) / (FRAMES[n + 1] - FRAMES[n]) for n in (0, 1)]
    b = (slopes[1] - slopes[0]) / (FRAMES[2] - FRAMES[0])
    a = slopes[0] - b * (FRAMES[0] + FRAMES[1])
    front = (one[2] - one[1]) / 4 / (FRAMES[2] - FRAMES[1]) - slopes[1]
    return front / width, a / width, b / HEADS


def joint_copies() -> float:
    net: Any = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(HIDDEN, CLASSES))
    frames, labels = torch.randn(ROWS, T, HIDDEN, requires_grad=True), torch.randn(ROWS, U + 1, HIDDEN, requires_grad=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    acts = net(frames.unsqueeze(2) + labels.unsqueeze(1))
    size = acts.numel() * 4
    losses = rnnt_loss(acts, torch.randint(0, CLASSES - 1, (ROWS, U)), torch.full((ROWS,), T), torch.full((ROWS,), U), CLASSES - 1, 5e-3)
    del acts
    total: Any = losses.sum()
    total.backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / size


if __name__ == "__main__":
    sys.exit(main())
