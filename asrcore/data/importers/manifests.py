"""JSON lines: another NeMo manifest, NVIDIA's Granary, and the Hugging Face `audiofolder` layout with metadata.jsonl.

Granary (nvidia/Granary) has no audio: `audio_filepath` names a file of the source corpus below `audio_root`. Its rows of translation tasks are
reported, not imported, and its two-letter `target_lang` is no locale tag, so the caller gives one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from asrcore.data.importers.lines import Line, read_lines
from asrcore.data.importers.rows import AudioFinder, BadRow, Item, RawRow, ReadRequest
from asrcore.data.importers.tables import only
from asrcore.manifest import ALIASES, SKIP_MARK

METADATA = "metadata.jsonl"
JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")

_OURS = frozenset({"audio_filepath", "duration", "text", "target_lang", "lang", "offset", "speaker", "id", "sampling_rate", SKIP_MARK})
_TEXTS = ("text", "transcription", "transcript", "sentence")


def read(request: ReadRequest) -> Iterator[Item]:
    """Rows of a NeMo manifest; marks and free fields are kept."""
    file = _file(request)
    return _rows(request, file, AudioFinder(request.audio_root or file.parent), granary=False)


def read_granary(request: ReadRequest) -> Iterator[Item]:
    """Transcription rows of a Granary file."""
    file = _file(request)
    return _rows(request, file, AudioFinder(request.audio_root or file.parent), granary=True)


def _file(request: ReadRequest) -> Path:
    if request.source.is_file():
        return request.source
    if (request.source / METADATA).is_file():
        return request.source / METADATA
    return only(sorted(p for p in request.source.iterdir() if p.suffix in JSON_SUFFIXES), request, "manifests")


def parse(text: str) -> dict[str, Any] | None:
    """The JSON object of a line; None where it is none."""
    try:
        value: object = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def is_granary(fields: Mapping[str, Any]) -> bool:
    return "source_lang" in fields or "taskname" in fields


def _rows(request: ReadRequest, file: Path, finder: AudioFinder, *, granary: bool) -> Iterator[Item]:
    for line in read_lines(file, request.roots):
        if isinstance(line, BadRow):
            yield line
            continue
        fields = parse(line.text)
        yield BadRow(line.place, "line_invalid") if fields is None else _row(line, fields, finder, granary)
    yield from finder.bad


def _row(line: Line, fields: dict[str, Any], finder: AudioFinder, granary: bool) -> Item:
    if granary and (fields.get("taskname", "asr") != "asr" or fields.get("source_lang") != fields.get("target_lang", fields.get("source_lang"))):
        return BadRow(line.place, "row_translation")
    for alias, name in (*ALIASES.items(), ("file_name", "audio_filepath"), ("utt_id", "id"), ("speaker_id", "speaker")):
        if alias in fields and name not in fields:
            fields[name] = fields.pop(alias)
    text = next((fields[name] for name in (*_TEXTS, *(("answer",) if granary else ())) if isinstance(fields.get(name), str)), None)
    name, mark = fields.get("audio_filepath"), fields.get(SKIP_MARK)
    if not isinstance(name, str) or (text is None and not mark):
        return BadRow(line.place, "line_invalid")
    audio = finder.find(name)
    if audio is None:
        return BadRow(line.place, "audio_ambiguous")
    offset, duration = _seconds(fields.get("offset")), _seconds(fields.get("duration"))
    if offset is _BAD or duration is _BAD:
        return BadRow(line.place, "number_invalid")
    extra = {key: value for key, value in fields.items() if key not in _OURS and key not in _TEXTS and not (granary and key in ("answer", "pnc"))}
    return RawRow(line.place, audio, text or "", None if granary else _name(fields.get("target_lang")), _name(fields.get("id")),
                  _name(fields.get("speaker")), offset or 0.0, duration, _mark(mark), extra)  # fmt: skip


_BAD = -1.0


def _seconds(value: object) -> float | None:
    """None stays None; what is no number is _BAD."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    return _BAD


def _name(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def _mark(value: object) -> str | None:
    """An old mark of `true` gets a reason that says where it came from."""
    return None if not value else value if isinstance(value, str) else "marked:imported_manifest"


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
