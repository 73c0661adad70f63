"""Attention for streaming that computes keys, values and positions once, where NeMo computes those of the whole left context anew at every chunk.

NeMo's cache of a layer holds the 56 frames before the chunk as they enter the attention, and each step projects all of them to keys and values, and
113 or more positional encodings besides. At 80 ms a chunk is one frame: of 57 keys 56 were known before. Here the cache holds keys and values
(twice as wide), and the positions are projected once. The arithmetic of a frame is the same, so frames agree to rounding.

Which of the two caches a call brings shows in its width: NeMo's own loop, its export and its training run as before on the same model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def kept_width(encoder: Any) -> int:
    """Lets the layers of a NeMo `ConformerEncoder` take caches of keys and values, and gives the width of such a cache.

    An encoder with attention of another kind is left as it is; its caches have the width of NeMo's. What was projected before is forgotten, so
    weights may change between two calls.
    """
    from nemo.collections.asr.parts.submodules.multi_head_attention import RelPositionMultiHeadAttention

    attentions = [layer.self_attn for layer in encoder.layers]
    if any(type(one) is not RelPositionMultiHeadAttention or one.use_pytorch_sdpa for one in attentions):
        return int(encoder.d_model)
    for one in attentions:
        one.forward = KeptAttention(one)
    return 2 * int(encoder.d_model)


class KeptAttention:
    """Stands in for the `forward` of one layer's attention (NeMo 3.0, multi_head_attention.py, `RelPositionMultiHeadAttention`)."""

    def __init__(self, attention: Any) -> None:
        self.attention = attention
        self.positions: Tensor | None = None
        """Projected positional encodings (1, heads, positions, width of a head), from the farthest past on."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, pos_emb: Tensor, cache: Tensor | None = None) -> Any:
        """Attention output (B, T, D) of frames `query`, and the next cache where there is one (B, C, D or 2 D)."""
        attention = self.attention
        width = query.shape[-1]
        if cache is None or cache.shape[-1] == width:
            return type(attention).forward(attention, query=query, key=key, value=value, mask=mask, pos_emb=pos_emb, cache=cache)
        known = torch.cat([cache, torch.cat([attention.linear_k(query), attention.linear_v(query)], dim=-1)], dim=1)
        keys, values = (self._heads(side).transpose(1, 2) for side in (known[..., :width], known[..., width:]))
        queries = self._heads(attention.linear_q(query))
        content, place = ((queries + bias).transpose(1, 2) for bias in (attention.pos_bias_u, attention.pos_bias_v))
        far = torch.matmul(place, self._positions(pos_emb, query.shape[1]).transpose(-2, -1))
        scores = torch.matmul(content, keys.transpose(-2, -1)) + attention.rel_shift(far)[..., : known.shape[1]]
        out = attention.forward_attention(values, scores / attention.s_d_k, mask)
        forgotten = query.shape[1] - attention.cache_drop_size
        return out, known[:, forgotten : forgotten + cache.shape[1]]

    def _heads(self, frames: Tensor) -> Tensor:
        return frames.view(*frames.shape[:2], self.attention.h, self.attention.d_k)

    def _positions(self, pos_emb: Tensor, frames: int) -> Tensor:
        """Those from the oldest known frame to the newest of `frames`; `pos_emb` (1, 2 L - 1, D) has L - 1 on either side of the present."""
        reach = (pos_emb.shape[1] + 1) // 2
        if self.positions is None or (self.positions.shape[2] + 1) // 2 < reach:
            self.positions = self._heads(self.attention.linear_pos(pos_emb)).transpose(1, 2)
        start = (self.positions.shape[2] + 1) // 2 - reach
        return self.positions[:, :, start : start + reach + frames - 1]
