"""Starts campaigns, takes in rounds and decides. The decision of a state is a function of the rows it names: same ledger, same decision, any process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asrcore import io
from asrcore.campaign import observe
from asrcore.campaign.changes import changes
from asrcore.campaign.diagnosis import diagnose
from asrcore.campaign.effects import effects
from asrcore.campaign.evidence import Evidence, Judgement, Lever
from asrcore.campaign.mining import data_wanted
from asrcore.campaign.rules import JUDGEMENTS, LEVERS, RULES_VERSION, first
from asrcore.campaign.state import Aim, Budget, Campaign, Decision, Round, decisions_of
from asrcore.errors import NotReadyError, Problem, ToolFault, UsageError, clean_text
from asrcore.jobs import ALL_ROWS, Ledger
from asrcore.jobs.ledger import put_object
from asrcore.jobs.store import train_request
from asrcore.requests import CheckpointRef, EvalCell
from asrcore.results import Frozen
from asrcore.score.hypotheses import read_hypotheses

NOT_MEASURED_BY = frozenset({"train", "replay", "dev", "blind"})
"""Roles of `register_set` whose sets guide no decision of a campaign."""


class Verdict(Frozen):
    """What the two tables say of one body of evidence."""

    judgement: Judgement
    lever: Lever
    judgement_rule: str
    lever_rule: str
    why: tuple[str, str]


def decide(evidence: Evidence) -> Verdict:
    """Applies both tables; nothing but the evidence counts."""
    judgement, said = first(JUDGEMENTS, evidence)
    lever, advised = first(LEVERS, evidence)
    return Verdict(judgement=judgement.action, lever=lever.action, judgement_rule=judgement.name, lever_rule=lever.name, why=(said, advised))


def start(
    ledger: Ledger, title: str, target_evals: Sequence[str], guard_evals: Sequence[str], *, goal_percent: float | None = None,
    budget: Budget | None = None, min_gain_points: float = 1.0, margin_points: float | None = None,
) -> Campaign:  # fmt: skip
    """A campaign from the base's evals, which carry sets, latencies and modes. The same arguments give the same campaign.

    Raises `eval_unknown`, `campaign_invalid` with all problems.
    """
    targets, guards = (tuple(observe.cell_of(ledger, one) for one in dict.fromkeys(ids)) for ids in (target_evals, guard_evals))
    problems = [*_unfit(targets, guards), *_other_roles(ledger, (*targets, *guards))]
    if problems:
        raise UsageError("campaign_invalid", f"these evals do not make a campaign: {problems[0].message}.",
                         next_step="pass evals of one base checkpoint, each set once a condition, guards apart from targets.", problems=problems)  # fmt: skip
    values = {
        "title": clean_text(title), "base": targets[0].checkpoint, "targets": tuple(Aim.of("target", cell) for cell in targets),
        "guards": tuple(Aim.of("guard", cell) for cell in guards), "goal_percent": goal_percent, "budget": budget or Budget(),
        "min_gain_points": min_gain_points, "margin_points": margin_points,
    }  # fmt: skip
    draft = Campaign.model_validate(values | {"campaign_id": ""})
    campaign = draft.model_copy(update={"campaign_id": "campaign_" + io.sha256_json(draft)[:12]})
    ledger.put("campaign", campaign.campaign_id, campaign)
    return campaign


def next_step(
    ledger: Ledger, campaign: Campaign, candidate_evals: Sequence[str] = (), *, target_hours: float | None = None, lever: Lever | None = None
) -> Decision:
    """Judges a candidate as the next round, or, without one, gives the latest decision (of the base, when there is no round yet).

    The same evals again give the decision they had. Raises `eval_unknown`, `round_incomplete` with everything that is missing or does not belong,
    `campaign_moved` when another process recorded a round meanwhile.
    """
    earlier = decisions_of(ledger, campaign.campaign_id)
    if not earlier:
        earlier = (_record(ledger, campaign, (), round_zero(campaign)),)
    if not candidate_evals:
        return earlier[-1]
    cells = [observe.cell_of(ledger, one) for one in dict.fromkeys(candidate_evals)]
    asked = {cell.eval_id for cell in cells}
    for decision in earlier:
        if asked == {tuned for _, tuned in (*decision.round.target_pairs, *decision.round.guard_pairs)}:
            return decision
    return _record(ledger, campaign, earlier, next_round(ledger, campaign, earlier, cells, target_hours, lever))


def replayed(ledger: Ledger, campaign: Campaign, decisions: Sequence[Decision]) -> tuple[Decision, ...]:
    """Every decision anew from its round's inputs and the decisions before it, nothing written."""
    again: list[Decision] = []
    for decision in decisions:
        again.append(judge_round(ledger, campaign, again, decision.round))
    return tuple(again)


def round_zero(campaign: Campaign) -> Round:
    return Round(number=0, candidate=None, incumbent_evals=tuple(aim.base_eval for aim in campaign.targets))


