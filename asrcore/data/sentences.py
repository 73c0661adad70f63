"""What makes two transcripts the same sentence, and the word sequences that tell shared passages. Fast: it runs over every row of a leakage check."""

from __future__ import annotations

from collections.abc import Sequence

from asrcore.text import LOCALE_TAG, bare, language

GRAM_WORDS = 8
"""Length of a telling word sequence (the contamination check of NeMo's SALM uses 8)."""
GRAM_CHARACTERS = 16
"""The same for text without spaces: about 8 words of 2 characters."""
MIN_WORDS = 4
MIN_CHARACTERS = 8
"""Shorter sentences recur by nature ("yes, please"), so they tell nothing about where a recording comes from."""

UNSPACED = frozenset({"zh", "ja", "th", "km"})


def sentence(text: str) -> str:
    """Letters, digits and marks only, case folded, single spaces; locale tags taken out."""
    return bare(LOCALE_TAG.sub(" ", text) if "<" in text else text)


def telling(plain: str, locale: str) -> bool:
    """Whether a sentence (as `sentence` gives it) is long enough that the same one twice is no chance."""
    if language(locale) in UNSPACED:
        return len(plain) - plain.count(" ") >= MIN_CHARACTERS
    return plain.count(" ") + 1 >= MIN_WORDS


def grams(plain: str, locale: str) -> list[int]:
    """Hashes of all sequences of GRAM_WORDS words. Valid in this process only: Python salts its string hashes."""
    unspaced = language(locale) in UNSPACED
    units: Sequence[str] = plain.replace(" ", "") if unspaced else plain.split()
    size = GRAM_CHARACTERS if unspaced else GRAM_WORDS
    return [hash(tuple(units[n : n + size])) for n in range(len(units) - size + 1)]
