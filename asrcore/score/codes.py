"""Texts as strings with one character a word, many at once: the form in which an aligner written in C compares them without asking Python.

A corpus repeats its words, so all texts are cut in one go and each distinct token is normalised once. Which words a text has is what
`asrcore.score.wer.tokens` says; tests hold both equal.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import count

from asrcore.score.normalise import token_words

_END = "\0"
"""The character after each text, so that all of them are cut apart at once."""


def as_characters(texts: Sequence[str], locale: str, normalised: bool) -> list[str]:
    """Each text with one character a word, equal words being equal characters. Raw words are those of the NFC text between white space.

    Takes texts without locale tags, with at most 1,114,111 distinct words in all (ValueError). Memory: about 20 bytes a character of text.
    """
    if not normalised:
        return _spell([unicodedata.normalize("NFC", text) for text in texts])
    tokens, mark = _cut(texts)
    distinct = list(dict.fromkeys(tokens))
    spelled = dict(zip(distinct, _spell(token_words(distinct, locale)), strict=True))
    return _join(tokens, spelled | {mark: _END})


def _spell(texts: Sequence[str]) -> list[str]:
    """Each text with one character for each token between white space."""
    tokens, mark = _cut(texts)
    character: defaultdict[str, str] = defaultdict(map(chr, count(1)).__next__, {mark: _END})
    return _join(tokens, character)


def _cut(texts: Sequence[str]) -> tuple[list[str], str]:
    """All tokens of all texts, and the token that stands after each text: a character that no text has."""
    spaced = " ".join(texts)
    mark = next(character for character in map(chr, count(1)) if not character.isspace() and character not in spaced)
    return f" {mark} ".join([*texts, ""]).split(), mark


def _join(tokens: Sequence[str], spelled: Mapping[str, str]) -> list[str]:
    return "".join(map(spelled.__getitem__, tokens)).split(_END)[:-1]