def next_round(
    ledger: Ledger, campaign: Campaign, earlier: Sequence[Decision], cells: Sequence[EvalCell], target_hours: float | None, lever: Lever | None
) -> Round:
    """Pairs the candidate's evals with those of the model in force (targets) and of the base (guards). Raises `round_incomplete`."""
    in_force = earlier[-1].in_force
    known = {row.id: row.data for row in ledger.list("eval", ALL_ROWS)}
    problems: list[Problem] = []
    pairs = {
        role: tuple(filter(None, (_pair(aim, cells, compared, known, problems) for aim in aims)))
        for role, aims, compared in (("target", campaign.targets, in_force), ("guard", campaign.guards, campaign.base))
    }
    problems += _foreign(campaign, cells, earlier)
    if problems:
        raise NotReadyError("round_incomplete", f"these evals are no round of {campaign.campaign_id}: {problems[0].message}.",
                            next_step="run run_streaming_eval for what is missing, pass each eval of one candidate once, and call again.", problems=problems)  # fmt: skip
    found = observe.behind(ledger, cells[0].checkpoint.sha256, campaign.targets[0].locales)
    trained = next((decision.round.run_id for decision in reversed(earlier) if decision.round.run_id is not None), None)
    trainings = train_request(ledger, trained), train_request(ledger, found.run_id)
    return Round(
        number=earlier[-1].round.number + 1, candidate=cells[0].checkpoint, target_pairs=pairs["target"], guard_pairs=pairs["guard"],
        incumbent_evals=tuple(before for before, _ in pairs["target"]), run_id=found.run_id, shards_id=found.shards_id,
        target_hours=target_hours if target_hours is not None else found.target_hours, gpu_hours=found.gpu_hours, lever=lever or _advised(earlier),
        changed=changes(trainings[0], trainings[1]) if trainings[0] is not None and trainings[1] is not None else (),
    )  # fmt: skip


def judge_round(ledger: Ledger, campaign: Campaign, earlier: Sequence[Decision], this: Round) -> Decision:
    """The decision about one round; a function of the rows it names."""
    seen = observe.observe(ledger, campaign, earlier, this)
    verdict = decide(seen.evidence)
    accepted = this.candidate if verdict.judgement == "promote" else None
    before = earlier[-1].in_force if earlier else campaign.base
    looked_at = this.target_pairs[0][1] if this.target_pairs else this.incumbent_evals[0]
    cell = observe.cell_of(ledger, looked_at)
    suspect = observe.is_suspect(seen.evidence.poison, [target.verdict for target in seen.evidence.targets])
    fitted = [one.eval_id for _, one in observe.on_curve(ledger, earlier, None if suspect else this)]
    rounds = [*((one.round, one.evidence) for one in earlier), (this, seen.evidence)]
    found = diagnose(cell, seen.replay, effects(rounds, fitted))
    next_hours = seen.evidence.outlook.hours_next if verdict.lever == "add_data" else None
    new_hours = None if next_hours is None else max(0.0, next_hours - (seen.evidence.outlook.hours_now or 0.0))
    key = [campaign.campaign_id, this.model_dump(mode="json"), earlier[-1].decision_id if earlier else None, RULES_VERSION]
    return Decision(
        decision_id="decision_" + io.sha256_json(key)[:12], campaign_id=campaign.campaign_id, round=this, judgement=verdict.judgement, accepted=accepted,
        in_force=accepted or before, lever=verdict.lever, judgement_rule=verdict.judgement_rule, lever_rule=verdict.lever_rule, why=verdict.why,
        next_hours=next_hours,
        evals=tuple(dict.fromkeys(one for pair in (*this.target_pairs, *this.guard_pairs, this.incumbent_evals) for one in pair)),
        evidence=seen.evidence, findings=found,
        wanted=data_wanted(cell, found, new_hours) if verdict.lever == "add_data" else (), times_used=len(earlier) + 1, rules=RULES_VERSION,
    )  # fmt: skip


def _record(ledger: Ledger, campaign: Campaign, earlier: Sequence[Decision], this: Round) -> Decision:
    """Decides, then writes the row in one transaction, unless another process was first."""
    decision = judge_round(ledger, campaign, earlier, this)
    with ledger.transaction() as connection:
        there = [one for one in decisions_of(ledger, campaign.campaign_id) if one.round.number >= this.number]
        if there and there[0].decision_id != decision.decision_id:
            raise ToolFault("campaign_moved", f"another process recorded round {this.number} of {campaign.campaign_id} meanwhile.",
                            next_step="call decide_next_step again; it builds on that round.", retryable=True)  # fmt: skip
        put_object(connection, "decision", decision.decision_id, decision)
    return decision


def _advised(earlier: Sequence[Decision]) -> Lever:
    """What the round before asked for; data, where it asked to stop and somebody went on."""
    lever = earlier[-1].lever
    return lever if lever != "stop" else "add_data"


