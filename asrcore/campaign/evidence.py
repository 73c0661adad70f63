"""What the rules look at: plain numbers and verdicts, computed elsewhere (`observe`) or, in a simulation, drawn from a known truth."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asrcore.results import Frozen
from asrcore.score.compare import Verdict
from asrcore.score.replay import GuardVerdict

Judgement = Literal["promote", "reject", "undecided", "none"]
"""About the candidate: becomes the model in force, is dropped, or neither was shown."""
Lever = Literal["add_data", "more_replay", "blend", "boost_terms", "lower_lr", "collect_test_words", "fix_data", "stop"]

Change = Literal["target_data", "replay", "rate", "surface", "prompt_mode", "base"]
"""What can differ between the trainings of two rounds."""

Interval = tuple[float, float, float]
"""Lower bound, median, upper bound of 90 %."""


class TargetSeen(Frozen):
    """The candidate against the model in force on one target. Gains in points of error rate, positive is better."""

    verdict: Verdict
    before_percent: float
    percent: float
    gain_points: float
    gain95: tuple[float, float]
    words: int
    more_words: int | None = Field(description="Words that would decide a difference of this size; null when decided or zero.")


class GuardsSeen(Frozen):
    """All guards against the campaign's base, so that small losses of many rounds do not add up unseen."""

    verdict: GuardVerdict
    forgotten: tuple[str, ...] = Field(description="Locales of the guards that are forgotten.")
    worst_loss_points: float
    more_words: int = Field(description="The most words that a guard lacks for an 80 % chance to be proven kept.")


class Outlook(Frozen):
    """What the next round of data is expected to bring, or why nobody can say."""

    hours_now: float | None = Field(description="Most target hours trained on so far.")
    hours_next: float | None
    next_error: Interval | None = Field(description="Error rate at hours_next in percent.")
    next_gain: Interval | None = Field(description="Points from hours_now to hours_next on the curve.")
    chance_below_min_gain: float | None = Field(description="Chance that next_gain is under the campaign's min_gain_points.")
    last_gain_points: float | None = Field(description="Measured between the two largest amounts of data; null with fewer than two.")
    refused: str | None = Field(description="Why there is no curve; null when there is one.")


class Evidence(Frozen):
    """Everything that a decision depends on."""

    has_candidate: bool
    targets: tuple[TargetSeen, ...] = Field(default=(), description="The first one decides.")
    guards: GuardsSeen | None = Field(default=None, description="Null without a candidate, or when the campaign has no guard.")
    poison: tuple[str, ...] = Field(default=(), description="Signs that the candidate learned from wrongly labelled data.")
    in_force_percent: float = Field(description="Error rate on the first target of the model in force before this round.")
    goal_percent: float | None = None
    min_gain_points: float
    spent: tuple[str, ...] = Field(default=(), description="Budgets that are used up.")
    outlook: Outlook
    pulled: tuple[Lever, ...] = Field(default=(), description="Levers of the rounds since the last promotion, this round's last.")
    terms_share: float | None = Field(default=None, description="Share (0 to 1) of the errors that are missed terms of the caller's list.")
    boosted: bool = Field(default=False, description="Whether boosting terms was advised in this campaign before.")
