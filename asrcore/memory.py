"""Memory of a training run as arithmetic, for the plan and for the search for a batch that fits. docs/concepts/size.md has the same formulas as a table.

    weights       4 bytes a parameter; in bf16 2 more for the copy that autocast keeps through a step
    moving        12 bytes a parameter that moves: its gradient and AdamW's two moments, all fp32; 4 more with a moving average
    activations   what the backward pass needs, by encoder frame: FRONT d + layers (LAYER d + ATTENTION heads T) floats, d the width, T the frames of an utterance
    joint         JOINT_COPIES times the joint's output of one group of utterances (asrcore/model/joint_loss.py), not of the batch
    runtime       Python with torch and NeMo

FRONT, LAYER and ATTENTION were counted, not fitted: bytes of all tensors that autograd kept in a forward pass at d = 1024 with 1 and 3 layers, at T = 51, 126
and 251. JOINT_COPIES is the growth of resident memory over the size of the joint's output, on a CPU. Both: `python bench/count_memory.py`.
"""

from __future__ import annotations

from typing import NamedTuple

FLOAT = 4
BF16_SHARE = 0.53
"""Bytes of activations under bf16 autocast over those in fp32, counted as above: some operations keep fp32."""
MOVING_BYTES = 12
AVERAGE_BYTES = 4
FRAME_SECONDS = 0.08
"""Of an encoder frame: features of 10 ms, eight to a frame."""
FRONT = 203.0
LAYER = 50.0
ATTENTION = 3.05
HEADS = 8
JOINT_COPIES = 5.1
JOINT_COPIES_BF16 = 3.0
"""On a GPU, by reading and not by measuring: NeMo's loss casts the logits to fp32 and makes their gradient in forward (2), both sides of that cast are bf16 (1)."""
JOINT_GROUP_BYTES = 256e6
"""Joint output that is computed at once, where one utterance does not need more by itself."""
RUNTIME_BYTES = 0.8e9
"""A whole training of the 3.6 M base peaks at 0.9 GB."""
LOADED_TWICE = 2
"""Copies of the weights while NeMo restores a checkpoint: the model's own and those read from the file."""


class Network(NamedTuple):
    """What the formulas need to know of a checkpoint. `classes` counts blank."""

    parameters: float
    layers: int
    width: int
    classes: int


class Moves(NamedTuple):
    """What a choice of surface costs: parameters that move, layers whose activations are kept, and whether the sub-sampling's are."""

    parameters: float
    layers: int
    front: bool


class Load(NamedTuple):
    """A batch: utterances, the seconds of the longest, and its labels (tokens)."""

    utterances: int
    longest_seconds: float
    labels: float


class Memory(NamedTuple):
    """Bytes by part."""

    weights: float
    moving: float
    activations: float
    joint: float
    runtime: float

    @property
    def training(self) -> float:
        """Everything but the process itself: what a GPU's allocator holds at its peak."""
        return self.weights + self.moving + self.activations + self.joint

    @property
    def peak(self) -> float:
        """Of the process on a CPU: a training step, or the moment in which the checkpoint is read."""
        return self.runtime + max(self.training, LOADED_TWICE * self.weights)


def training_memory(network: Network, moves: Moves, load: Load, *, bf16: bool = False, averaged: bool = False) -> Memory:
    """The most that a step on a batch of `load.utterances` of the longest kind takes."""
    frames = load.longest_seconds / FRAME_SECONDS
    by_frame = moves.front * FRONT * network.width + moves.layers * (LAYER * network.width + ATTENTION * HEADS * frames)
    return Memory(
        weights=network.parameters * (FLOAT + 2 * bf16),
        moving=moves.parameters * (MOVING_BYTES + AVERAGE_BYTES * averaged),
        activations=load.utterances * frames * by_frame * FLOAT * (BF16_SHARE if bf16 else 1.0),
        joint=(JOINT_COPIES_BF16 if bf16 else JOINT_COPIES) * joint_group(network, load), runtime=RUNTIME_BYTES,
    )  # fmt: skip


def joint_group(network: Network, load: Load) -> float:
    """Bytes of joint output that stand in memory at once."""
    one = load.longest_seconds / FRAME_SECONDS * (load.labels + 1) * network.classes * FLOAT
    return max(one, min(JOINT_GROUP_BYTES, load.utterances * one))


def largest_batch(network: Network, moves: Moves, longest_seconds: float, labels: float, bytes_free: float, *, bf16: bool, averaged: bool = False) -> int:
    """Utterances of the longest kind whose step fits into `bytes_free`; 0 when not even one does."""

    def fits(utterances: int) -> bool:
        load = Load(utterances, longest_seconds, labels)
        return training_memory(network, moves, load, bf16=bf16, averaged=averaged).training <= bytes_free

    if not fits(1):
        return 0
    batch = 1
    while fits(2 * batch):
        batch *= 2
    step = batch // 2
    while step:
        if fits(batch + step):
            batch += step
        step //= 2
    return batch
