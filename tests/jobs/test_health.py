"""Health is judged from the rows of metrics alone: each alarm with rows that raise it, and rows just beside that do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrcore.jobs.health import STALL_S, assess
from asrcore.requests import Event

FALLING = [5.0 / (n + 1) for n in range(40)]


def fit(losses: list[float]) -> list[Event]:
    return [Event(time=float(n), stage="fit", step=n, total=100, metrics={"loss": loss}) for n, loss in enumerate(losses)]


def run(*evals: tuple[float, float]) -> list[Event]:
    """A training: for each (loss, dev rate) five reports of that loss, then the dev eval."""
    rows: list[dict[str, float]] = []
    for loss, rate in evals:
        rows += [{"loss": loss}] * 5 + [{"dev_wer": rate}]
    return [Event(time=float(n), stage="train", step=n, total=100, metrics=row) for n, row in enumerate(rows)]


def paced(*, wall_s: float, step_s: float, batch: int = 8, reports: int = 20, steps: int = 10) -> list[Event]:
    """Reports every `steps` steps, `wall_s` apart, of a training whose steps take `step_s` each."""
    pace = batch / step_s
    return [Event(time=n * wall_s, stage="train", step=n * steps, total=10**6, metrics={"loss": 1.0, "utterances_per_s": pace}) for n in range(reports)]


def test_a_falling_loss_is_ok_and_no_event_is_unknown() -> None:
    assert assess(fit(FALLING), now=40).status == "ok"
    assert assess([], now=0).status == "unknown"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_one_value_that_is_no_number_outweighs_all_others(bad: float) -> None:
    health = assess(fit([*FALLING, bad, 0.1]), now=42)
    assert (health.status, health.detail) == ("nan", "not a finite number: loss")


def test_a_loss_that_rises_again_diverges_and_a_noisy_one_does_not() -> None:
    assert assess(fit(FALLING + [3.0 + n for n in range(20)]), now=60).status == "diverging"
    assert assess(fit([1.0 + 0.4 * (n % 2) for n in range(60)]), now=60).status == "ok"


def test_silence_is_stalled_unless_the_events_are_far_apart_by_nature() -> None:
    """Trap 3.19."""
    assert assess(fit(FALLING), now=39 + STALL_S + 1).status == "stalled"
    hourly = [Event(time=3600.0 * n, stage="fit", step=n, total=10) for n in range(4)]
    assert assess(hourly, now=3600 * 3 + 7200).status == "ok"


def test_a_dev_rate_that_rises_while_the_loss_falls_is_overfit() -> None:
    health = assess(run((4.0, 20.0), (2.0, 12.0), (1.0, 14.0), (0.5, 15.0)), now=24)
    assert (health.status, health.detail) == ("overfit", "dev WER rose from 12.00 to 15.00 % while the loss fell from 2 to 0.5")


@pytest.mark.parametrize(
    ("evals", "status"),
    [
        ([(4.0, 20.0), (2.0, 12.0), (1.0, 12.4), (0.5, 12.6)], "ok"),  # within chance, and too few evals for a plateau
        ([(4.0, 20.0), (2.0, 12.0), (1.0, 14.0), (0.5, 11.0)], "ok"),  # came down again
        ([(2.0, 20.0), (2.0, 12.0), (2.0, 14.0), (2.1, 15.0)], "ok"),  # the loss did not fall: not a matter of memory
        ([(4.0, 20.0), (2.0, 15.0), (1.9, 15.1), (1.8, 15.3), (1.7, 15.2)], "plateau"),
    ],
)
def test_what_is_not_overfit_is_not_called_so(evals: list[tuple[float, float]], status: str) -> None:
    assert assess(run(*evals), now=30).status == status


def test_a_dev_rate_that_no_longer_falls_is_a_plateau() -> None:
    rates = [20.0, 15.0, 15.1, 15.3, 15.2]
    dev = [Event(time=n, stage="fit", step=n, total=9, metrics={"dev_wer": rate}) for n, rate in enumerate(rates)]
    assert assess(dev, now=5).status == "plateau"
    assert assess([*dev[:-1], dev[-1].model_copy(update={"metrics": {"dev_wer": 14.0}})], now=5).status == "ok"


def test_a_training_that_waits_for_its_data_more_than_it_steps_is_data_bound() -> None:
    slow = paced(wall_s=10.0, step_s=0.3)
    health = assess(slow, now=190, batch_size=8)
    assert (health.status, health.detail) == ("data_bound", "70 % of 190 s went by between steps, not in them".replace(" %", "%"))
    assert assess(paced(wall_s=10.0, step_s=0.9), now=190, batch_size=8).status == "ok"
    assert assess(slow, now=190).status == "ok"  # not a training
    assert assess(slow[:5], now=40, batch_size=8).status == "ok"  # 40 s are too few to say


def test_time_in_dev_evals_is_not_waiting_for_data() -> None:
    rows: list[Event] = []
    for n, event in enumerate(paced(wall_s=4.0, step_s=0.38)):
        late = event.model_copy(update={"time": event.time + (n // 2) * 100.0})
        rows += [late] if n % 2 == 0 else [late, Event(time=late.time + 99, stage="train", step=late.step, metrics={"dev_wer": 9.0 - n / 10})]
    assert assess(rows, now=rows[-1].time, batch_size=8).status == "ok"


metrics = st.dictionaries(st.sampled_from(["loss", "dev_wer", "utterances_per_s"]), st.floats(0, 1e6), max_size=3)


@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 10**6), metrics), max_size=40), st.integers(1, 64) | st.none())
def test_no_row_makes_the_judgement_fail(rows: list[tuple[float, int, dict[str, float]]], batch_size: int | None) -> None:
    events = [Event(time=time, stage="train", step=step, total=9, metrics=values) for time, step, values in rows]
    assess(events, now=1e9, batch_size=batch_size)
