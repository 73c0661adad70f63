"""Campaigns with a known truth: a learning curve, test sets of speakers with luck of their own, runs that differ by seed, guards that are sometimes
forgotten and data that is sometimes poisoned. An agent does what the engine says until it says stop.

    python -m tests.campaign.simulate 1 500            figures of these seeds as JSON
    python -m tests.campaign.simulate 1 300 nothing    the same in a world where no data helps

Errors are drawn word by word and go through the same bootstrap, verdicts, curve and rules as real evals; only files and transcripts are left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asrcore.campaign.decide import decide
from asrcore.campaign.evidence import Evidence, GuardsSeen, Judgement, Lever, TargetSeen
from asrcore.campaign.observe import OFF_CURVE, measured, outlook
from asrcore.score import bootstrap
from asrcore.score.bootstrap import Clusters, Draws, draws, resample
from asrcore.score.compare import judge
from asrcore.score.power import round_up, words_to_show_difference, words_to_show_kept
from asrcore.score.replay import ALPHA, holm, judge_guard, overall, p_of_loss

MOST_ROUNDS = 30
SAME_LUCK = 0.85
"""Chance that a word's luck in a round is the set's, not the round's own: most words that one checkpoint gets wrong the next gets wrong too."""
REPLICATIONS = 2000
FORGETS, POISONED, SHOWS = 0.15, 0.07, 0.7
"""Chances that a training forgets a guard, that added data is poisoned, and that poison shows in tags or script."""


class Sample:
    """A test set. `errors(name, rate)` draws a checkpoint's errors by speaker, once; the set can grow and all checkpoints are measured on the new part too."""

    def __init__(self, rng: np.random.Generator, speakers: tuple[int, int], words: tuple[int, int], spread: float) -> None:
        self.rng, self.range, self.spread = rng, words, spread
        self.words: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.parts: list[tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]] = []
        self.rates: dict[str, float] = {}
        self.known: dict[str, NDArray[np.int64]] = {}
        self.grow(int(rng.integers(*speakers)))

    def grow(self, speakers: int) -> None:
        words = self.rng.integers(*self.range, size=speakers)
        skill = self.rng.gamma(8, 1 / 8, size=speakers)
        part = self.rng.random(int(words.sum())), np.repeat(np.arange(speakers), words), skill
        self.parts.append(part)
        self.words = np.concatenate([self.words, words])
        for name, rate in self.rates.items():
            self.known[name] = np.concatenate([self.known[name], self._draw(part, rate)])

    def grow_words(self, more: int) -> None:
        """At most ten times the set: nobody collects more for one decision."""
        self.grow(max(1, round(min(more, 10 * int(self.words.sum())) / float(self.words.mean()))))

    def errors(self, name: str, rate: float) -> NDArray[np.int64]:
        if name not in self.known:
            self.rates[name] = rate
            self.known[name] = np.concatenate([self._draw(part, rate) for part in self.parts])
        return self.known[name]

    def _draw(self, part: tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]], rate: float) -> NDArray[np.int64]:
        luck, speaker, skill = part
        own = self.rng.random(len(luck))
        luck = np.where(self.rng.random(len(luck)) < SAME_LUCK, luck, own)
        liking = np.exp(self.rng.normal(-(self.spread**2) / 2, self.spread, size=len(skill)))
        return np.bincount(speaker, weights=luck < rate / 100 * (skill * liking)[speaker], minlength=len(skill)).astype(np.int64)

    @property
    def clusters(self) -> Clusters:
        return Clusters("speaker", np.arange(len(self.words)), len(self.words), ())

    def difference(self, before: str, after: str) -> Draws:
        pair = [self.known[before], self.known[after]]
        rates = resample(pair, self.words, self.clusters, 0)
        return draws(rates[1] - rates[0], pair[1] - pair[0], self.words, self.clusters)


