"""Punctuation and casing error rates: what counts, what does not, and what is not defined."""

from __future__ import annotations

import pytest

from asrcore.requests import StyleErrors
from asrcore.score.style import style_errors
from tests.score.evals import hypotheses


def style(reference: str, text: str, locale: str = "en-US") -> StyleErrors:
    return style_errors(hypotheses([reference], [text], locale))


def wrong_marks(reference: str, text: str, locale: str = "en-US") -> int:
    found = style(reference, text, locale)
    assert found.punctuation_percent is not None
    return round(found.punctuation_percent * found.punctuation_marks / 100)


@pytest.mark.parametrize(
    ("reference", "text", "errors"),
    [
        ("Hello, you. Yes?", "Hello, you. Yes?", 0),
        ("Hello, you. Yes?", "Hello you Yes", 3),  # three lost
        ("Hello, you. Yes?", "Hello. you. Yes?", 1),  # one for another
        ("Hello you.", "Hello, you.", 1),  # one too many
        ("Hello, you.", "Hello you,.", 2),  # the comma stands after another word
        ("Hello, you.", "Hallo, you.", 0),  # a wrong word with the right mark
        ("Hello, my dear you.", "Hello, you.", 0),  # lost words that carried no mark
        ("Hello, my dear, you.", "Hello, you.", 1),  # a lost word takes its mark along
        ("¿Qué tal?", "Qué tal?", 1),
        ("Say “yes” – now…", 'say "yes" - now...', 0),  # look-alikes
        ("Don't go, O’Neill.", "dont go, O'Neill.", 0),  # an apostrophe inside a word is spelling
        ("It is 5 %, Bob & Al.", "It is 5, Bob Al.", 0),  # signs that are read aloud
    ],
)
def test_marks_are_compared_between_the_words_that_stand_opposite_each_other(reference: str, text: str, errors: int) -> None:
    assert wrong_marks(reference, text) == errors


@pytest.mark.parametrize(
    ("locale", "reference", "text", "errors"),
    [
        ("ja-JP", "はい、そうです。", "はい そうです。", 1),
        ("ja-JP", "はい，そうです！", "はい,そうです!", 0),
        ("zh-CN", "你好，世界。", "你好世界", 2),
        ("ar-AR", "نعم، شكرا.", "نعم شكرا.", 1),
        ("he-IL", 'צה"ל, שלום.', "צה״ל שלום.", 1),
        ("hi-IN", "नमस्ते, आप कैसे हैं?", "नमस्ते आप कैसे हैं।", 2),
        ("el-GR", "Τι κάνεις;", "Τι κάνεις.", 1),
    ],
)
def test_marks_of_other_scripts_count_where_they_stand(locale: str, reference: str, text: str, errors: int) -> None:
    assert wrong_marks(reference, text, locale) == errors


def test_the_rate_is_over_the_marks_of_all_references_and_may_exceed_100() -> None:
    rows = hypotheses(["One, two.", "Three"], ["One, two", "Three."])
    assert style_errors(rows).punctuation_percent == pytest.approx(100.0)
    assert style("One.", "One,!?.").punctuation_percent == pytest.approx(300.0)


def test_casing_is_judged_on_equal_words_only() -> None:
    found = style("Hello World, it IS Monday 5", "hello Word it is Monday 5")
    assert (found.cased_words, found.casing_percent) == (4, pytest.approx(50.0))  # Hello, it, IS, Monday; World was misheard, 5 has no case


@pytest.mark.parametrize(
    ("locale", "text"),
    [("ar-AR", "نعم شكرا."), ("he-IL", "שלום, כן."), ("hi-IN", "नमस्ते।"), ("th-TH", "ใช่ครับ"), ("zh-CN", "你好。"), ("ka-GE", "გამარჯობა.")],
)
def test_scripts_without_case_have_no_casing_figure(locale: str, text: str) -> None:
    found = style(text, text, locale)
    assert (found.cased_words, found.casing_percent) == (0, None)


@pytest.mark.parametrize(
    ("locale", "reference", "text", "errors"),
    [
        ("tr-TR", "Iğdır İzmir", "ığdır izmir", 2),
        ("el-GR", "Ο Οδυσσέας", "ο Οδυσσέασ", 1),
        ("bg-BG", "София е тук", "софия е тук", 1),
        ("de-DE", "Die Straße", "die straße", 2),
    ],
)
def test_case_follows_the_locales_letters(locale: str, reference: str, text: str, errors: int) -> None:
    found = style(reference, text, locale)
    assert found.casing_percent is not None
    assert round(found.casing_percent * found.cased_words / 100) == errors


def test_references_without_marks_have_no_punctuation_figure() -> None:
    assert style("hello you", "Hello, you.").punctuation_percent is None


def test_an_empty_hypothesis_lost_every_mark_and_no_case() -> None:
    found = style("Hello, you.", "")
    assert (found.punctuation_percent, found.casing_percent, found.cased_words) == (100.0, None, 0)


def test_locale_tags_are_no_punctuation() -> None:
    """trap 3.7"""
    assert style("Γεια σου.", "Γεια σου. <el-GR>", "el-GR").punctuation_percent == 0.0
