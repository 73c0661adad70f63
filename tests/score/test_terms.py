"""The term list: what is an occurrence, what is a match, and which lists are refused."""

from __future__ import annotations

import pytest

from asrcore.errors import UsageError
from asrcore.requests import TermScore
from asrcore.score.terms import term_score
from tests.score.evals import hypotheses


def score(references: list[str], texts: list[str], terms: list[str], locale: str = "en-US") -> TermScore:
    return term_score(hypotheses(references, texts, locale), terms)


def test_recall_precision_and_f1_of_words_and_phrases() -> None:
    found = score(
        ["Take Ibuprofen, please.", "New York is far", "no term here", "ibuprofen ibuprofen"],
        ["take ibuprofen please", "newark is far", "New York, ibuprofen", "ibuprofen"],
        ["ibuprofen", "New York"],
    )  # fmt: skip
    assert (found.terms, found.occurrences) == (2, 4)
    assert found.recall_percent == pytest.approx(100 * 2 / 4)
    assert found.precision_percent == pytest.approx(100 * 2 / 4)  # ibuprofen and New York were made up once each
    assert found.f1_percent == pytest.approx(50.0)
    assert found.missed == ("ibuprofen", "New York")


def test_a_term_counts_in_its_own_utterance_only() -> None:
    found = score(["ibuprofen", "water"], ["water", "ibuprofen"], ["ibuprofen"])
    assert (found.recall_percent, found.precision_percent, found.f1_percent) == (0.0, 0.0, 0.0)


def test_a_term_is_found_wherever_it_stands_and_never_inside_another_word() -> None:
    assert score(["the cat sat"], ["sat the cat"], ["cat"]).recall_percent == 100.0
    assert score(["concatenate it"], ["concatenate it"], ["cat"]).occurrences == 0


def test_occurrences_of_one_term_do_not_overlap_and_a_term_within_a_longer_one_counts_for_both() -> None:
    assert score(["ha ha ha ha ha"], ["ha"], ["ha ha"]).occurrences == 2
    assert score(["New York City"], ["New York"], ["New York", "New York City"]).occurrences == 2


def test_terms_are_compared_after_normalisation_and_twins_are_one() -> None:
    found = score(["L’EAU, s’il vous plaît"], ["l'eau s'il vous plaît"], ["l'eau", "L’Eau!", "EAU"], "fr-FR")
    assert (found.terms, found.occurrences, found.recall_percent) == (2, 1, 100.0)


@pytest.mark.parametrize(
    ("locale", "reference", "text", "term", "recall"),
    [
        ("ja-JP", "今日は東京タワーへ行く", "今日は東京 タワーに行く", "東京タワー", 100.0),
        ("th-TH", "กินพาราเซตามอลสองเม็ด", "กินพาราสองเม็ด", "พาราเซตามอล", 0.0),
        ("hi-IN", "मुझे क़लम दो", "मुझे क़लम दो", "क\u093cलम", 100.0),
        ("tr-TR", "IĞDIR ilinde", "ığdır ilinde", "Iğdır", 100.0),
    ],
)
def test_terms_of_other_scripts_are_found(locale: str, reference: str, text: str, term: str, recall: float) -> None:
    assert score([reference], [text], [term], locale).recall_percent == recall


def test_rates_without_a_denominator_are_null() -> None:
    silent = score(["nothing here"], ["nothing"], ["ibuprofen"])
    assert (silent.occurrences, silent.recall_percent, silent.precision_percent, silent.f1_percent) == (0, None, None, None)
    made_up = score(["nothing here"], ["ibuprofen"], ["ibuprofen"])
    assert (made_up.recall_percent, made_up.precision_percent, made_up.f1_percent) == (None, 0.0, 0.0)


def test_the_most_missed_terms_come_first_and_at_most_20_are_named() -> None:
    terms = [f"term{n}x" for n in range(30)]
    references = [" ".join(terms), "term7x term7x"]
    found = score(references, ["", ""], terms)
    assert len(found.missed) == 20
    assert found.missed[:3] == ("term7x", "term0x", "term1x")


def test_terms_that_cannot_be_found_are_refused_all_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        score(["a"], ["a"], ["fine", " ", "?!", "x" * 201, "<en-US>"])
    assert caught.value.code == "terms_invalid"
    assert [p.message.split(" ")[1] for p in caught.value.problems] == ["2", "3", "4", "5"]
    with pytest.raises(UsageError, match="terms_invalid"):
        score(["a"], ["a"], [])
