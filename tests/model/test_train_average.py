"""The moving average of the weights: its formula, its place in candidates and states, and that it is off by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from asrcore.requests import TrainRequest
from tests.model.runs import Bench, weights

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("average"))


def test_without_a_decay_there_is_no_copy_and_nothing_changes() -> None:
    import torch

    from asrcore.model.train_average import MovingAverage

    assert TrainRequest.model_fields["ema_decay"].default == 0
    weight = torch.nn.Parameter(torch.ones(2))
    average = MovingAverage({"w": weight}, 0.0)
    average.update(1)
    with average.in_place():
        assert torch.equal(weight, torch.ones(2))
    assert average.tensors == {}


def test_early_steps_count_more_and_later_ones_decay_at_the_asked_rate() -> None:
    import torch

    from asrcore.model.train_average import MovingAverage

    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    average = MovingAverage({"w": weight}, 0.5)
    expected = 0.0
    for step in range(1, 30):
        with torch.no_grad():
            weight.fill_(step)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        assert float(average.tensors["w"]) == pytest.approx(expected)
    assert 27 < expected < 29


def test_the_trained_weights_come_back_also_when_the_eval_fails() -> None:
    import torch

    from asrcore.model.train_average import MovingAverage

    weight = torch.nn.Parameter(torch.zeros(2))
    average = MovingAverage({"w": weight}, 0.9)
    with torch.no_grad():
        weight.fill_(4)
    seen: list[float] = []

    def evaluate() -> None:
        with average.in_place():
            seen.extend(weight.tolist())
            raise KeyError

    with pytest.raises(KeyError):
        evaluate()
    assert seen == [0.0, 0.0]
    assert torch.equal(weight, torch.full((2,), 4.0))
    assert torch.equal(average.tensors["w"], torch.zeros(2))


def test_a_state_holds_the_average_and_gives_it_back(bench: Bench) -> None:
    import torch

    from asrcore.model.train_average import MovingAverage
    from asrcore.model.train_state import Counters, Kept, load_state, save_state

    request, weight = bench.request("state", ema_decay=0.9), torch.nn.Parameter(torch.ones(3))
    average = MovingAverage({"w": weight}, 0.9)
    average.tensors["w"].fill_(7)
    save_state(Path(request.out), request, Counters(step=3), Kept({"w": weight}, torch.optim.AdamW([weight]), average.tensors))
    fresh = MovingAverage({"w": weight}, 0.9)
    assert load_state(Path(request.out), request, Kept({"w": weight}, torch.optim.AdamW([weight]), fresh.tensors)) is not None
    assert torch.equal(fresh.tensors["w"], torch.full((3,), 7.0))


@pytest.mark.slow
def test_candidates_hold_the_average_and_a_stopped_run_ends_with_the_very_same(bench: Bench) -> None:
    """Trap 3.21."""
    import torch

    plain, averaged = (bench.train(bench.request(name, ema_decay=decay))[0] for name, decay in (("plain", 0.0), ("averaged", 0.9)))
    assert plain is not None
    assert averaged is not None
    request = bench.request("stopped", ema_decay=0.9)
    assert bench.train(request, stop_at=2)[0] is None
    resumed = bench.train(request)[0]
    assert resumed is not None
    last, slow, again = (weights(Path(one.candidates[-1].path)) for one in (plain, averaged, resumed))
    assert any(not torch.equal(tensor, slow[name]) for name, tensor in last.items())
    assert all(torch.equal(tensor, again[name]) for name, tensor in slow.items())
