"""A local copy of a Hugging Face dataset: parquet files as the hub has them, or the Arrow files of `save_to_disk` and of the cache of `datasets`.

Audio is a column of `{"bytes", "path"}` (datasets 5, features/audio.py). A path without bytes is a file that stays where it lies. Bytes are written out
once, named by their content, below `request.store`: they are the recording as the corpus has it, so WAV and FLAC stay what they are. Class labels become
their names. Rows are read in batches of 64; files are never loaded whole. Nothing is downloaded: `hf download --repo-type dataset` makes such a copy.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from asrcore import io
from asrcore.data.importers.rows import AudioFinder, BadRow, Item, Place, RawRow, ReadRequest
from asrcore.data.importers.tables import KNOWN_NAMES, map_columns
from asrcore.errors import UsageError, clean_text
from asrcore.manifest import SKIP_MARK, Utterance, below

SUFFIXES = (".parquet", ".arrow")
_BATCH_ROWS = 64
_PIECE = re.compile(r"-\d{5}-of-\d{5}$")
_MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff": ".mp3"}
_WRITTEN, _SPOKEN = ("raw_transcription", "raw_text"), ("transcription", "normalized_text")
"""Names of two transcripts of one utterance: FLEURS, VoxPopuli."""
_SCALARS = (str, int, float, bool)


class _Column(NamedTuple):
    """Names of a class label's values; empty for any other column."""

    labels: tuple[str, ...]


def files(source: Path) -> dict[str, list[Path]]:
    """Split -> its files in order. Splits are named by folder (`save_to_disk`) or file (`train-00000-of-00002.parquet`, `fleurs-train.arrow`)."""
    found: dict[str, list[Path]] = {}
    for path in [source] if source.is_file() else sorted(p for suffix in SUFFIXES for p in source.rglob(f"*{suffix}")):
        if path.suffix not in SUFFIXES or any(part.startswith((".", "cache-")) for part in path.relative_to(source).parts):
            continue
        stem = _PIECE.sub("", path.stem)
        split = path.parent.name if stem == "data" and path.parent != source else stem.rsplit("-", 1)[-1]
        found.setdefault(split, []).append(path)
    return found


def read(request: ReadRequest) -> Iterator[Item]:
    """Rows of one split. Raises `split_needed`, `split_unknown`, `dataset_missing`, and what `map_columns` raises."""
    return _rows(request, _chosen(request))


def total_bytes(source: Path, split: str | None) -> int:
    """Upper bound of the audio that may be written out."""
    return sum(path.stat().st_size for name, paths in files(source).items() if split in (None, name) for path in paths)


def _chosen(request: ReadRequest) -> list[Path]:
    found = files(request.source)
    if not found:
        raise UsageError("dataset_missing", "there is no parquet and no Arrow file.", next_step="pass the folder of a local copy of the dataset.")
    if request.split in found or (request.split is None and len(found) == 1):
        return found[request.split or next(iter(found))]
    names = ", ".join(clean_text(name, 40) for name in list(found)[:20])
    if request.split is None:
        raise UsageError("split_needed", f"the dataset has {len(found)} splits: {names}.", next_step="pass split= with one of these names.")
    raise UsageError("split_unknown", f"the dataset has no split of that name, only: {names}.", next_step="pass split= with one of these names.")


def _rows(request: ReadRequest, paths: Sequence[Path]) -> Iterator[Item]:
    finder, mapping = AudioFinder(request.audio_root or request.folder), dict[str, str]()
    for path in paths:
        if not below(path, request.roots):
            yield BadRow(Place(path), "file_refused")
            continue
        number = 0
        try:
            for columns, row in _records(path):
                number += 1
                mapping = mapping or _mapping(list(columns), request)
                yield _row(Place(path, number), columns, row, mapping, finder, request.store)
        except (OSError, ValueError):  # pyarrow's errors are ValueErrors
            yield BadRow(Place(path, number + 1), "file_unreadable")
    yield from finder.bad


