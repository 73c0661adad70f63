"""CSV and TSV tables with a header, or with column numbers; also the Hugging Face `audiofolder` layout (metadata.csv with `file_name`).

Columns are mapped by the caller, or taken by name where exactly one column has a name that means the field. Unmapped columns stay as extras.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from asrcore.data.importers.lines import Record, header_delimiter, read_lines, read_records
from asrcore.data.importers.rows import AudioFinder, BadRow, Item, RawRow, ReadRequest
from asrcore.errors import UsageError, clean_text
from asrcore.manifest import SKIP_MARK, Utterance

FIELDS = ("audio", "text", "target_lang", "speaker", "id", "offset", "duration")
"""What a column can be mapped to. The first two are needed."""

KNOWN_NAMES: Mapping[str, tuple[str, ...]] = {
    "audio": ("audio", "audio_filepath", "audio_file", "audio_path", "path", "file", "file_name", "filename", "wav", "wav_filename"),
    "text": ("text", "sentence", "transcript", "transcription"),
    "target_lang": ("target_lang",),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "id": ("id", "utt_id", "utterance_id"),
    "offset": ("offset",),
    "duration": ("duration",),
}
"""Column names that mean a field. A locale is only taken from a column called target_lang: `locale` and `lang` often hold other codes."""

_TABLES = (".csv", ".tsv", ".txt", ".psv")


def read(request: ReadRequest) -> Iterator[Item]:
    """Rows of one table. Raises `columns_unknown`, `columns_missing` or `columns_ambiguous`, and `table_missing` where a folder has not just one."""
    table = table_file(request)
    return read_table(request, table, AudioFinder(request.audio_root or table.parent))


def table_file(request: ReadRequest) -> Path:
    """The table itself, or the only one of the folder; with `split`, the one of that name."""
    if not request.source.is_dir():
        return request.source
    found = sorted(p for p in request.source.iterdir() if p.suffix.lower() in _TABLES[:2] and p.is_file())
    return only(found, request, "tables")


def only(found: Sequence[Path], request: ReadRequest, what: str) -> Path:
    """The one file, or the one whose name is `split`. Raises `split_needed` or `split_unknown` with the names there are."""
    if request.split is not None:
        named = [p for p in found if request.split in (p.stem, p.name, p.stem.removeprefix("asr_"))]
        if len(named) == 1:
            return named[0]
    if len(found) == 1 and request.split is None:
        return found[0]
    names = ", ".join(clean_text(p.stem, 40) for p in found[:20]) or "none"
    if request.split is None:
        raise UsageError("split_needed", f"the folder has {len(found)} {what}: {names}.", next_step="pass split= with one of these names.")
    raise UsageError("split_unknown", f"the folder has no {what} of that split, only: {names}.", next_step="pass split= with one of these names.")


def read_table(
    request: ReadRequest, table: Path, finder: AudioFinder, *, known: Mapping[str, tuple[str, ...]] = KNOWN_NAMES, row_marks: bool = False
) -> Iterator[Item]:
    """Rows of `table`. `row_marks`: columns named `hall_*` with a true value mark the row (MOSEL)."""
    records = read_records(table, request.roots, _delimiter(request, table))
    first = next(records, None)
    if isinstance(first, BadRow) or first is None:
        return itertools.chain([first] if first else [], (r if isinstance(r, BadRow) else BadRow(r.place, "line_invalid") for r in records))
    if request.columns and all(value.isascii() and value.isdigit() for value in request.columns.values()):
        header = [str(n + 1) for n in range(len(first.fields))]
        records = itertools.chain([first], records)
    else:
        header = [name.strip() for name in first.fields]
    mapping = map_columns(header, request.columns, known)
    return _rows(records, header, mapping, finder, row_marks)


def map_columns(header: Sequence[str], columns: Mapping[str, str], known: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Field -> index of its column."""
    shown = ", ".join(clean_text(name, 30) for name in header[:30])
    wrong = [name for name in columns.values() if name not in header]
    if wrong:
        raise UsageError("columns_unknown", f"columns names {len(wrong)} column(s) that the table does not have; it has: {shown}.",
                         next_step="pass columns= with names of the table, or with numbers from 1 where it has no header.")  # fmt: skip
    mapping = {field: header.index(name) for field, name in columns.items()}
    for field in FIELDS:
        if field in mapping:
            continue
        fitting = [index for index, name in enumerate(header) if name.lower() in known.get(field, ()) and index not in mapping.values()]
        if len(fitting) > 1:
            raise UsageError("columns_ambiguous", f"several columns may be the {field}; the table has: {shown}.",
                             next_step=f'pass columns={{"{field}": "<name of the column>"}}.')  # fmt: skip
        if fitting:
            mapping[field] = fitting[0]
    missing = [field for field in FIELDS[:2] if field not in mapping]
    if missing:
        raise UsageError("columns_missing", f"no column is known to be the {' or the '.join(missing)}; the table has: {shown}.",
                         next_step='pass columns={"audio": "…", "text": "…"}, by name, or by number from 1 where there is no header.')  # fmt: skip
    return mapping


def _delimiter(request: ReadRequest, table: Path) -> str:
    if table.suffix.lower() == ".tsv":
        return "\t"
    first = next((line.text for line in read_lines(table, request.roots) if not isinstance(line, BadRow)), "")
    return header_delimiter(first)


def _rows(
    records: Iterator[Record | BadRow], header: Sequence[str], mapping: Mapping[str, int], finder: AudioFinder, row_marks: bool
) -> Iterator[Item]:
    extras = [(i, name) for i, name in enumerate(header)
              if i not in mapping.values() and name and not name.isdigit() and name not in Utterance.model_fields and name != SKIP_MARK]  # fmt: skip
    needed = max(mapping.values()) + 1
    for record in records:
        if isinstance(record, BadRow):
            yield record
        elif len(record.fields) < needed:
            yield BadRow(record.place, "columns_short")
        else:
            yield _row(record, mapping, extras, finder, row_marks)
    yield from finder.bad


def _row(record: Record, mapping: Mapping[str, int], extras: list[tuple[int, str]], finder: AudioFinder, row_marks: bool) -> Item:
    values = {field: record.fields[index].strip() for field, index in mapping.items()}
    audio = finder.find(values["audio"])
    if audio is None:
        return BadRow(record.place, "audio_ambiguous")
    try:
        offset, duration = (float(values[name]) if values.get(name) else None for name in ("offset", "duration"))
    except ValueError:
        return BadRow(record.place, "number_invalid")
    extra = {name: record.fields[i] for i, name in extras if i < len(record.fields) and record.fields[i]}
    marks = [name for name, value in extra.items() if row_marks and name.startswith("hall_") and value.lower() in ("true", "1")]
    return RawRow(record.place, audio, values["text"], values.get("target_lang") or None, values.get("id") or None, values.get("speaker") or None,
                  offset or 0.0, duration, f"hallucination:{marks[0]}" if marks else None, extra)  # fmt: skip
