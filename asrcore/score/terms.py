"""Words and names that matter more than others (medicines, products, places): how many were heard, and how many were made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from asrcore.errors import Problem, UsageError, clean_text
from asrcore.requests import Hypothesis, TermScore
from asrcore.score.wer import tokens

MOST_MISSED = 20
LONGEST_TERM = 200
"""Characters; longer ones are sentences, most likely a wrong column."""

Found = Counter[int]
Words = tuple[str, ...]


def term_score(hyps: Sequence[Hypothesis], terms: Sequence[str]) -> TermScore:
    """Recall, precision and F1 of `terms`, in percent, over all utterances.

    A term occurs where its normalised words follow each other in a normalised text; where CER is used, where its characters do. Occurrences
    of one term do not overlap; a term inside a longer one counts for both. In each utterance min(in the reference, in the hypothesis)
    occurrences of a term are matches, wherever they stand: no alignment decides, so a shifted word is no error. Terms that are the same
    after normalisation are one.

    Raises `terms_invalid` with every term that is empty after normalisation in one of the locales or longer than 200 characters; also for an empty list.
    """
    spelled = spell(terms, {h.locale for h in hyps})
    same = _first_of_same(terms, spelled)
    index = {locale: _by_length(found, same) for locale, found in spelled.items()}
    in_references, in_hypotheses, matches = Found(), Found(), Found()
    for h in hyps:
        reference, hypothesis = (_occurrences(text, h.locale, index[h.locale]) for text in (h.reference, h.text))
        in_references.update(reference)
        in_hypotheses.update(hypothesis)
        matches.update(reference & hypothesis)
    wanted, made, found = in_references.total(), in_hypotheses.total(), matches.total()
    missed = sorted(
        (term for term, times in in_references.items() if matches[term] < times), key=lambda t: (matches[t] - in_references[t], t)
    )
    return TermScore(
        terms=len(set(same)), occurrences=wanted, recall_percent=_percent(found, wanted), precision_percent=_percent(found, made),
        f1_percent=_percent(2 * found, wanted + made), missed=tuple(clean_text(terms[term], 100) for term in missed[:MOST_MISSED]),
    )  # fmt: skip


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def spell(terms: Sequence[str], locales: Iterable[str]) -> dict[str, list[Words]]:
    """The normalised words of each term in each locale. Raises `terms_invalid`; callers may ask before they decode."""
    spelled = {
        locale: [tuple(tokens(term, locale, normalised=True)) if len(term) <= LONGEST_TERM else () for term in terms] for locale in sorted(locales)
    }  # fmt: skip
    _refuse(terms, spelled)
    return spelled


def _refuse(terms: Sequence[str], spelled: Mapping[str, Sequence[Words]]) -> None:
    problems: list[Problem] = []
    for number, term in enumerate(terms):
        bare = [locale for locale, found in spelled.items() if not found[number]]
        if len(term) > LONGEST_TERM:
            what = f"has {len(term)} characters, allowed are {LONGEST_TERM}"
        elif bare:
            what = "holds no word after normalisation" + (
                f" in {', '.join(clean_text(b, 20) for b in bare[:5])}" if len(bare) < len(spelled) else ""
            )
        else:
            continue
        problems.append(
            Problem(code="term_invalid", message=f"term {number + 1} ({clean_text(term, 40)!r}) {what}", fix="correct or remove this term")
        )
    if problems or not terms:
        raise UsageError("terms_invalid", f"{len(problems)} of {len(terms)} terms cannot be scored: " + "; ".join(p.message for p in problems[:10]) + "."
                         if problems else "the list of terms is empty.",
                         next_step="pass words or names as they are written, each at most 200 characters, or leave terms out.", problems=problems)  # fmt: skip


def _first_of_same(terms: Sequence[str], spelled: Mapping[str, Sequence[Words]]) -> list[int]:
    """For each term the number of the first one that is the same in all locales."""
    first: dict[tuple[Words, ...], int] = {}
    return [first.setdefault(tuple(found[number] for found in spelled.values()), number) for number in range(len(terms))]


def _by_length(found: Sequence[Words], same: Sequence[int]) -> dict[int, dict[Words, set[int]]]:
    """Length in words -> words -> terms. Two terms may be one in this locale and two in another."""
    index: dict[int, dict[Words, set[int]]] = {}
    for number, term in enumerate(found):
        index.setdefault(len(term), {}).setdefault(term, set()).add(same[number])
    return index


def _occurrences(text: str, locale: str, index: Mapping[int, Mapping[Words, set[int]]]) -> Found:
    words = tokens(text, locale, normalised=True)
    return Found(term for length, terms in index.items() for term in _of_length(words, length, terms))


def _of_length(words: Sequence[str], length: int, terms: Mapping[Words, set[int]]) -> Iterator[int]:
    free_from: dict[Words, int] = {}
    for start in range(len(words) - length + 1):
        here = tuple(words[start : start + length])
        if here in terms and free_from.get(here, 0) <= start:
            free_from[here] = start + length
            yield from terms[here]
