"""Punctuation and case: what the normaliser takes away, scored on its own, so that a model that lost its commas does not look unchanged.

Both texts are split into words and punctuation marks (`normalise.pieces`) and the normalised words are aligned with the fewest errors. The
words that stand opposite each other, equal or substituted, cut both texts into stretches.

* punctuation: in each stretch the marks of both sides are aligned with the fewest errors; the sum is divided by the marks of the references.
  The Punctuation Error Rate of LibriSpeech-PC (Meister et al., arXiv:2310.02943) counts the same operations, but on all words at once and
  divides by insertions too; ours is built like WER and may exceed 100.
* casing: words that are equal after normalisation and differ in case, divided by all equal words that have a cased letter.

Marks are characters of Unicode category P that do not join the letters of a word, except those that are read aloud (`%`, `&`, `@` ...). Dashes
count as one mark, so do all double quotes and all single quotes, full-width forms as their plain ones, and `...` as `…`. Where CER is used,
characters take the place of words. Scripts without case (Arabic, Hebrew, Devanagari, Thai, Han ...) give no casing figure.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from asrcore.requests import Hypothesis, StyleErrors
from asrcore.score.normalise import fold_case, is_mark, kind_of, pieces
from asrcore.score.tags import strip_tags
from asrcore.score.wer import needs_cer

_READ_ALOUD = frozenset("%‰‱٪&@#*/\\§¶†‡")
_LOOK_ALIKES = {"'": "'", "‚": "'", "‹": "'", "›": "'", '"': '"', "„": '"', "“": '"', "”": '"', "‟": '"', "«": '"', "»": '"', "״": '"'}
_DOTS = re.compile(r"\.{2,}")


class _Marked(NamedTuple):
    """One text: words with their case, the same folded, and the marks before each word and after the last."""

    cased: list[str]
    folded: list[str]
    gaps: list[str]


def style_errors(hyps: Sequence[Hypothesis]) -> StyleErrors:
    """Punctuation and casing errors of one system over all utterances, in percent; null where the references hold nothing to compare."""
    marks = wrong_marks = words = wrong_words = 0
    code: defaultdict[str, int] = defaultdict(count().__next__)
    for h in hyps:
        left, right = _marked(h.reference, h.locale), _marked(h.text, h.locale)
        marks += sum(map(len, left.gaps))
        if left == right:
            words += sum(map(_has_case, left.cased))
            continue
        last = (-1, -1)
        for i, j, equal in _opposites(left.folded, right.folded, code):
            wrong_marks += _mark_errors(left, right, last, (i, j))
            last = (i, j)
            if equal and _has_case(left.cased[i]):
                words += 1
                wrong_words += left.cased[i] != right.cased[j]
        wrong_marks += _mark_errors(left, right, last, (len(left.cased), len(right.cased)))
    return StyleErrors(
        punctuation_percent=100 * wrong_marks / marks if marks else None, casing_percent=100 * wrong_words / words if words else None,
        punctuation_marks=marks, cased_words=words,
    )  # fmt: skip


def _marked(text: str, locale: str) -> _Marked:
    cased: list[str] = []
    gaps = [""]
    for piece in pieces(strip_tags(text)[0], locale):
        if is_mark(piece):
            gaps[-1] += _mark(piece)
            continue
        for word in piece if needs_cer(locale) else (piece,):
            cased.append(word.replace("ς", "σ"))
            gaps.append("")
    kind = kind_of(locale)
    return _Marked(cased, [fold_case(word, kind) for word in cased], [_DOTS.sub("…", gap) for gap in gaps])


def _opposites(reference: list[str], hypothesis: list[str], code: defaultdict[str, int]) -> Iterator[tuple[int, int, bool]]:
    """Places of the words that stand opposite each other, and whether they are equal."""
    if reference == hypothesis:
        yield from ((i, i, True) for i in range(len(reference)))
        return
    for step in Levenshtein.opcodes(list(map(code.__getitem__, reference)), list(map(code.__getitem__, hypothesis))):
        if step.tag in {"equal", "replace"}:
            yield from ((step.src_start + k, step.dest_start + k, step.tag == "equal") for k in range(step.src_end - step.src_start))


def _mark_errors(left: _Marked, right: _Marked, last: tuple[int, int], here: tuple[int, int]) -> int:
    """Fewest edits between the marks of both sides after the words `last` and up to the words `here`."""
    reference, hypothesis = ("".join(side.gaps[a + 1 : b + 1]) for side, a, b in zip((left, right), last, here, strict=True))
    return 0 if reference == hypothesis else Levenshtein.distance(reference, hypothesis)


@lru_cache(maxsize=1024)
def _mark(character: str) -> str:
    """One mark with its look-alikes; nothing for a sign that is read aloud."""
    if character in _READ_ALOUD:
        return ""
    return "-" if unicodedata.category(character) == "Pd" else _LOOK_ALIKES.get(character, character)


@lru_cache(maxsize=1 << 16)
def _has_case(word: str) -> bool:
    """Georgian letters have upper-case forms in Unicode that no text uses, but no title case, so title case decides."""
    return word.lower() != word.title()