@dataclass
class Trained:
    """A checkpoint as nature knows it: true rate on the target, true losses on the guards, in points."""

    name: str
    hours: float
    percent: float
    losses: tuple[float, ...]
    lever: Lever
    poisoned: bool = False
    shows: bool = False


@dataclass
class Tally:
    """What happened, over campaigns."""

    campaigns: int = 0
    rounds: int = 0
    promotions: int = 0
    wrong: int = 0
    wrong_possible: int = 0
    missed: int = 0
    due: int = 0
    at_plateau: int = 0
    plateaus: int = 0
    stops: dict[str, int] = field(default_factory=dict[str, int])
    gains_held: int = 0
    errors_held: int = 0
    intervals: int = 0
    gain_widths: list[float] = field(default_factory=list[float])
    error_widths: list[float] = field(default_factory=list[float])
    offsets: dict[str, int] = field(default_factory=dict[str, int])

    def figures(self) -> dict[str, Any]:
        """Percent. `wrong_of_promotions`: promoted though no better or a guard lost the margin; `wrong_of_possible`: of rounds in which that could happen."""
        shares: dict[str, tuple[int, int]] = {
            "wrong_of_promotions": (self.wrong, self.promotions), "wrong_of_possible": (self.wrong, self.wrong_possible), "missed_of_due": (self.missed, self.due),
            "stops_within_one": (self.at_plateau, self.plateaus), "gain_coverage": (self.gains_held, self.intervals), "error_coverage": (self.errors_held, self.intervals),
        }  # fmt: skip
        counts = {name: value for name, value in asdict(self).items() if isinstance(value, int | dict)}
        return {name: round(100 * part / whole, 1) if whole else None for name, (part, whole) in shares.items()} | {
            "median_gain_width": round(float(np.median(self.gain_widths or [0])), 2), "median_error_width": round(float(np.median(self.error_widths or [0])), 2),
        } | counts  # fmt: skip


class World:
    """One campaign's truth, drawn from its seed. With `brings` false more data brings nothing at all: every promotion is wrong."""

    def __init__(self, seed: int, brings: bool = True) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.first = float(rng.choice([2.0, 5.0, 10.0]))
        self.b, self.c = rng.uniform(0.25, 0.9), rng.uniform(3, 12)
        self.above = rng.uniform(4, 20)
        self.run_sd = rng.uniform(0.0, 0.25)
        self.min_gain, self.margin = rng.uniform(0.5, 1.5), rng.uniform(0.5, 1.5)
        self.target = Sample(rng, (60, 150), (100, 300), 0.08)
        self.guards = [Sample(rng, (60, 120), (100, 250), 0.05) for _ in range(2)]
        self.guard_rates = rng.uniform(5, 12, size=2).tolist()
        surplus = rng.uniform(1.2, 2.0)
        if not brings:
            self.c, self.above, self.run_sd, surplus = self.c + self.above, 0.0, 0.0, 1.0
        self.base = Trained("base", 0.0, self.error(self.first) * surplus, (0.0, 0.0), "add_data")
        self.count = 0

    def error(self, hours: float) -> float:
        """The true curve."""
        return self.c + self.above * (hours / self.first) ** -self.b

    @property
    def plateau(self) -> int:
        """Level (doublings after the first amount) from which the next doubling truly gains less than min_gain."""
        return next(k for k in range(60) if self.error(self.first * 2**k) - self.error(self.first * 2 ** (k + 1)) < self.min_gain)

    def level(self, hours: float) -> int:
        return round(np.log2(hours / self.first))

    def train(self, hours: float, lever: Lever, last: Trained | None, in_force: Trained) -> Trained:
        """What the lever does, in nature."""
        rng = self.rng
        self.count += 1
        name = f"c{self.count}"
        if lever == "blend" and last is not None:
            percent = in_force.percent + 0.6 * (last.percent - in_force.percent)
            return Trained(name, hours, percent, tuple(0.3 * loss for loss in last.losses), lever)
        poisoned = lever == "add_data" and rng.random() < POISONED
        percent = self.error(hours) + rng.normal(0, self.run_sd) + (rng.uniform(0.5, 5) if poisoned else 0.0)
        losses = [0.0, 0.0]
        cured = lever in ("more_replay", "lower_lr") and rng.random() < 0.8
        if not cured and rng.random() < (FORGETS if lever in ("add_data", "fix_data") else 1.0):
            losses[int(rng.integers(2))] = self.margin * rng.uniform(1, 3)
        return Trained(name, hours, percent, (losses[0], losses[1]), lever, poisoned, poisoned and rng.random() < SHOWS)


