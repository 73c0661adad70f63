"""Language tags in `auto`: of plain utterances, and of ones that change their language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore.manifest import Row, Utterance
from asrcore.requests import Hypothesis
from asrcore.score.cell import score_hypotheses
from asrcore.score.hypotheses import hypothesis_of
from asrcore.score.segments import wrong_tag

BOTH = ["el-GR", "en-US"]


def heard(raw: str, number: int = 1, locale: str = "el-GR", text: str = "ένα two", **extras: Any) -> Hypothesis:
    """What a model wrote for a manifest row with these extra fields."""
    values = {"audio_filepath": "a.wav", "duration": 2.0, "text": text, "target_lang": locale, "id": f"u{number}", **extras}
    return hypothesis_of(Row(number, Utterance.model_validate(values), Path("a.wav")), raw)


@pytest.mark.parametrize("languages", [BOTH, "el-GR en-US", ["el", "en"], ["el-GR", "el-GR", "en-US"]])
def test_the_languages_of_a_row_come_as_list_or_text_under_any_tag_of_their_slots(languages: object) -> None:
    found = score_hypotheses([heard("ένα <el-GR> two <en-US>", target_langs=languages)], "auto").segment_tags
    assert found is not None
    assert (found.utterances, found.segments, found.correct_percent) == (1, 2, 100.0)


@pytest.mark.parametrize(
    ("raw", "percent"),
    [
        ("ένα <el-GR> two <en-US>", 100.0),
        ("ένα. <el-GR> δύο. <el-GR> two <en-US>", 100.0),  # one tag a sentence
        ("ένα two <en-US>", 50.0),  # the change was not noticed
        ("ένα <el-GR> two <bg-BG>", 50.0),
        ("ένα <en-US> two <el-GR>", 0.0),
        ("ένα two", 0.0),
        ("ένα <bg-BG> two <es-ES> <bg-BG> <es-ES>", 0.0),  # never below
    ],
)
def test_segments_are_right_where_their_tag_stands_in_order(raw: str, percent: float) -> None:
    found = score_hypotheses([heard(raw, target_langs=BOTH)], "auto").segment_tags
    assert found is not None
    assert found.correct_percent == percent


def test_code_switched_utterances_have_a_rate_of_their_own_and_others_do_not_count() -> None:
    rows = [heard("ένα <el-GR> two <en-US>", 1, target_langs=BOTH), heard("ένα <el-GR>", 2, target_langs=BOTH), heard("", 3)]
    scores = score_hypotheses(rows, "auto")
    found = scores.segment_tags
    assert found is not None
    assert found.wer is not None
    assert (found.utterances, found.segments, found.correct_percent, found.wer.percent, found.wer.deletions) == (2, 4, 75.0, 25.0, 1)
    assert scores.normalised.deletions == 3


def test_nothing_is_said_of_segments_in_langid_or_of_rows_in_one_language() -> None:
    assert score_hypotheses([heard("ένα <el-GR>", target_langs=BOTH)], "langID").segment_tags is None
    assert score_hypotheses([heard("ένα <el-GR>")], "auto").segment_tags is None
    assert score_hypotheses([heard("ένα <el-GR>", target_langs=["el-GR"])], "auto").segment_tags is None


@pytest.mark.parametrize(
    ("raw", "locale", "languages", "wrong"),
    [
        ("ένα <el-GR>", "el-GR", None, False),
        ("ένα <el-GR>", "el", None, False),  # one prompt slot
        ("uno <es-ES>", "es", None, True),  # `es` is es-US
        ("ένα", "el-GR", None, True),
        ("ένα <el-GR> two <en-US>", "el-GR", BOTH, False),  # the last segment is English
        ("ένα two <el-GR>", "el-GR", BOTH, True),
    ],
)
def test_the_last_tag_is_wrong_unless_it_is_that_of_the_last_language(raw: str, locale: str, languages: object, wrong: bool) -> None:
    row = heard(raw, locale=locale, **({"target_langs": languages} if languages else {}))
    assert wrong_tag(row) is wrong
    assert score_hypotheses([row], "auto").wrong_tag_rate == float(wrong)
