"""Many texts at once against one text at a time: the same words, whatever the texts hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrcore.errors import NotReadyError
from asrcore.score import normalise
from asrcore.score.codes import as_characters
from asrcore.score.wer import count_errors, tokens

AWKWARD = "\x01\x02\x1c\x85\u2028\n aAbΣσςİıŉ'’\"״.,-¨\u0301\u0323\u0338\u0e4d\u0e48\u0e32\u0e40ـʼﬁﷺ½\u1112\u1161\u11abहि"


@given(
    st.lists(st.text(st.one_of(st.sampled_from(AWKWARD), st.characters(exclude_characters="<")), max_size=12), min_size=1, max_size=6),
    st.sampled_from(["en-US", "tr-TR", "he-IL", "el-GR"]),
    st.booleans(),
)
@settings(max_examples=300)
def test_each_character_stands_for_one_word_and_each_word_for_one_character(texts: list[str], locale: str, normalised: bool) -> None:
    coded = as_characters(texts, locale, normalised)
    words = [tokens(text, locale, normalised) for text in texts]
    assert list(map(len, coded)) == list(map(len, words))
    pairs = {(character, word) for line, found in zip(coded, words, strict=True) for character, word in zip(line, found, strict=True)}
    assert len(pairs) == len({character for character, _ in pairs}) == len({word for _, word in pairs})


def test_more_words_than_there_are_ordinary_characters_stay_apart() -> None:
    """Numbers 55,296 to 57,343 are surrogates, and 65,536 is the first that takes two units in UTF-16."""
    words = [f"w{n}" for n in range(70_000)]
    [whole, last] = as_characters([" ".join(words), words[-1]], "en-US", normalised=True)
    assert len(set(whole)) == 70_000
    assert last == whole[-1]


def test_every_letter_that_normalisation_takes_away_leaves_an_empty_reference_raw_too() -> None:
    """A raw score looks at the first letter alone where that settles it."""
    letters = [character for character in map(chr, range(0x110000)) if character.isalpha()]
    with pytest.raises(NotReadyError) as caught:
        count_errors(letters, letters, "en-US", normalised=False)
    assert [letters[(problem.line or 0) - 1] for problem in caught.value.problems] == [c for c in letters if not normalise(c, "en-US")]
    assert 0 < len(caught.value.problems) < 100


def test_a_corpus_in_several_locales_is_counted_as_its_parts_are() -> None:
    references = ["ISI one", "ISI one", "ΣΑΣ two", "isi one"] * 3
    texts = ["ısı one", "ısı one", "σας", "isi two"] * 3
    locales = ["tr-TR", "en-US", "el-GR", "en-US"] * 3
    whole = count_errors(references, texts, locales, normalised=True)
    parts = [count_errors([r], [t], one, normalised=True) for r, t, one in zip(references, texts, locales, strict=True)]
    assert whole.errors.tolist() == [int(part.errors[0]) for part in parts] == [0, 1, 1, 1] * 3
    assert whole.deletions.tolist() == [0, 0, 1, 0] * 3
