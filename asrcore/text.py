"""What a transcript looks like: tags, case, punctuation, digits, and the script it is written in.

The base model was trained on spoken forms with case and punctuation (model card); text in another style teaches it that style.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

LOCALE_TAG = re.compile(r"<[a-z]{2,3}-[A-Za-z]{2}>")
"""Two- or three-letter language: what the model may write in `auto`."""
NEMO_TAG = re.compile(r"<[a-z]{2}-[A-Z]{2}>")
"""NeMo 3.0's default `lang_tag_pattern` without its leading space: three-letter languages stay in the hypothesis."""
OTHER_MARKUP = re.compile(r"<[^<>]{1,40}>|\[[^\[\]]{1,40}\]|\{[^{}]{1,40}\}")
"""Noise marks and markup such as `<unk>`, `[laughter]`, `{um}`."""

_HAN = ("CJK", "IDEOGRAPHIC")
_SCRIPTS: dict[str, tuple[str, ...]] = {
    "ja": ("HIRAGANA", "KATAKANA", *_HAN), "zh": ("BOPOMOFO", *_HAN), "ko": ("HANGUL", *_HAN), "el": ("GREEK",),
    **dict.fromkeys(("ru", "uk", "bg", "tg", "ky", "sr", "mk", "be", "kk", "mn"), ("CYRILLIC",)),
    **dict.fromkeys(("ar", "fa", "ur"), ("ARABIC",)), **dict.fromkeys(("hi", "mr", "ne"), ("DEVANAGARI",)),
    "he": ("HEBREW",), "bn": ("BENGALI",), "ta": ("TAMIL",), "te": ("TELUGU",), "gu": ("GUJARATI",), "kn": ("KANNADA",), "ml": ("MALAYALAM",),
    "or": ("ORIYA", "LATIN"), "si": ("SINHALA",), "th": ("THAI",), "km": ("KHMER",), "am": ("ETHIOPIC",), "ka": ("GEORGIAN",),
    "hy": ("ARMENIAN",), "uz": ("LATIN", "CYRILLIC"), "az": ("LATIN", "CYRILLIC"), "ku": ("LATIN", "ARABIC"), "ha": ("LATIN", "ARABIC"),
}  # fmt: skip
_CASED = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN"})
_UNPUNCTUATED = frozenset({"th", "km"})


class Style(NamedTuple):
    """One text against the base model's style. None: the locale's script has no such thing, or the text no letters to tell."""

    cased: bool | None
    """It has an upper-case letter and is not all upper case."""
    punctuated: bool | None
    """It has a sentence mark."""
    digits: bool
    """It has digits where the base model writes spoken forms."""
    tags: bool
    """It has a locale tag."""
    markup: bool
    """It has other marks in angle, square or curly brackets."""


class ScriptCount(NamedTuple):
    """Letters of a text, and how many belong to the locale's script. Marks, digits and punctuation do not count."""

    own: int
    letters: int


class _Kept(dict[int, int]):
    """Code point -> itself for letters, digits and marks, else a space; filled as characters are met."""

    def __missing__(self, code: int) -> int:
        character = chr(code)
        kept = code if character.isalnum() or unicodedata.category(character).startswith("M") else 0x20
        self[code] = kept
        return kept


_KEPT = _Kept()


def bare(text: str) -> str:
    """Letters, digits and marks only, case folded, single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().translate(_KEPT).split())


def language(locale: str) -> str:
    """`el` of `el-GR`."""
    return re.split(r"[-_]", locale, maxsplit=1)[0].lower()


def style(text: str, locale: str) -> Style:
    """The style of one transcript; tags and markup are left out of the other three."""
    without_tags = LOCALE_TAG.sub(" ", text)
    plain = OTHER_MARKUP.sub(" ", without_tags)
    letters = [c for c in plain if c.isalpha()]
    has_case = _CASED.intersection(scripts(locale)) and letters
    upper = sum(c.isupper() for c in letters)
    return Style(
        cased=(upper > 0 and (upper < len(letters) or len(letters) < 3)) if has_case else None,
        punctuated=any(unicodedata.category(c) == "Po" for c in plain) if letters and language(locale) not in _UNPUNCTUATED else None,
        digits=any(unicodedata.category(c) == "Nd" for c in plain),
        tags=without_tags != text,
        markup=plain != without_tags,
    )


def scripts(locale: str) -> tuple[str, ...]:
    """Scripts of a locale, as the first words of the Unicode names of its letters. Languages outside the table are written in Latin."""
    return _SCRIPTS.get(language(locale), ("LATIN",))


def count_script(text: str, locale: str) -> ScriptCount:
    """How much of `text` (without locale tags) is written in the locale's script."""
    wanted = scripts(locale)
    found = [script for c in unicodedata.normalize("NFKC", LOCALE_TAG.sub(" ", text)) if (script := _script(c))]
    return ScriptCount(sum(script in wanted for script in found), len(found))


def character_name(character: str) -> str:
    """A character as it may be shown: `U+20AC EURO SIGN`. Plain ASCII, whatever the text held."""
    return f"U+{ord(character):04X} {unicodedata.name(character, 'UNNAMED')}"


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    """Empty for everything that is no letter."""
    if unicodedata.category(character)[0] != "L":
        return ""
    return unicodedata.name(character, "UNNAMED").replace("-", " ").split()[0]
