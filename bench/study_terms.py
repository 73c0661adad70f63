"""A list of terms that the base never heard: boost the phrases, or tune on sentences that hold them? Part `terms` of the study, all synthetic.

The terms are names of medicines in English customer-service sentences. All ways (base and tuned, boosted and not) are decoded by the
same tool, so that nothing but the list and the weights differ; the same list is boosted on the English guard set, where nobody says any of it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from asrcore.embedded import grammar
from asrcore.embedded.grammar import Grammar, Part
from asrcore.requests import EvalCell, TrainResult
from bench.study_runs import Size, Study
from bench.study_speech import Line, sentences, speak

LOCALE, ESPEAK = "en-US", "en-us"
GUARD = "en-US_guard_test"
REPLAY_SHARE = 0.3
TERMS = tuple(
    "amoxicillin atorvastatin cetirizine diazepam doxycycline furosemide gabapentin ibuprofen insulin levothyroxine lisinopril metformin naproxen "
    "omeprazole prednisone salbutamol sertraline tramadol warfarin zolpidem".split()
)
TEMPLATES = (
    "Good morning, I am calling about {term}.",
    "Can you send me {term} {day}?",
    "I have not received {term} yet.",
    "How much is {term} for {number} people?",
    "Cancel {term}, please, I do not need it.",
    "I have been waiting {number} minutes for {term}.",
    "Send {term} to {name} {surname}.",
    "I want {number} {term} and {number} {term} for {day}.",
    "Missus {surname} wants {term} {day}.",
    "Thank you very much, {name}, I will call back about {term}.",
    "No, I said {term}, not {term}.",
)
SETS: tuple[tuple[str, Part, int, int], ...] = (("train", "train", 1_500, 1), ("dev", "train", 400, 2), ("test", "test", 1_000, 3))
"""Name, part of the grammar, least number of words, seed."""


BOOSTS = (1.0, 4.0)
"""Weights of the boosting tree: the tool's default, and one that forces."""


class Way(NamedTuple):
    """Scores on the terms, and what the way costs on speech without them."""

    name: str
    target: EvalCell
    guard: EvalCell


class TunedWays(NamedTuple):
    run: TrainResult
    forgotten: int
    ways: tuple[Way, ...]


def make(folder: Path) -> dict[str, Path]:
    """Set name -> manifest."""
    carrier = grammar.load(LOCALE)
    terms = Grammar(LOCALE, TEMPLATES, {**carrier.slots, "term": TERMS})
    taken, found = set[str](), dict[str, Path]()
    for name, part, words, seed in SETS:
        target = folder / f"terms_{name}"
        speak(target, [Line(turn, text, text, ESPEAK) for turn, text in enumerate(sentences(terms, part, seed, words, taken))], LOCALE, part, seed)
        found[name] = target / "manifest.json"
    return found


def part(study: Study, size: Size) -> Callable[[], None]:
    sets = make(study.home / "data")
    base = [study.later(way, study, sets["test"], "embedded", weight) for weight in (0.0, *BOOSTS)]
    tuned = study.later(tune, study, sets["train"], sets["dev"], sets["test"], size.seeds[0])

    def table() -> None:
        after = tuned.result()
        print(f"{len(TERMS)} terms; tuned: {after.run.steps} steps, {after.run.seconds:.0f} s, replay {REPLAY_SHARE:.0%}, {after.forgotten} of the guards forgotten\n")
        print("| way | WER | terms found | written terms that were said | against the base | en guard | terms written there |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        ways = [one.result() for one in base] + list(after.ways)
        for one in ways:
            terms, there = one.target.terms, one.guard.terms
            assert terms is not None
            assert there is not None
            print(f"| {one.name} | {one.target.normalised.percent:.1f} | {percent(terms.recall_percent)} | {percent(terms.precision_percent)} | "
                  f"{against(study, ways[0].target, one.target)} | {one.guard.normalised.percent:.1f} | {'none' if there.precision_percent is None else 'some'} |")  # fmt: skip

    return table


def way(study: Study, test: Path, checkpoint: str, boost_weight: float) -> Way:
    name = f"{'base' if checkpoint == 'embedded' else 'tuned'}{f' boosted by {boost_weight:g}' if boost_weight else ''}"
    target, guard = (study.transcribed(checkpoint, manifest, LOCALE, TERMS, boost_weight, name) for manifest in (test, study.sets[GUARD]))
    return Way(name, target, guard)


def tune(study: Study, train: Path, dev: Path, test: Path, seed: int) -> TunedWays:
    run = study.train(train, dev, seed, replay_share=REPLAY_SHARE)
    forgotten, _ = study.forgotten_and_kept(study.guards(run.run_id))
    return TunedWays(run, forgotten, tuple(way(study, test, run.run_id, weight) for weight in (0.0, BOOSTS[0])))


def against(study: Study, base: EvalCell, other: EvalCell) -> str:
    """Verdict and 95 % interval of the difference in points."""
    if base.eval_id == other.eval_id:
        return "-"
    compared = study.loop.call("compare_models", base_eval=base.eval_id, tuned_eval=other.eval_id).data
    return f"{compared.verdict} ({compared.ci95[0]:+.1f} to {compared.ci95[1]:+.1f})"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0f} %"
