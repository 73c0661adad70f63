"""Which language a transcript is written in, by its text alone: py3langid, a maintained identifier of about 140 languages that needs no network.

Byte sequences and naive Bayes (Lui and Baldwin, "langid.py", ACL 2012), with probabilities scaled for the length of the text. It is asked for texts long
enough to tell and believed only where it is sure: of 2,379 sentences of the embedded sets (synthetic; el, en, bg, es) it named the wrong language for none
at 0.9, and was sure of 63 %. A second to load, 40 us a text, about 100 MB. The package is the extra `language`; without it nothing is judged, and that is said.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections import Counter, defaultdict
from functools import cache
from typing import Any

from asrcore.text import LOCALE_TAG, language

SURE = 0.9
"""Probability from which an answer counts."""
LEAST_LETTERS = 20
"""Texts with fewer letters recur in related languages."""
MOST_TEXTS = 20_000
"""Texts of a tag that are judged, from the first on: enough for shares to a percent, and no burden on a million rows."""
PACKAGE = "py3langid"

_ALIKE = (
    frozenset({"no", "nb", "nn", "da"}), frozenset({"hr", "sr", "bs"}), frozenset({"id", "ms", "jv"}), frozenset({"zh", "yue", "wuu", "cmn"}),
    frozenset({"ar", "ary", "arz"}), frozenset({"ku", "sdh"}), frozenset({"gl", "pt"}), frozenset({"bg", "mk"}), frozenset({"he", "iw", "hbo"}), frozenset({"tl", "fil"}),
)  # fmt: skip
"""Languages whose short sentences are often the same, or that go by several codes: no mismatch between them."""


def installed() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


class TextLanguages:
    """Counts, for each tag, the languages that its texts were surely written in."""

    def __init__(self) -> None:
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._asked: Counter[str] = Counter()

    def other(self, text: str, tag: str) -> str | None:
        """The language that the text is surely written in where that is not the tag's; None also where nothing can be said."""
        wanted = language(tag)
        if self._asked[tag] >= MOST_TEXTS or sum(map(str.isalpha, text)) < LEAST_LETTERS or wanted not in _identifier().labels:
            return None
        self._asked[tag] += 1
        found, probability = _identifier().classify(LOCALE_TAG.sub(" ", text))
        if probability < SURE:
            return None
        self.counts[tag][found] += 1
        return None if found == wanted or any({found, wanted} <= alike for alike in _ALIKE) else found


@cache
def _identifier() -> Any:
    langid: Any = importlib.import_module(f"{PACKAGE}.langid")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
