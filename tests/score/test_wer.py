"""Corpus error rates against jiwer and against an edit distance written for this test."""

from __future__ import annotations

import random

import jiwer
import pytest

from asrcore.errors import NotReadyError
from asrcore.score import align, needs_cer, score_wer
from asrcore.score.wer import count_errors

VOCABULARIES = {
    "en-US": ["the", "line", "is", "busy", "don't", "call", "back", "a"],
    "el-GR": ["ο", "αριθμός", "είναι", "τρία", "επτά", "στην", "αθήνα"],
    "bg-BG": ["моля", "обадете", "се", "утре", "в", "осем"],
    "hi-IN": ["हिन्दी", "में", "बात", "कीजिए", "नमस्ते"],
    "ar-AR": ["مرحبا", "كيف", "حالك", "اليوم"],
    "ja-JP": ["今日", "は", "いい", "天気", "です"],
    "th-TH": ["น้ำ", "ใจ", "ไม่", "มี"],
}


def distance(reference: list[str], hypothesis: list[str]) -> int:
    """Plain Levenshtein, one row at a time."""
    row = list(range(len(hypothesis) + 1))
    for i, r in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, h in enumerate(hypothesis, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (r != h))
    return row[-1]


def random_pairs(locale: str, seed: int, count: int = 150) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    words = VOCABULARIES[locale]

    def sentence(least: int) -> str:
        return " ".join(rng.choices(words, k=rng.randint(least, 9)))

    return [sentence(1) for _ in range(count)], [sentence(0) for _ in range(count)]


@pytest.mark.parametrize("locale", ["en-US", "el-GR", "bg-BG", "hi-IN", "ar-AR"])
def test_word_errors_equal_jiwer_and_a_plain_edit_distance(locale: str) -> None:
    references, texts = random_pairs(locale, 1)
    wer = score_wer(references, texts, locale, normalised=True)
    oracle = jiwer.process_words(references, texts)
    assert (wer.substitutions, wer.deletions, wer.insertions) == (oracle.substitutions, oracle.deletions, oracle.insertions)
    assert wer.percent == pytest.approx(100 * oracle.wer)
    assert wer.errors == sum(distance(r.split(), t.split()) for r, t in zip(references, texts, strict=True))
    assert wer.unit == "word"


@pytest.mark.parametrize("locale", ["ja-JP", "th-TH"])
def test_character_errors_ignore_where_the_spaces_are(locale: str) -> None:
    references, texts = random_pairs(locale, 2)
    wer = score_wer(references, texts, locale, normalised=True)
    joined = [[list(s.replace(" ", "")) for s in side] for side in (references, texts)]
    assert wer.errors == sum(distance(r, t) for r, t in zip(*joined, strict=True))
    assert wer.words == sum(map(len, joined[0]))
    assert wer.unit == "character"
    assert wer == score_wer([r.replace(" ", "") for r in references], [" ".join(t) for t in texts], locale, normalised=True)


def test_cer_is_for_japanese_chinese_korean_and_thai_only() -> None:
    assert [tag for tag in ("ja-JP", "zh-TW", "ko-KR", "th-TH", "el-GR", "km-KH", "en-US") if needs_cer(tag)] == [
        "ja-JP",
        "zh-TW",
        "ko-KR",
        "th-TH",
    ]


def test_the_rate_is_over_the_corpus_and_no_mean_of_utterances() -> None:
    wer = score_wer(["a", "b c d e f g h i j"], ["x", "b c d e f g h i j"], "en-US", normalised=True)
    assert wer.percent == pytest.approx(10.0)  # the mean of utterance rates is 50


def test_counts_of_single_utterances_add_up_to_the_corpus() -> None:
    references, texts = random_pairs("en-US", 3)
    counts = count_errors(references, texts, "en-US", normalised=True)
    one_by_one = [score_wer([r], [t], "en-US", normalised=True) for r, t in zip(references, texts, strict=True)]
    assert counts.errors.tolist() == [w.errors for w in one_by_one]
    assert counts.words.tolist() == [w.words for w in one_by_one]


def test_raw_scoring_counts_case_and_punctuation_and_normalised_does_not() -> None:
    assert score_wer(["Hello, World."], ["hello world"], "en-US", normalised=False).errors == 2
    assert score_wer(["Hello, World."], ["hello world"], "en-US", normalised=True).errors == 0
    assert score_wer(["caf\u00e9"], ["cafe\u0301"], "fr-FR", normalised=False).errors == 0


def test_a_tag_left_in_the_text_is_no_word() -> None:
    """trap 3.7"""
    for normalised in (True, False):
        assert score_wer(["Hi there."], ["Hi there. <haw-US>"], "en-US", normalised).errors == 0


def test_empty_hypotheses_are_deletions() -> None:
    wer = score_wer(["a b c"], [""], "en-US", normalised=True)
    assert (wer.deletions, wer.errors, wer.percent) == (3, 3, 100.0)


def test_references_without_a_word_are_all_named_at_once() -> None:
    with pytest.raises(NotReadyError) as caught:
        score_wer(["a", "…", "b", " <en-US> "], ["a"] * 4, "en-US", normalised=False)
    assert caught.value.code == "empty_references"
    assert [p.line for p in caught.value.problems] == [2, 4]
    with pytest.raises(NotReadyError, match="empty_references"):
        score_wer([], [], "en-US", normalised=True)


def test_word_and_character_locales_cannot_share_one_rate() -> None:
    with pytest.raises(NotReadyError, match="mixed_units"):
        score_wer(["a", "今日"], ["a", "今日"], ["en-US", "ja-JP"], normalised=True)


def test_an_alignment_spells_out_both_texts() -> None:
    steps = align("the line is busy now ok", "a line busy now ok yes", "en-US", normalised=True)
    assert [w for s in steps for w in s.reference] == "the line is busy now ok".split()
    assert [w for s in steps for w in s.hypothesis] == "a line busy now ok yes".split()
    assert [s.operation for s in steps] == ["substitute", "equal", "delete", "equal", "insert"]
