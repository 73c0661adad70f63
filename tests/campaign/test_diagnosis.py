"""Findings name the place where errors were put, with its share, the lever and an honest ceiling."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asrcore.campaign.diagnosis import diagnose, names, terms_share
from asrcore.campaign.finding import Effect, Finding, Place, measured
from asrcore.requests import EvalCell, Hypothesis, TermScore
from asrcore.score import check_guards
from asrcore.score.bootstrap import Clusters
from asrcore.score.wer import ErrorCounts
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
    assert (gsm.untrusted_text, gsm.lever, gsm.of, gsm.expected) == ("gsm", "add_data", "errors", None)
    assert gsm.share == pytest.approx(0.1 / (0.1 + 0.0375), abs=0.06)
    assert gsm.ceiling_points == pytest.approx(0.25 * (40 - 5), abs=1.5)
    assert gsm.ceiling95 is not None
    assert gsm.share95 is not None
    assert 0 < gsm.ceiling95[0] < (gsm.ceiling_points or 0) < gsm.ceiling95[1]
    assert 0 < gsm.share95[0] < (gsm.share or 0) < gsm.share95[1] < 1


def test_the_intervals_hold_what_is_true_of_speakers_that_were_not_heard() -> None:
    """Three in ten utterances are calls with 20 to 40 % of their words wrong, by speaker; elsewhere 5 %. 200 sets are drawn from that."""
    calls, held = np.arange(400) % 10 < 3, [0, 0]
    clusters = Clusters("speaker", np.arange(400) // 10, 40, ())
    words, none = np.full(400, 8), np.zeros(400, dtype=np.int64)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        errors = rng.binomial(words, np.where(calls, np.repeat(rng.uniform(0.2, 0.4, 40), 10), 0.05))
        counts = ErrorCounts(errors, none, none, words, "word")
        found = measured(Place("slice", "channel", "add_data", "", np.where(calls, errors, 0), calls), counts, clusters)
        assert found.ceiling95
        assert found.share95
        held[0] += found.ceiling95[0] <= 0.3 * (30 - 5) <= found.ceiling95[1]
        held[1] += found.share95[0] <= 0.3 * 30 / (0.3 * 30 + 0.7 * 5) <= found.share95[1]
    assert min(held) >= 180, "of 200; at 95 % fewer than 180 come about once in 300 tries"


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
    assert {one.lever for one in found.values()} == {"fix_data"}
    silent = found["silent 80 utterances"]
    assert silent.ceiling_points == pytest.approx(20)
    assert silent.ceiling95 is not None
    assert 0 < silent.ceiling95[0] < 20 < silent.ceiling95[1] < 40, "eight of the forty speakers are the silent ones"


def test_wrong_tags_and_loops_are_shares_of_utterances_with_the_errors_in_them_as_ceiling(tmp_path: Path) -> None:
    made = rows(lambda n: 0.0, tag=lambda n: "bg-BG" if n % 5 == 0 else "en-US", text=lambda n: "loop " * 8 if n % 10 == 1 else REFERENCES[n])
    found = findings(tmp_path, made, prompt_mode="auto")
    tags, loops = found["wrong_tags auto"], found["loops repeated phrases"]
    assert (tags.share, tags.of, tags.ceiling_points) == (0.2, "utterances", 0.0)
    assert (loops.share, loops.of, loops.lever) == (0.1, "utterances", "lower_lr")
    assert loops.ceiling_points == pytest.approx(10)
    assert tags.share95 is not None
    assert tags.share95[0] < 0.2 < tags.share95[1]
    assert "wrong_tags auto" not in findings(tmp_path, made)


NAMED = "we meet Anna in Sofia at the Ring today"


def test_errors_on_names_are_found_by_their_capitals_and_asked_to_be_boosted(tmp_path: Path) -> None:
    made = [h.model_copy(update={"reference": f"{NAMED}. Then we go", "text": NAMED.replace("Anna", "and a") + " then we stay"}) for h in rows()]
    found = findings(tmp_path, made)["names capitals inside sentences"]
    assert (found.lever, found.of) == ("boost_terms", "errors")
    assert found.share == pytest.approx(1 / 3, abs=1e-3), "Anna; not the word made up beside her, nor go"
    assert found.ceiling_points == pytest.approx(100 / 12, abs=1e-2)


@pytest.mark.parametrize(
    ("locale", "reference", "found"),
    [
        ("en-US", NAMED, {"anna", "sofia", "ring"}),
        ("en-US", f"{NAMED}. They ring the bell. I'm here and I wait", {"anna", "sofia"}),
        ("en-US", "Every Word Has A Capital", None),
        ("el-GR", "τηλεφωνώ στην Αθήνα για τον Γιώργο. Αυτό είναι όλο", {"αθήνα", "γιώργο"}),
        ("de-DE", "wir sehen das Haus und den Baum in der Stadt heute", None),
        ("ar-EG", "نحن هنا اليوم", None),
    ],
)
def test_names_are_words_with_a_capital_inside_sentences_that_never_stand_without_one(locale: str, reference: str, found: set[str] | None) -> None:
    known = names(hypotheses([reference], [reference], locale))
    assert known == ({locale: found} if found else {})


def test_a_finding_says_what_its_lever_has_brought_and_style_brings_nothing_whatever_was_seen(tmp_path: Path) -> None:
    brought = Effect(points=1.5, low=0.5, high=2.5, level=0.9, rests_on="the learning curve from 1 h to 2 h", evals=("eval_000000000000",))
    made = rows(lambda n: 0.4 if n % 4 == 0 else 0.05, fields=lambda n: {"channel": "gsm" if n % 4 == 0 else "voip"})
    shouting = [h.model_copy(update={"text": h.text.upper()}) for h in made]
    found = {f.kind: f.expected for f in diagnose(cell(tmp_path, BASE, shouting), None, {"add_data": brought, "fix_data": brought})}
    assert found["slice"] == brought
    style = found["style"]
    assert style is not None
    assert (style.low, style.points, style.high) == (0, 0, 0)


def scored(folder: Path, recall: float) -> EvalCell:
    terms = TermScore(terms=2, occurrences=100, recall_percent=recall, precision_percent=100.0, f1_percent=80.0)
    return cell(folder, BASE, rows(), terms=terms)


def test_missed_terms_are_a_share_of_the_errors_and_can_be_boosted(tmp_path: Path) -> None:
    one = scored(tmp_path, 50.0)
    assert terms_share(one) == pytest.approx(50 / one.normalised.errors)
    assert terms_share(cell(tmp_path, TUNED, rows())) is None
    [found] = [f for f in diagnose(one) if f.kind == "terms"]
    assert found.lever == "boost_terms"
    assert found.ceiling95 is not None
    assert found.ceiling95[0] < 100 * 50 / one.normalised.words < found.ceiling95[1]


def test_a_forgotten_guard_comes_first_with_its_loss(tmp_path: Path) -> None:
    pair = cell(tmp_path, BASE, rows(lambda n: 0.05), set_name="bg"), cell(tmp_path, TUNED, rows(lambda n: 0.3), set_name="bg")
    first = diagnose(pair[1], check_guards([pair]))[0]
    assert (first.kind, first.lever) == ("guard", "blend"), "the cheapest: it costs no training"
    assert first.ceiling_points == pytest.approx(25, abs=3)
    assert first.ceiling95 is not None
    assert first.ceiling95[0] < (first.ceiling_points or 0) < first.ceiling95[1]


def test_a_perfect_eval_has_no_finding(tmp_path: Path) -> None:
    assert diagnose(cell(tmp_path, BASE, rows(lambda n: 0.0))) == ()


def test_names_out_of_the_data_come_out_clean(tmp_path: Path) -> None:
    found = findings(tmp_path, rows(lambda n: 0.4 if n % 4 == 0 else 0.05, source=lambda n: "a\u202eb\nc" if n % 4 == 0 else "clean"))
    assert found["slice source"].untrusted_text == "ab c"
