"""Where the errors are: findings from the hypotheses of one eval, each with its share of all errors, the cheapest lever and the most it can bring.

A finding points at a place, it proves nothing: of many slices one is worst by chance, and whether a lever works shows only in the next round. So
`ceiling_points` is an upper limit (what the error rate would fall by if this place were as good as the rest, or without error), with the slice's own
95 % interval carried over; what a lever will really bring stays unknown unless the learning curve says it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asrcore.campaign.evidence import Lever
from asrcore.requests import EvalCell, Hypothesis, Slice
from asrcore.results import Frozen
from asrcore.score.bootstrap import count
from asrcore.score.hypotheses import read_hypotheses
from asrcore.score.replay import ReplayReport
from asrcore.score.slices import ABSENT, WORST_FROM_WORDS, fields_of, slices
from asrcore.score.wer import ErrorCounts, align

LEAST_SHARE = 0.05
"""Findings under this share of the errors are left out."""
MOST_FINDINGS = 8
MOST_FIELDS = 8
SPEECH_RATE = "words_per_second"
UNKNOWN_MARKS = ("⁇", "<unk>")
PATTERN_SHARE = 0.5
"""A kind of error (S, D or I) is worth a word from half of all errors on; substitutions usually are the most and say little."""
MOST_ALIGNED = 2000
"""Utterances with digits in the reference that are aligned to find number errors."""

Kind = Literal["slice", "terms", "numbers", "deletions", "insertions", "silent", "loops", "style", "wrong_tags", "unknown_characters", "guard"]
Whole = Literal["errors", "raw errors", "utterances", "guard"]


class Finding(Frozen):
    """One place where errors gather. `untrusted_text` is a value of the data (a slice's name)."""

    kind: Kind
    about: str = Field(description="What was looked at: a manifest field, a locale, or the kind of error.")
    untrusted_text: str = ""
    share: float | None = Field(description="Share (0 to 1) of `of`; null where a guard lost.")
    of: Whole
    lever: Lever | None = Field(description="The cheapest one that acts here; null when nobody can say before listening.")
    ceiling_points: float | None = Field(description="The most that the lever can bring on this set, in points; null when unknown.")
    ceiling95: tuple[float, float] | None = None
    expected: Literal["unknown"] = "unknown"
    note: str


def diagnose(cell: EvalCell, guards: ReplayReport | None = None) -> tuple[Finding, ...]:
    """The findings of one eval, largest share of the errors first, guard losses before all. Raises what `read_hypotheses` raises."""
    hyps = read_hypotheses(Path(cell.hypotheses))
    counts = count([h.text for h in hyps], hyps, normalised=True)
    found = [*_places(hyps, counts), *_numbers(hyps, counts), *_pattern(hyps, counts, cell), *_labels(hyps, counts, cell)]
    ranked = sorted((f for f in found if (f.share or 0) >= LEAST_SHARE), key=lambda f: -(f.share or 0))
    return (*_guards(guards), *ranked)[:MOST_FINDINGS]


def terms_share(cell: EvalCell) -> float | None:
    """Share (0 to 1) of the errors that are missed terms; null when the eval was not asked for terms."""
    if cell.terms is None or cell.terms.recall_percent is None or cell.normalised.errors == 0:
        return None
    missed = cell.terms.occurrences * (1 - cell.terms.recall_percent / 100)
    return min(1.0, missed / cell.normalised.errors)


def with_speech_rate(hyps: Sequence[Hypothesis], counts: ErrorCounts) -> list[Hypothesis]:
    """The hypotheses with how fast was spoken as one more field (reference words a second)."""
    rates = [h.fields | {SPEECH_RATE: f"{words / max(h.duration, 0.1):.4f}"} for h, words in zip(hyps, counts.words.tolist(), strict=True)]
    return [h.model_copy(update={"fields": fields}) for h, fields in zip(hyps, rates, strict=True)]


def _places(hyps: Sequence[Hypothesis], counts: ErrorCounts) -> Iterator[Finding]:
    """Slices that are worse than the rest of the set. Shares of different fields overlap: the same errors are seen from several sides."""
    rated = with_speech_rate(hyps, counts)
    asked = [name for name in fields_of(rated) if name != "locale" or len({h.locale for h in hyps}) > 1]
    asked = [*[name for name in asked if name != SPEECH_RATE][: MOST_FIELDS - 1], SPEECH_RATE]
    errors, words = int(counts.errors.sum()), int(counts.words.sum())
    for one in slices(rated, counts, asked):
        if one.worst and one.wer.words < words and errors:
            yield from _place(one, errors, words)


def _place(one: Slice, errors: int, words: int) -> Iterator[Finding]:
    if one.wer.words < WORST_FROM_WORDS or one.untrusted_text == ABSENT:
        return
    rest = 100 * (errors - one.wer.errors) / (words - one.wer.words)
    part = one.wer.words / words
    if one.wer.percent <= rest:
        return
    bounds = None if one.wer.ci95 is None else (part * (one.wer.ci95[0] - rest), part * (one.wer.ci95[1] - rest))
    if bounds is not None and bounds[0] <= 0:
        return
    yield Finding(
        kind="slice", about=one.field, untrusted_text=one.untrusted_text, share=one.wer.errors / errors, of="errors", lever="add_data",
        ceiling_points=part * (one.wer.percent - rest), ceiling95=bounds,
        note=f"{one.wer.percent:.1f} % here, {rest:.1f} % elsewhere, {100 * part:.0f} % of the {one.wer.unit}s",
    )  # fmt: skip


def _numbers(hyps: Sequence[Hypothesis], counts: ErrorCounts) -> Iterator[Finding]:
    """Errors in stretches that touch a digit on either side: numbers are as often a question of how they are written as of hearing."""
    errors = int(counts.errors.sum())
    rows = [n for n, h in enumerate(hyps) if counts.errors[n] and any(c.isdigit() for c in h.reference + h.text)][:MOST_ALIGNED]
    touched = 0
    for n in rows:
        steps = align(hyps[n].reference, hyps[n].text, hyps[n].locale, normalised=True)
        for wrong, stretch in groupby(steps, key=lambda step: step.operation != "equal"):
            errors_here = [step for step in stretch if wrong]
            if any(c.isdigit() for step in errors_here for word in (*step.reference, *step.hypothesis) for c in word):
                touched += sum(max(len(step.reference), len(step.hypothesis)) for step in errors_here)
    if errors and touched:
        yield Finding(kind="numbers", about="digits", share=touched / errors, of="errors", lever="fix_data", ceiling_points=100 * touched / int(counts.words.sum()),
                      note="errors on words with digits; write numbers in the training texts as the product shall write them")  # fmt: skip


def _pattern(hyps: Sequence[Hypothesis], counts: ErrorCounts, cell: EvalCell) -> Iterator[Finding]:
    errors, words = int(counts.errors.sum()), int(counts.words.sum())
    if not errors:
        return
    kinds: tuple[tuple[Kind, NDArray[np.int64]], ...] = (("deletions", counts.deletions), ("insertions", counts.insertions))
    for kind, column in kinds:
        share = int(column.sum()) / errors
        if share >= PATTERN_SHARE:
            note = "words are dropped: quiet or cut audio, a latency too short, or training that went too far" if kind == "deletions" else "words are made up: noise, or loops"
            yield Finding(kind=kind, about=kind, share=share, of="errors", lever=None, ceiling_points=None, note=note)
    silent = np.array([not h.text.strip() for h in hyps])
    yield from _some("silent", counts, silent, words, None, "nothing was written: listen to these first")
    marked = np.array([any(mark in h.text for mark in UNKNOWN_MARKS) for h in hyps])
    yield from _some("unknown_characters", counts, marked, words, "fix_data", "the tokenizer lacks a character of these texts; see inspect_dataset")
    if cell.repeated_phrases:
        yield Finding(kind="loops", about="repeated phrases", share=cell.repeated_phrases / len(hyps), of="utterances", lever="lower_lr", ceiling_points=None,
                      note="the decoder repeats itself: trained too far, or noise at the end of clips")  # fmt: skip


def _some(kind: Kind, counts: ErrorCounts, where: NDArray[np.bool_], words: int, lever: Lever | None, note: str) -> Iterator[Finding]:
    errors = int(counts.errors[where].sum())
    if errors:
        yield Finding(kind=kind, about=f"{int(where.sum())} utterances", share=errors / int(counts.errors.sum()), of="errors", lever=lever,
                      ceiling_points=100 * errors / words, note=note)  # fmt: skip


def _labels(hyps: Sequence[Hypothesis], counts: ErrorCounts, cell: EvalCell) -> Iterator[Finding]:
    """Errors of convention, not of hearing, and terms."""
    share = terms_share(cell)
    if share is not None:
        yield Finding(kind="terms", about="listed terms", share=share, of="errors", lever="boost_terms", ceiling_points=share * cell.normalised.percent,
                      note=f"recall of the listed terms is {cell.terms.recall_percent if cell.terms else 0:.0f} %")  # fmt: skip
    raw = int(count([h.text for h in hyps], hyps, normalised=False).errors.sum())
    style = raw - int(counts.errors.sum())
    if raw and style > 0:
        yield Finding(kind="style", about="case and punctuation", share=style / raw, of="raw errors", lever="fix_data", ceiling_points=0.0,
                      note="gone after normalisation: how texts are written, not what was heard; the normalised rate cannot gain from it")  # fmt: skip
    if cell.wrong_tag_rate:
        yield Finding(kind="wrong_tags", about="auto", share=cell.wrong_tag_rate, of="utterances", lever="fix_data", ceiling_points=None,
                      note="the written tag is missing or another locale's; see validate_language_tags")  # fmt: skip


def _guards(report: ReplayReport | None) -> Iterator[Finding]:
    if report is None:
        return
    for guard in sorted(report.guards, key=lambda g: -g.loss_points):
        if guard.verdict == "forgotten":
            yield Finding(kind="guard", about=" ".join(guard.locales), share=None, of="guard", lever="more_replay", ceiling_points=guard.loss_points,
                          ceiling95=None, note=f"loses {guard.loss_points:.2f} points at {guard.latency_ms} ms, {guard.prompt_mode}; margin {guard.margin_points:.2f}")  # fmt: skip

