"""What stood in the transcripts where a listed term was spoken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from asrcore.score.hypotheses import Pair
from asrcore.score.wer import align, needs_cer, tokens

MAX_TERMS = 20
MAX_INSTEAD = 3
_LONGEST = 60
"""Characters shown of what was written instead."""


class Heard(NamedTuple):
    """One term over all utterances that hold it. `instead` is what the tuned model wrote, most frequent first; empty for nothing."""

    term: str
    spoken: int
    base_missed: int
    tuned_missed: int
    instead: tuple[tuple[str, int], ...]


def missed_terms(pair: Pair, terms: Sequence[str]) -> list[Heard]:
    """The terms that either system missed at least once, most missed by the tuned model first.

    A term counts as missed where the words aligned to it are not its own: by place, unlike recall, which counts it anywhere in the utterance.
    """
    found = [_heard(pair, term) for term in dict.fromkeys(terms)]
    missed = [h for h in found if h.base_missed or h.tuned_missed]
    return sorted(missed, key=lambda h: (-h.tuned_missed, -h.base_missed, h.term))[:MAX_TERMS]


def _heard(pair: Pair, term: str) -> Heard:
    spoken = base_missed = tuned_missed = 0
    instead: Counter[str] = Counter()
    for base, tuned in zip(pair.base, pair.tuned, strict=True):
        locale = base.locale
        wanted = tokens(term, locale, normalised=True)
        reference = tokens(base.reference, locale, normalised=True)
        places = [n for n in range(len(reference) - len(wanted) + 1) if reference[n : n + len(wanted)] == wanted] if wanted else []
        if not places:
            continue
        spoken += len(places)
        by_base, by_tuned = (_aligned(base.reference, side.text, locale) for side in (base, tuned))
        for place in places:
            base_missed += _written(by_base, place, len(wanted)) != wanted
            written = _written(by_tuned, place, len(wanted))
            if written != wanted:
                tuned_missed += 1
                words = ("" if needs_cer(locale) else " ").join(written)
                instead[words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"] += 1
    return Heard(term, spoken, base_missed, tuned_missed, tuple(instead.most_common(MAX_INSTEAD)))


def _aligned(reference: str, hypothesis: str, locale: str) -> list[tuple[list[str], list[str]]]:
    """For each reference token what was written for it, and what was put in after it."""
    out: list[tuple[list[str], list[str]]] = []
    for step in align(reference, hypothesis, locale, normalised=True):
        if step.operation == "insert":
            if out:
                out[-1][1].extend(step.hypothesis)
            continue
        out.extend(([word] if word is not None else [], []) for _, word in zip_longest(step.reference, step.hypothesis))
    return out


def _written(aligned: Sequence[tuple[list[str], list[str]]], place: int, length: int) -> list[str]:
    """What stands for `length` tokens from `place`; insertions inside count, those after the last do not."""
    words: list[str] = []
    for number in range(place, place + length):
        words += aligned[number][0] + (aligned[number][1] if number < place + length - 1 else [])
    return words
