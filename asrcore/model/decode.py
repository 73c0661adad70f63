"""Manifest rows in, hypotheses out: what every caller of a decoding engine shares."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from asrcore.audio import decode as decode_audio
from asrcore.errors import NotReadyError, Problem, clean_text
from asrcore.locales import AUTO
from asrcore.manifest import Row, kept_rows
from asrcore.model.restore import prompt_slots
from asrcore.model.stream import Decoded, StreamingDecoder, StreamItem
from asrcore.requests import Hypothesis, PromptMode
from asrcore.score import segments
from asrcore.score.hypotheses import hypothesis_of


class Engine(Protocol):
    """`StreamingDecoder` or `FastDecoder`."""

    def decode(self, items: Sequence[StreamItem], on_done: Callable[[Decoded], None] | None = None) -> list[Decoded]: ...


def decode_manifest(
    model: Any,
    manifest: Path,
    att_context: tuple[int, int],
    prompt_mode: PromptMode,
    batch_size: int,
    on_progress: Callable[[int], None] | None = None,
) -> list[Hypothesis]:
    """Streams every utterance of a manifest, in manifest order, with its own `target_lang` slot (`langID`) or slot 101 (`auto`).

    Rows marked `_skipme` are left out; `on_progress` gets the number of finished utterances. Raises `manifest_invalid` or `unknown_tag` with all
    lines, `audio_missing`/`audio_unreadable` for the first bad file.
    """
    rows = kept_rows(manifest)
    slots = row_slots(model, rows, manifest, prompt_mode)
    done = itertools.count(1)
    report = (lambda _: on_progress(next(done))) if on_progress else None
    return transcribe_rows(model, StreamingDecoder(model, att_context, batch_size), rows, slots, report)


def transcribe_rows(
    model: Any, engine: Engine, rows: Sequence[Row], slots: Sequence[int], on_done: Callable[[Hypothesis], None] | None = None
) -> list[Hypothesis]:
    """One hypothesis a row, in the order of `rows`; `on_done` gets each when it is finished, in any order."""
    found: dict[int, Hypothesis] = {}

    def keep(decoded: Decoded) -> None:
        raw = str(model.tokenizer.ids_to_text(list(decoded.tokens)))
        found[decoded.key] = hypothesis_of(rows[decoded.key], raw, decoded.first_partial_s)
        if on_done:
            on_done(found[decoded.key])

    engine.decode(stream_items(rows, slots), keep)
    return [found[key] for key in range(len(rows))]


def stream_items(rows: Sequence[Row], slots: Sequence[int]) -> list[StreamItem]:
    """Rows with their prompt slots, ready to decode; audio is read when its stream starts."""
    return [
        StreamItem(
            key=index,
            audio=partial(decode_audio, row.audio, offset=row.utterance.offset, duration=row.utterance.duration),
            slot=slot,
            seconds=row.utterance.duration,
        )
        for index, (row, slot) in enumerate(zip(rows, slots, strict=True))
    ]


def row_slots(model: Any, rows: Sequence[Row], manifest: Path, prompt_mode: PromptMode) -> list[int]:
    """Prompt slot of each row. Raises `unknown_tag` with every line that names a locale the checkpoint does not have (trap 3.3), as its `target_lang`
    or as one of several languages."""
    slots = prompt_slots(model)
    unknown = [
        Problem(code="unknown_tag", message=f"{field} {clean_text(tag, 20)!r} is not in the checkpoint's dictionary.",
                file=str(manifest), line=row.line, fix="correct the tag; validate_language_tags names the nearest one.")
        for row in rows for field, tag in _named(row) if tag not in slots
    ]  # fmt: skip
    if unknown:
        raise NotReadyError("unknown_tag", f"{len({p.line for p in unknown})} rows have a tag that the checkpoint does not know.",
                            next_step="call validate_language_tags on this manifest.", problems=unknown)  # fmt: skip
    return [slots[AUTO] if prompt_mode == "auto" else slots[row.utterance.target_lang] for row in rows]


def _named(row: Row) -> Iterator[tuple[str, str]]:
    """Every locale that a row names, with the field."""
    yield "target_lang", row.utterance.target_lang
    yield from ((segments.FIELD, tag) for tag in segments.spoken(row.utterance.free_fields()))
