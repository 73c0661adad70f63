"""Trap 3.9: in bf16 the one-hot of the language is rounded away beside a thousand encoder features."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.heavy

FEATURES, PROMPTS = 1024, 128


@pytest.fixture(scope="module")
def layer() -> Any:
    """A prompt layer of the real width whose prompt weights are small beside its feature weights."""
    import torch

    torch.manual_seed(0)
    linear = torch.nn.Linear(FEATURES + PROMPTS, 8)
    with torch.no_grad():
        linear.weight[:, FEATURES:] *= 1e-3
    return SimpleNamespace(num_prompts=PROMPTS, prompt_kernel=linear)


def test_the_prompt_layer_is_fp32_inside_mixed_precision(layer: Any) -> None:
    import torch

    from asrcore.model.stream import apply_prompt

    encoded, slots = 8 * torch.randn(2, 5, FEATURES), torch.tensor([3, 101])
    outside = apply_prompt(layer, encoded, slots)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = apply_prompt(layer, encoded, slots)
        one_hot = torch.nn.functional.one_hot(slots, PROMPTS)[:, None].expand(-1, 5, -1)
        rounded = layer.prompt_kernel(torch.cat([encoded, one_hot], dim=-1))
    assert torch.equal(inside, outside)
    assert not torch.equal(rounded.float(), outside), "plain autocast would round, so the test can tell the two apart"


def test_each_row_gets_its_own_slot(layer: Any) -> None:
    import torch

    from asrcore.model.stream import apply_prompt

    same = torch.randn(1, 5, FEATURES).expand(2, -1, -1)
    first, second = apply_prompt(layer, same, torch.tensor([3, 101]))
    torch.testing.assert_close(first, apply_prompt(layer, same[:1], torch.tensor([3]))[0])
    assert not torch.equal(first, second)


def test_training_in_bf16_keeps_the_prompt_layer_and_its_weights_in_fp32() -> None:
    import torch

    from asrcore.model.train_precision import Precision

    torch.manual_seed(0)
    linear = torch.nn.Linear(FEATURES + PROMPTS, 8)
    plain = torch.nn.Linear(FEATURES + PROMPTS, 8)
    plain.load_state_dict(linear.state_dict())
    inputs, names = 8 * torch.randn(2, 5, FEATURES + PROMPTS), list(linear.state_dict())
    expected = linear(inputs)
    precision = Precision("cpu", bf16=True)
    precision.prepare(SimpleNamespace(prompt_kernel=linear))
    with precision.forward():
        assert torch.equal(linear(inputs), expected)
        assert plain(inputs).dtype == torch.bfloat16, "plain autocast would round, so the test can tell the two apart"
    assert (list(linear.state_dict()), linear.weight.dtype) == (names, torch.float32)


def test_a_cpu_trains_in_fp32() -> None:
    import torch

    from asrcore.model.train_precision import Precision

    assert not Precision.of(torch.device("cpu")).bf16
