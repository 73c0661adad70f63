"""Trap 3.14: a run that overtrains ends in its worst weights, and those are what is saved as the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.traps.stock import fit, trap

pytestmark = pytest.mark.heavy


@trap("3.14", "what stands in the model after fit, and goes into the .nemo, are the last weights")
def test_a_stock_run_ends_with_its_best_weights(tmp_path: Path) -> None:
    assert fit(tmp_path, rows=10, max_steps=5, val_check_interval=1).weight == 1.0


def test_the_best_candidate_is_loaded_whatever_came_after_it(tmp_path: Path) -> None:
    import torch

    from asrcore.model.candidates import CandidateStore

    store, model = CandidateStore(tmp_path), torch.nn.Linear(1, 1, bias=False)
    for step, rate in ((1, 10.0), (2, 40.0), (3, 90.0)):
        with torch.no_grad():
            model.weight.fill_(step)
        store.add(model, step, rate, train_loss=1 / step)
    store.load(model, (store.best(),))
    assert float(model.weight.detach()) == 1.0
