"""Judge a campaign's newest candidate and say the one thing to do next, with the reason and the evals it rests on.

Use it after check_replay in every round, with the candidate's evals on all targets and guards; without evals it repeats the latest decision, so
anyone can go on from the campaign_id alone. It trains nothing: the candidate is promoted, rejected or undecided (accepting none is normal), and one
lever is named: add_data, more_replay, blend, boost_terms, lower_lr, collect_test_words, fix_data or stop. It returns the rules that matched, what more
data would bring (90 %) or why nobody knows, where the errors are and what kinds of data to add. Cost: seconds, no model is loaded; the same evals
again give the same decision.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asrcore.campaign import Campaign, Decision, next_step
from asrcore.campaign.blind import blind_set, decisions_by_set
from asrcore.campaign.decide import next_round
from asrcore.campaign.evidence import Lever
from asrcore.campaign.observe import cell_of
from asrcore.campaign.state import decisions_of, load_campaign
from asrcore.data.corpora import corpora_for
from asrcore.errors import Problem
from asrcore.jobs import Ledger
from asrcore.jobs.store import train_request
from asrcore.results import Frozen, NextAction, Result
from asrcore.workspace import Workspace
from asrtune.verbs.check_replay import refuse_trained

EvalId = Annotated[str, Field(pattern=r"^eval_[0-9a-f]{12}$")]


class Input(Frozen):
    campaign_id: str = Field(pattern=r"^campaign_[0-9a-f]{12}$", description="The campaign, from start_campaign.")
    candidate_evals: tuple[EvalId, ...] = Field(
        (), max_length=220, description="Of the candidate on every target and guard; left out, the latest decision is repeated."
    )
    target_hours: float | None = Field(
        None, gt=0, le=1e6, allow_inf_nan=False,
        description="Hours of target audio trained on; left out, counted from the shards.",
    )  # fmt: skip
    lever: Lever | None = Field(None, description="What this round changed; left out, what the decision before it asked for.")


Output = Decision


def run(request: Input, ws: Workspace) -> Result[Output]:
    with Ledger.open(ws) as ledger:
        campaign = load_campaign(ledger, request.campaign_id)
        warnings = _refuse_memory(ledger, campaign, request)
        decision = next_step(ledger, campaign, request.candidate_evals, target_hours=request.target_hours, lever=request.lever)
        warnings += _warnings(ledger, campaign, decision)
        actions = _next(ledger, campaign, decision)
    return Result(summary=sentence(decision), data=decision, warnings=warnings, next_actions=actions)


def sentence(decision: Decision) -> str:
    """Judgement and lever in one sentence."""
    said, advised = decision.why
    number = decision.round.number
    judged = "Base" if decision.judgement == "none" else f"Round {number}: {decision.judgement}"
    return f"{judged}: {said}. Next: {decision.lever}: {advised}."


def _refuse_memory(ledger: Ledger, campaign: Campaign, request: Input) -> tuple[Problem, ...]:
    """A candidate that was trained on a target or a guard proves nothing: `guard_overlaps_replay`, before the round is recorded."""
    if not request.candidate_evals:
        return ()
    next_step(ledger, campaign)
    earlier = decisions_of(ledger, campaign.campaign_id)
    cells = [cell_of(ledger, one) for one in dict.fromkeys(request.candidate_evals)]
    recorded = {tuned for decision in earlier for _, tuned in (*decision.round.target_pairs, *decision.round.guard_pairs)}
    if {cell.eval_id for cell in cells} <= recorded:
        return ()
    this = next_round(ledger, campaign, earlier, cells, request.target_hours, request.lever)
    base = cell_of(ledger, campaign.targets[0].base_eval)
    pairs = [(base, cell_of(ledger, tuned)) for _, tuned in (*this.target_pairs, *this.guard_pairs)]
    return refuse_trained(ledger, pairs)


def _warnings(ledger: Ledger, campaign: Campaign, decision: Decision) -> tuple[Problem, ...]:
    found: list[Problem] = []
    if decision.round.candidate is not None and decision.round.target_hours is None:
        found.append(Problem(code="target_hours_unknown", severity="warning", message="the candidate's run is not in this workspace, so its hours of target data are not known "
                             "and the round is not on the learning curve", fix="pass target_hours next time"))  # fmt: skip
    if len(decision.round.changed) > 1:
        found.append(Problem(code="round_changed_more", severity="warning", message=f"against the trained round before, this one changed {', '.join(decision.round.changed)} "
                             "at once, so nobody can say which of them did it", fix="change one lever a round"))  # fmt: skip
    used = max(decision.times_used, decisions_by_set(ledger)[campaign.targets[0].set.sha256])
    if used > 1:
        found.append(Problem(code="test_set_used", severity="info", message=f"the first target set has guided {used} decisions, so its last rate is too friendly",
                             fix="measure the model that ships once on a set that guided none"))  # fmt: skip
    if decision.accepted is not None and blind_set(ledger) is None:
        found.append(Problem(code="blind_set_missing", severity="warning", message=f"this promotion rests on a set that has guided {used} decisions, and no blind set is registered",
                             fix="register_set, role blind, recordings that nobody was trained on or judged by; measure once what is to ship"))  # fmt: skip
    if decision.lever == "stop" and campaign.goal_percent is not None and decision.lever_rule != "goal_met":
        found.append(Problem(code="goal_not_met", severity="warning", message=f"the campaign ends above its goal of {campaign.goal_percent:g} %",
                             fix="tell the person; only they may change the goal or the budget"))  # fmt: skip
    return tuple(found)


def _next(ledger: Ledger, campaign: Campaign, decision: Decision) -> tuple[NextAction, ...]:
    """Calls that are ready to send, where the ledger knows their arguments; else the list to look at."""
    main, this = campaign.targets[0], decision.round
    kind, why = _LOOK[decision.lever]
    look = NextAction(tool="list_objects", arguments={"kind": kind}, why=why)
    if decision.lever == "stop":
        return (*_blind(ledger, campaign, decision), *_report(decision)) or (look,)
    if decision.lever == "lower_lr" and (asked := train_request(ledger, this.run_id)) is not None:
        return (NextAction(tool="plan_finetune", arguments={"shards_id": asked.shards.shards_id, "dev_manifest": asked.dev.path},
                           why="Shows the rate that was planned; call it again with half of it as peak_lr."),)  # fmt: skip
    if decision.lever == "blend" and this.run_id is not None:
        return (NextAction(tool="blend_checkpoints", arguments={"base": campaign.base.path, "tuned": [this.run_id]},
                           why="Makes points between base and candidate; measure them, pass the largest alpha that keeps the guards as the next round."),)  # fmt: skip
    if decision.lever == "add_data" and 2 <= len(main.locales[0]) <= 16:
        listed = ", ".join(one.name for one in corpora_for(main.locales[0]))
        return (NextAction(tool="find_corpora", arguments={"locale": main.locales[0]}, why=f"Public data that may hold this locale, if the person has no more of their own: {listed}."), look)
    return (look,)


def _report(decision: Decision) -> tuple[NextAction, ...]:
    pairs = decision.round.target_pairs
    if not pairs:
        return ()
    evals = {"base_evals": [before for before, _ in pairs], "tuned_evals": [after for _, after in pairs]}
    return (NextAction(tool="make_report", arguments={"title": "Campaign", **evals}, why="Show the person what the campaign reached."),)


def _blind(ledger: Ledger, campaign: Campaign, decision: Decision) -> tuple[NextAction, ...]:
    """One look at the newest blind set with the model in force, if one was registered, there is something to ship, and it was not looked at yet."""
    blind = blind_set(ledger)
    if blind is None or decision.in_force.sha256 == campaign.base.sha256 or blind.shows(decision.in_force):
        return ()
    main = campaign.targets[0]
    arguments = {"checkpoint": decision.in_force.path, "manifests": [blind.manifest.path], "att_context_sizes": [list(main.att_context)], "prompt_modes": [main.prompt_mode]}
    why = "The blind set, once, before it ships: it guided no decision."
    if not blind.fresh_for(decision.in_force, campaign.base):
        why = f"The blind set guided no decision, but {len(blind.seen_by)} checkpoints were measured on it, so it is only as blind as those who looked."
    return (NextAction(tool="run_streaming_eval", arguments=arguments, why=why),)


_LOOK: dict[Lever, tuple[str, str]] = {
    "add_data": ("shards", "See what was trained on; import and inspect more of the kinds named in wanted, then build_shards."),
    "more_replay": ("shards", "See the replay share, then build_shards with about twice of it and train again."),
    "fix_data": ("shards", "See what was added; run validate_language_tags and inspect_dataset on it, mend it, then build_shards."),
    "collect_test_words": ("eval", "Find the sets; add utterances to them and run run_streaming_eval anew for base, model in force and candidate."),
    "blend": ("run", "Find base and candidate; interpolate their weights and measure each alpha on the guards."),
    "boost_terms": ("eval", "Find the missed terms in the newest eval and boost them in the decoder that serves."),
    "lower_lr": ("plan", "See the rate of the newest plan, then plan_finetune with half of it."),
    "stop": ("eval", "Nothing to train: the base is good enough. See its evals."),
}
