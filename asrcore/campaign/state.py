"""What a campaign is and what a round leaves behind, as frozen rows of the ledger (kinds `campaign` and `decision`).

A campaign never changes. A round is its inputs (evals, run, hours, lever); a decision is a round with what was seen and said. Everything else is
computed from these rows and the evals they name, so whoever opens the ledger can go on.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asrcore.campaign.evidence import Change, Evidence, Judgement, Lever
from asrcore.campaign.finding import Finding
from asrcore.campaign.mining import Wanted
from asrcore.jobs import ALL_ROWS, Ledger
from asrcore.requests import CheckpointRef, EvalCell, ManifestRef, PromptMode
from asrcore.results import Frozen


class Aim(Frozen):
    """One set at one att_context_size and prompt mode, with the base's eval on it."""

    role: Literal["target", "guard"]
    base_eval: str
    set: ManifestRef
    locales: tuple[str, ...]
    att_context: tuple[int, int]
    latency_ms: int
    prompt_mode: PromptMode

    @classmethod
    def of(cls, role: Literal["target", "guard"], cell: EvalCell) -> Aim:
        return cls(role=role, base_eval=cell.eval_id, set=cell.set, locales=cell.locales, att_context=cell.att_context,
                   latency_ms=cell.latency_ms, prompt_mode=cell.prompt_mode)  # fmt: skip

    def measured_by(self, cell: EvalCell) -> bool:
        """Whether an eval is of this aim. A set of the same name may have grown; the caller checks that."""
        return (cell.att_context, cell.prompt_mode) == (self.att_context, self.prompt_mode) and (
            cell.set.sha256 == self.set.sha256 or cell.set.name == self.set.name
        )


class Budget(Frozen):
    """Where a campaign ends whatever the results. None is no limit."""

    max_rounds: int = Field(default=10, ge=1, le=1000, description="Candidates that may be judged.")
    max_gpu_hours: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="Hours of training over all rounds.")
    max_target_hours: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="Hours of training audio in the target locale.")


class Campaign(Frozen):
    """The goal of a loop. The first target decides about promotion and carries the goal; the others must not get worse."""

    campaign_id: str
    title: str
    base: CheckpointRef
    targets: tuple[Aim, ...]
    guards: tuple[Aim, ...]
    goal_percent: float | None
    budget: Budget
    min_gain_points: float
    margin_points: float | None

    @property
    def aims(self) -> tuple[Aim, ...]:
        return (*self.targets, *self.guards)


class Round(Frozen):
    """One measured checkpoint and what is behind it; round 0 is the base alone. Pairs are (compared with, candidate) in the order of the aims."""

    number: int
    candidate: CheckpointRef | None
    target_pairs: tuple[tuple[str, str], ...] = ()
    guard_pairs: tuple[tuple[str, str], ...] = ()
    incumbent_evals: tuple[str, ...]
    """Evals of the model in force before this round on the targets."""
    run_id: str | None = None
    shards_id: str | None = None
    target_hours: float | None = Field(default=None, description="Hours of training audio in the first target's locale; null when not known.")
    gpu_hours: float = Field(default=0.0, description="Hours that the candidate's training took; 0 when its run is not in this workspace.")
    lever: Lever | None = Field(default=None, description="What this round was to change.")
    changed: tuple[Change, ...] = Field(default=(), description="What its training changed against the trained round before; empty when one of them is not known.")


class Decision(Frozen):
    """What is to be done after one round, and all that it rests on."""

    decision_id: str
    campaign_id: str
    round: Round
    judgement: Judgement = Field(description="About the candidate; none in round 0.")
    accepted: CheckpointRef | None = Field(description="The checkpoint promoted in this round; null is a normal answer.")
    in_force: CheckpointRef = Field(description="The best accepted checkpoint after this round.")
    lever: Lever = Field(description="The one thing to change next.")
    judgement_rule: str
    lever_rule: str
    why: tuple[str, str] = Field(description="Why this judgement, why this lever.")
    next_hours: float | None = Field(description="With add_data: hours of target audio to train on next, in all.")
    evals: tuple[str, ...] = Field(description="Every eval that the decision rests on.")
    evidence: Evidence
    findings: tuple[Finding, ...] = Field(description="Where the errors are, largest share first.")
    wanted: tuple[Wanted, ...] = Field(default=(), description="With add_data: how to divide the new hours by kind; empty: data like the target set.")
    times_used: int = Field(description="Decisions of this campaign that looked at the first target set, this one included.")
    rules: str = Field(description="Version of the table of rules.")


def load_campaign(ledger: Ledger, campaign_id: str) -> Campaign:
    """Raises `campaign_unknown`."""
    return Campaign.model_validate(ledger.require("campaign", campaign_id))


def decisions_of(ledger: Ledger, campaign_id: str) -> tuple[Decision, ...]:
    """All decisions of a campaign, round 0 first."""
    rows = [Decision.model_validate(row.data) for row in ledger.list("decision", ALL_ROWS) if row.data.get("campaign_id") == campaign_id]
    return tuple(sorted(rows, key=lambda decision: decision.round.number))
