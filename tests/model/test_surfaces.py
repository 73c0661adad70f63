"""Surfaces: what each may move, that LoRA leaves a plain checkpoint behind, and that a stopped adapter run goes on exactly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from asrcore.requests import TrainResult
from tests.model.runs import Bench, weights

pytestmark = pytest.mark.heavy

LORA = re.compile(r"(encoder\.layers\.\d+\.(self_attn\.linear_(q|k|v|out)|feed_forward[12]\.linear[12])|joint\.(enc|pred))\.weight")
ABOVE = ("prompt_kernel.", "decoder.", "joint.")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("surfaces"))


@pytest.fixture(scope="module")
def base_weights(bench: Bench) -> dict[str, Any]:
    from asrcore.model.restore import restore

    return restore(Path(bench.base.path), threads=1).state_dict()


@pytest.fixture(scope="module")
def lora(bench: Bench) -> TrainResult:
    result, _ = bench.train(bench.request("lora", surface="lora:4", max_steps=4))
    assert result is not None
    return result


def moved(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    import torch

    assert before.keys() == after.keys()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


@pytest.mark.parametrize(
    ("surface", "prefixes"),
    [
        ("prompt", ("prompt_kernel.",)),
        ("decoder_joint", ("decoder.", "joint.")),
        ("top_layers:2", ("encoder.layers.4.", "encoder.layers.5.", *ABOVE)),
    ],
)
def test_a_surface_moves_its_own_tensors_and_no_other(
    bench: Bench, base_weights: dict[str, Any], surface: str, prefixes: tuple[str, ...]
) -> None:
    result, _ = bench.train(bench.request(surface.replace(":", "_"), surface=surface, max_steps=4))
    assert result is not None
    found = moved(base_weights, weights(Path(result.candidates[-1].path)))
    assert found == {name for name in base_weights if name.startswith(prefixes)}
    assert result.trainable_parameters == sum(base_weights[name].numel() for name in found)


def test_lora_moves_the_linear_layers_of_encoder_and_joint_through_few_parameters(base_weights: dict[str, Any], lora: TrainResult) -> None:
    found = moved(base_weights, weights(Path(lora.candidates[-1].path)))
    assert found == {name for name in base_weights if LORA.fullmatch(name)}
    assert lora.trainable_parameters == sum(4 * sum(base_weights[name].shape) for name in found)


def test_a_lora_run_ends_in_a_plain_checkpoint_that_stock_nemo_opens(base_weights: dict[str, Any], lora: TrainResult) -> None:
    """Trap 3.26: adapters that stay in a checkpoint are skipped, do not stream, or cannot be restored."""
    from nemo.collections.asr.models import ASRModel

    restored: Any = ASRModel.restore_from(lora.best.path, map_location="cpu")
    assert moved(base_weights, restored.state_dict()) == {name for name in base_weights if LORA.fullmatch(name)}


def test_merged_weights_compute_what_the_adapters_computed(bench: Bench) -> None:
    import torch

    from asrcore.model.restore import restore
    from asrcore.model.surfaces import PlainTensors, remove_adapters, select

    model = restore(Path(bench.base.path), threads=1)
    signal = {"input_signal": torch.randn(1, 16_000), "input_signal_length": torch.tensor([16_000]), "prompt_indices": torch.tensor([0])}
    with torch.no_grad():
        before = model.forward(**signal)[0]
        for name, parameter in select(model, "lora:8", seed=3).parameters.items():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
        adapted, merged = model.forward(**signal)[0], dict(PlainTensors(model))
        remove_adapters(model)
        model.load_state_dict(merged, strict=True)
        plain = model.forward(**signal)[0]
    assert (adapted - before).abs().max() > 1e-2
    assert (adapted - plain).abs().max() < 1e-4


def test_a_stopped_lora_run_ends_with_the_very_weights_of_one_that_was_not(bench: Bench, lora: TrainResult) -> None:
    """Trap 3.21."""
    request = bench.request("lora_stopped", surface="lora:4", max_steps=4)
    assert bench.train(request, stop_at=2)[0] is None
    resumed, _ = bench.train(request)
    assert resumed is not None
    assert resumed.resumed_from == 2
    assert not moved(weights(Path(lora.candidates[-1].path)), weights(Path(resumed.candidates[-1].path)))


def test_patience_ends_a_run_whose_candidates_no_longer_get_better(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.model import train

    rates = iter([50.0, 40.0, 41.0, 40.0, 99.0, 99.0])
    monkeypatch.setattr(train, "dev_error_rate", lambda *args: next(rates))
    result, _ = bench.train(bench.request("patient", surface="prompt", max_steps=6, candidate_every=1, patience=2))
    assert result is not None
    assert (result.steps, result.best_step) == (3, 1)
    assert [candidate.dev_wer for candidate in result.candidates] == [40.0, 41.0, 40.0]


@pytest.mark.parametrize(("rate", "kept"), [(10.0, True), (40.0, False)])
def test_the_mean_of_the_best_candidates_is_shipped_only_when_it_is_better(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, rate: float, kept: bool
) -> None:
    import torch

    from asrcore.model import train
    from asrcore.model.restore import restore

    rates = iter([50.0, 40.0, 41.0, rate])
    monkeypatch.setattr(train, "dev_error_rate", lambda *args: next(rates))
    result, _ = bench.train(bench.request(f"mean_{kept}", surface="prompt", max_steps=2, candidate_every=1))
    assert result is not None
    assert result.averaged is not None
    assert (result.averaged.steps, result.averaged.kept) == ((1, 2), kept)
    first, second = (weights(Path(candidate.path)) for candidate in result.candidates)
    name = "prompt_kernel.0.weight"
    expected = (first[name].double() + second[name].double()).div(2).float() if kept else first[name]
    assert torch.equal(restore(Path(result.best.path), threads=1).state_dict()[name], expected)
