"""Where the errors are: findings from the hypotheses of one eval, each with its share of all errors, the cheapest lever, the most that can be won there,
and what the lever has brought in this campaign.

A finding points at a place, it proves nothing: of many slices one is worst by chance, and whether a lever works shows only in the next round. So two
numbers stand side by side. The *ceiling* is an upper limit on this set (the error rate falls by so much if this place were as good as the rest, or without
error). What is *expected* of the lever rests on rounds that pulled it, or on the learning curve (`effects`), and is null until there are any.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asrcore.campaign.evidence import Lever
from asrcore.campaign.finding import Effect, Finding, Interval95, Kind, Place, measured, share_of
from asrcore.requests import EvalCell, Hypothesis
from asrcore.score.bootstrap import NORMAL, Clusters, cluster, count
from asrcore.score.cell import runs_on
from asrcore.score.hypotheses import read_hypotheses
from asrcore.score.replay import ReplayReport
from asrcore.score.segments import wrong_tag
from asrcore.score.slices import ABSENT, WORST_FROM_WORDS, fields_of, with_rows
from asrcore.score.tags import strip_tags
from asrcore.score.wer import ErrorCounts, align, needs_cer, tokens
from asrcore.text import language

LEAST_SHARE = 0.05
"""Findings under this share of the errors are left out."""
MOST_FINDINGS = 6
"""A decision with so many stays under 1,500 tokens."""
MOST_FIELDS = 8
SPEECH_RATE = "words_per_second"
UNKNOWN_MARKS = ("⁇", "<unk>")
PATTERN_SHARE = 0.5
"""A kind of error (S, D or I) is worth a word from half of all errors on; substitutions usually are the most and say little."""
NOUNS_IN_CAPITALS = frozenset({"de", "lb", "nds", "gsw"})
"""Languages that write every noun with a capital, which then says nothing about names."""
_SENTENCE_ENDS = (".", "!", "?", "…", ";", ":", "·")


def diagnose(cell: EvalCell, guards: ReplayReport | None = None, effects: Mapping[Lever, Effect] | None = None) -> tuple[Finding, ...]:
    """The findings of one eval, largest share of the errors first, guard losses before all. Raises what `read_hypotheses` raises."""
    hyps = read_hypotheses(Path(cell.hypotheses))
    counts, clusters = count([h.text for h in hyps], hyps, normalised=True), cluster(hyps)
    places = [*_words(hyps, counts), *_pattern(hyps, counts, cell)]
    found = [measured(one, counts, clusters) for one in places if one.faulty is not None or int(one.errors.sum())]
    found += [*_slices(hyps, counts, clusters), *_terms(cell), *_style(hyps, counts, clusters, cell)]
    ranked = sorted((f for f in found if (f.share or 0) >= LEAST_SHARE), key=lambda f: -(f.share or 0))
    shown = (*_guards(guards), *ranked)[:MOST_FINDINGS]
    known = effects or {}
    return tuple(f if f.expected else f.model_copy(update={"expected": known.get(f.lever)}) for f in shown)


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


def _slices(hyps: Sequence[Hypothesis], counts: ErrorCounts, clusters: Clusters) -> Iterator[Finding]:
    """Slices that are shown to be worse than the rest of the set. Shares of different fields overlap: the same errors are seen from several sides."""
    rated = with_speech_rate(hyps, counts)
    asked = [name for name in fields_of(rated) if name != "locale" or len({h.locale for h in hyps}) > 1]
    asked = [*[name for name in asked if name != SPEECH_RATE][: MOST_FIELDS - 1], SPEECH_RATE]
    errors, words = int(counts.errors.sum()), int(counts.words.sum())
    for one, rows in with_rows(rated, counts, asked):
        if not one.worst or not errors or one.wer.words >= words or one.wer.words < WORST_FROM_WORDS or one.untrusted_text == ABSENT:
            continue
        rest = 100 * (errors - one.wer.errors) / (words - one.wer.words)
        note = f"{one.wer.percent:.1f} % here, {rest:.1f} % elsewhere, {100 * one.wer.words / words:.0f} % of the {one.wer.unit}s"
        part = np.zeros(len(hyps), dtype=np.bool_)
        part[rows] = True
        found = measured(Place("slice", one.field, "add_data", note, np.where(part, counts.errors, 0), part, untrusted_text=one.untrusted_text), counts, clusters)
        if found.ceiling_points and (found.ceiling_points if found.ceiling95 is None else found.ceiling95[0]) > 0:
            yield found


def _words(hyps: Sequence[Hypothesis], counts: ErrorCounts) -> Iterator[Place]:
    """Errors in stretches that touch a number on either side, which is as often a question of how it is written as of hearing; and names that were missed."""
    known = names(hyps)
    numbers, named = (np.zeros(len(hyps), dtype=np.int64) for _ in range(2))
    for n in np.flatnonzero(counts.errors).tolist():
        h = hyps[n]
        if not (any(c.isdigit() for c in h.reference + h.text) or known.get(h.locale)):
            continue
        steps = align(h.reference, h.text, h.locale, normalised=True)
        for wrong, stretch in groupby(steps, key=lambda step: step.operation != "equal"):
            here = [step for step in stretch if wrong]
            if any(c.isdigit() for step in here for word in (*step.reference, *step.hypothesis) for c in word):
                numbers[n] += sum(max(len(step.reference), len(step.hypothesis)) for step in here)
            named[n] += sum(word in known.get(h.locale, ()) for step in here for word in step.reference)
    yield Place("numbers", "digits", "fix_data", "errors on words with digits; write numbers in the training texts as the product shall write them", numbers)
    yield Place("names", "capitals inside sentences", "boost_terms", "missed words that are written with a capital inside sentences, mostly names; list them as terms and boost them", named)


def names(hyps: Sequence[Hypothesis]) -> dict[str, frozenset[str]]:
    """Normalised reference words of each locale that stand with a capital inside a sentence and nowhere without one: mostly names. Empty where scripts
    have no case, where every noun has a capital or most words have, and where CER is used. Words of one letter (English "I", also in "I'm") are none."""
    upper, lower = (defaultdict[str, Counter[str]](Counter) for _ in range(2))

    @cache
    def spell(word: str, locale: str) -> list[str]:
        return tokens(word, locale, normalised=True)

    for h in hyps:
        if needs_cer(h.locale) or language(h.locale) in NOUNS_IN_CAPITALS:
            continue
        starts = True
        for word in strip_tags(h.reference)[0].split():
            bare = re.sub(r"^\W+|\W+$", "", word)
            letters = re.match(r"[^\W\d_]*", bare)
            if bare[:1].islower() or not starts:
                is_name = bare[:1].isupper() and letters is not None and len(letters[0]) > 1
                (upper if is_name else lower)[h.locale].update(spell(bare, h.locale))
            starts = word.rstrip("\"'»”)").endswith(_SENTENCE_ENDS)
    return {locale: frozenset(found.keys() - lower[locale].keys()) for locale, found in upper.items() if found.total() < lower[locale].total()}


def _pattern(hyps: Sequence[Hypothesis], counts: ErrorCounts, cell: EvalCell) -> Iterator[Place]:
    """Kinds of errors, and utterances with a fault of their own."""
    kinds: tuple[tuple[Kind, NDArray[np.int64], str], ...] = (
        ("deletions", counts.deletions, "words are dropped: look for texts longer than their audio and for quiet or cut clips; a short latency and a training that went "
         "too far drop words too"),
        ("insertions", counts.insertions, "words are made up: look for texts that lack spoken words and for noise; loops make up words too"),
    )  # fmt: skip
    for kind, column, note in kinds:
        if int(column.sum()) >= PATTERN_SHARE * max(1, int(counts.errors.sum())):
            yield Place(kind, kind, "fix_data", note, column)
    silent = np.array([not h.text.strip() for h in hyps])
    yield _at("silent", silent, counts, "nothing was written: listen to these, for quiet, cut or wrong audio")
    marked = np.array([any(mark in h.text for mark in UNKNOWN_MARKS) for h in hyps])
    yield _at("unknown_characters", marked, counts, "the tokenizer lacks a character of these texts; see inspect_dataset")
    looped = np.array([runs_on(h) for h in hyps])
    yield Place("loops", "repeated phrases", "lower_lr", "the decoder repeats itself: trained too far, or noise at the end of clips", np.where(looped, counts.errors, 0), faulty=looped)
    if cell.prompt_mode == "auto":
        tagged = np.array([wrong_tag(h) for h in hyps])
        yield Place("wrong_tags", "auto", "fix_data", "the written tag is missing or another locale's; see validate_language_tags", np.where(tagged, counts.errors, 0), faulty=tagged)


def _at(kind: Kind, where: NDArray[np.bool_], counts: ErrorCounts, note: str) -> Place:
    return Place(kind, f"{int(where.sum())} utterances", "fix_data", note, np.where(where, counts.errors, 0))


def _terms(cell: EvalCell) -> Iterator[Finding]:
    share = terms_share(cell)
    if share is None or cell.terms is None or cell.terms.recall_percent is None:
        return
    said, errors, words = cell.terms.occurrences, cell.normalised.errors, cell.normalised.words
    low, high = _wilson(1 - cell.terms.recall_percent / 100, said)
    yield Finding(kind="terms", about="listed terms", share=share, share95=(min(1.0, low * said / errors), min(1.0, high * said / errors)), of="errors",
                  lever="boost_terms", ceiling_points=share * cell.normalised.percent, ceiling95=(100 * low * said / words, 100 * high * said / words),
                  note=f"recall of the listed terms is {cell.terms.recall_percent:.0f} %; the interval takes occurrences as independent")  # fmt: skip


def _style(hyps: Sequence[Hypothesis], counts: ErrorCounts, clusters: Clusters, cell: EvalCell) -> Iterator[Finding]:
    """Errors of convention, not of hearing: the normalised rate can gain nothing from them, which needs no round to be known."""
    raw = count([h.text for h in hyps], hyps, normalised=False)
    style = raw.errors - counts.errors
    if int(style.sum()) > 0:
        share, share95 = share_of(style, raw.errors, clusters)
        nothing = Effect(points=0.0, low=0.0, high=0.0, level=0.95, rests_on="the normalised rate does not see case and punctuation", evals=(cell.eval_id,))
        yield Finding(kind="style", about="case and punctuation", share=share, share95=share95, of="raw errors", lever="fix_data", ceiling_points=0.0,
                      ceiling95=(0.0, 0.0), expected=nothing, note="gone after normalisation: how texts are written, not what was heard")  # fmt: skip


def _guards(report: ReplayReport | None) -> Iterator[Finding]:
    if report is None:
        return
    for guard in sorted(report.guards, key=lambda g: -g.loss_points):
        if guard.verdict == "forgotten":
            yield Finding(kind="guard", about=" ".join(guard.locales), share=None, of="guard", lever="blend", ceiling_points=guard.loss_points,
                          ceiling95=guard.bounds95, note=f"loses {guard.loss_points:.2f} points at {guard.latency_ms} ms, {guard.prompt_mode}; margin {guard.margin_points:.2f}")  # fmt: skip


def _wilson(share: float, trials: int) -> Interval95:
    """95 % score interval of a share of independent trials (Wilson, JASA 22, 1927, p. 209)."""
    z = NORMAL.inv_cdf(0.975)
    middle, spread = share + z**2 / (2 * trials), z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    return max(0.0, (middle - spread) / (1 + z**2 / trials)), min(1.0, (middle + spread) / (1 + z**2 / trials))
