"""Timed words to captions, and captions to files: SubRip, WebVTT, plain text.

A caption ends at a sentence mark, at a pause, or when it would grow too long to read. Lengths follow the BBC's subtitle guidelines (about
two lines of 37 to 42 characters, some six seconds on screen).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from asrcore.results import Frozen

CaptionFormat = Literal["json", "srt", "vtt", "txt"]

MAX_CHARACTERS = 84
MAX_SECONDS = 6.0
PAUSE_S = 0.8
_SENTENCE_END = (".", "?", "!", "…", ";", "。", "？", "！", "।", "۔", "؟")
"""Also `;`, the Greek question mark as models write it."""


class Word(Frozen):
    """One written word with the audio seconds at which its first token was emitted and its last token's frame ended."""

    text: str
    start: float
    end: float


class Caption(Frozen):
    """What stands on the screen at a time. Seconds from the start of the file."""

    start: float
    end: float
    text: str


def captions_of(words: Sequence[Word]) -> tuple[Caption, ...]:
    """Captions in order; every word is in exactly one."""
    groups: list[list[Word]] = []
    for word in words:
        if not groups or _ends_before(groups[-1], word):
            groups.append([])
        groups[-1].append(word)
    return tuple(Caption(start=group[0].start, end=group[-1].end, text=" ".join(word.text for word in group)) for group in groups)


def _ends_before(group: Sequence[Word], word: Word) -> bool:
    text = sum(len(one.text) + 1 for one in group) + len(word.text)
    return (
        group[-1].text.endswith(_SENTENCE_END) or word.start - group[-1].end >= PAUSE_S
        or text > MAX_CHARACTERS or word.end - group[0].start > MAX_SECONDS
    )  # fmt: skip


def srt(captions: Iterable[Caption]) -> str:
    """SubRip: numbered blocks, comma before the milliseconds."""
    blocks = (f"{n}\n{_clock(c.start, ',')} --> {_clock(c.end, ',')}\n{_one_line(c.text)}\n" for n, c in enumerate(captions, start=1))
    return "\n".join(blocks)


def vtt(captions: Iterable[Caption]) -> str:
    """WebVTT (W3C): `&`, `<` and `>` are escaped, since cue text is markup."""
    blocks = (f"{_clock(c.start, '.')} --> {_clock(c.end, '.')}\n{_escaped(_one_line(c.text))}\n" for c in captions)
    return "WEBVTT\n\n" + "\n".join(blocks)


def txt(captions: Iterable[Caption]) -> str:
    """One caption a line."""
    return "".join(f"{_one_line(c.text)}\n" for c in captions)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, mark: str) -> str:
    """`01:02:03,004`."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}{mark}{milliseconds % 1000:03d}"
