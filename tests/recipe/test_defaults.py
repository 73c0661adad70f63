"""The values that a plan chooses by itself."""

from __future__ import annotations

import pytest

from asrcore.checkpoint import CheckpointInfo
from asrcore.recipe.defaults import Data, Recipe, decide
from asrcore.recipe.spec import FinetuneSpec


def base(d_model: int) -> CheckpointInfo:
    return CheckpointInfo(
        path="base.nemo", sha256="0" * 64, size_bytes=1, target_class="EncDecRNNTBPEModelWithPrompt", prompt_dictionary={}, num_prompts=128,
        att_contexts=((56, 0),), sample_rate=16000, vocabulary_size=13087, d_model=d_model, n_layers=24,
    )  # fmt: skip


def decided(
    d_model: int, hours: float, *, refinement: bool = False, mean_seconds: float = 5.0, fits: tuple[int, str] | None = None, **spec: object
) -> Recipe:
    data = Data(
        train_hours=hours,
        train_utterances=round(hours * 3600 / mean_seconds),
        mean_seconds=mean_seconds,
        longest_seconds=30.0,
        target_draws=0.8,
        replay_share=0.2,
    )
    asked = FinetuneSpec.model_validate({"shards_id": "shards_000000000000", "dev_manifest": "dev.json", **spec})
    return decide(asked, base(d_model), data, refinement=refinement, fits=fits)


@pytest.mark.parametrize(
    ("d_model", "hours", "refinement", "rate"),
    [(1024, 19.9, False, 3e-5), (1024, 20.0, False, 1e-4), (1024, 500.0, True, 1e-5), (144, 0.5, False, 5e-4), (144, 0.5, True, 1e-4)],
)
def test_the_rate_follows_hours_model_size_and_refinement(d_model: int, hours: float, refinement: bool, rate: float) -> None:
    """Trap 3.14 and facts 2.6: a rate of another model size or data size overtrains or does nothing."""
    assert decided(d_model, hours, refinement=refinement).peak_lr == pytest.approx(rate)


def test_steps_follow_the_data_within_bounds() -> None:
    assert decided(1024, 0.1).max_steps == 200
    assert decided(1024, 5000.0).max_steps == 8000
    middle = decided(1024, 20.0)
    assert 200 < middle.max_steps < 8000
    seen = middle.max_steps * middle.batch_size * 0.8 / 14_400
    assert seen == pytest.approx(7.0, rel=0.05)


def test_a_batch_of_a_full_size_model_holds_about_200_seconds_within_bounds() -> None:
    assert decided(1024, 10.0, mean_seconds=8.0).batch_size == 25
    assert decided(1024, 10.0, mean_seconds=1.0).batch_size == 64
    assert decided(1024, 10.0, mean_seconds=39.0).batch_size == 5
    assert decided(144, 10.0, mean_seconds=39.0).batch_size == 16


def test_a_batch_by_seconds_is_filled_up_to_what_the_longest_may_take() -> None:
    """Ten utterances of 30 s fit: 10 by number, whatever their length, and 300 s of any."""
    fits = (10, "tried")
    assert (decided(1024, 10.0, fits=fits).batch_size, decided(1024, 10.0, fits=fits).batch_seconds) == (10, None)
    whole = decided(1024, 10.0, fits=fits, batching="seconds")
    assert (whole.batch_size, whole.batch_seconds) == (40, 200.0)
    tight = decided(1024, 10.0, fits=(4, "tried"), batching="seconds")
    assert (tight.batch_size, tight.batch_seconds) == (24, 120.0)
    assert (tight.max_steps, whole.max_steps) == (2630, 1580), "the same number of times over the data"
    (size,) = (d for d in tight.decisions if d.name == "batch_size")
    assert size.value.startswith("120 s of audio")
    assert size.reason.startswith("tried; more memory would hold 40")
    asked = decided(1024, 10.0, fits=fits, batching="seconds", batch_size=8)
    assert (asked.batch_size, asked.batch_seconds) == (8, 40.0)
    assert decided(1024, 10.0, fits=(1, "tried"), mean_seconds=39.0, batching="seconds").batch_size == 1, "most are left out as too long"


@pytest.mark.parametrize("batching", ["buckets", "mixed", "seconds"])
def test_each_way_to_make_batches_is_a_decision_with_its_reason(batching: str) -> None:
    (decision,) = (d for d in decided(1024, 10.0, batching=batching).decisions if d.name == "batching")
    assert (decision.value, decision.asked) == (batching, batching != "buckets")
    assert len(decision.reason) > 40


def test_factors_on_the_rate_are_a_decision_only_where_they_were_asked_for() -> None:
    assert "rates" not in {d.name for d in decided(1024, 10.0).decisions}
    (decision,) = (d for d in decided(1024, 10.0, rates={"encoder": 0.1, "decoder": 2}).decisions if d.name == "rates")
    assert (decision.value, decision.asked) == ("decoder 2 times, encoder 0.1 times", True)


def test_a_moving_average_is_a_decision_only_where_it_was_asked_for() -> None:
    assert "ema_decay" not in {d.name for d in decided(1024, 10.0).decisions}
    (decision,) = (d for d in decided(1024, 10.0, ema_decay=0.999).decisions if d.name == "ema_decay")
    assert (decision.value, decision.asked) == ("0.999", True)


def test_what_was_asked_for_is_kept_and_says_what_the_default_was() -> None:
    recipe = decided(1024, 10.0, peak_lr=7e-5, max_steps=333, batch_size=3)
    assert (recipe.peak_lr, recipe.max_steps, recipe.batch_size) == (7e-5, 333, 3)
    reasons = {d.name: d.reason for d in recipe.decisions if d.asked}
    assert set(reasons) == {"peak_lr", "max_steps", "batch_size"}
    assert "the default" in reasons["peak_lr"]
