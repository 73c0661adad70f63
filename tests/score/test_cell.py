"""Scores of one set of hypotheses beyond the error rate."""

from __future__ import annotations

from asrcore.requests import Hypothesis
from asrcore.score.cell import score_hypotheses


def row(reference: str, raw: str, number: int, **fields: str) -> Hypothesis:
    text = raw.replace("<el-GR>", " ").replace("<en-US>", " ")
    tag = raw.rsplit("<", 1)[-1].rstrip("> ") if "<" in raw else None
    return Hypothesis(id=f"u{number}", locale="el-GR", reference=reference, text=text, raw_text=raw, tag=tag, duration=2.0, line=number, fields=fields)


def test_a_phrase_said_five_times_is_counted_unless_the_reference_says_it_too() -> None:
    """Trap 3.27i: a word repeated twenty times."""
    rows = [
        row("ναι", "ναι " * 20, 1), row("ναι " * 6, "ναι " * 6, 2), row("ένα δύο", "ένα δύο " * 5, 3), row("ένα", "ένα δύο ένα δύο", 4), row("δύο", "", 5),
    ]  # fmt: skip
    assert score_hypotheses(rows, "langID").repeated_phrases == 2


def test_the_languages_of_code_switched_utterances_are_scored_as_a_sequence_of_tags() -> None:
    rows = [
        row("ένα two", "ένα <el-GR> two <en-US>", 1, target_langs="el-GR en-US"), row("ένα two", "ένα two <el-GR>", 2, target_langs="el-GR en-US"),
        row("ένα", "ένα <el-GR>", 3),
    ]  # fmt: skip
    auto = score_hypotheses(rows, "auto").segment_tags
    assert auto is not None
    assert (auto.utterances, auto.segments, auto.correct_percent) == (2, 4, 75.0)
    assert score_hypotheses(rows, "langID").segment_tags is None
    assert score_hypotheses(rows[2:], "auto").segment_tags is None
