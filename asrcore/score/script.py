"""Which script a transcript is written in: a wrong prompt shows as Latin letters in Greek output before it shows anywhere else."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from asrcore.score.normalise import language

_HAN = ("CJK", "IDEOGRAPHIC")
_SCRIPTS: dict[str, tuple[str, ...]] = {
    "ja": ("HIRAGANA", "KATAKANA", *_HAN),
    "zh": ("BOPOMOFO", *_HAN),
    "ko": ("HANGUL", *_HAN),
    "el": ("GREEK",),
    **dict.fromkeys(("ru", "uk", "bg", "tg", "ky", "sr", "mk", "be", "kk", "mn"), ("CYRILLIC",)),
    **dict.fromkeys(("ar", "fa", "ur"), ("ARABIC",)),
    "he": ("HEBREW",),
    **dict.fromkeys(("hi", "mr", "ne"), ("DEVANAGARI",)),
    "bn": ("BENGALI",), "ta": ("TAMIL",), "te": ("TELUGU",), "gu": ("GUJARATI",), "kn": ("KANNADA",), "ml": ("MALAYALAM",), "or": ("ORIYA",),
    "si": ("SINHALA",), "th": ("THAI",), "km": ("KHMER",), "am": ("ETHIOPIC",), "ka": ("GEORGIAN",), "hy": ("ARMENIAN",),
}  # fmt: skip
"""Language -> first words of the Unicode names of its letters. All other languages of the prompt dictionary are written in Latin."""


def script_share(text: str, locale: str) -> float:
    """Share (0 to 1) of the letters of `text` that belong to the locale's script; 1 when there is no letter. Marks and digits do not count."""
    return corpus_script_share([(text, locale)])


def corpus_script_share(texts: Iterable[tuple[str, str]]) -> float:
    """The share over all letters of (text, locale) pairs."""
    own = letters = 0
    for text, locale in texts:
        wanted = _SCRIPTS.get(language(locale), ("LATIN",))
        for character in unicodedata.normalize("NFKC", text):
            script = _script(character)
            letters += script != ""
            own += script in wanted
    return own / letters if letters else 1.0


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    """First word of the letter's Unicode name; empty for everything that is no letter."""
    if unicodedata.category(character)[0] != "L":
        return ""
    return unicodedata.name(character, "UNNAMED").replace("-", " ").split()[0]
