"""Slices: which values, which numbers, which one is the worst, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from asrcore.errors import UsageError
from asrcore.requests import Hypothesis, Slice
from asrcore.score import score_wer
from asrcore.score.bootstrap import count
from asrcore.score.slices import slices
from tests.score.evals import hypotheses

REFERENCE = "one two three four five"


def rows(texts: Sequence[str], **columns: Sequence[object]) -> list[Hypothesis]:
    """One utterance of five words a text; columns are attributes, or fields of the manifest row."""
    made: list[Hypothesis] = []
    for n, h in enumerate(hypotheses([REFERENCE] * len(texts), texts, speakers=0)):
        own = {name: values[n] for name, values in columns.items() if name in Hypothesis.model_fields}
        fields = {name: str(values[n]) for name, values in columns.items() if name not in own and values[n] is not None}
        made.append(h.model_copy(update={**own, "fields": fields}))
    return made


def split(hyps: Sequence[Hypothesis], *fields: str) -> tuple[Slice, ...]:
    return slices(hyps, count([h.text for h in hyps], hyps, normalised=True), fields)


def names(found: Sequence[Slice]) -> list[str]:
    return [one.untrusted_text for one in found]


def test_each_slice_has_the_score_of_its_utterances_alone() -> None:
    texts = [REFERENCE, "one two", "one two three four five six", "x x x x x"] * 10
    hyps = rows(texts, source=["a", "b", "a", "b"] * 10)
    found = split(hyps, "source")
    assert names(found) == ["a", "b"]
    for one in found:
        own = [h for h in hyps if h.source == one.untrusted_text]
        alone = score_wer([h.reference for h in own], [h.text for h in own], "en-US", normalised=True)
        assert one.wer.model_copy(update={"ci95": None}) == alone
        assert one.utterances == len(own) == 20


def test_slices_of_one_field_cover_all_utterances_once() -> None:
    hyps = rows(["x"] * 30, channel=["a", "b", None] * 10)
    found = split(hyps, "channel")
    assert names(found) == ["a", "b", "(none)"]
    assert sum(one.utterances for one in found) == 30


def test_durations_fall_into_five_ranges_in_their_order() -> None:
    hyps = rows(["x"] * 9, duration=[25.0, 1.99, 2.0, 4.9, 5.0, 9.9, 10.0, 19.9, 20.0])
    assert [(s.untrusted_text, s.utterances) for s in split(hyps, "duration")] == [
        ("<2 s", 1), ("2-5 s", 2), ("5-10 s", 2), ("10-20 s", 2), (">=20 s", 2),
    ]  # fmt: skip


def test_fields_come_in_the_callers_order_and_values_with_the_most_words_first() -> None:
    hyps = rows(["x"] * 6, speaker=["s"] * 6, sampling_rate=[8000] + [16000] * 5, region=["north", "south", "south"] * 2)
    found = split(hyps, "region", "sampling_rate", "region")
    assert [(s.field, s.untrusted_text) for s in found] == [
        ("region", "south"), ("region", "north"), ("sampling_rate", "16000 Hz"), ("sampling_rate", "8000 Hz"),
    ]  # fmt: skip


def test_beyond_50_values_the_rest_is_one_slice() -> None:
    hyps = rows(["x"] * 64, speaker=[f"s{max(0, n - 3)}" for n in range(64)])
    found = split(hyps, "speaker")
    assert len(found) == 51
    assert (found[0].untrusted_text, found[0].utterances) == ("s0", 4)
    assert (found[-1].untrusted_text, found[-1].utterances) == ("other (11 values)", 11)


def test_a_field_of_many_numbers_is_cut_into_quarters() -> None:
    hyps = rows(["x"] * 100, snr=[*(f"{n / 2:.1f}" for n in range(96)), None, None, None, None])
    found = split(hyps, "snr")
    assert [one.utterances for one in found] == [24, 24, 24, 24, 4]
    assert names(found)[0].startswith("0 to ")
    assert names(found)[-1] == "(none)"


def test_whole_numbers_are_ids_and_not_cut_into_quarters() -> None:
    hyps = rows(["x"] * 60, speaker=[str(n) for n in range(60)], session=[str(n) for n in range(60)])
    assert [len(split(hyps, name)) for name in ("speaker", "session")] == [51, 51]


def test_the_worst_value_with_at_least_100_words_is_marked() -> None:
    texts = [REFERENCE] * 25 + ["one two x four five"] * 25 + [""] * 19  # the last have 95 words
    found = split(rows(texts, source=["good"] * 25 + ["bad"] * 25 + ["few"] * 19), "source")
    assert {one.untrusted_text: one.worst for one in found} == {"good": False, "bad": True, "few": False}


def test_one_value_alone_is_not_the_worst_and_neither_is_a_remainder() -> None:
    assert not any(one.worst for one in split(rows([""] * 40, source=["all"] * 40), "source"))
    hyps = rows(["x"] * 25 + [REFERENCE] * 25 + [""] * 25, channel=["a"] * 25 + ["b"] * 25 + [None] * 25)
    assert [one.untrusted_text for one in split(hyps, "channel") if one.worst] == ["a"]


def test_a_slice_of_several_speakers_has_an_interval_and_one_of_a_single_speaker_has_none() -> None:
    texts = [REFERENCE if n % 3 else "one x three" for n in range(100)]
    hyps = rows(texts, speaker=[f"s{n % 25}" for n in range(100)], source=["a", "b"] * 50)
    for one in split(hyps, "source"):
        assert one.wer.ci95 is not None
        assert one.wer.ci95[0] < one.wer.percent < one.wer.ci95[1]
    assert all(one.wer.ci95 is None for one in split(hyps, "speaker"))


def test_fields_that_no_utterance_has_are_refused_with_the_names_of_those_that_exist() -> None:
    hyps = rows(["x"] * 3, speaker=["s"] * 3, room=["hall"] * 3)
    with pytest.raises(UsageError) as caught:
        split(hyps, "speaker", "snr", "source")
    assert caught.value.code == "slice_field_unknown"
    assert "snr, source" in caught.value.message
    assert "speaker, duration, locale, room" in caught.value.next_step
    assert len(caught.value.problems) == 2


def test_values_come_out_clean_and_capped() -> None:
    [one] = split(rows(["x"] * 3, room=["a\u202eb\n" + "c" * 200] * 3), "room")
    assert one.untrusted_text.startswith("ab c")
    assert len(one.untrusted_text) == 80


def test_no_field_gives_no_slice() -> None:
    assert split(rows(["x"])) == ()
