"""Single utterances: where the tuned model got worse, and where it is still wrong, with the alignment spelled out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from asrcore.report.markup import Html, el, join
from asrcore.requests import Hypothesis
from asrcore.score.hypotheses import Pair
from asrcore.score.wer import Step, align, needs_cer

MAX_TOKENS = 80
"""Tokens shown of one aligned transcript; longer ones end in an ellipsis."""
_FINAL_SIGMA = re.compile(r"(?<=\w)σ(?!\w)")
"""The normaliser folds ς into σ; readers expect it back."""
_RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur"})


class Case(NamedTuple):
    """One utterance under both systems."""

    base: Hypothesis
    tuned: Hypothesis
    base_errors: int
    tuned_errors: int
    words: int


def worst(pair: Pair, limit: int) -> list[Case]:
    """Most errors of the tuned model first; ties by share of words, then by line."""
    return sorted((c for c in _cases(pair) if c.tuned_errors), key=lambda c: (-c.tuned_errors, -c.tuned_errors / c.words, c.base.line))[
        :limit
    ]


def regressions(pair: Pair, limit: int) -> list[Case]:
    """Utterances that lost most errors' worth against the base."""
    lost = (c for c in _cases(pair) if c.tuned_errors > c.base_errors)
    return sorted(lost, key=lambda c: (c.base_errors - c.tuned_errors, -c.tuned_errors / c.words, c.base.line))[:limit]


def card(case: Case) -> Html:
    """Reference, base and tuned; `del` is in the reference only, `ins` in the transcript only."""
    locale = case.base.locale
    unit = "characters" if needs_cer(locale) else "words"
    direction = "rtl" if locale.split("-")[0] in _RIGHT_TO_LEFT else "ltr"
    rows = [("reference", join(case.base.reference), "")]
    for system, hypothesis, errors in (("base", case.base, case.base_errors), ("tuned", case.tuned, case.tuned_errors)):
        steps = align(hypothesis.reference, hypothesis.text, locale, normalised=True)
        rows.append((system, _aligned(steps, "" if needs_cer(locale) else " "), str(errors)))
    return el(
        "article",
        el("header", el("span", f"line {case.base.line}"), el("span", locale), el("span", f"{case.base.duration:.1f} s"), el("span", f"{case.words} {unit}")),
        el("dl", *(join(el("dt", name, *([el("b", errors)] if errors else [])), el("dd", shown, lang=locale, dir=direction)) for name, shown, errors in rows)),
        class_="case",
    )  # fmt: skip


def _aligned(steps: Sequence[Step], space: str) -> Html:
    parts: list[Html] = []
    left = MAX_TOKENS
    for step in steps:
        reference, hypothesis = (_FINAL_SIGMA.sub("ς", space.join(side[:left])) for side in (step.reference, step.hypothesis))
        if step.operation == "equal":
            parts.append(join(hypothesis))
        else:
            parts.append(join(*([el("del", reference)] if reference else []), *([el("ins", hypothesis)] if hypothesis else [])))
        left -= max(len(step.reference), len(step.hypothesis))
        if left <= 0:
            parts.append(join("…"))
            break
    return join(*(join(space if number else "", part) for number, part in enumerate(parts))) if parts else el("i", "nothing")


def _cases(pair: Pair) -> list[Case]:
    counts = zip(pair.base_counts.errors.tolist(), pair.tuned_counts.errors.tolist(), pair.base_counts.words.tolist(), strict=True)
    return [Case(base, tuned, *numbers) for base, tuned, numbers in zip(pair.base, pair.tuned, counts, strict=True)]
