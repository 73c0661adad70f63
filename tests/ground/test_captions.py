"""Captions: every word once, readable lengths, and files that players accept."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrcore.captions import MAX_CHARACTERS, MAX_SECONDS, Caption, Word, captions_of, srt, txt, vtt


def spoken(*texts: str, pace: float = 0.4, pause_after: int | None = None) -> list[Word]:
    words: list[Word] = []
    at = 0.0
    for number, text in enumerate(texts):
        words.append(Word(text=text, start=round(at, 2), end=round(at + pace, 2)))
        at += pace + (2.0 if number == pause_after else 0.0)
    return words


def test_a_caption_ends_with_its_sentence() -> None:
    assert [c.text for c in captions_of(spoken("Καλημέρα.", "Τι", "κάνεις;", "Καλά"))] == ["Καλημέρα.", "Τι κάνεις;", "Καλά"]


def test_a_caption_ends_at_a_pause() -> None:
    first, second = captions_of(spoken("one", "two", "three", pause_after=1))
    assert (first.text, second.text) == ("one two", "three")
    assert (first.end, second.start) == (0.8, 2.8)


@given(
    st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=12), st.floats(0.04, 1.0)))
)
def test_every_word_is_in_one_caption_and_no_caption_is_too_long(said: list[tuple[str, float]]) -> None:
    words: list[Word] = []
    at = 0.0
    for text, length in said:
        words.append(Word(text=text, start=at, end=at + length))
        at += length
    captions = captions_of(words)
    assert " ".join(c.text for c in captions) == " ".join(word.text for word in words)
    assert all(len(c.text) <= MAX_CHARACTERS + 12 and c.end - c.start <= MAX_SECONDS + 1e-6 for c in captions)
    assert all(before.end <= after.start + 1e-9 for before, after in itertools.pairwise(captions))


def test_subrip_numbers_its_blocks_and_uses_a_comma() -> None:
    text = srt([Caption(start=0, end=1.25, text="a"), Caption(start=3661.5, end=3662, text="b")])
    assert text == "1\n00:00:00,000 --> 00:00:01,250\na\n\n2\n01:01:01,500 --> 01:01:02,000\nb\n"


def test_webvtt_escapes_markup_so_that_no_transcript_becomes_a_tag() -> None:
    assert vtt([Caption(start=0, end=1, text="<b> a & b\n\n9\n00:00 --> x")]) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n&lt;b&gt; a &amp; b 9 00:00 --&gt; x\n"
    )


@given(st.text(max_size=60))
def test_no_text_can_open_a_block_of_its_own(text: str) -> None:
    said = [Caption(start=0, end=1, text=text), Caption(start=1, end=2, text="end")]
    assert len(re.findall(r"^\d\d:\d\d:\d\d[.,]\d{3} --> ", srt(said), re.MULTILINE)) == 2
    assert len(re.findall(r"^\d\d:\d\d:\d\d[.,]\d{3} --> ", vtt(said), re.MULTILINE)) == 2
    assert txt(said).count("\n") == 2


@pytest.mark.parametrize("seconds", [59.9996, 3599.9999])
def test_a_clock_never_shows_sixty_seconds(seconds: float) -> None:
    assert ":60" not in srt([Caption(start=0, end=seconds, text="a")])
