"""Factors on the learning rate by module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.model.runs import Bench, weights

pytestmark = pytest.mark.heavy


def test_a_module_moves_at_its_own_factor_and_a_stopped_run_goes_on_exactly(tmp_path: Path) -> None:
    """AdamW moves a tensor by about the rate in each step, whatever the size of its gradient, so the factor shows in the distance."""
    import torch

    from asrcore.checkpoint import embedded_base
    from asrcore.model.blend import read_weights

    bench = Bench(tmp_path)
    rates = {"encoder": 1e-3, "decoder": 0.1}
    whole, _ = bench.train(bench.request("whole", rates=rates, weight_decay=0.0))
    assert whole is not None
    assert bench.train(bench.request("stopped", rates=rates, weight_decay=0.0), stop_at=3)[0] is None
    resumed, _ = bench.train(bench.request("stopped", rates=rates, weight_decay=0.0))
    assert resumed is not None
    before, after = read_weights(embedded_base()), weights(Path(whole.candidates[-1].path))
    again = weights(Path(resumed.candidates[-1].path))
    assert all(torch.equal(tensor, again[name]) for name, tensor in after.items())

    def moved(module: str) -> float:
        steps: list[Any] = [(after[name] - before[name]).abs().max() for name in after if name.startswith(f"{module}.")]
        return float(torch.stack(steps).max())

    assert moved("decoder") / moved("joint") == pytest.approx(0.1, rel=0.3)
    assert moved("encoder") / moved("joint") == pytest.approx(1e-3, rel=0.3)
