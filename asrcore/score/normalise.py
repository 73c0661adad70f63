"""One normaliser for all locales, so that two systems are compared on words and not on commas.

Rules, in order (change one: raise the version in `NORMALISER`, since old and new numbers no longer compare):

1. apostrophe look-alikes become `'`; invisible characters (joiners, bidi marks, soft hyphen, variation selectors) go; a diacritic that stands
   alone (`¨`) is a symbol; Unicode NFKC (full-width forms, ligatures, Arabic presentation forms); Thai typing variants that look the same
   become one (sara am in one piece, tone mark before it, two sara e as sara ae)
2. punctuation and symbols become a space, the Arabic tatweel goes; an apostrophe between two letters stays (`l'eau`, `don't`), in Hebrew a
   gershayim too
3. lower case, Turkish and Azerbaijani with their own i; Greek final sigma folded into sigma, since its form depends only on the position
4. white space collapses

Combining marks are kept, unlike in the Whisper and Open ASR leaderboard normalisers, which turn them into spaces and so split words of Hindi, Thai,
Hebrew and Arabic. Numbers are left as they are: the model writes spoken forms, so digits in a reference are for the data check to report.
Hyphens split: `well-known` is two words. Spelling variants, ß/ss, missing accents and missing vowel points count as errors.

No rule looks across white space, so a text is normalised token by token, and tokens are remembered: speech repeats its words. Many tokens are
normalised together, one a line: a pass over all their letters costs a tenth of as many small ones.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import methodcaller
from typing import Literal

from asrcore.text import language

NORMALISER = "asrtune-basic/2"
"""Name and version, stored with every score."""

Kind = Literal["plain", "turkic", "hebrew"]

_APOSTROPHES = dict.fromkeys(map(ord, "’‘ʼʻ´`′＇׳‛΄᾽᾿"), "'") | {ord("״"): '"'}
_INVISIBLE_MARKS = frozenset({0x034F, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)})
"""Marks that only choose a glyph or block a composition: grapheme joiner, Mongolian and general variation selectors."""
_TURKIC_I = str.maketrans({"I": "ı", "İ": "i"})
_LOOSE_APOSTROPHE = re.compile(r"(?<!\S)['\"]|['\"](?!\S)|['\"](?=['\"])|(?<=['\"])['\"]")
_THAI_SARA_AM = re.compile("\u0e4d([\u0e48-\u0e4b]?)\u0e32")
_without_marks = methodcaller("strip", ".,!?;:")
"""Edge marks become spaces in any case; without them a word is remembered once."""
_REMEMBERED_LETTERS = 32
"""Longer tokens are sentences of a script without spaces, which do not come again."""
_REMEMBERED_TOKENS = 1 << 17
"""About 30 MB of each of the memories below when full."""
_CHANGED_LETTERS = re.compile("[ʼʻ\u0640]|\u0e40\u0e40")
"""What rules 1 and 2 change among letters that NFKC leaves alone."""


class _Before(dict[int, str]):
    """Rule 1 up to NFKC, filled on first use."""

    def __missing__(self, codepoint: int) -> str:
        character = chr(codepoint)
        category = unicodedata.category(character)
        if category in {"Cf", "Me"} or codepoint in _INVISIBLE_MARKS:
            out = ""
        else:
            out = " " if unicodedata.normalize("NFKC", character)[:1] == " " else character
        self[codepoint] = out
        return out


class _Spaced(dict[int, str]):
    """Rule 2, filled on first use. Each punctuation mark becomes a space, or with `marks` a piece of its own, for those who score punctuation."""

    def __init__(self, kept_inside: str, marks: bool) -> None:
        super().__init__({ord(c): c for c in kept_inside} | {ord("ـ"): "", ord("\n"): "\n"})
        self.marks = marks

    def __missing__(self, codepoint: int) -> str:
        character = chr(codepoint)
        group = unicodedata.category(character)[0]
        out = character if group in "LMN" else f" {character} " if group == "P" and self.marks else " "
        self[codepoint] = out
        return out


_BEFORE = _Before(_APOSTROPHES | {0x200B: " "})
_PLAIN = {marks: _Spaced("'", marks) for marks in (False, True)}
_HEBREW = {marks: _Spaced("'\"", marks) for marks in (False, True)}


def normalise(text: str, locale: str) -> str:
    """`text` as it is compared. Idempotent."""
    return " ".join(words(text, locale))


def words(text: str, locale: str) -> list[str]:
    """The words of `normalise`."""
    return " ".join(map(_WORDS[kind_of(locale)].__getitem__, map(_without_marks, text.split()))).split()


def token_words(tokens: Iterable[str], locale: str) -> list[str]:
    """The words of each token (no white space inside), white space between them: what `words` finds, for many distinct tokens in one pass.

    Nothing is remembered: to look a token up would cost as much as its share of the pass.
    """
    return _words(list(map(_without_marks, tokens)), kind_of(locale))


def pieces(text: str, locale: str) -> list[str]:
    """Words with their case, and punctuation marks (one character each), in the order of the text: rules 1, 2 and 4."""
    return " ".join(map(_PIECES[kind_of(locale)].__getitem__, text.split())).split()


def is_mark(piece: str) -> bool:
    """Whether one of the `pieces` is a punctuation mark."""
    return unicodedata.category(piece[0])[0] == "P"


def fold_case(word: str, kind: Kind) -> str:
    """Rule 3 for one word of `pieces`."""
    if kind == "turkic":
        word = word.translate(_TURKIC_I)
    return unicodedata.normalize("NFC", word.lower().replace("ς", "σ"))


@lru_cache(maxsize=1024)
def kind_of(locale: str) -> Kind:
    """Which of the rules' variants a locale takes."""
    match language(locale):
        case "tr" | "az":
            return "turkic"
        case "he":
            return "hebrew"
        case _:
            return "plain"


