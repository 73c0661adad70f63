"""Attention that keeps keys, values and positions gives NeMo's frames, and leaves NeMo's own calls on the same model alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore.audio import decode
from asrcore.checkpoint import embedded_base
from asrcore.embedded import shipped
from asrcore.manifest import load_rows

pytestmark = pytest.mark.heavy
CONTEXTS = ((56, 13), (56, 0), (56, 3))


@pytest.fixture(scope="module")
def model() -> Any:
    from asrcore.model.restore import restore

    return restore(embedded_base())


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """A recording of more than twice the left context, and two short ones."""
    rows = load_rows(shipped.unpack(tmp_path_factory.mktemp("sets"))["bg-BG_guard_test"])[:6]
    import numpy as np

    short = [decode(row.audio) for row in rows]
    return [np.concatenate(short), *short[:2]]


def frames(model: Any, clips: list[Any], context: tuple[int, int], monkeypatch: pytest.MonkeyPatch, *, kept: bool) -> list[Any]:
    """Encoder frames of every step, three streams in two places: a place is used again, and steps have one row or two."""
    from asrcore.model import stream
    from asrcore.model.stream import StreamingDecoder, StreamItem, apply_prompt

    heard: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(stream, "apply_prompt", lambda model, encoded, slots: (heard.append(encoded.clone()), apply_prompt(model, encoded, slots))[1])
        if not kept:
            patch.setattr(stream, "kept_width", lambda encoder: encoder.d_model)
        StreamingDecoder(model, context, batch_size=2).decode([StreamItem(n, lambda clip=clip: clip, 30, len(clip) / 16_000) for n, clip in enumerate(clips)])
    return heard


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_frame_of_every_step_is_nemos(model: Any, clips: list[Any], context: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = (frames(model, clips, context, monkeypatch, kept=kept) for kept in (True, False))
    assert [one.shape for one in ours] == [one.shape for one in theirs]
    assert sum(one.shape[1] for one in ours) > 2 * 56
    assert max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) < 1e-4


def test_positions_projected_for_one_chunk_size_serve_the_others(model: Any) -> None:
    """The table of the widest chunk is cut, not computed again: same numbers for each."""
    import torch

    from asrcore.model.stream_attention import KeptAttention

    attention, positions = model.encoder.layers[0].self_attn, model.encoder.pos_enc
    model.encoder.update_max_seq_length(seq_length=200, device=torch.device("cpu"))
    with torch.inference_mode():
        kept = KeptAttention(attention)
        for count in (14, 1, 4, 30):
            _, pos_emb = positions(x=torch.zeros(1, count, model.encoder.d_model), cache_len=56)
            whole = attention.linear_pos(pos_emb).view(1, -1, attention.h, attention.d_k).transpose(1, 2)
            assert (kept._positions(pos_emb, count) - whole[:, :, : 56 + 2 * count - 1]).abs().max() < 1e-5


def test_weights_that_changed_are_seen_by_the_next_decoder(model: Any, clips: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    before = frames(model, clips[1:], (56, 0), monkeypatch, kept=True)
    weight = model.encoder.layers[0].self_attn.linear_pos.weight
    original = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.mul_(3.0)
        ours, theirs = (frames(model, clips[1:], (56, 0), monkeypatch, kept=kept) for kept in (True, False))
    finally:
        with torch.no_grad():
            weight.copy_(original)
    assert max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) < 1e-4
    assert max(float((a - b).abs().max()) for a, b in zip(ours, before, strict=True)) > 1e-3


def test_attention_of_another_kind_keeps_nemos_caches() -> None:
    from types import SimpleNamespace

    from asrcore.model.stream_attention import kept_width

    layer = SimpleNamespace(self_attn=SimpleNamespace(use_pytorch_sdpa=False))
    assert kept_width(SimpleNamespace(layers=[layer], d_model=144)) == 144
    assert not hasattr(layer.self_attn, "forward")


def test_the_models_own_calls_are_those_of_a_model_nobody_decoded_with(model: Any, clips: list[Any], tmp_path: Path) -> None:
    """Export, training and NeMo's loop run on the same object afterwards."""
    import torch

    from asrcore.model.restore import restore
    from asrcore.model.stream import StreamingDecoder

    StreamingDecoder(model, (56, 3), batch_size=1)
    other = restore(embedded_base())
    with torch.inference_mode():
        features = torch.randn(1, 80, 200, generator=torch.Generator().manual_seed(0))
        for one in (model, other):
            one.encoder.set_default_att_context_size([56, 3])
        (ours, _), (theirs, _) = (one.encoder(audio_signal=features, length=torch.tensor([200])) for one in (model, other))
    assert torch.equal(ours, theirs)
    assert list(model.state_dict()) == list(other.state_dict())
