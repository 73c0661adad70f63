"""Hypotheses of any other system, read from a file, so that it stands in the same table under the same scorer.

Three shapes, told apart by the first line that is not empty:

    {"id": "u1", "pred_text": "…"}     JSON lines; `audio_filepath` may take the place of `id`, `text` or `hypothesis` that of `pred_text`
    u1 the words that were heard       Kaldi text: id, white space, words (none for silence)
    the words that were heard (u1)     sclite trn

Rows are matched by the id of the manifest row, or by its `audio_filepath` as written there. Every row needs a hypothesis: a system that leaves
clips out must say so with an empty text, since a score over the rest would flatter it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from asrcore.errors import NotReadyError, Problem
from asrcore.manifest import Row
from asrcore.requests import Hypothesis
from asrcore.score.hypotheses import hypothesis_of

_TRN = re.compile(r"^(?P<text>.*)\((?P<id>[^()\s]+)\)\s*$")
_TEXT_FIELDS = ("pred_text", "hypothesis", "text")
_MOST_BYTES_A_LINE = 1 << 20


class _Line(NamedTuple):
    number: int
    key: str
    text: str


def read_peer(file: Path, rows: Sequence[Row]) -> list[Hypothesis]:
    """One hypothesis a manifest row, in the order of `rows`. Raises `peer_hypotheses_invalid` with every bad, repeated, unknown or missing one."""
    problems: list[Problem] = []
    known = {key: row for row in rows for key in _keys(row)}
    found: dict[int, str] = {}
    for line in _lines(file, problems):
        row = known.get(line.key)
        if row is None:
            problems.append(
                _problem(file, line.number, "no row of the manifest has this id", "score it against the manifest that was decoded")
            )
        elif row.line in found:
            problems.append(
                _problem(file, line.number, f"line {row.line} of the manifest has a hypothesis already", "keep one line an utterance")
            )
        else:
            found[row.line] = line.text
    problems += [
        _problem(file, None, f"line {row.line} of the manifest has no hypothesis", "add it, with an empty text where nothing was written")
        for row in rows if row.line not in found
    ]  # fmt: skip
    if problems:
        raise NotReadyError("peer_hypotheses_invalid", f"{len(problems)} faults in the hypotheses of {file.name}.",
                            next_step="correct the file and call score_hypotheses again.", problems=problems)  # fmt: skip
    return [hypothesis_of(row, found[row.line]) for row in rows]


def read_transcripts(file: Path) -> dict[str, str]:
    """Id or audio path -> text, of whatever rows the file has. Raises `hypotheses_missing`, `peer_hypotheses_invalid` with every bad or repeated line."""
    problems: list[Problem] = []
    found: dict[str, str] = {}
    for line in _lines(file, problems):
        if line.key in found:
            problems.append(_problem(file, line.number, "this utterance has a transcript further up", "keep one line an utterance"))
        found.setdefault(line.key, line.text)
    if problems:
        raise NotReadyError("peer_hypotheses_invalid", f"{len(problems)} faults in the transcripts of {file.name}.",
                            next_step="correct the file and call again.", problems=problems)  # fmt: skip
    return found


def _keys(row: Row) -> tuple[str, ...]:
    utterance = row.utterance
    return tuple(key for key in (utterance.id, utterance.audio_filepath) if key)


def _lines(file: Path, problems: list[Problem]) -> Iterator[_Line]:
    if not file.is_file():
        raise NotReadyError(
            "hypotheses_missing", f"there is no file at {file}.", next_step="pass the file with the other system's hypotheses."
        )
    parse: Callable[[str], tuple[str, str] | None] | None = None
    with open(file, "rb") as stream:
        for number, raw in enumerate(stream, 1):
            if len(raw) > _MOST_BYTES_A_LINE:
                problems.append(_problem(file, number, "the line is longer than 1 MiB", "write one utterance a line"))
                continue
            try:
                text = raw.decode("utf-8").strip()
            except UnicodeDecodeError:
                problems.append(_problem(file, number, "the line is not UTF-8", "save the file as UTF-8"))
                continue
            if not text:
                continue
            parse = parse or _shape(text)
            pair = parse(text)
            if pair is None:
                problems.append(_problem(file, number, "the line is not of the shape of the first one", "see the docs of score_hypotheses"))
            else:
                yield _Line(number, *pair)


def _shape(first: str) -> Callable[[str], tuple[str, str] | None]:
    return _json if first.startswith("{") else _trn if _TRN.match(first) else _kaldi


def _json(line: str) -> tuple[str, str] | None:
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    row = cast("dict[str, object]", value)
    key = row.get("id", row.get("audio_filepath"))
    text = next((row[name] for name in _TEXT_FIELDS if name in row), None)
    return (str(key), text) if isinstance(key, str | int) and isinstance(text, str) else None


def _trn(line: str) -> tuple[str, str] | None:
    found = _TRN.match(line)
    return (found["id"], found["text"].strip()) if found else None


def _kaldi(line: str) -> tuple[str, str]:
    key, _, text = line.replace("\t", " ").partition(" ")
    return key, text.strip()


def _problem(file: Path, line: int | None, message: str, fix: str) -> Problem:
    return Problem(code="peer_hypothesis_invalid", message=message, file=str(file), line=line, fix=fix)
