"""The joint a few utterances at a time: the same loss and gradient as all at once, and memory of one group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model.runs import Bench

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("joint"))


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 100)), min_size=1, max_size=40), st.integers(2, 14_000), st.floats(1e3, 1e9))
def test_groups_cover_the_batch_in_order_and_only_a_single_utterance_may_be_over_the_limit(rows: list[tuple[int, int]], classes: int, limit: float) -> None:
    from asrcore.model.joint_loss import groups

    frames, labels = ([row[side] for row in rows] for side in (0, 1))
    found = groups(frames, labels, classes, limit)
    assert [n for one in found for n in range(one.start, one.stop)] == list(range(len(rows)))
    for one in found:
        count = one.stop - one.start
        assert count == 1 or count * max(frames[one]) * (max(labels[one]) + 1) * classes * 4 <= limit


@pytest.mark.parametrize("surface", ["full", "lora:4", "decoder_joint", "prompt"])
def test_a_batch_in_groups_has_the_loss_and_gradient_of_one_at_once(bench: Bench, surface: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, together = gradients(bench, surface, 1e12, monkeypatch)
    parts, apart = gradients(bench, surface, 1.0, monkeypatch)
    assert whole.keys() == parts.keys()
    assert together == pytest.approx(apart, rel=1e-5)
    assert max(float(gradient.abs().max()) for gradient in whole.values()) > 1e-3
    for name, gradient in whole.items():
        scale = float(gradient.abs().max()) + 1e-3
        assert float((gradient - parts[name]).abs().max()) <= 1e-4 * scale, name


def gradients(bench: Bench, surface: str, limit: float, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], float]:
    """Gradients of the first batch, by parameter, and its loss. The model is opened anew, so that adapters start from the same seed."""
    import torch

    from asrcore.model import joint_loss
    from asrcore.model.loader import batches
    from asrcore.model.restore import prompt_slots, restore
    from asrcore.model.surfaces import select
    from asrcore.model.train_loop import Loop

    monkeypatch.setattr(joint_loss, "JOINT_GROUP_BYTES", limit)
    model = restore(Path(bench.base.path), threads=1)
    request = bench.request("groups", surface=surface)
    batch = next(batches(request, model.tokenizer, prompt_slots(model), sample_rate=16_000, skip=0))
    parameters = select(model, surface).parameters
    loop = Loop(model, request, parameters)
    loop._seed(1)  # pyright: ignore[reportPrivateUsage]
    loss = loop.backward(batch)
    assert all(p.grad is None for name, p in model.named_parameters() if name not in parameters)
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in parameters.items()}, float(loss)