def play(world: World, tally: Tally) -> None:
    """One campaign to its end."""
    in_force, hours = world.base, world.first
    last: Trained | None = None
    lever: Lever = "add_data"
    history: list[tuple[Trained, str]] = []
    pulled: list[Lever] = []
    tally.campaigns += 1
    for _ in range(MOST_ROUNDS):
        candidate = last if lever == "collect_test_words" and last is not None else world.train(hours, lever, last, in_force)
        pulled.append(lever)
        evidence = observe(world, in_force, candidate, history, tuple(pulled))
        verdict = decide(evidence)
        judgement, advised = verdict.judgement, verdict.lever
        tally.rounds += 1
        keep_score(world, in_force, candidate, judgement, advised, tally)
        note_interval(world, evidence, tally)
        if lever != "collect_test_words":
            history.append((candidate, verdict.judgement_rule))
        else:
            history[-1] = (candidate, verdict.judgement_rule)
        last = candidate
        if judgement == "promote":
            in_force, pulled = candidate, []
        if advised == "stop":
            finish(world, candidate.hours, verdict.lever_rule, tally)
            return
        if advised == "collect_test_words":
            collect(world, evidence)
        elif advised == "add_data":
            hours = evidence.outlook.hours_next or candidate.hours * 2
        lever = advised
    finish(world, hours, "never", tally)


def observe(world: World, in_force: Trained, candidate: Trained, history: list[tuple[Trained, str]], pulled: tuple[Lever, ...]) -> Evidence:
    """What the engine sees: the same statistics as `asrcore.campaign.observe`, from drawn errors."""
    target = world.target
    before, after = (target.errors(one.name, one.percent) for one in (in_force, candidate))
    seen = target_seen(target, in_force.name, candidate.name)
    suspect = candidate.shows or seen.verdict == "worse"
    rounds = [one for one, rule in history if rule not in ("poisoned", "worse") and one.name != candidate.name] + ([] if suspect else [candidate])
    rounds = [one for one in rounds if one.lever not in OFF_CURVE]
    points, spread = measured([one.hours for one in rounds], [target.errors(one.name, one.percent) for one in rounds], target.words, target.clusters) if rounds else ((), np.zeros((0, 0)))
    words = int(target.words.sum())
    assert (before.sum(), after.sum()) == (round(seen.before_percent * words / 100), round(seen.percent * words / 100))
    return Evidence(
        has_candidate=True, targets=(seen,), guards=guards_seen(world, candidate), poison=("wrong tags",) if candidate.shows else (),
        in_force_percent=seen.before_percent, min_gain_points=world.min_gain, spent=(), pulled=pulled, outlook=outlook(points, spread, world.min_gain),
        terms_share=None, boosted=False,
    )  # fmt: skip


def target_seen(target: Sample, before: str, after: str) -> TargetSeen:
    found, words, clusters = target.difference(before, after), int(target.words.sum()), target.clusters
    low, high = found.interval()
    verdict = judge((low, high), clusters)
    needed = words_to_show_difference(found.estimate, found.standard_error, words, clusters.count) if verdict == "inconclusive" else None
    rates = [100 * int(target.known[name].sum()) / words for name in (before, after)]
    return TargetSeen(verdict=verdict, before_percent=rates[0], percent=rates[1], gain_points=-found.estimate, gain95=(-high, -low), words=words,
                      more_words=None if needed is None else round_up(max(0, needed - words)))  # fmt: skip


