"""A Hugging Face dataset: parquet files as the hub has them, or the Arrow files of `save_to_disk` and of the cache of `datasets`; a local copy, or on the hub.

Audio is a column of `{"bytes", "path"}` (datasets 5, features/audio.py). A path without bytes is a file that stays where it lies. Bytes are written out
once, named by their content, below `request.store`: they are the recording as the corpus has it, so WAV and FLAC stay what they are. Class labels become
their names. Rows are read in batches of 64; files are never loaded whole. On the hub a file is downloaded when its rows are wanted: those of a stopped
import are in the hub's cache and their recordings in the store, so the same call goes on.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple, cast

from asrcore import io
from asrcore.data.importers.rows import AudioFinder, BadRow, Item, Place, RawRow, ReadRequest
from asrcore.data.importers.tables import KNOWN_NAMES, map_columns
from asrcore.errors import UsageError, clean_text
from asrcore.hub_datasets import SUFFIXES
from asrcore.manifest import SKIP_MARK, Utterance, below

_BATCH_ROWS = 64
_PIECE = re.compile(r"-\d{5}-of-\d{5}(-[0-9a-f]{8,})?$")
_MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff": ".mp3"}
_WRITTEN, _SPOKEN = ("raw_transcription", "raw_text"), ("transcription", "normalized_text")
"""Names of two transcripts of one utterance: FLEURS, VoxPopuli."""
_SCALARS = (str, int, float, bool)
_ONE_SPLIT = "pass split= with one of these names, or with the name of their folder to take all of it."


class _Column(NamedTuple):
    """Names of a class label's values; empty for any other column."""

    labels: tuple[str, ...]


class _File(NamedTuple):
    """A file of rows: where it lies (on the hub: in the repository), its bytes, and what its place says of its rows."""

    path: Path
    size: int
    folder: str
    """Of the corpus or of one of its configs, below the source."""
    name: str
    """`train`, or `el-train` where files of several sets lie in one folder."""

    @property
    def split(self) -> str:
        return self.name.rsplit("-", 1)[-1]


def read(request: ReadRequest) -> Iterator[Item]:
    """Rows of one split. Raises `dataset_missing`, `config_needed`, `split_needed`, `split_unknown`, what `map_columns` raises, and what the hub's files raise."""
    return _rows(request, _chosen(request))


def total_bytes(request: ReadRequest) -> int:
    """Upper bound of the audio that may be written out, with what may be downloaded for it. Raises as `read`, but nothing of the rows."""
    return sum(file.size for file in _chosen(request)) * (1 if request.hub is None else 2)


def _files(request: ReadRequest) -> list[_File]:
    if request.hub is not None:
        return [_named(Path(file.path), file.size, request.source) for file in request.hub.files]
    source = request.source
    found = [source] if source.is_file() else sorted(p for suffix in SUFFIXES for p in source.rglob(f"*{suffix}"))
    return [_named(path, path.stat().st_size, source) for path in found
            if path.suffix in SUFFIXES and not any(part.startswith((".", "cache-")) for part in path.relative_to(source).parts)]  # fmt: skip


def _named(path: Path, size: int, source: PurePath) -> _File:
    """Splits are named by file (`train-00000-of-00002.parquet`, `fleurs-train.arrow`) or folder (`save_to_disk`, the hub's own parquet copies)."""
    name, folder = _PIECE.sub("", path.stem), path.parent
    if name == "data" or name.isdigit():
        name, folder = folder.name, (folder.parent if folder != source else folder)
    return _File(path, size, "." if path == source else str(folder.relative_to(source)), name)


def _chosen(request: ReadRequest) -> list[_File]:
    """The files of one set of rows: never of two configs, which are languages as often as not."""
    found, wanted = _files(request), request.split
    if not found:
        raise UsageError("dataset_missing", "there is no parquet and no Arrow file.", next_step="pass the folder of a copy of the dataset.")
    fitting = [file for file in found if wanted in (None, file.split, file.name)]
    whole_folder = [] if fitting else [file for file in found if (request.source / file.folder).name == wanted]
    fitting = fitting or whole_folder
    if not fitting:
        raise UsageError("split_unknown", f"the dataset has no split of that name, only: {_list(file.split for file in found)}.", next_step=_ONE_SPLIT)
    folders, names = {file.folder for file in fitting}, {file.name for file in fitting}
    if len(folders) > 1:
        raise UsageError("config_needed", f"{'the dataset' if wanted is None else 'that split'} lies in {len(folders)} folders: {_list(folders)}.",
                         next_step="add one of these folders to source.")  # fmt: skip
    if len(names) > 1 and not whole_folder:
        raise UsageError("split_needed", f"the dataset has {len(names)} splits: {_list(names)}.", next_step=_ONE_SPLIT)
    return fitting


def _list(names: Iterable[str]) -> str:
    return ", ".join(clean_text(name, 60) for name in sorted(set(names))[:20])


def _rows(request: ReadRequest, files: Sequence[_File]) -> Iterator[Item]:
    finder = AudioFinder(request.audio_root or request.folder) if request.hub is None else None
    mapping = dict[str, str]()
    for file in files:
        if request.hub is None and not below(file.path, request.roots):
            yield BadRow(Place(file.path), "file_refused")
            continue
        path = file.path if request.hub is None else request.hub.fetch(file.path.as_posix())
        number = 0
        try:
            for columns, row in _records(path):
                number += 1
                mapping = mapping or _mapping(list(columns), request)
                yield _row(Place(path, number), columns, row, mapping, finder, request.store)
        except (OSError, ValueError):  # pyarrow's errors are ValueErrors
            yield BadRow(Place(path, number + 1), "file_unreadable")
    if finder is not None:
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


def _row(place: Place, columns: Mapping[str, _Column], row: Mapping[str, Any], mapping: Mapping[str, str], finder: AudioFinder | None, store: Path | None) -> Item:
    values = {name: _labelled(columns[name], value) for name, value in row.items()}
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


def _labelled(column: _Column, value: Any) -> Any:
    return column.labels[value] if isinstance(value, int) and 0 <= value < len(column.labels) else value


def _name(audio: Mapping[str, Any]) -> str | None:
    """The file's own name, without its suffix: what corpora know a recording by."""
    path = audio.get("path")
    return Path(path).stem or None if isinstance(path, str) else None


def _audio(audio: object, finder: AudioFinder | None, store: Path | None) -> Path | str:
    """The file, or the reason why there is none."""
    fields: Mapping[str, Any] = cast("Mapping[str, Any]", audio) if isinstance(audio, Mapping) else {"path": audio}
    data, path = fields.get("bytes"), fields.get("path")
    if isinstance(data, bytes):
        return _stored(data, store) if store is not None else "audio_missing"
    if not isinstance(path, str):
        return "audio_missing"
    return (finder.find(path) or "audio_ambiguous") if finder is not None else "audio_missing"


def _stored(data: bytes, store: Path) -> Path:
    digest = hashlib.sha256(data).hexdigest()
    suffix = next((suffix for magic, suffix in _MAGIC.items() if data.startswith(magic)), ".audio")
    path = store / digest[:2] / f"{digest}{suffix}"
    if not path.is_file():
        io.write_bytes(path, data)
    return path
