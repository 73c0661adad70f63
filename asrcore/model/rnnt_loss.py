"""Exact RNNT loss for CPUs in plain PyTorch.

NeMo's numba loss runs its loops in Python on a CPU. This one keeps the recursion over frames in Python and does the recursion over labels
with `logcumsumexp`: alpha[t, u] = logaddexp(alpha[t-1, u] + blank[t-1, u], alpha[t, u-1] + label[t, u-1]), solved for all u at once.
Source of the loss: Graves 2012, arXiv:1211.3711, section 2.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asrcore.errors import ToolFault

_LABEL_PADDING = -30.0
"""Log-probability of padded label positions; they are never on a path, but must stay finite for `cumsum`."""


class CpuRnntLoss(nn.Module):
    """Drop-in for the inner loss object of `nemo.collections.asr.losses.rnnt.RNNTLoss` (`model.loss._loss`)."""

    def __init__(self, blank: int, fastemit_lambda: float = 0.0) -> None:
        super().__init__()
        self.blank = blank
        self.fastemit_lambda = fastemit_lambda
        self.reduction = None

    def forward(self, acts: Tensor, labels: Tensor, act_lens: Tensor, label_lens: Tensor) -> Tensor:
        """Negative log-likelihood per utterance, shape (B,).

        acts (B, T, U+1, V+1) are raw joint logits, labels (B, U) token ids, act_lens and label_lens (B,) lengths in frames and tokens.
        """
        return rnnt_loss(acts, labels, act_lens, label_lens, self.blank, self.fastemit_lambda)


def rnnt_loss(acts: Tensor, labels: Tensor, act_lens: Tensor, label_lens: Tensor, blank: int, fastemit_lambda: float = 0.0) -> Tensor:
    """See `CpuRnntLoss.forward`. FastEmit (arXiv:2010.11148) scales the gradient through label arcs by (1 + lambda), as NeMo's kernel does.

    More labels than frames are allowed: a transducer may write several in one frame. Raises `loss_input_invalid` for lengths that are not in the tensors,
    for an utterance of no frames, and for labels that are no token.
    """
    _require_sound(acts, labels, act_lens, label_lens, blank)
    label_count = acts.shape[2] - 1
    denominator = torch.logsumexp(acts, dim=-1)
    blank_logp = acts[..., blank] - denominator
    index = labels.long().clamp(0, acts.shape[-1] - 1)[:, None, :, None].expand(-1, acts.shape[1], label_count, 1)
    label_logp = acts[:, :, :-1, :].gather(3, index).squeeze(3) - denominator[:, :, :-1]
    padding = torch.arange(label_count, device=acts.device)[None, :] >= label_lens[:, None]
    label_logp = label_logp.masked_fill(padding[:, None, :], _LABEL_PADDING)
    if fastemit_lambda:
        # Same value, gradient of the label arcs times (1 + lambda).
        label_logp = label_logp + fastemit_lambda * (label_logp - label_logp.detach())
    cumulative = nn.functional.pad(label_logp.cumsum(-1), (1, 0))
    alpha = cumulative[:, 0]
    alphas = [alpha]
    for t in range(1, acts.shape[1]):
        alpha = torch.logcumsumexp(alpha + blank_logp[:, t - 1] - cumulative[:, t], dim=-1) + cumulative[:, t]
        alphas.append(alpha)
    total = torch.stack(alphas, 1) + blank_logp
    loss = -total[torch.arange(acts.shape[0], device=acts.device), act_lens.long() - 1, label_lens.long()]
    # NeMo's kernel reports (1 + lambda) times the likelihood when it computes gradients, and the plain one when it does not.
    return loss + fastemit_lambda * loss.detach() if loss.requires_grad else loss


def _require_sound(acts: Tensor, labels: Tensor, act_lens: Tensor, label_lens: Tensor, blank: int) -> None:
    """Indexing would take a length of 0 for the last frame, and the loss would be a number all the same."""
    _, frames, places, classes = acts.shape
    inside = torch.arange(labels.shape[1], device=labels.device)[None, :] < label_lens[:, None]
    wrong = [
        what for what, bad in (
            (f"frames are not in 1 to {frames}", (act_lens < 1) | (act_lens > frames)),
            (f"labels are not in 0 to {places - 1}", (label_lens < 0) | (label_lens > places - 1)),
            (f"a label is blank or not in 0 to {classes - 1}", (inside & ((labels < 0) | (labels >= classes) | (labels == blank))).any(-1)),
        ) if bool(bad.any())
    ]  # fmt: skip
    if wrong:
        raise ToolFault("loss_input_invalid", f"the loss cannot be computed: {'; '.join(wrong)}.",
                        next_step="call inspect_dataset on the sources for empty or damaged rows; then build_shards and plan again.")  # fmt: skip
