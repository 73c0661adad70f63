"""Which pieces a new letter may take over, and that nothing else is written differently for it (trap 3.15, trap 3.16)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrcore.checkpoint import embedded_base, tokenizer_bytes
from asrcore.embedded import shipped
from asrcore.errors import NotReadyError
from asrcore.manifest import kept_rows
from asrcore.requests import NewLetter
from asrcore.spelling import SPACE, count_changed, give_pieces, pieces_of, processor, respell, spell

LETTERS = ("ğ", "ŋ")


@pytest.fixture(scope="module")
def model() -> bytes:
    return tokenizer_bytes(embedded_base())


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the embedded base reads: Greek, Bulgarian, English and Spanish."""
    sets = shipped.unpack(tmp_path_factory.mktemp("sets"))
    return [row.utterance.text for path in sets.values() for row in kept_rows(path)]


def test_unknown_characters_are_counted_as_the_tokenizer_reads_them(model: bytes) -> None:
    """`e` and a combining acute are the letter é to it, which it has; the ligature is two letters, which it has too."""
    found = spell(model, ["ğa ğŋ", "que\u0301", "ﬁ"])
    assert found.unknown == {"ğ": 2, "ŋ": 1}
    assert found.characters == 9


def test_the_rarest_pieces_that_no_text_uses_are_taken(model: bytes, texts: list[str]) -> None:
    used, pieces = spell(model, texts[::20]).used, pieces_of(model)
    taken = give_pieces(model, LETTERS, used)
    assert [one.letter for one in taken] == list(LETTERS)
    assert all(pieces[one.id][0] == one.piece and one.id not in used and len(one.piece.strip(SPACE)) > 1 for one in taken)
    free = [
        score
        for index, (piece, score) in enumerate(pieces)
        if index not in used and len(piece.strip(SPACE)) > 1 and not piece.startswith("<")
    ]
    assert [pieces[one.id][1] for one in taken] == sorted(free)[:2]


def test_all_that_could_be_written_still_can_be_and_reads_back_the_same(model: bytes, texts: list[str]) -> None:
    """Nothing is kept from being taken here but what stands in the first text, and as much as possible is taken."""
    used = spell(model, texts[:1]).used
    letters = [chr(0x0250 + n) for n in range(80)]
    after = respell(model, give_pieces(model, letters, used))
    tokenizer = processor(after)
    written = spell(after, texts)
    assert not written.unknown
    assert count_changed(model, after, texts, ()) > 0, "or the texts do not need what was taken, and this shows nothing"
    assert all(tokenizer.decode(tokenizer.encode(text)) == processor(model).decode(processor(model).encode(text)) for text in texts[:50])


@settings(max_examples=40, deadline=None)
@given(keep=st.sets(st.integers(0, 10_000), min_size=1, max_size=30), count=st.integers(1, 40))
def test_kept_texts_are_written_with_the_very_same_pieces(model: bytes, texts: list[str], keep: set[int], count: int) -> None:
    kept = [texts[index % len(texts)] for index in keep]
    taken = give_pieces(model, [chr(0x0250 + n) for n in range(count)], spell(model, kept).used)
    after = respell(model, taken)
    assert count_changed(model, after, kept, taken) == 0
    assert [processor(after).encode(text) for text in kept] == [processor(model).encode(text) for text in kept]


def test_each_letter_is_written_with_its_id_wherever_it_stands(model: bytes, texts: list[str]) -> None:
    taken = give_pieces(model, LETTERS, spell(model, texts[::20]).used)
    tokenizer = processor(respell(model, taken))
    ids: list[int] = tokenizer.encode("ğ noğŋa, Ana ŋ")
    assert [index for index in ids if index in {one.id for one in taken}] == [taken[0].id, taken[0].id, taken[1].id, taken[1].id]
    assert tokenizer.decode(ids) == "ğ noğŋa, Ana ŋ"
    assert tokenizer.get_piece_size() == processor(model).get_piece_size()


def test_a_text_that_needs_a_taken_piece_is_counted_as_changed_unless_it_held_the_letter(model: bytes) -> None:
    index, piece = next((i, p) for i, (p, _) in enumerate(pieces_of(model)) if p == "▁Barcelona")
    bad = NewLetter(letter="ğ", id=index, piece=piece)
    assert count_changed(model, respell(model, [bad]), ["Barcelona", "Madrid", "Madrid ğ"], [bad]) == 1


def test_more_letters_than_spare_pieces_are_refused(model: bytes) -> None:
    with pytest.raises(NotReadyError, match="no_spare_piece"):
        give_pieces(model, LETTERS, range(640))


def test_tokenizers_whose_pieces_are_made_by_merging_are_refused(model: bytes) -> None:
    import importlib

    messages: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    proto = messages.ModelProto()
    proto.ParseFromString(model)
    proto.trainer_spec.model_type = 2
    with pytest.raises(NotReadyError, match="tokenizer_not_unigram"):
        give_pieces(proto.SerializeToString(), LETTERS, ())


def test_pieces_that_are_no_letters_of_a_text_are_never_taken(model: bytes) -> None:
    """Locale tags, `<unk>`, single characters: all that a model of this family holds besides ordinary pieces."""
    pieces = pieces_of(model)
    most = sum(1 for piece, _ in pieces if len(piece.strip(SPACE)) > 1 and not piece.startswith("<"))
    taken = give_pieces(model, [chr(0x4E00 + n) for n in range(most)], ())
    assert not any(one.piece.startswith("<") or len(one.piece.strip(SPACE)) == 1 for one in taken)
