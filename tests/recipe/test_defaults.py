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


def decided(d_model: int, hours: float, *, refinement: bool = False, mean_seconds: float = 5.0, **spec: object) -> Recipe:
    data = Data(
        train_hours=hours,
        train_utterances=round(hours * 3600 / mean_seconds),
        mean_seconds=mean_seconds,
        target_draws=0.8,
        replay_share=0.2,
    )
    asked = FinetuneSpec.model_validate({"shards_id": "shards_000000000000", "dev_manifest": "dev.json", **spec})
    return decide(asked, base(d_model), data, refinement=refinement)


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
