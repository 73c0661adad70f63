"""Findings name the place where errors were put, with its share, the lever and an honest ceiling."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from asrcore.campaign.diagnosis import Finding, diagnose, terms_share
from asrcore.requests import EvalCell, Hypothesis, TermScore
from asrcore.score import check_guards
from tests.score.evals import BASE, TUNED, cell, hypotheses

RNG = random.Random(5)
REFERENCES = [" ".join(RNG.choices("the line is busy please call back tomorrow".split(), k=8)) for _ in range(400)]


def spoiled(text: str, share: float, rng: random.Random) -> str:
    return " ".join("wrong" if rng.random() < share else word for word in text.split())


def rows(share: Any = lambda n: 0.05, **changes: Any) -> list[Hypothesis]:
    """`share(n)` of the words of utterance n are wrong; other fields are the same for all unless they are functions of n."""
    rng = random.Random(7)
    made = hypotheses(REFERENCES, [spoiled(text, share(n), rng) for n, text in enumerate(REFERENCES)], speakers=40)
    return [h.model_copy(update={k: v(n) if callable(v) else v for k, v in changes.items()}) for n, h in enumerate(made)]


def findings(folder: Path, hyps: list[Hypothesis], **changes: Any) -> dict[str, Finding]:
    return {f"{f.kind} {f.about}": f for f in diagnose(cell(folder, BASE, hyps, **changes))}


def test_a_slice_that_is_worse_than_the_rest_is_found_with_its_share_and_what_it_would_bring_at_most(tmp_path: Path) -> None:
    found = findings(tmp_path, rows(lambda n: 0.4 if n % 4 == 0 else 0.05, fields=lambda n: {"channel": "gsm" if n % 4 == 0 else "voip"}))
    gsm = found["slice channel"]
    assert (gsm.untrusted_text, gsm.lever, gsm.of, gsm.expected) == ("gsm", "add_data", "errors", "unknown")
    assert gsm.share == pytest.approx(0.1 / (0.1 + 0.0375), abs=0.06)
    assert gsm.ceiling_points == pytest.approx(0.25 * (40 - 5), abs=1.5)
    assert gsm.ceiling95 is not None
    assert gsm.ceiling_points is not None
    assert gsm.ceiling95[0] < gsm.ceiling_points < gsm.ceiling95[1]


def test_even_errors_blame_no_slice(tmp_path: Path) -> None:
    found = findings(tmp_path, rows(fields=lambda n: {"channel": "gsm" if n % 4 == 0 else "voip"}))
    assert [name for name in found if name == "slice channel"] == []


def test_fast_speech_is_a_slice_of_its_own(tmp_path: Path) -> None:
    found = findings(tmp_path, rows(lambda n: 0.5 if n % 4 == 0 else 0.02, duration=lambda n: 1.5 + n / 1e4 if n % 4 == 0 else 4.0 + n / 1e4))
    assert "slice words_per_second" in found


def test_errors_of_numbers_are_apart_from_errors_of_hearing(tmp_path: Path) -> None:
    made = [h.model_copy(update={"reference": h.reference + " 25", "text": h.text + " twenty five", "raw_text": ""}) for h in rows(lambda n: 0.0)]
    number = findings(tmp_path, made)["numbers digits"]
    assert (number.lever, number.share) == ("fix_data", pytest.approx(1.0))


def test_case_and_punctuation_are_convention_and_cannot_lower_the_normalised_rate(tmp_path: Path) -> None:
    made = [h.model_copy(update={"text": h.text.title() + "."}) for h in rows()]
    style = findings(tmp_path, made)["style case and punctuation"]
    assert (style.of, style.ceiling_points) == ("raw errors", 0.0)
    assert style.share is not None
    assert style.share > 0.8


def test_silence_dropped_words_and_unknown_characters_are_named(tmp_path: Path) -> None:
    made = [h.model_copy(update={"text": "" if n % 5 == 0 else "⁇ " + h.text.split(" ", 1)[1] if n % 5 == 1 else h.text}) for n, h in enumerate(rows(lambda n: 0.0))]
    found = findings(tmp_path, made)
    assert {"silent 80 utterances", "unknown_characters 80 utterances", "deletions deletions"} <= set(found)
    assert found["unknown_characters 80 utterances"].lever == "fix_data"


def test_wrong_tags_and_loops_are_shares_of_utterances(tmp_path: Path) -> None:
    found = findings(tmp_path, rows(), prompt_mode="auto", wrong_tag_rate=0.2, repeated_phrases=40)
    assert (found["wrong_tags auto"].share, found["wrong_tags auto"].of) == (0.2, "utterances")
    assert found["loops repeated phrases"].share == 0.1


def scored(folder: Path, recall: float) -> EvalCell:
    terms = TermScore(terms=2, occurrences=100, recall_percent=recall, precision_percent=100.0, f1_percent=80.0)
    return cell(folder, BASE, rows(), terms=terms)


def test_missed_terms_are_a_share_of_the_errors_and_can_be_boosted(tmp_path: Path) -> None:
    one = scored(tmp_path, 50.0)
    assert terms_share(one) == pytest.approx(50 / one.normalised.errors)
    assert terms_share(cell(tmp_path, TUNED, rows())) is None
    [found] = [f for f in diagnose(one) if f.kind == "terms"]
    assert found.lever == "boost_terms"


def test_a_forgotten_guard_comes_first_with_its_loss(tmp_path: Path) -> None:
    pair = cell(tmp_path, BASE, rows(lambda n: 0.05), set_name="bg"), cell(tmp_path, TUNED, rows(lambda n: 0.3), set_name="bg")
    first = diagnose(pair[1], check_guards([pair]))[0]
    assert (first.kind, first.lever) == ("guard", "more_replay")
    assert first.ceiling_points == pytest.approx(25, abs=3)


def test_a_perfect_eval_has_no_finding(tmp_path: Path) -> None:
    assert diagnose(cell(tmp_path, BASE, rows(lambda n: 0.0))) == ()


def test_names_out_of_the_data_come_out_clean(tmp_path: Path) -> None:
    found = findings(tmp_path, rows(lambda n: 0.4 if n % 4 == 0 else 0.05, source=lambda n: "a\u202eb\nc" if n % 4 == 0 else "clean"))
    assert found["slice source"].untrusted_text == "ab c"