def _pair(aim: Aim, cells: Sequence[EvalCell], compared: CheckpointRef, known: dict[str, dict[str, Any]], problems: list[Problem]) -> tuple[str, str] | None:
    """(compared with, candidate) for one aim; None with the reason in `problems`."""
    where = f"{aim.role} {clean_text(aim.set.name, 60)} at {aim.latency_ms} ms, {aim.prompt_mode}"
    mine = [cell for cell in cells if aim.measured_by(cell)]
    if len(mine) != 1:
        what = "has no eval of the candidate" if not mine else f"has {len(mine)} evals of the candidate"
        problems.append(Problem(code="round_eval_missing", message=f"{where} {what}", fix="run run_streaming_eval on it and pass its eval id once"))
        return None
    mate = [one for one in _cells_of(compared, known) if one.set.sha256 == mine[0].set.sha256 and aim.measured_by(one)]
    if not mate:
        problems.append(Problem(code="round_partner_missing", message=f"{where} has no eval of {clean_text(compared.name, 60)}, which the candidate is compared with",
                                fix="run run_streaming_eval for that checkpoint on the same set"))  # fmt: skip
        return None
    if mine[0].set.sha256 != aim.set.sha256 and not _grown(known, aim.base_eval, mine[0]):
        problems.append(Problem(code="round_set_changed", message=f"{where} is another set than at the start of the campaign and does not hold all of its utterances",
                                fix="add utterances to the set instead of replacing any, or start a new campaign"))  # fmt: skip
        return None
    best = min(mate, key=lambda one: (one.engine != mine[0].engine, one.batch_size != mine[0].batch_size, one.eval_id))
    return best.eval_id, mine[0].eval_id


def _cells_of(checkpoint: CheckpointRef, known: dict[str, dict[str, Any]]) -> list[EvalCell]:
    return [EvalCell.model_validate(row) for row in known.values() if row["checkpoint"]["sha256"] == checkpoint.sha256]


def _grown(known: dict[str, dict[str, Any]], base_eval: str, now: EvalCell) -> bool:
    """Whether the set holds every utterance that it held when the campaign started."""
    asked = {(h.id, h.reference, h.locale) for h in read_hypotheses(Path(now.hypotheses))}
    before = EvalCell.model_validate(known[base_eval])
    return all((h.id, h.reference, h.locale) in asked for h in read_hypotheses(Path(before.hypotheses)))


def _foreign(campaign: Campaign, cells: Sequence[EvalCell], earlier: Sequence[Decision]) -> list[Problem]:
    found = [
        Problem(code="round_eval_foreign", message=f"{cell.eval_id} ({clean_text(cell.set.name, 60)}, {cell.latency_ms} ms, {cell.prompt_mode}) is of no set of the campaign",
                fix="leave it out")
        for cell in cells if not any(aim.measured_by(cell) for aim in campaign.aims)
    ]  # fmt: skip
    if len({cell.checkpoint.sha256 for cell in cells}) != 1:
        found.append(Problem(code="round_mixed", message="the evals are of several checkpoints", fix="pass the evals of one candidate"))
    elif cells[0].checkpoint.sha256 == earlier[-1].in_force.sha256:
        found.append(Problem(code="round_in_force", message="the evals are of the model in force, not of a candidate", fix="pass the evals of a new checkpoint"))
    return found


def _unfit(targets: Sequence[EvalCell], guards: Sequence[EvalCell]) -> list[Problem]:
    found: list[Problem] = []
    if len({cell.checkpoint.sha256 for cell in (*targets, *guards)}) > 1:
        found.append(Problem(code="campaign_base_mixed", message="the evals are of several checkpoints", fix="pass evals of the base only"))
    seen: set[tuple[str, tuple[int, int], str]] = set()
    for cell in (*targets, *guards):
        condition = cell.set.name, cell.att_context, cell.prompt_mode
        if condition in seen:
            found.append(Problem(code="campaign_set_twice", message=f"set {clean_text(cell.set.name, 60)} stands twice at {cell.latency_ms} ms, {cell.prompt_mode}",
                                 fix="pass each once, as target or as guard, and give different sets different names"))  # fmt: skip
        seen.add(condition)
    both = {cell.set.sha256 for cell in targets} & {cell.set.sha256 for cell in guards}
    if both:
        found.append(Problem(code="campaign_roles_overlap", message=f"{len(both)} sets are target and guard", fix="use different recordings for both"))
    return found


def _other_roles(ledger: Ledger, cells: Sequence[EvalCell]) -> list[Problem]:
    """Sets that were registered for something else: what was learned from, what chose a checkpoint, and what is to be looked at once, at the end."""
    roles = {row.data["manifest"]["sha256"]: row.data["role"] for row in reversed(ledger.list("set", ALL_ROWS))}
    return [
        Problem(code="campaign_set_role", message=f"set {clean_text(cell.set.name, 60)} is registered as {roles[cell.set.sha256]}", fix="use sets registered as target or guard")
        for cell in cells if roles.get(cell.set.sha256) in NOT_MEASURED_BY
    ]  # fmt: skip
