"""Phrase boosting for greedy RNNT, a list of phrases a stream: NeMo's boosting tree over the pieces of each phrase.

Where a frame speaks, tokens that begin or continue a phrase get a bonus before the best is taken; whether it speaks stays the model's own decision
("preserve blank / non-blank", NeMo 3.0, rnnt_label_looping.py). A phrase that breaks off gives its bonus back. Scores are NeMo's defaults for
RNNT (`BoostingTreeModelConfig`: context_score 1, depth_scaling 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from asrcore.errors import Problem, UsageError


@dataclass(frozen=True, eq=False)
class Boost:
    """A tree of phrases and the factor on its scores. Any number of streams may share one."""

    tree: Any
    weight: float

    def choose(self, logits: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """The best token that is not blank of each row of logits (N, tokens + blank), from tree states (N,), and the states after it."""
        scores, after = self.tree.advance(states)
        labels = (logits[:, :-1] + self.weight * scores).argmax(-1)
        return labels, after[torch.arange(len(labels), device=labels.device), labels]


def make_boost(model: Any, phrases: Sequence[str], weight: float) -> Boost:
    """Raises `boost_phrase_unwritable` with all phrases that the tokenizer has no pieces for: they cannot be written, boosted or not."""
    from nemo.collections.asr.parts.context_biasing import BoostingTreeModelConfig, GPUBoostingTreeModel

    unknown = model.tokenizer.tokenizer.unk_id()
    bad = [n for n, phrase in enumerate(phrases) if not (ids := model.tokenizer.text_to_ids(phrase)) or unknown in ids]
    if bad:
        raise UsageError("boost_phrase_unwritable", f"{len(bad)} of {len(phrases)} phrases have characters that the checkpoint cannot write.",
                         next_step="leave them out, or spell them in characters of the language.",
                         problems=[Problem(code="boost_phrase_unwritable", message=f"phrase {n + 1} of the list", fix="spell it otherwise") for n in bad[:50]])  # fmt: skip
    config = BoostingTreeModelConfig(key_phrases_list=list(dict.fromkeys(phrases)), use_triton=None)  # pyright: ignore[reportArgumentType]
    tree = GPUBoostingTreeModel.from_config(config, model.tokenizer)
    return Boost(tree.to(next(model.parameters()).device).eval(), weight)
