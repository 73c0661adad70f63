"""Trap 3.5: a fractional validation interval of a long pseudo-epoch lies beyond the end of the run, so no checkpoint is ever written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipe.test_defaults import decided
from tests.traps.stock import fit, trap


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 9, 10, 99, 1000, 2501, 150_000])
def test_every_run_makes_several_candidates_or_one_at_each_step(steps: int) -> None:
    """The end of a run makes one more (tests/model/test_train.py)."""
    recipe = decided(1024, 10.0, max_steps=steps)
    assert 1 <= recipe.candidate_every <= max(1, steps // 5)
    assert recipe.candidate_every <= 500
    assert 0 <= recipe.warmup_steps < steps


@pytest.mark.heavy
@trap("3.5", "a fractional val_check_interval of a long pseudo-epoch lies beyond max_steps, and checkpoints wait for validation")
def test_a_stock_run_leaves_a_checkpoint(tmp_path: Path) -> None:
    assert fit(tmp_path, rows=40, max_steps=6, limit_train_batches=40, val_check_interval=0.5).saved
