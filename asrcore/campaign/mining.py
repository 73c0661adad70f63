"""Mining: from where the errors are to what is to be collected, from hypotheses alone, the same every time.

`data_wanted` divides the new hours of a round · `missed_words` are for the texts to collect or boost · `hardest` are for ears: look at these first.
All point at *kinds* of data. The utterances themselves belong to a test set and are never to be trained on. What was said and where it came from is
the data's own text: it stands in fields named `untrusted_…`, cleaned and cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from asrcore.campaign.diagnosis import with_speech_rate
from asrcore.campaign.finding import Finding
from asrcore.errors import clean_text
from asrcore.requests import EvalCell, Hypothesis
from asrcore.results import Frozen
from asrcore.score.bootstrap import count
from asrcore.score.hypotheses import read_hypotheses
from asrcore.score.slices import ABSENT, fields_of, slices
from asrcore.score.wer import align, needs_cer

NOT_COLLECTABLE = frozenset({"speaker"})
"""Fields whose values nobody can collect more of: the speakers of a test set must stay out of training."""
LEAST_SHARE = 0.05
"""Values with less of the errors are left to chance."""
MOST_VALUES = 5
LEAST_MISSED = 2
"""A word that was missed once says nothing."""
_SHOWN = 200


class Wanted(Frozen):
    """One kind of data for the next round. `untrusted_text` is the value as the data has it."""

    about: str = Field(description="Field of the target's manifest.")
    untrusted_text: str
    share: float = Field(description="Share (0 to 1) of the errors on the target, and so of the new hours.")
    hours: float | None = Field(description="Of new target audio; null while the amount is open.")


class MissedWord(Frozen):
    """A reference word (normalised), how often it was not heard, and how often it was said."""

    untrusted_text: str
    missed: int
    occurrences: int


class HardUtterance(Frozen):
    """An utterance that every given eval got wrong, with the best of their transcripts."""

    line: int = Field(description="Line of the set's manifest, from 1.")
    errors: int = Field(description="In the eval that did best on it.")
    words: int = Field(description="Of the reference, or characters where CER is used.")
    untrusted_reference: str
    untrusted_text: str


def data_wanted(cell: EvalCell, findings: Sequence[Finding], hours: float | None) -> tuple[Wanted, ...]:
    """How to divide `hours` of new data: over the values of the field with the largest ceiling among the slice findings, in proportion to their errors.

    So a kind of speech with twice the error rate gets twice the hours for each hour of it in the target set. That is a plain rule, not an optimum: what a
    slice will really gain is not known. Empty without a slice that is worse than the rest: then data like the target set. Shares of values under
    `LEAST_SHARE` are left out, so they need not sum to 1. Raises what `read_hypotheses` raises.
    """
    places = [one for one in findings if one.kind == "slice" and one.lever == "add_data" and one.about not in NOT_COLLECTABLE]
    if not places:
        return ()
    worst = max(places, key=lambda one: (one.ceiling_points or 0.0, one.about))
    hyps = read_hypotheses(Path(cell.hypotheses))
    counts = count([h.text for h in hyps], hyps, normalised=True)
    rated = with_speech_rate(hyps, counts)
    field = next(name for name in fields_of(rated) if clean_text(name, 80) == worst.about)
    errors = int(counts.errors.sum())
    values = [one for one in slices(rated, counts, [field]) if one.untrusted_text != ABSENT and one.wer.errors >= LEAST_SHARE * errors]
    ranked = sorted(values, key=lambda one: (-one.wer.errors, one.untrusted_text))[:MOST_VALUES]
    return tuple(
        Wanted(about=worst.about, untrusted_text=one.untrusted_text, share=one.wer.errors / errors,
               hours=None if hours is None else hours * one.wer.errors / errors)
        for one in ranked
    )  # fmt: skip


def missed_words(cell: EvalCell, most: int = 20) -> tuple[MissedWord, ...]:
    """Reference words by how often they were substituted or deleted, most first. Empty where CER is used. Raises what `read_hypotheses` raises."""
    said, missed = Counter[str](), Counter[str]()
    for h in read_hypotheses(Path(cell.hypotheses)):
        if needs_cer(h.locale):
            continue
        for step in align(h.reference, h.text, h.locale, normalised=True):
            said.update(step.reference)
            if step.operation != "equal":
                missed.update(step.reference)
    ranked = sorted(((word, times) for word, times in missed.items() if times >= LEAST_MISSED), key=lambda one: (-one[1], said[one[0]], one[0]))
    return tuple(MissedWord(untrusted_text=clean_text(word, 40), missed=times, occurrences=said[word]) for word, times in ranked[:most])


def hardest(cells: Sequence[EvalCell], most: int = 20) -> tuple[HardUtterance, ...]:
    """Utterances of one set that every eval got wrong, most errors in the best of them first: what one model alone stumbled over is left out.

    Cells must be of the same utterances; those that one of them lacks are left out. Raises what `read_hypotheses` raises.
    """
    sides = [read_hypotheses(Path(cell.hypotheses)) for cell in cells]
    counted = [count([h.text for h in side], side, normalised=True) for side in sides]
    best: dict[str, tuple[int, int, Hypothesis]] = {}
    for number, (side, counts) in enumerate(zip(sides, counted, strict=True)):
        here = {h.id: (int(errors), int(words), h) for h, errors, words in zip(side, counts.errors, counts.words, strict=True)}
        best = here if number == 0 else {key: min(best[key], here[key], key=lambda one: one[0]) for key in best if key in here}
    wrong = sorted((one for one in best.values() if one[0]), key=lambda one: (-one[0], one[1], one[2].line))[:most]
    return tuple(
        HardUtterance(line=h.line, errors=errors, words=words, untrusted_reference=clean_text(h.reference, _SHOWN), untrusted_text=clean_text(h.text, _SHOWN))
        for errors, words, h in wrong
    )  # fmt: skip