def _records(path: Path) -> Iterator[tuple[dict[str, _Column], dict[str, Any]]]:
    """Columns and values of each row."""
    arrow: Any = importlib.import_module("pyarrow")
    if path.suffix == ".parquet":
        parquet: Any = importlib.import_module("pyarrow.parquet")
        with parquet.ParquetFile(path) as file:
            columns = _columns(file.schema_arrow)
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                yield from ((columns, row) for row in batch.to_pylist())
        return
    with arrow.memory_map(str(path)) as mapped, arrow.ipc.open_stream(mapped) as stream:
        columns = _columns(stream.schema)
        for batch in stream:
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                yield from ((columns, row) for row in batch.slice(start, _BATCH_ROWS).to_pylist())


def _columns(schema: Any) -> dict[str, _Column]:
    """`datasets` writes its features into the schema's metadata, where the names of class labels stand."""
    metadata: Mapping[bytes, bytes] = schema.metadata or {}
    try:
        features: Mapping[str, Any] = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        features = {}
    return {name: _Column(_labels(features.get(name))) for name in schema.names}


def _labels(feature: object) -> tuple[str, ...]:
    fields: Mapping[str, Any] = cast("Mapping[str, Any]", feature) if isinstance(feature, Mapping) else {}
    return tuple(map(str, fields.get("names") or ())) if fields.get("_type") == "ClassLabel" else ()


def _mapping(header: Sequence[str], request: ReadRequest) -> dict[str, str]:
    """Our field -> column. Of two transcripts the style decides; a column `id` is left alone, as it often numbers sentences, not recordings (FLEURS)."""
    texts = next(([name] for name in (_WRITTEN if request.style == "written" else _SPOKEN) if name in header and set(_WRITTEN) & set(header)), KNOWN_NAMES["text"])
    known = {**KNOWN_NAMES, "text": tuple(texts), "audio": ("audio",), "id": ()}
    return {field: header[index] for field, index in map_columns(header, request.columns, known).items()}


def _row(place: Place, columns: Mapping[str, _Column], row: Mapping[str, Any], mapping: Mapping[str, str], finder: AudioFinder, store: Path | None) -> Item:
    values = {name: _named(columns[name], value) for name, value in row.items()}
    audio, text = row[mapping["audio"]], values[mapping["text"]]
    path = _audio(audio, finder, store)
    if isinstance(path, str):
        return BadRow(place, path)
    if not isinstance(text, str):
        return BadRow(place, "text_missing")
    extra = {name: value for name, value in values.items()
             if name not in mapping.values() and isinstance(value, _SCALARS) and value != "" and name not in Utterance.model_fields and name != SKIP_MARK}  # fmt: skip
    fields = {field: values[name] for field, name in mapping.items() if field not in ("audio", "text") and values[name] is not None}
    try:
        offset, duration = (float(fields[name]) if name in fields else None for name in ("offset", "duration"))
    except (TypeError, ValueError):
        return BadRow(place, "number_invalid")
    own = _name(cast("Mapping[str, Any]", audio)) if isinstance(audio, Mapping) else None
    tag, identity, speaker = (str(fields[name]) if name in fields else None for name in ("target_lang", "id", "speaker"))
    return RawRow(place, path, text, tag, identity or own, speaker, offset or 0.0, duration, extra=extra)


def _named(column: _Column, value: Any) -> Any:
    return column.labels[value] if isinstance(value, int) and 0 <= value < len(column.labels) else value


def _name(audio: Mapping[str, Any]) -> str | None:
    """The file's own name, without its suffix: what corpora know a recording by."""
    path = audio.get("path")
    return Path(path).stem or None if isinstance(path, str) else None


def _audio(audio: object, finder: AudioFinder, store: Path | None) -> Path | str:
    """The file, or the reason why there is none."""
    fields: Mapping[str, Any] = cast("Mapping[str, Any]", audio) if isinstance(audio, Mapping) else {"path": audio}
    data, path = fields.get("bytes"), fields.get("path")
    if isinstance(data, bytes):
        return _stored(data, store) if store is not None else "audio_missing"
    if not isinstance(path, str):
        return "audio_missing"
    return finder.find(path) or "audio_ambiguous"


def _stored(data: bytes, store: Path) -> Path:
    digest = hashlib.sha256(data).hexdigest()
    suffix = next((suffix for magic, suffix in _MAGIC.items() if data.startswith(magic)), ".audio")
    path = store / digest[:2] / f"{digest}{suffix}"
    if not path.is_file():
        io.write_bytes(path, data)
    return path