def guards_seen(world: World, candidate: Trained) -> GuardsSeen:
    found: list[Draws] = []
    for guard, rate, loss in zip(world.guards, world.guard_rates, candidate.losses, strict=True):
        guard.errors("base", rate)
        guard.errors(candidate.name, rate + loss)
        found.append(guard.difference("base", candidate.name))
    adjusted = holm([p_of_loss(one) for one in found])
    verdicts = [judge_guard(one.estimate, one.upper(ALPHA), p, world.margin, one.clusters) for one, p in zip(found, adjusted, strict=True)]
    more = 0
    for guard, one, verdict in zip(world.guards, found, verdicts, strict=True):
        if verdict == "inconclusive":
            words = int(guard.words.sum())
            more = max(more, round_up(max(0, words_to_show_kept(world.margin, one.standard_error, words, one.clusters) - words)))
    return GuardsSeen(verdict=overall(verdicts), forgotten=("xx-XX",) if "forgotten" in verdicts else (), worst_loss_points=max(one.estimate for one in found), more_words=more)


def collect(world: World, evidence: Evidence) -> None:
    """More test words where they were asked for."""
    seen, guards = evidence.targets[0], evidence.guards
    if seen.verdict == "inconclusive" and seen.more_words:
        world.target.grow_words(seen.more_words)
    if guards is not None and guards.verdict == "inconclusive" and guards.more_words:
        for guard in world.guards:
            guard.grow_words(guards.more_words)


def keep_score(world: World, in_force: Trained, candidate: Trained, judgement: Judgement, advised: Lever, tally: Tally) -> None:
    """Was it right? A candidate whose test goes on is scored when it ends."""
    gain, loss = in_force.percent - candidate.percent, max(candidate.losses)
    promoted = judgement == "promote"
    tally.promotions += promoted
    if advised == "collect_test_words":
        return
    if gain <= 0 or loss >= world.margin:
        tally.wrong_possible += 1
        tally.wrong += promoted
    if gain >= world.min_gain and loss <= 0:
        tally.due += 1
        tally.missed += not promoted


def note_interval(world: World, evidence: Evidence, tally: Tally) -> None:
    seen = evidence.outlook
    if seen.next_gain is None or seen.next_error is None or seen.hours_now is None or seen.hours_next is None:
        return
    now, then = world.error(seen.hours_now), world.error(seen.hours_next)
    tally.intervals += 1
    tally.gains_held += seen.next_gain[0] <= now - then <= seen.next_gain[2]
    tally.errors_held += seen.next_error[0] <= then <= seen.next_error[2]
    tally.gain_widths.append(seen.next_gain[2] - seen.next_gain[0])
    tally.error_widths.append(seen.next_error[2] - seen.next_error[0])


def finish(world: World, hours: float, rule: str, tally: Tally) -> None:
    tally.stops[rule] = tally.stops.get(rule, 0) + 1
    offset = world.level(hours) - world.plateau
    tally.offsets[str(offset)] = tally.offsets.get(str(offset), 0) + 1
    tally.plateaus += 1
    tally.at_plateau += rule != "never" and abs(offset) <= 1


def run(seeds: Iterable[int], brings: bool = True) -> Tally:
    """All campaigns of these seeds, with fewer bootstrap replications than in use (they only blunt the bounds a little)."""
    tally = Tally()
    usual, bootstrap.REPLICATIONS = bootstrap.REPLICATIONS, REPLICATIONS
    try:
        for seed in seeds:
            play(World(seed, brings), tally)
    finally:
        bootstrap.REPLICATIONS = usual
    return tally


if __name__ == "__main__":
    first, final = map(int, sys.argv[1:3])
    print(json.dumps(run(range(first, final + 1), brings="nothing" not in sys.argv[3:]).figures(), indent=1))
