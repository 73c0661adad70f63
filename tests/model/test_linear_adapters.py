"""NeMo's linear adapters as a surface: the base stays, stock NeMo opens the result, it streams, and nothing exports it. Trap 3.26."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore.checkpoint import embedded_base, has_adapters
from asrcore.errors import UsageError
from asrcore.requests import TrainResult
from asrcore.workspace import Config, Workspace
from tests.model.runs import Bench, weights

pytestmark = pytest.mark.heavy

WIDTH = 8


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def adapted(bench: Bench) -> TrainResult:
    """Stopped after the first candidate and gone on with, so that resume is in everything below."""
    request = bench.request("adapted", surface=f"adapter:{WIDTH}", max_steps=6, candidate_every=3, peak_lr=1e-2)
    assert bench.train(request, stop_at=4)[0] is None
    result, _ = bench.train(request)
    assert result is not None
    assert result.resumed_from == 4
    return result


@pytest.fixture(scope="module")
def base_weights() -> dict[str, Any]:
    from asrcore.model.blend import read_weights

    return read_weights(embedded_base())


def test_the_adapters_moved_and_every_tensor_of_the_base_is_what_it_was(adapted: TrainResult, base_weights: dict[str, Any]) -> None:
    import torch

    after = weights(Path(adapted.candidates[-1].path))
    added = after.keys() - base_weights.keys()
    assert added == {name for name in after if ".adapter_layer." in name}
    assert len(added) == 4 * 6, "two linear layers and a norm of two tensors, in each of six layers"
    assert all(torch.equal(tensor, after[name]) for name, tensor in base_weights.items())
    assert any(after[name].abs().max() > 0 for name in added if name.endswith("3.weight")), "last layers start at zero"
    assert adapted.trainable_parameters == sum(after[name].numel() for name in added)


def test_the_adapters_lie_apart_too(adapted: TrainResult) -> None:
    from safetensors.torch import load_file

    apart = load_file(Path(adapted.best.path).with_name("adapters.safetensors"))
    assert sum(tensor.numel() for tensor in apart.values()) == adapted.trainable_parameters


def test_stock_nemo_opens_the_checkpoint_and_streaming_uses_the_adapters(adapted: TrainResult) -> None:
    """Trap 3.26: adapters that are skipped, that cannot stream, or that cannot be restored."""
    import torch
    from nemo.collections.asr.models import ASRModel

    from asrcore.model.restore import restore
    from asrcore.model.stream import StreamingDecoder, StreamItem

    stock: Any = ASRModel.restore_from(adapted.best.path, map_location="cpu")
    assert stock.is_adapter_available()
    model = restore(Path(adapted.best.path), threads=1)
    audio = torch.randn(24_000, generator=torch.Generator().manual_seed(0)) * 0.1
    entered: list[int] = []
    for layer in model.encoder.layers:
        layer.adapter_layer["asrtune"].register_forward_hook(lambda *_: entered.append(1))
    StreamingDecoder(model, (56, 0), 1).decode([StreamItem(0, audio.numpy, 0, 1.5)])
    assert len(entered) >= 6 * 15, "every layer's adapter in every chunk"


def test_such_a_checkpoint_is_neither_exported_nor_tuned_on(adapted: TrainResult, tmp_path: Path) -> None:
    from asrcore.checkpoint import read_checkpoint
    from asrcore.recipe.checks import base_problems
    from asrtune import registry

    assert not has_adapters(embedded_base())
    assert has_adapters(Path(adapted.best.path))
    assert [p.code for p in base_problems(read_checkpoint(Path(adapted.best.path)))] == ["base_has_adapters"]
    ws = Workspace(tmp_path / "home", Config(data_roots=("/",)), tmp_path)
    with pytest.raises(UsageError, match=r"adapters_not_exportable.*lora:r"):
        registry.call("export_model", {"checkpoint": adapted.best.path, "smoke_manifest": "never_read.json"}, ws)
