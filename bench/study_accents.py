"""Several accents of one language, of which the base heard one: does tuning on the others lift the worst group? Part `accents`, all synthetic.

espeak-ng speaks English with six rule sets; the embedded base heard the American one. Every group says the same test sentences with the same test
voices, speeds and pitches, so that groups differ in nothing but the accent. Tuning takes the five others, and the American one is there as replay only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path
from statistics import mean

from asrcore.embedded import grammar
from asrcore.embedded.grammar import Part
from asrcore.requests import EvalCell
from bench.study_runs import Size, Study
from bench.study_speech import Line, sentences, speak

LOCALE, HEARD = "en-US", "en-us"
ACCENTS = ("en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp")
"""espeak-ng's Caribbean, Scottish, Lancastrian, West Midlands and Received Pronunciation."""
FIELD = "accent"
REPLAY_SHARE = 0.3
TRAIN_WORDS, DEV_WORDS, TEST_WORDS = 450, 80, 250
"""Words an accent."""


def make(folder: Path) -> dict[str, Path]:
    """Set name -> manifest, each row with its accent. Sentences of training and dev are each accent's own; those of the test are the same in all."""
    english, taken, found = grammar.load(LOCALE), set[str](), dict[str, Path]()
    test = enumerate(sentences(english, "test", 3, TEST_WORDS, taken))
    lines = {
        "train": _own(sentences(english, "train", 1, len(ACCENTS) * TRAIN_WORDS, taken)),
        "dev": _own(sentences(english, "train", 2, len(ACCENTS) * DEV_WORDS, taken)),
        "test": [_line(turn, text, accent) for turn, text in test for accent in (HEARD, *ACCENTS)],
    }
    parts: dict[str, tuple[Part, int]] = {"train": ("train", 1), "dev": ("train", 2), "test": ("test", 3)}
    for name, (part_of_grammar, seed) in parts.items():
        target = folder / f"accents_{name}"
        speak(target, lines[name], LOCALE, part_of_grammar, seed)
        found[name] = target / "manifest.json"
    return found


def part(study: Study, size: Size) -> Callable[[], None]:
    sets = make(study.home / "data")
    before = study.later(cell, study, "embedded", sets["test"])
    tuned = [study.later(tune, study, sets["train"], sets["dev"], sets["test"], seed) for seed in size.seeds]

    def table() -> None:
        base, after = rates(before.result()), [one.result() for one in tuned]
        groups = [rates(cells) for cells, _ in after]
        print(f"{study.steps} steps, replay {REPLAY_SHARE:.0%}; guards forgotten: {', '.join(f'{forgotten} of 3' for _, forgotten in after)}\n")
        print("| accent | base | tuned |\n| --- | --- | --- |")
        for accent in (HEARD, *ACCENTS):
            print(f"| {accent} | {base[accent]:.1f} | {mean(one[accent] for one in groups):.1f} |")
        worst = [max(one.values()) for one in groups]
        print(f"| worst group | {max(base.values()):.1f} | {mean(worst):.1f} ({', '.join(f'{rate:.1f}' for rate in worst)}) |", flush=True)

    return table


def cell(study: Study, checkpoint: str, test: Path) -> EvalCell:
    return study.evals(checkpoint, [test], [FIELD])[0]


def tune(study: Study, train: Path, dev: Path, test: Path, seed: int) -> tuple[EvalCell, int]:
    """The tuned cell, and how many guards were forgotten."""
    run = study.train(train, dev, seed, replay_share=REPLAY_SHARE)
    return cell(study, run.run_id, test), study.forgotten_and_kept(study.guards(run.run_id))[0]


def rates(scored: EvalCell) -> dict[str, float]:
    """WER of each accent in percent."""
    return {one.untrusted_text: one.wer.percent for one in scored.slices}


def _own(texts: Iterable[str]) -> list[Line]:
    """Accents take turns, each with sentences of its own."""
    return [_line(turn, text, accent) for turn, (text, accent) in enumerate(zip(texts, cycle(ACCENTS), strict=False))]


def _line(turn: int, text: str, accent: str) -> Line:
    return Line(turn, text, text, accent, {FIELD: accent})
