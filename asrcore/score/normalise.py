"""One normaliser for all locales, so that two systems are compared on words and not on commas.

Rules, in order (change one: raise the version in `NORMALISER`, since old and new numbers no longer compare):

1. apostrophe look-alikes become `'`; Unicode NFKC (full-width forms, ligatures, Arabic presentation forms), Thai sara am kept in one piece
2. lower case, Turkish and Azerbaijani with their own i; Greek final sigma folded into sigma, since its form depends only on the position
3. invisible characters (joiners, bidi marks, soft hyphen) and the Arabic tatweel go; punctuation and symbols become a space;
   an apostrophe between two letters stays (`l'eau`, `don't`), in Hebrew a gershayim too
4. white space collapses

Combining marks are kept, unlike in the Whisper and Open ASR leaderboard normalisers, which turn them into spaces and so split words of Hindi, Thai,
Hebrew and Arabic. Numbers are left as they are: the model writes spoken forms, so digits in a reference are for the data check to report.
Spelling variants, ß/ss and missing accents count as errors.
"""

from __future__ import annotations

import re
import unicodedata

from asrcore.text import language

NORMALISER = "asrtune-basic/1"
"""Name and version, stored with every score."""

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼʻ´`′＇׳‛", "'") | {"״": '"', "\u200b": " "})
_TURKIC_I = str.maketrans({"I": "ı", "İ": "i"})
_TURKIC = frozenset({"tr", "az"})
_LOOSE_APOSTROPHE = re.compile(r"(?<!\S)['\"]|['\"](?!\S)|['\"](?=['\"])|(?<=['\"])['\"]")


class _Characters(dict[int, str]):
    """Translation table filled on first use: what becomes of one character in step 3."""

    def __init__(self, kept_inside: str) -> None:
        super().__init__({ord(c): c for c in kept_inside} | {ord("ς"): "σ", ord("ـ"): ""})

    def __missing__(self, codepoint: int) -> str:
        character = chr(codepoint)
        category = unicodedata.category(character)
        out = "" if category == "Cf" else character if category[0] in "LMN" else " "
        self[codepoint] = out
        return out


_PLAIN = _Characters("'")
_HEBREW = _Characters("'\"")


def normalise(text: str, locale: str) -> str:
    """`text` as it is compared. Idempotent."""
    spoken = language(locale)
    text = _compatible(text)
    if spoken in _TURKIC:
        text = text.translate(_TURKIC_I)
    text = _compatible(text.lower()).translate(_HEBREW if spoken == "he" else _PLAIN)
    return " ".join(_LOOSE_APOSTROPHE.sub(" ", text).split())


def _compatible(text: str) -> str:
    """NFKC with plain apostrophes: before it, since NFKC takes ´ apart; after it, since ŉ holds one."""
    return unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).translate(_APOSTROPHES).replace("\u0e4d\u0e32", "\u0e33")
