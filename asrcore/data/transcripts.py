"""Checks of the transcripts: style against the base model's, characters that its tokenizer lacks, tokens per frame, speaking rate."""

from __future__ import annotations

import math
from array import array
from collections import Counter

import numpy as np
from pydantic import Field

from asrcore.data.findings import Findings
from asrcore.data.sentences import UNSPACED
from asrcore.locales import FRAME_MS
from asrcore.manifest import Row
from asrcore.results import Frozen
from asrcore.score.cell import REPEATS, longest_repeat
from asrcore.spelling import processor, unknown_characters
from asrcore.text import LOCALE_TAG, character_name, language, style

UNCASED_SHARE = 0.5
"""Share of texts in another style from which on the set teaches that style: an error, not a warning. Single words carry no mark of style."""
DIGITS_SHARE = 0.1
SHOWN_CHARACTERS = 20

_RATE_ROWS = 20
_RATE_FACTOR = 2.5
_RATE_DEVIATIONS = 5.0


class UnknownCharacter(Frozen):
    character: str = Field(description="Code point and Unicode name.")
    rows: int


class StyleShares(Frozen):
    """Shares of rows, 0 to 1; null where the scripts of the set have no such thing. The base model writes 1, 0, 1 and 0. Texts of `all_caps` are not `cased`."""

    cased: float | None
    all_caps: float | None
    punctuated: float | None
    digits: float


class TranscriptCheck:
    """One pass over texts. Memory: 16 bytes a row for the speaking rates."""

    def __init__(self, tokenizer: bytes, findings: Findings) -> None:
        self.tokenizer = processor(tokenizer)
        self.findings = findings
        self.characters: Counter[str] = Counter()
        self.texts = self.digits = self.capitals = 0
        self._styles = {"cased": [0, 0], "punctuated": [0, 0]}
        self._rates: dict[str, tuple[array[float], array[int]]] = {}

    def check(self, row: Row) -> None:
        text, locale, line = row.utterance.text, row.utterance.target_lang, row.line
        if not text.strip():
            return  # the manifest reader has reported it
        self.texts += 1
        self._check_style(text, locale, line)
        self._check_tokens(text, row.utterance.duration, line)
        self._check_repeats(text, locale, line)
        letters = sum(not c.isspace() for c in LOCALE_TAG.sub("", text))
        rates, lines = self._rates.setdefault(locale, (array("d"), array("Q")))
        rates.append(letters / row.utterance.duration)
        lines.append(line)

    def finish(self) -> tuple[StyleShares, tuple[UnknownCharacter, ...]]:
        """Judges what only the whole set tells."""
        shares = {name: 1 - bad / told if told else None for name, (bad, told) in self._styles.items()}
        for name, code in (("cased", "text_uncased"), ("punctuated", "text_unpunctuated")):
            share = shares[name]
            if share is not None and 1 - share > UNCASED_SHARE:
                self.findings.regrade(code, "error")
        digits = self.digits / self.texts if self.texts else 0.0
        if digits > DIGITS_SHARE:
            self.findings.regrade("text_digits", "error")
        self._check_rates()
        characters = tuple(UnknownCharacter(character=character_name(c), rows=n) for c, n in self.characters.most_common(SHOWN_CHARACTERS))
        told = self._styles["cased"][1]
        return StyleShares(cased=_rounded(shares["cased"]), all_caps=round(self.capitals / told, 4) if told else None, punctuated=_rounded(shares["punctuated"]), digits=round(digits, 4)), characters

    def _check_style(self, text: str, locale: str, line: int) -> None:
        found, add = style(text, locale), self.findings.add
        for name, value in (("cased", found.cased), ("punctuated", found.punctuated)):
            if value is not None:
                self._styles[name][0] += not value
                self._styles[name][1] += 1
        if found.cased is False:
            capitals = text.isupper()
            self.capitals += capitals
            add("text_uncased", "warning", line, "text without mixed case; the base model writes case and would unlearn it",
                "use the cased transcript of the corpus, or restore case", "all capitals" if capitals else "")  # fmt: skip
        if found.punctuated is False:
            add("text_unpunctuated", "warning", line, "text without punctuation; the base model writes it and would unlearn it",
                "use the punctuated transcript of the corpus, or restore punctuation")  # fmt: skip
        if found.digits:
            self.digits += 1
            add(
                "text_digits", "warning", line, "digits in the text; the base model writes numbers as spoken", "write numbers out as spoken"
            )
        if found.tags:
            add("text_tag", "error", line, "a locale tag in the text; training adds it where it is wanted, so it would stand there twice",
                "remove the tag from the text and keep it in target_lang")  # fmt: skip
        if found.markup:
            add("text_markup", "error", line, "marks in brackets in the text, which the model would learn to write",
                "remove markup and noise marks, or the rows that need them")  # fmt: skip

    def _check_tokens(self, text: str, seconds: float, line: int) -> None:
        ids: list[int] = self.tokenizer.EncodeAsIds(text)
        if missing := set(unknown_characters(self.tokenizer, text, ids)):
            self.characters.update(missing)
            self.findings.add("text_unknown_characters", "error", line, "characters that the tokenizer turns into unk (unknown_characters lists them)",
                              "replace them by what is spoken or by their plain form, or remove the rows")  # fmt: skip
        if len(ids) > math.ceil(seconds * 1000 / FRAME_MS):
            self.findings.add("text_too_dense", "warning", line, f"more tokens than {FRAME_MS} ms frames: the text is not of this audio, or the duration is wrong",
                              "check audio, duration and text of the rows")  # fmt: skip

    def _check_repeats(self, text: str, locale: str, line: int) -> None:
        """A phrase in a row again and again is what a recogniser writes when it loops, and a sign of a transcript that no person made."""
        words = text.casefold().split() if language(locale) not in UNSPACED else text.replace(" ", "")
        if len(words) >= REPEATS and len(words) - len(set(words)) >= REPEATS - 1 and longest_repeat(words) >= REPEATS:
            self.findings.add("text_repeats", "warning", line, f"a phrase comes {REPEATS} times or more in a row, as a recogniser writes when it loops",
                              "listen to these rows; correct or remove them")  # fmt: skip

    def _check_rates(self) -> None:
        """Outliers of characters a second within a locale, by median and median absolute deviation of the logarithm."""
        for rates, lines in self._rates.values():
            if len(rates) < _RATE_ROWS:
                continue
            logs = np.log(np.maximum(np.frombuffer(rates), 1e-6))
            away = np.abs(logs - np.median(logs))
            limit = max(math.log(_RATE_FACTOR), _RATE_DEVIATIONS * 1.4826 * float(np.median(away)))
            for index in np.flatnonzero(away > limit):
                self.findings.add("speech_rate_outlier", "warning", lines[int(index)],
                                  "characters a second are far from the rest of the locale: text and audio may not belong together",
                                  "listen to these rows; correct or remove them")  # fmt: skip


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
