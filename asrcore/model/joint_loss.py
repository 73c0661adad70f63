"""RNNT loss and gradient of a batch, a few utterances at a time: memory of the joint is one group's and not the batch's.

The joint gives (utterances, frames, labels + 1, pieces + 1) floats, 1 GB for one utterance of 20 s with 80 labels at 13,087 pieces. NeMo's fused joint
computes groups too, but its loss keeps the gradient of every group until the backward pass of the batch (NeMo 3.0, rnnt_pytorch.py,
`_RNNTNumba.forward`), so the sum over the batch stays in memory. Here the backward pass of a group runs at once, down to the outputs of encoder and
prediction network; theirs runs once, at the end. The gradient is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from asrcore.memory import FLOAT, JOINT_GROUP_BYTES
from asrcore.model.rnnt_loss import rnnt_loss


def backward(
    model: Any, outputs: tuple[Tensor, Tensor], lengths: tuple[Tensor, Tensor], tokens: Tensor, fastemit_lambda: float, scale: float,
    forward: Callable[[], AbstractContextManager[Any]],
) -> Tensor:
    """Adds the gradient of `scale` times the batch's summed loss to the parameters and returns that product, detached, in nats.

    `outputs` are the encoder's (B, D, T) and the prediction network's (B, D, U + 1), `lengths` (B,) count frames and tokens (B, U).
    `forward` is the precision in which the joint computes.
    """
    encoded, predicted = (output.transpose(1, 2) for output in outputs)
    leaves = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in (encoded, predicted)]
    counts = lengths[0].tolist(), lengths[1].tolist()
    total = torch.zeros((), device=encoded.device)
    for rows in groups(*counts, int(model.joint.num_classes_with_blank), JOINT_GROUP_BYTES):
        frames, labels = max(counts[0][rows]), max(counts[1][rows])
        with forward():
            acts = model.joint.joint(leaves[0][rows, :frames], leaves[1][rows, : labels + 1])
        losses = _losses(model, acts, tokens[rows, :labels], lengths[0][rows], lengths[1][rows], fastemit_lambda)
        loss = losses.sum() * scale
        total += loss.detach()
        del acts, losses
        loss.backward()
    reached = [(tensor, leaf.grad) for tensor, leaf in zip((encoded, predicted), leaves, strict=True) if leaf.grad is not None]
    if reached:
        torch.autograd.backward([tensor for tensor, _ in reached], [grad for _, grad in reached])
    return total


def groups(frames: Sequence[int], labels: Sequence[int], classes: int, limit: float) -> list[slice]:
    """Consecutive rows, at least one, as many as the joint's output in fp32 stays within `limit` bytes at their longest frames and labels."""
    found: list[slice] = []
    first = most_frames = most_labels = 0
    for row, (t, u) in enumerate(zip(frames, labels, strict=True)):
        longest = max(most_frames, t), max(most_labels, u)
        if row > first and (row + 1 - first) * longest[0] * (longest[1] + 1) * classes * FLOAT > limit:
            found.append(slice(first, row))
            first, longest = row, (t, u)
        most_frames, most_labels = longest
    return [*found, slice(first, len(frames))]


def _losses(model: Any, acts: Tensor, tokens: Tensor, frames: Tensor, labels: Tensor, fastemit_lambda: float) -> Tensor:
    """Per utterance. NeMo's kernel on a GPU; on a CPU it runs its loops in Python, so ours."""
    if acts.device.type == "cpu":
        return rnnt_loss(acts.float(), tokens, frames, labels, acts.shape[-1] - 1, fastemit_lambda)
    return model.loss(log_probs=acts, targets=tokens, input_lengths=frames, target_lengths=labels)
