"""Trap 3.26: the model's encoder class takes no adapters, so a run that adds some trains nothing or stops."""

from __future__ import annotations

import pytest

from tests.traps.stock import restored, trap

pytestmark = pytest.mark.heavy


@trap("3.26", "the plain ConformerEncoder is not adapter-capable")
def test_a_stock_model_takes_an_adapter() -> None:
    from nemo.collections.common.parts.adapter_modules import LinearAdapterConfig

    model = restored()
    try:
        model.add_adapter(name="encoder:own", cfg=LinearAdapterConfig(in_features=int(model.encoder.d_model), dim=4))
        added = model.is_adapter_available()
    except AttributeError as error:  # the encoder has no add_adapter
        assert "adapter" in str(error).lower(), "another fault would show nothing"
        added = False
    assert added


def test_ours_takes_linear_adapters_and_says_the_same_until_they_are_trained() -> None:
    import torch

    from asrcore.model.linear_adapters import add_linear_adapters

    model = restored().eval()
    audio, length, slot = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)), torch.tensor([16_000]), torch.tensor([0])
    model.preprocessor.featurizer.dither = 0.0
    with torch.inference_mode():
        before = model.forward(input_signal=audio, input_signal_length=length, prompt_indices=slot)[0]
    parameters = add_linear_adapters(model, 4, seed=0)
    assert model.is_adapter_available()
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == set(parameters)
    with torch.inference_mode():
        after = model.eval().forward(input_signal=audio, input_signal_length=length, prompt_indices=slot)[0]
    assert torch.equal(before, after)
