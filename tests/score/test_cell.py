"""Scores of one set of hypotheses beyond the error rate."""

from __future__ import annotations

from asrcore.requests import Hypothesis
from asrcore.score.cell import score_hypotheses


def row(reference: str, raw: str, number: int) -> Hypothesis:
    return Hypothesis(id=f"u{number}", locale="el-GR", reference=reference, text=raw, raw_text=raw, tag=None, duration=2.0, line=number)


def test_a_phrase_said_five_times_is_counted_unless_the_reference_says_it_too() -> None:
    """Trap 3.27i: a word repeated twenty times."""
    rows = [
        row("ναι", "ναι " * 20, 1), row("ναι " * 6, "ναι " * 6, 2), row("ένα δύο", "ένα δύο " * 5, 3), row("ένα", "ένα δύο ένα δύο", 4), row("δύο", "", 5),
    ]  # fmt: skip
    assert score_hypotheses(rows, "langID").repeated_phrases == 2
