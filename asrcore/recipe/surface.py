"""What a choice of surface means for a plan: why one takes it, how many parameters move, how much faster they may move."""

from __future__ import annotations

from asrcore.checkpoint import CheckpointInfo
from asrcore.errors import Problem
from asrcore.memory import FLOAT, Moves
from asrcore.requests import split_surface

LAYER_WIDTHS_SQUARED = 24
"""Parameters of one FastConformer layer in units of d_model^2: two feed-forward blocks 16, attention with positions 5, convolution block 3."""
LORA_WIDTHS = 28
"""Adapter parameters of one layer in units of d_model * r: four attention projections 2 each, four feed-forward layers 5 each."""
LORA_RATE = 10.0
"""LoRA's best rate over full fine-tuning's, nearly the same at all ranks and sizes in "LoRA Without Regret" (Thinking Machines, 2025). Linear adapters,
which start from nothing as well, are given the same; that is an assumption."""
NUM_PROMPTS = 128

REASONS = {
    "full": "all tensors move: the public fine-tunes with large gains are full ones",
    "lora": "low-rank adapters on the linear layers of encoder and joint: a fraction of the optimiser's memory; merged, so the result is a plain checkpoint",
    "adapter": "NeMo's linear adapters behind the encoder layers, the base untouched: many can be kept apart for one base, and none can be exported",
    "top_layers": "the highest encoder layers and all above them move: new words and sounds, while the ear below stays as it is",
    "decoder_joint": "only prediction network and joint move: new words and style, little acoustics",
    "prompt": "only the prompt kernel moves: the smallest step, keeps the encoder as it is",
}


def reason(surface: str) -> str:
    return REASONS[split_surface(surface)[0]]


def rate_factor(surface: str) -> float:
    """By how much the peak rate of full fine-tuning is multiplied."""
    return LORA_RATE if split_surface(surface)[0] in ("lora", "adapter") else 1.0


def trainable_parameters(base: CheckpointInfo, surface: str) -> float:
    """Roughly, from the width and depth in the config: good for memory, not for a table."""
    kind, number = split_surface(surface)
    total, layer = base.size_bytes / FLOAT, LAYER_WIDTHS_SQUARED * base.d_model**2
    above = max(0.0, total - base.n_layers * layer)
    match kind:
        case "lora":
            return LORA_WIDTHS * base.d_model * number * base.n_layers
        case "adapter":
            return 2 * base.d_model * (number + 1) * base.n_layers
        case "top_layers":
            return min(total, number * layer + above)
        case "decoder_joint":
            return above
        case "prompt":
            return min(total, 2 * base.d_model * (2 * base.d_model + NUM_PROMPTS))
        case _:
            return total


def moves(base: CheckpointInfo, surface: str) -> Moves:
    """What has to be kept for a backward pass: all of the encoder, its layers without the frozen sub-sampling, the highest k, or none."""
    kind, number = split_surface(surface)
    layers = {"full": base.n_layers, "lora": base.n_layers, "adapter": base.n_layers, "top_layers": min(number, base.n_layers)}.get(kind, 0)
    return Moves(trainable_parameters(base, surface), layers, kind == "full")


def work_share(base: CheckpointInfo, surface: str) -> float:
    """Arithmetic of a step over that of a full one. A weight costs one product forward, one for the gradient that is passed on and one for its own:
    3 units where it moves, 2 where the gradient only passes through it (below a moving layer none does)."""
    found = moves(base, surface)
    own = min(1.0, found.parameters / (base.size_bytes / FLOAT))
    passed = max(own, found.layers / base.n_layers)
    return (1 + passed + own) / 3


def surface_problems(base: CheckpointInfo, surface: str) -> list[Problem]:
    """More layers than there are, a rank that leaves nothing low about it, adapters wider than the base, and what adapters cost."""
    kind, number = split_surface(surface)
    if kind == "top_layers" and number > base.n_layers:
        return [Problem(code="surface_too_deep", message=f"{surface} asks for more than the base's {base.n_layers} encoder layers",
                        fix=f"plan with top_layers:{base.n_layers} or less, or with full")]  # fmt: skip
    if kind == "lora" and number > base.d_model // 2:
        return [Problem(code="lora_rank_too_high", message=f"rank {number} is over half the base's width of {base.d_model}",
                        fix="plan with a lower rank, or with full")]  # fmt: skip
    if kind == "adapter" and number > base.d_model:
        return [Problem(code="adapter_too_wide", message=f"{number} hidden units are more than the base's width of {base.d_model}",
                        fix="plan with a narrower adapter, or with full")]  # fmt: skip
    if kind == "adapter":
        return [Problem(code="adapters_not_exportable", severity="warning", message="a checkpoint with NeMo's adapters can be measured and served here, "
                        "but neither blended nor exported", fix="plan with lora:r, which is merged")]  # fmt: skip
    return []
