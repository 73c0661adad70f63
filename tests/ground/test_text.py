"""Transcripts: style and script."""

from __future__ import annotations

import pytest

from asrcore.locales import TIERED
from asrcore.text import character_name, count_script, style


def test_the_style_of_the_base_model_is_cased_punctuated_and_spoken() -> None:
    assert style("Ναι, στις τρεις.", "el-GR") == (True, True, False, False, False)
    assert style("ναι στις 3", "el-GR") == (False, False, True, False, False)
    assert style("ΝΑΙ ΒΕΒΑΙΩΣ", "el-GR").cased is False


def test_scripts_without_case_or_sentence_marks_are_not_judged_by_them() -> None:
    assert style("こんにちは。", "ja-JP").cased is None
    assert style("สวัสดี", "th-TH")[:2] == (None, None)
    assert style("१२", "hi-IN") == (None, None, True, False, False)


def test_tags_and_markup_are_told_apart_and_do_not_count_as_style() -> None:
    assert style("yes <haw-US>", "en-US") == (False, False, False, True, False)
    assert style("[NOISE!] yes", "en-US") == (False, False, False, False, True)


SAMPLES = {
    "el-GR": "Καλημέρα", "bg-BG": "Добър ден", "uk-UA": "Привіт", "ar-AR": "مرحبا", "he-IL": "שלום", "hi-IN": "नमस्ते", "th-TH": "สวัสดี",
    "ko-KR": "안녕하세요", "ja-JP": "こんにちは世界", "zh-CN": "你好", "ru-RU": "Привет",
}  # fmt: skip


@pytest.mark.parametrize("tag", TIERED)
def test_every_locale_of_the_model_card_knows_its_own_script_and_no_other(tag: str) -> None:
    own = count_script(SAMPLES.get(tag, "Hello"), tag)
    foreign = count_script("Hello" if tag in SAMPLES else "Καλημέρα", tag)
    assert own.own == own.letters > 0
    assert foreign.own == 0 < foreign.letters


def test_tags_digits_and_marks_are_no_letters() -> None:
    assert count_script("123 <en-US> …!", "el-GR") == (0, 0)


def test_characters_are_shown_by_name_in_plain_ascii() -> None:
    assert [character_name(c) for c in "€\u202e"] == ["U+20AC EURO SIGN", "U+202E RIGHT-TO-LEFT OVERRIDE"]
