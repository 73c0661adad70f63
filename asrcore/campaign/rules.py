"""The two tables of rules: what to think of the candidate, and the one lever to pull next. First match wins; both end in a row that always matches.

Where the thresholds come from:

* min_gain_points, goal, margin and budget are the campaign's, agreed before the first round.
* a word more on the test set is asked for once per question, because looking again and again at 5 % finds something by itself.
* against forgetting the cheapest first: interpolation with the base costs no training (arXiv:2210.15282), replay keeps most of what is trained
  (CL-MASR benchmark: backward transfer -13 points with replay, -68 with EWC), smaller steps give up part of the gain.
* boosting is tried before training once the terms are the larger part of what can be won cheaply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from asrcore.campaign.evidence import Evidence, Judgement, Lever, TargetSeen

RULES_VERSION = "rules/1"
GROWTH = 2.0
"""Target hours of the next round over those so far: on a power law every doubling brings the same fraction of what is left."""
REPLAY_TRIES = 2
TERMS_SHARE = 0.3
ROUNDS_WITHOUT_GAIN = 2
EVEN_CHANCE = 0.5

Condition = Callable[[Evidence], bool]


@dataclass(frozen=True)
class Judge:
    """One row of the first table. `why` is filled with `facts`; data's own text never gets in there."""

    name: str
    when: Condition
    action: Judgement
    why: str


@dataclass(frozen=True)
class Advise:
    """One row of the second table."""

    name: str
    when: Condition
    action: Lever
    why: str


RuleT = TypeVar("RuleT", Judge, Advise)


def first(table: tuple[RuleT, ...], evidence: Evidence) -> tuple[RuleT, str]:
    """The first row that matches, and its sentence."""
    rule = next(rule for rule in table if rule.when(evidence))
    return rule, rule.why.format_map(facts(evidence))


def judge(e: Evidence) -> Judgement:
    """What the first table says of the candidate."""
    return next(rule for rule in JUDGEMENTS if rule.when(e)).action


# --- conditions -------------------------------------------------------------------------------------------------------------------------


def main(e: Evidence) -> TargetSeen | None:
    """The first target, which decides."""
    return e.targets[0] if e.targets else None


def worse(e: Evidence) -> bool:
    return any(target.verdict == "worse" for target in e.targets)


def better(e: Evidence) -> bool:
    seen = main(e)
    return seen is not None and seen.verdict == "better" and not worse(e)


def forgotten(e: Evidence) -> bool:
    return e.guards is not None and e.guards.verdict == "forgotten"


def kept(e: Evidence) -> bool:
    return e.guards is None or e.guards.verdict == "kept"


def guards_open(e: Evidence) -> bool:
    return e.guards is not None and e.guards.verdict == "inconclusive"


def percent_in_force(e: Evidence) -> float:
    """Error rate on the first target of the model that is in force once the candidate is judged."""
    seen = main(e)
    return seen.percent if seen is not None and judge(e) == "promote" else e.in_force_percent


def goal_met(e: Evidence) -> bool:
    return e.goal_percent is not None and percent_in_force(e) <= e.goal_percent


def asked_for_words(e: Evidence) -> bool:
    """Whether this question was answered with more test words already."""
    return "collect_test_words" in e.pulled


def target_unproven(e: Evidence) -> bool:
    seen = main(e)
    return seen is not None and seen.verdict == "inconclusive" and bool(seen.more_words) and seen.gain_points >= e.min_gain_points


def plateau(e: Evidence) -> bool:
    chance = e.outlook.chance_below_min_gain
    return chance is not None and chance >= EVEN_CHANCE


def last_gain_small(e: Evidence) -> bool:
    """With too few amounts of data for a curve: gains shrink from doubling to doubling, so the next is not larger than the last."""
    return e.outlook.chance_below_min_gain is None and e.outlook.last_gain_points is not None and e.outlook.last_gain_points < e.min_gain_points


def data_without_gain(e: Evidence) -> bool:
    return judge(e) != "promote" and e.pulled[-ROUNDS_WITHOUT_GAIN:] == ("add_data",) * ROUNDS_WITHOUT_GAIN


def terms_dominate(e: Evidence) -> bool:
    return e.terms_share is not None and e.terms_share >= TERMS_SHARE and not e.boosted


# --- the tables -------------------------------------------------------------------------------------------------------------------------

JUDGEMENTS: tuple[Judge, ...] = (
    Judge("no_candidate", lambda e: not e.has_candidate, "none", "there is no candidate yet, only the base at {before} %"),
    Judge("poisoned", lambda e: bool(e.poison), "reject", "the candidate learned from wrongly labelled data: {poison}"),
    Judge("worse", worse, "reject", "a target got worse: {gain} points on the first one (95 % {low} to {high})"),
    Judge("forgotten", forgotten, "reject", "guards are forgotten ({forgotten}); the worst loses {loss} points"),
    Judge("better_and_kept", lambda e: better(e) and kept(e), "promote",
         "the first target gains {gain} points (95 % {low} to {high}), from {before} % to {after} %, no target is worse and every guard is kept"),
    Judge("guards_unproven", better, "undecided", "the first target gains {gain} points, but the guards are not proven kept (worst loss {loss} points)"),
    Judge("unproven", lambda e: True, "undecided", "no gain is shown on the first target: {gain} points (95 % {low} to {high})"),
)  # fmt: skip

