"""Single utterances: where the tuned model got worse, and where it is still wrong, with the alignment spelled out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from asrcore.report.clips import Clips
from asrcore.report.markup import Html, el, join
from asrcore.report.numbers import count
from asrcore.report.parts import note, section
from asrcore.requests import Hypothesis
from asrcore.score.hypotheses import Pair
from asrcore.score.segments import wrong_tag
from asrcore.score.wer import Step, align, needs_cer
from asrcore.text import language

CASES = 5
"""Utterances a list."""
MAX_TOKENS = 80
"""Words shown of one transcript, characters times 5 where the locale is scored by character; longer ones end in an ellipsis."""
MAX_WORD = 48
"""Characters shown of one word. The longest words of languages are shorter; longer ones come from broken data."""
_FINAL_SIGMA = re.compile(r"(?<=\w)σ(?!\w)")
"""The normaliser folds ς into σ; readers expect it back."""
_RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur", "ps", "sd", "ug", "yi", "dv", "ckb"})


class Case(NamedTuple):
    """One utterance under both systems."""

    base: Hypothesis
    tuned: Hypothesis
    base_errors: int
    tuned_errors: int
    words: int


class Cases(NamedTuple):
    """What is shown: utterances that became worse, and those with most errors left; and how many of each kind there are."""

    regressions: list[Case]
    worst: list[Case]
    lost: int
    """Utterances with more errors than before."""
    won: int
    """With fewer."""
    wrong: int
    """With any error of the tuned model."""
    total: int

    @property
    def lines(self) -> list[int]:
        return [case.tuned.line for case in (*self.regressions, *self.worst)]


def choose(pair: Pair, limit: int = CASES) -> Cases:
    """Most errors lost against the base first, and most errors of the tuned model first; ties by share of words, then by line."""
    counts = zip(pair.base_counts.errors.tolist(), pair.tuned_counts.errors.tolist(), pair.base_counts.words.tolist(), strict=True)
    cases = [Case(base, tuned, *numbers) for base, tuned, numbers in zip(pair.base, pair.tuned, counts, strict=True)]
    lost = [c for c in cases if c.tuned_errors > c.base_errors]
    wrong = [c for c in cases if c.tuned_errors]
    return Cases(
        sorted(lost, key=lambda c: (c.base_errors - c.tuned_errors, -c.tuned_errors / c.words, c.base.line))[:limit],
        sorted(wrong, key=lambda c: (-c.tuned_errors, -c.tuned_errors / c.words, c.base.line))[:limit],
        lost=len(lost), won=sum(c.tuned_errors < c.base_errors for c in cases), wrong=len(wrong), total=len(cases),
    )  # fmt: skip


def utterances(cases: Cases, clips: Clips, condition: str) -> Html:
    """Regressions first, then what is still wrong."""
    legend = join(
        _missing("said"), " was said and is missing, ", el("ins", "written"), " was written and not said, ",
        _for_another("said", "written"), " was written for another word. The number is the count of errors. ",
        f"After normalisation; {condition}",
    )  # fmt: skip
    notes: list[Html] = []
    if clips.by_line:
        notes.append(note("Players read your own files: they work on this machine only, and no sound is in this page."))
    if clips.missing:
        notes.append(note(clips.missing))
    parts: list[Html] = []
    changed = f"{count(cases.lost)} of {count(cases.total)} utterances have more errors than before, {count(cases.won)} have fewer."
    left = f"{count(cases.wrong)} of {count(cases.total)} utterances have an error left."
    lists = (
        ("Worse than before", changed, " Those that lost most:", cases.regressions), ("Most errors left", left, " Those with most:", cases.worst),
    )  # fmt: skip
    for heading, said, which, found in lists:
        shown = el("div", *(card(case, clips.by_line.get(case.tuned.line)) for case in found), class_="cases")
        parts += [el("h3", heading), *([note(said, which), shown] if found else [note(said)])]
    return section("Utterances", legend, *notes, *parts)


def card(case: Case, clip: str | None = None) -> Html:
    """Reference, base and tuned; `del` is in the reference only, `ins` in the transcript only. `clip` is the address of its sound."""
    locale = case.base.locale
    direction = "rtl" if language(locale) in _RIGHT_TO_LEFT else "ltr"
    rows = [("reference", el("bdi", _plain(case.base.reference, locale)), "")]
    for system, hypothesis, errors in (("base", case.base, case.base_errors), ("tuned", case.tuned, case.tuned_errors)):
        steps = align(hypothesis.reference, hypothesis.text, locale, normalised=True)
        rows.append((system, _aligned(steps, locale), str(errors)))
    unit = "characters" if needs_cer(locale) else "words"
    tag = [el("span", "tag ", el("bdi", case.tuned.tag))] if case.tuned.tag and wrong_tag(case.tuned) else []
    head = el("header", el("span", f"line {case.base.line}"), el("span", locale), el("span", f"{case.base.duration:.1f} s"),
              el("span", f"{case.words} {unit}"), *tag)  # fmt: skip
    listed = (
        join(el("dt", name, *([el("b", errors)] if errors else [])), el("dd", shown, lang=locale, dir=direction))
        for name, shown, errors in rows
    )
    player = [el("audio", src=clip, controls="controls", preload="none")] if clip else []
    return el("article", head, el("dl", *listed), *player, class_="case")


def _aligned(steps: Sequence[Step], locale: str) -> Html:
    space = "" if needs_cer(locale) else " "
    parts: list[Html] = []
    left = _budget(locale)
    for piece, size in _pieces(steps, space, left):
        if left <= 0:
            parts.append(join("…"))
            break
        parts.append(piece)
        left -= size
    return el("bdi", join(*(join(space if number else "", part) for number, part in enumerate(parts)))) if parts else el("i", "nothing")


def _pieces(steps: Sequence[Step], space: str, limit: int) -> Iterator[tuple[Html, int]]:
    """Markup with the tokens it holds. A word that stands for another is paired with it; runs of missing or added words stay together."""
    for step in steps:
        size = max(len(step.reference), len(step.hypothesis))
        reference, hypothesis = ([_word(token) for token in side[:limit]] for side in (step.reference, step.hypothesis))
        match step.operation:
            case "equal":
                yield join(space.join(hypothesis)), size
            case "delete":
                yield _missing(space.join(reference)), size
            case "insert":
                yield el("ins", space.join(hypothesis)), size
            case "substitute":
                if not space:
                    yield _for_another("".join(reference), "".join(hypothesis)), size
                else:
                    for said, written in zip(reference, hypothesis, strict=True):
                        yield _for_another(said, written), 1


def _missing(said: str) -> Html:
    return el("span", el("del", said), class_="missing")


def _for_another(said: str, written: str) -> Html:
    return el("span", el("del", said), el("ins", written), class_="sub")


def _plain(text: str, locale: str) -> str:
    if needs_cer(locale):
        limit = _budget(locale)
        return text if len(text) <= limit else text[:limit] + "…"
    words = text.split()
    return " ".join(map(_word, words[:MAX_TOKENS])) + (" …" if len(words) > MAX_TOKENS else "")


def _word(token: str) -> str:
    token = _FINAL_SIGMA.sub("ς", token)
    return token if len(token) <= MAX_WORD else f"{token[:MAX_WORD]}… ({len(token)} characters)"


def _budget(locale: str) -> int:
    return MAX_TOKENS * (5 if needs_cer(locale) else 1)
