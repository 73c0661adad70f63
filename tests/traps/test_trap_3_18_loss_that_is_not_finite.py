"""Trap 3.18: one NaN batch poisons the weights, since `skip_nan_grad` is read from the checkpoint and cannot be switched on from outside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asrcore.errors import ToolFault
from tests.model.runs import Bench
from tests.traps.stock import restored, trap

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Bench]:
    """A model, a good batch, and the bench they come from."""
    from asrcore.model.loader import batches
    from asrcore.model.restore import prompt_slots, restore

    bench = Bench(tmp_path_factory.mktemp("nan"))
    model = restore(Path(bench.base.path), threads=1)
    return model, next(batches(bench.request("nan"), model.tokenizer, prompt_slots(model), sample_rate=16_000, skip=0)), bench


def poisoned(batch: Any) -> Any:
    return replace(batch, audio=batch.audio * float("nan"))


def start(parts: tuple[Any, Any, Bench], *, max_steps: int, done: int) -> Any:
    """A loop that has `done` steps behind it."""
    from asrcore.model.surfaces import select
    from asrcore.model.train_loop import Loop

    model, _, bench = parts
    loop = Loop(model, bench.request("nan", max_steps=max_steps), select(model, "full").parameters)
    loop.counters = loop.counters.model_copy(update={"step": done})
    return loop


def test_a_bad_step_moves_nothing_counts_as_skipped_and_is_not_consumed(parts: tuple[Any, Any, Bench]) -> None:
    import torch

    model, batch, _ = parts
    loop = start(parts, max_steps=1000, done=100)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert loop.step(poisoned(batch)) is False
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert (loop.counters.step, loop.counters.skipped, loop.counters.utterances) == (101, 1, {})
    assert loop.step(batch) is True
    assert sum(loop.counters.utterances.values()) == 4
    assert loop.counters.skipped_in_a_row == 0


def test_five_bad_steps_in_a_row_end_the_run(parts: tuple[Any, Any, Bench]) -> None:
    _, batch, _ = parts
    loop = start(parts, max_steps=1000, done=100)
    for _ in range(4):
        loop.step(poisoned(batch))
    with pytest.raises(ToolFault, match="loss_not_finite"):
        loop.step(poisoned(batch))


def test_one_bad_step_in_the_smoke_ends_the_run(parts: tuple[Any, Any, Bench]) -> None:
    _, batch, _ = parts
    with pytest.raises(ToolFault, match="loss_not_finite"):
        start(parts, max_steps=1000, done=3).step(poisoned(batch))


@trap("3.18", "skip_nan_grad is read when the model is built, from the checkpoint's own config")
def test_the_stock_switch_can_be_thrown_after_the_checkpoint_was_opened() -> None:
    from omegaconf import open_dict

    model = restored()
    with open_dict(model.cfg):
        model.cfg.skip_nan_grad = True
    assert model._skip_nan_grad