def _words(tokens: Sequence[str], kind: Kind) -> list[str]:
    """The words of each token."""
    return fold_case("\n".join(_pieces(tokens, kind, marks=False)), kind).split("\n")


def _pieces(tokens: Sequence[str], kind: Kind, marks: bool = True) -> Iterable[str]:
    """Rules 1 and 2 for each token, white space between the pieces. Tokens of letters alone, which are most, skip them if they change none of those."""
    letters = "\n".join(filter(str.isalpha, tokens))
    if not unicodedata.is_normalized("NFKC", letters) or _CHANGED_LETTERS.search(letters):
        return _spaced("\n".join(tokens), kind, marks).split("\n")
    others = iter(_spaced("\n".join(token for token in tokens if not token.isalpha()), kind, marks).split("\n"))
    return (token if token.isalpha() else next(others) for token in tokens)


def _spaced(text: str, kind: Kind, marks: bool) -> str:
    """Rules 1 and 2; words, and where `marks` says so punctuation, stand between white space. Line ends stay."""
    text = unicodedata.normalize("NFKC", text.translate(_BEFORE)).translate(_APOSTROPHES)  # again: NFKC takes one out of ŉ
    text = _THAI_SARA_AM.sub("\\1\u0e33", text).replace("\u0e40\u0e40", "\u0e41")
    text = text.translate((_HEBREW if kind == "hebrew" else _PLAIN)[marks])
    return unicodedata.normalize("NFC", _LOOSE_APOSTROPHE.sub(r" \g<0> " if marks else " ", text))


class _Memory(dict[str, str]):
    """What becomes of a token, computed on first use; emptied when full."""

    def __init__(self, compute: Callable[[Sequence[str], Kind], Iterable[str]], kind: Kind) -> None:
        super().__init__()
        self.compute = compute
        self.kind: Kind = kind

    def __missing__(self, token: str) -> str:
        [out] = self.compute([token], self.kind)
        if len(token) <= _REMEMBERED_LETTERS:
            if len(self) >= _REMEMBERED_TOKENS:
                self.clear()
            self[token] = out
        return out


_KINDS: tuple[Kind, ...] = ("plain", "turkic", "hebrew")
_WORDS = {kind: _Memory(_words, kind) for kind in _KINDS}
_PIECES = {kind: _Memory(_pieces, kind) for kind in _KINDS}
