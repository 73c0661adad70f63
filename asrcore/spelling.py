"""What a SentencePiece tokenizer can spell, and how a letter that it lacks takes over a piece that nothing uses.

The piece keeps its id and its score, so the vocabulary keeps its size and no weight has to move. NeMo's own `change_vocabulary` starts the decoder, the
joint and the loss anew instead (trap 3.15). A larger vocabulary is not offered: it shifts the blank and changes shapes that exports, servers and blends
rely on, and the one published try had gone from 21.5 to 35.6 % word error rate when it ended (docs/log.md).

A text that neither holds a new letter nor was written with a taken piece is written as before: of all ways to write it, which Unigram compares by the sum
of their scores, some of the losing ones are gone and none was added. `count_changed` shows it on the texts themselves.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

from asrcore.errors import NotReadyError
from asrcore.requests import NewLetter

SPACE = "▁"
"""How SentencePiece writes a space inside pieces (U+2581)."""
UNIGRAM, NORMAL = 1, 1
"""`TrainerSpec.ModelType` and `SentencePiece.Type` of sentencepiece_model.proto."""


class Spelling(NamedTuple):
    """How texts are written: the characters that have no piece, with their counts, of how many that are no spaces; and the ids of the pieces used."""

    unknown: Counter[str]
    characters: int
    used: frozenset[int]


def processor(model: bytes) -> Any:
    """The tokenizer of a serialized SentencePiece model."""
    sentencepiece: Any = importlib.import_module("sentencepiece")
    return sentencepiece.SentencePieceProcessor(model_proto=model)


def unknown_characters(tokenizer: Any, text: str, ids: Sequence[int]) -> list[str]:
    """The characters that `ids`, the tokenizer's own for `text`, write as unknown: those of the normalised text, one for each time."""
    unknown: int = tokenizer.unk_id()
    if unknown not in ids:
        return []
    pieces: list[str] = tokenizer.encode(text, out_type=str)
    return [c for piece, index in zip(pieces, ids, strict=True) if index == unknown for c in piece if c != SPACE]


def spell(model: bytes, texts: Iterable[str]) -> Spelling:
    tokenizer, unknown, characters, used = processor(model), Counter[str](), 0, set[int]()
    for text in texts:
        ids: list[int] = tokenizer.encode(text)
        characters += sum(not c.isspace() for c in text)
        unknown.update(unknown_characters(tokenizer, text, ids))
        used.update(ids)
    return Spelling(unknown, characters, frozenset(used))


def give_pieces(model: bytes, letters: Sequence[str], used: Container[int]) -> tuple[NewLetter, ...]:
    """A piece for each letter, none of them in `used`, the rarest first: a Unigram score is the log of a piece's share in the texts it was made from.

    Only pieces of several characters that are pieces of their own are taken, so whatever could be spelled stays so. Raises `tokenizer_not_unigram`,
    `no_spare_piece`.
    """
    proto = _proto(model)
    if proto.trainer_spec.model_type != UNIGRAM:  # merges of a BPE pass through pieces that no text ends up with
        raise NotReadyError("tokenizer_not_unigram", "only a Unigram tokenizer has pieces that can be taken without changing how other texts are written.",
                            next_step="map the characters with fix_manifest.")  # fmt: skip
    single = {piece.piece for piece in proto.pieces if piece.type == NORMAL and len(piece.piece) == 1}
    spare = [
        (piece.score, index, piece.piece) for index, piece in enumerate(proto.pieces)
        if piece.type == NORMAL and index not in used and len(piece.piece.replace(SPACE, "")) > 1 and single.issuperset(piece.piece)
    ]  # fmt: skip
    if len(spare) < len(letters):
        raise NotReadyError("no_spare_piece", f"{len(letters)} letter(s) need a piece and {len(spare)} are not used by the texts.",
                            next_step="list fewer letters, and map the others with fix_manifest.")  # fmt: skip
    return tuple(NewLetter(letter=letter, id=index, piece=piece) for letter, (_, index, piece) in zip(letters, sorted(spare), strict=False))


def respell(model: bytes, letters: Iterable[NewLetter]) -> bytes:
    """The model with the letters in the place of their pieces."""
    proto = _proto(model)
    for new in letters:
        proto.pieces[new.id].piece = new.letter
    return proto.SerializeToString()


def pieces_of(model: bytes) -> list[tuple[str, float]]:
    """Pieces and scores by id."""
    return [(piece.piece, piece.score) for piece in _proto(model).pieces]


def count_changed(before: bytes, after: bytes, texts: Iterable[str], letters: Iterable[NewLetter]) -> int:
    """How many of the texts the two write differently, but for those that `before` could not write because they hold one of the letters."""
    old, new, given = processor(before), processor(after), {one.letter for one in letters}
    changed = 0
    for text in texts:
        ids: list[int] = old.encode(text)
        changed += ids != new.encode(text) and given.isdisjoint(unknown_characters(old, text, ids))
    return changed


def _proto(model: bytes) -> Any:
    messages: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    proto = messages.ModelProto()
    proto.ParseFromString(model)
    return proto