LEVERS: tuple[Advise, ...] = (
    Advise("poisoned", lambda e: bool(e.poison), "fix_data", "{poison}; correct the tags and texts of what was added, then train the same round again"),
    Advise("goal_met", goal_met, "stop", "the goal of {goal} % is met with {in_force} %; measure it once on a blind set before it ships"),
    Advise("budget_spent", lambda e: bool(e.spent), "stop", "the budget is spent: {spent}"),
    Advise("worse_after_new_data", lambda e: worse(e) and e.pulled[-1:] == ("add_data",), "fix_data",
         "a target got worse after data was added, so the new data is the first suspect: check its tags, texts and audio"),
    Advise("worse", worse, "lower_lr", "a target got worse with data that helped before; train with half the peak rate or a smaller surface"),
    Advise("forgotten", lambda e: forgotten(e) and better(e) and "blend" not in e.pulled, "blend",
         "guards are forgotten ({forgotten}) by a candidate that gained; interpolate base and candidate, measure, keep the largest alpha that passes"),
    Advise("forgotten_despite_blending", lambda e: forgotten(e) and e.pulled.count("more_replay") < REPLAY_TRIES, "more_replay",
         "guards are forgotten ({forgotten}); train the same data with about twice the replay share"),
    Advise("forgotten_despite_replay", forgotten, "lower_lr", "guards are forgotten ({forgotten}) in spite of more replay; halve the peak rate or take a smaller surface"),
    Advise("guard_too_small", lambda e: better(e) and guards_open(e) and e.guards is not None and e.guards.more_words > 0 and not asked_for_words(e), "collect_test_words",
         "the target is better, but a guard set needs about {guard_words} more words to prove that nothing was lost"),
    Advise("guard_near_margin", lambda e: better(e) and guards_open(e) and "blend" not in e.pulled, "blend",
         "the target is better, but a guard's loss of {loss} points is too near the margin; interpolate towards the base"),
    Advise("guard_still_near_margin", lambda e: better(e) and guards_open(e), "more_replay", "the target is better, but a guard's loss of {loss} points is still too near the margin"),
    Advise("target_too_small", lambda e: target_unproven(e) and not asked_for_words(e), "collect_test_words",
         "{gain} points would be worth having (at least {min_gain}), but the target set needs about {target_words} more words to show it"),
    Advise("plateau", plateau, "stop", "plateau: from {now} h to {next} h the curve expects {next_gain} points (90 % {next_low} to {next_high}), under {min_gain}"),
    Advise("last_gain_small", last_gain_small, "stop", "the last addition of data brought {last_gain} points, under {min_gain}, and the next will not bring more"),
    Advise("no_gain_twice", data_without_gain, "stop", "data was added twice and no gain was shown; look at the findings before spending more"),
    Advise("terms_dominate", terms_dominate, "boost_terms", "{terms} % of the errors are listed terms; boost them at decoding, which needs no training"),
    Advise("more_data", lambda e: True, "add_data", "{outlook}; add data of the kind that fails most"),
)  # fmt: skip


def facts(e: Evidence) -> dict[str, Any]:
    """The words that fill the sentences of the tables. Signed numbers with two decimals, hours plain."""
    seen, look, guards = main(e), e.outlook, e.guards
    gain = look.next_gain
    if gain is not None:
        outlook = f"from {_hours(look.hours_now)} h to {_hours(look.hours_next)} h the curve expects {gain[1]:.2f} points (90 % {gain[0]:.2f} to {gain[2]:.2f})"
    else:
        outlook = f"what more data brings is not known yet ({look.refused})"
    return {
        "before": f"{seen.before_percent if seen else e.in_force_percent:.2f}", "after": f"{seen.percent:.2f}" if seen else "",
        "gain": f"{seen.gain_points:+.2f}" if seen else "", "low": f"{seen.gain95[0]:+.2f}" if seen else "", "high": f"{seen.gain95[1]:+.2f}" if seen else "",
        "target_words": f"{(seen.more_words if seen else None) or 0:,}", "guard_words": f"{guards.more_words if guards else 0:,}",
        "forgotten": ", ".join(guards.forgotten) if guards else "", "loss": f"{guards.worst_loss_points:.2f}" if guards else "0.00",
        "poison": "; ".join(e.poison), "goal": f"{e.goal_percent or 0:g}", "in_force": f"{percent_in_force(e):.2f}", "spent": ", ".join(e.spent),
        "min_gain": f"{e.min_gain_points:g}", "now": _hours(look.hours_now), "next": _hours(look.hours_next), "outlook": outlook,
        "next_gain": f"{gain[1]:.2f}" if gain else "", "next_low": f"{gain[0]:.2f}" if gain else "", "next_high": f"{gain[2]:.2f}" if gain else "",
        "last_gain": f"{look.last_gain_points:.2f}" if look.last_gain_points is not None else "", "terms": f"{100 * (e.terms_share or 0):.0f}",
    }  # fmt: skip


def _hours(hours: float | None) -> str:
    return "?" if hours is None else f"{hours:.3g}"
