"""Corpus error rates: all errors over all reference words, never a mean of utterance rates (which changes rankings).

CER replaces WER where text has no word spaces or their use is unsettled (ja, zh, ko, th); all white space goes on both sides first, and a
character is one Unicode code point.

Alignments are jiwer's. Counts come from rapidfuzz, jiwer's own engine, on codes of the same kind (`asrcore.score.codes`) but without jiwer's lists of
aligned stretches, which cost several times the alignment; tests hold both equal, pair for pair.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple

import jiwer
import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from asrcore.errors import NotReadyError, Problem, ToolFault
from asrcore.requests import Wer
from asrcore.score.codes import as_characters
from asrcore.score.normalise import words
from asrcore.score.tags import strip_tags
from asrcore.text import language

Unit = Literal["word", "character"]
Operation = Literal["equal", "substitute", "delete", "insert"]
Counts = NDArray[np.int64]

_CER_LANGUAGES = frozenset({"ja", "zh", "ko", "th"})
_LOST_LETTERS = frozenset("ʻʼـ")
"""Two are read as apostrophes, one stretches a line."""
_LETTERS_AT_ONCE = 1 << 18
"""Characters of references and hypotheses that are coded together: they stay in the processor's cache (four times as many take 7 % longer, and so do a
quarter), and their distinct words far below what `as_characters` takes."""


class Step(NamedTuple):
    """One aligned stretch; `reference` is empty for insertions, `hypothesis` for deletions."""

    operation: Operation
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]


@dataclass(frozen=True)
class ErrorCounts:
    """Errors of each utterance, in the order given. `words` counts reference words, or characters where `unit` says so."""

    substitutions: Counts
    deletions: Counts
    insertions: Counts
    words: Counts
    unit: Unit

    @property
    def errors(self) -> Counts:
        return self.substitutions + self.deletions + self.insertions

    def wer(self, ci95: tuple[float, float] | None = None) -> Wer:
        """The sums as a result; percent of reference words."""
        s, d, i, n = (int(c.sum()) for c in (self.substitutions, self.deletions, self.insertions, self.words))
        return Wer(
            percent=100 * (s + d + i) / n, errors=s + d + i, substitutions=s, deletions=d, insertions=i, words=n, unit=self.unit, ci95=ci95
        )


@lru_cache(maxsize=1024)
def needs_cer(locale: str) -> bool:
    """True for ja, zh, ko and th."""
    return language(locale) in _CER_LANGUAGES


def score_wer(references: Sequence[str], hypotheses: Sequence[str], locale: str | Sequence[str], normalised: bool) -> Wer:
    """Corpus WER or CER in percent. `locale` is one for all, or one an utterance. Raises what `count_errors` raises."""
    return count_errors(references, hypotheses, locale, normalised).wer()


def count_errors(
    references: Sequence[str], hypotheses: Sequence[str], locale: str | Sequence[str], normalised: bool, lines: Sequence[int] | None = None
) -> ErrorCounts:
    """S, D and I of each utterance. Raw scoring keeps case and punctuation; locale tags go in both (trap 3.7).

    Hypotheses may be empty. Raises `empty_references` naming every line (of `lines`, or counted from 1) whose reference holds no word after normalisation,
    `mixed_units` when WER and CER locales are mixed, `references_unpaired` when the two lists differ in length.
    """
    locales = [locale] * len(references) if isinstance(locale, str) else locale
    if not len(references) == len(hypotheses) == len(locales):
        raise ToolFault("references_unpaired", f"{len(references)} references, {len(hypotheses)} hypotheses and {len(locales)} locales do not pair up.",
                        next_step="run the eval again; this is a fault of the tool, please report it.")  # fmt: skip
    columns = np.zeros((4, len(references)), dtype=np.int64)
    filled: list[bool] = [True] * len(references)
    for one, rows in _portions(references, hypotheses, locales):
        pairs = _as_strings([references[n] for n in rows], [hypotheses[n] for n in rows], one, normalised)
        columns[:, rows] = _count(*pairs)
        for n, reference in zip(rows, pairs[0], strict=True):
            filled[n] = bool(reference) if normalised else _holds_a_word(references[n], one)
    _refuse_empty(filled, lines or range(1, len(references) + 1))
    units: set[Unit] = {"character" if needs_cer(one) else "word" for one in set(locales)}
    if len(units) != 1:
        raise NotReadyError("mixed_units", "the set mixes locales scored by word with locales scored by character (ja, zh, ko, th).",
                            next_step="split the manifest by locale and evaluate each on its own.")  # fmt: skip
    return ErrorCounts(*columns, unit=units.pop())


def align(reference: str, hypothesis: str, locale: str, normalised: bool) -> tuple[Step, ...]:
    """The alignment behind the counts of one utterance."""
    return next(_alignments([reference], [hypothesis], [locale], normalised))


def tokens(text: str, locale: str, normalised: bool) -> list[str]:
    """Words, or characters where the locale needs CER, as they are compared. Raw text is NFC with white space collapsed."""
    text = strip_tags(text)[0]
    found = words(text, locale) if normalised else unicodedata.normalize("NFC", text).split()
    return list("".join(found)) if needs_cer(locale) else found


def _portions(references: Sequence[str], hypotheses: Sequence[str], locales: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """Utterances of one locale, as many as are coded together."""
    groups: dict[str, list[int]] = {}
    for n, one in enumerate(locales):
        groups.setdefault(one, []).append(n)
    for one, rows in groups.items():
        letters = np.cumsum([len(references[n]) + len(hypotheses[n]) for n in rows])
        cuts = np.flatnonzero(np.diff(letters // _LETTERS_AT_ONCE, prepend=0)).tolist()
        yield from ((one, rows[start:end]) for start, end in pairwise([0, *cuts, len(rows)]) if start < end)


def _as_strings(references: Sequence[str], hypotheses: Sequence[str], locale: str, normalised: bool) -> tuple[list[str], list[str]]:
    """Both sides of utterances of one locale, a character a unit."""
    if needs_cer(locale):
        left, right = (["".join(tokens(text, locale, normalised)) for text in side] for side in (references, hypotheses))
        return left, right
    coded = as_characters([strip_tags(text)[0] for text in (*references, *hypotheses)], locale, normalised)
    return coded[: len(references)], coded[len(references) :]


def _count(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[Counts, Counts, Counts, Counts]:
    """S, D, I and reference length of each pair."""
    substitutions: list[int] = []
    errors: list[int] = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        kinds = [] if reference == hypothesis else [step[0] for step in Levenshtein.editops(reference, hypothesis).as_list()]
        substitutions.append(kinds.count("replace"))
        errors.append(len(kinds))
    lengths, others = _sizes(references), _sizes(hypotheses)
    replaced = np.array(substitutions, dtype=np.int64)
    deleted = (np.array(errors, dtype=np.int64) - replaced - (others - lengths)) // 2
    return replaced, deleted, deleted + others - lengths, lengths


def _sizes(texts: Sequence[str]) -> Counts:
    return np.fromiter(map(len, texts), np.int64, len(texts))


def _alignments(
    references: Sequence[str], hypotheses: Sequence[str], locales: Sequence[str], normalised: bool
) -> Iterator[tuple[Step, ...]]:
    if not references:
        return
    out = jiwer.process_words(
        [" ".join(tokens(text, locale, normalised)) for text, locale in zip(references, locales, strict=True)],
        [" ".join(tokens(text, locale, normalised)) for text, locale in zip(hypotheses, locales, strict=True)],
        reference_transform=jiwer.ReduceToListOfListOfWords(),
        hypothesis_transform=jiwer.ReduceToListOfListOfWords(),
    )
    for reference, hypothesis, chunks in zip(out.references, out.hypotheses, out.alignments, strict=True):
        yield tuple(
            Step(_operation(c.type), tuple(reference[c.ref_start_idx : c.ref_end_idx]), tuple(hypothesis[c.hyp_start_idx : c.hyp_end_idx]))
            for c in chunks
        )


def _operation(name: str) -> Operation:
    match name:
        case "equal" | "substitute" | "delete" | "insert":
            return name
        case _:
            raise ToolFault(
                "alignment_unknown",
                f"jiwer answered with an operation of unknown kind ({name}).",
                next_step="install jiwer 4 and call again.",
            )


def _holds_a_word(text: str, locale: str) -> bool:
    """Whether normalisation leaves a word. A letter that NFKC keeps is never lost but for three, so most texts show it at once."""
    first = text[:1]
    if first.isalpha() and first not in _LOST_LETTERS and unicodedata.is_normalized("NFKC", first):
        return True
    return any(words(token, locale) for token in strip_tags(text)[0].split())


def _refuse_empty(filled: Sequence[bool], lines: Sequence[int]) -> None:
    """`filled` says of each reference whether a word is left of it after normalisation."""
    empty = [line for line, full in zip(lines, filled, strict=True) if not full]
    if not filled or empty:
        shown = ", ".join(map(str, empty[:10])) + (" …" if len(empty) > 10 else "")
        raise NotReadyError(
            "empty_references", f"{len(empty)} references hold no word (lines {shown})." if empty else "there is no reference to score.",
            next_step="remove these lines from the manifest or give them text, then evaluate again.",
            problems=[Problem(code="empty_reference", message="the reference holds no word", line=n, fix="add the text or remove the line") for n in empty],
        )  # fmt: skip
