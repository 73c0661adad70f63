"""NeMo manifests: JSON lines, one utterance a row, read as a stream.

What is read: the fields of `Utterance`, four common aliases (with a warning), free extras (kept). What is refused, always with the line:
bad JSON, a line over 1 MiB (never held in memory), a byte order mark (NeMo's reader fails on it), invalid UTF-8, missing or ill-typed fields, empty text, two ids alike,
`lang` that contradicts `target_lang` (traps 3.2, 3.3). Rows marked `_skipme` may have empty text; readers leave them out.

Memory: one row, and the ids seen so far (about 150 bytes each).
"""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from asrcore import io
from asrcore.audio_header import DURATION_TOLERANCE
from asrcore.errors import NotReadyError, Problem, UsageError, identifier
from asrcore.requests import ManifestRef

ALIASES = {
    "audio_file": "audio_filepath",
    "audio_filename": "audio_filepath",
    "sentence": "text",
    "language": "target_lang",
    "lang": "target_lang",
}
"""Other spellings, read with one warning a manifest. `lang` alone stands for `target_lang`; both must agree."""
SKIP_MARK = "_skipme"
"""NeMo's mark for a row to leave out: true or a reason."""

NEMO_PATTERN = re.compile(r"[(){}\[\]<>]|_OP_|_CL_")
"""What NeMo's Lhotse loader expands in a path instead of opening it (NeMo 3.0, common/data/lhotse/nemo_adapters.py)."""

MAX_LINE_BYTES = 1 << 20
"""Bytes of the longest line that is read; longer ones are no utterance."""

_MOST_NAME, _MOST_FIELD = 200, 1000
_BOM = b"\xef\xbb\xbf"


def _name(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[str, BeforeValidator(_name)]
"""Text; whole numbers are common as speaker and id and are read as text."""


class Utterance(BaseModel):
    """One manifest row. `duration` and `offset` in seconds; unknown fields are kept in `model_extra`."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)

    audio_filepath: str = Field(min_length=1)
    duration: float = Field(gt=0)
    text: str
    target_lang: str = Field(min_length=1)
    lang: str | None = None
    offset: float = Field(0.0, ge=0)
    speaker: Name | None = None
    source: Name | None = None
    id: Name | None = None
    sampling_rate: int | None = Field(None, gt=0)

    @property
    def skipped(self) -> bool:
        """True when the row is marked `_skipme`."""
        return bool((self.model_extra or {}).get(SKIP_MARK, False))

    def covers(self, seconds: float) -> bool:
        """True where the row is all of a file of so many seconds."""
        return self.offset == 0 and self.duration >= seconds - DURATION_TOLERANCE

    def free_fields(self) -> dict[str, str]:
        """Scalar extras as text, each capped at 1,000 characters: what a score can be split by. Lists of scalars are joined with spaces."""
        texts = {name: _as_text(value) for name, value in (self.model_extra or {}).items()}
        return {name[:_MOST_NAME]: text[:_MOST_FIELD] for name, text in texts.items() if text is not None}

    def to_row(self) -> dict[str, Any]:
        """The row as written: `lang` equal to `target_lang`, no null and no zero offset, extras last."""
        known = {name: getattr(self, name) for name in _FIELDS}
        known["lang"] = self.target_lang
        return {k: v for k, v in known.items() if v is not None and not (k == "offset" and v == 0)} | (self.model_extra or {})


_FIELDS = tuple(Utterance.model_fields)


def _as_text(value: object) -> str | None:
    """A scalar, or the scalars of a list; None for what is neither."""
    if isinstance(value, list):
        found = [str(one) for one in cast("list[object]", value) if isinstance(one, str | int | float)]
        return " ".join(found) or None
    return str(value) if isinstance(value, str | int | float) else None


class Row(NamedTuple):
    """An utterance with its place: line from 1, audio path resolved against the manifest's folder."""

    line: int
    utterance: Utterance
    audio: Path


def scan_rows(path: Path, problems: list[Problem]) -> Iterator[Row]:
    """Streams the readable rows and appends what is wrong with all others. Raises only `manifest_unreadable`."""
    reader = _Reader(path, problems)
    lines = 0
    for line, _, raw in _lines(path):
        lines = line
        row = reader.row(line, raw)
        if row is not None:
            yield row
    if lines == 0:
        reader.report("manifest_empty", "the manifest holds no row", None, "write one JSON object a line")


def load_rows(path: Path) -> tuple[Row, ...]:
    """All rows. Raises `manifest_invalid` with every error-severity problem of the file."""
    problems: list[Problem] = []
    rows = tuple(scan_rows(path, problems))
    refuse_errors(path, problems)
    return rows


def kept_rows(path: Path) -> tuple[Row, ...]:
    """The rows that are not marked `_skipme`. Raises `manifest_invalid`."""
    return tuple(row for row in load_rows(path) if not row.utterance.skipped)


def refuse_errors(path: Path, problems: Iterable[Problem]) -> None:
    """Raises `manifest_invalid` if any of the problems is an error."""
    errors = [p for p in problems if p.severity == "error"]
    if errors:
        where = ", ".join(p.where for p in errors[:3]) + (" …" if len(errors) > 3 else "")
        raise NotReadyError("manifest_invalid", f"{len(errors)} rows or places of {path} cannot be used (first: {errors[0].code}; {where}).",
                            next_step="correct the lines listed in problems (each has a fix), then call again.", problems=errors)  # fmt: skip


def row_positions(path: Path) -> array[int]:
    """Byte position of every line, the first at index 0: 8 bytes a row, so that a shuffled order needs no rows in memory."""
    return array("Q", (position for _, position, _ in _lines(path)))


def rows_at(path: Path, lines: Iterable[int], positions: array[int] | Mapping[int, int]) -> list[Row]:
    """The rows of these line numbers, in this order; `positions` as `row_positions` gives them, or those of these lines. Raises `manifest_invalid` where one is not readable."""
    problems: list[Problem] = []
    reader = _Reader(path, problems)
    rows: list[Row] = []
    with open(path, "rb") as file:
        for line in lines:
            file.seek(positions[line - 1])
            row = reader.row(line, file.readline(MAX_LINE_BYTES + 1))
            if row is not None:
                rows.append(row)
    refuse_errors(path, problems)
    return rows


def write_manifest(path: Path, utterances: Iterable[Utterance]) -> None:
    """Writes JSON lines, UTF-8, atomically; `lang` always equals `target_lang`."""
    with io.atomic_file(path) as file:
        for utterance in utterances:
            file.write(io.json_line(utterance.to_row()))


def manifest_ref(path: Path, name: str | None = None) -> ManifestRef:
    """The manifest by content. `name` defaults to the file's stem, or its folder's name for a plain `manifest.json`, as an identifier: names of sets
    stand in sentences, and a file may be named like one.
    """
    path = path.resolve()
    if not path.is_file():
        raise UsageError("manifest_missing", f"there is no manifest file at {path}.", next_step="pass the path of a JSON-lines manifest.")
    return ManifestRef(
        name=name or identifier(path.parent.name if path.stem == "manifest" and path.parent.name else path.stem),
        path=str(path),
        sha256=io.sha256_file(path),
    )


def below(path: Path, roots: Iterable[Path]) -> bool:
    """True when `path`, with symlinks followed, lies in one of the (resolved) roots: a manifest may name any file of the machine."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(root) for root in roots)


class Below:
    """`below` for many files: the way to a folder is followed once, and then only a file that is a link itself, or is named `..`."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)
        self._folders: dict[str, bool] = {}

    def __call__(self, path: Path) -> bool:
        folder, name = os.path.split(path)
        if name in ("", "..") or os.path.islink(path):
            return below(path, self._roots)
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = below(Path(folder), self._roots)
        return known or below(path, self._roots)  # a root may be a file


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number, byte position and bytes of each line; of one that is too long only the first MAX_LINE_BYTES + 1."""
    position = number = 0
    try:
        with open(path, "rb") as file:
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                yield number, position, raw
                position += len(raw)
                while len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
                    if not (raw := file.readline(MAX_LINE_BYTES + 1)):
                        break
                    position += len(raw)
    except OSError as error:
        raise NotReadyError("manifest_unreadable", f"{path} cannot be read ({error.strerror}).",
                            next_step="pass the path of a readable JSON-lines manifest; import_dataset makes one of a folder.") from error  # fmt: skip


class _Reader:
    """Turns lines into rows. Remembers ids, and the aliases it has warned about already."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.path = path
        self.folder = path.resolve().parent
        self.problems = problems
        self.ids: dict[str, int] = {}
        self.aliases: set[str] = set()

    def report(self, code: str, message: str, line: int | None, fix: str, severity: str = "error") -> None:
        self.problems.append(Problem.model_validate(
            {"code": code, "message": message, "file": str(self.path), "line": line, "fix": fix, "severity": severity}
        ))  # fmt: skip

    def row(self, line: int, raw: bytes) -> Row | None:
        utterance = _plain(raw) or self._utterance(line, raw)
        if utterance is None:
            return None
        self._check(line, utterance)
        return Row(line, utterance, self.folder / utterance.audio_filepath)

    def _utterance(self, line: int, raw: bytes) -> Utterance | None:
        fields = self._fields(line, raw)
        if fields is None:
            return None
        self._resolve_aliases(line, fields)
        try:
            return Utterance.model_validate(fields)
        except ValidationError as error:
            for detail in error.errors(include_input=False, include_url=False):
                self._report_field(line, str(detail["loc"][0]) if detail["loc"] else "row", detail["type"], detail["msg"])
            return None

    def _fields(self, line: int, raw: bytes) -> dict[str, Any] | None:
        if len(raw) > MAX_LINE_BYTES:
            self.report("manifest_line_too_long", f"the line is longer than {MAX_LINE_BYTES:,} bytes", line, "write one utterance a line")
            return None
        if raw.startswith(_BOM):
            self.report(
                "manifest_bom",
                "the line starts with a byte order mark, which NeMo's reader refuses",
                line,
                "save the file as UTF-8 without BOM",
            )
            raw = raw[len(_BOM) :]
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            self.report("manifest_not_utf8", f"byte {error.start + 1} of the line is not UTF-8", line, "save the file as UTF-8")
            return None
        if not text.strip():
            self.report("manifest_blank_line", "the line is blank", line, "remove the line")
            return None
        try:
            value: object = _DECODER.decode(text)
        except (ValueError, RecursionError) as error:
            self.report(
                "manifest_not_json", f"the line is not JSON ({_json_reason(error)})", line, "write one complete JSON object on this line"
            )
            return None
        if not isinstance(value, dict):
            self.report(
                "manifest_not_object",
                f"the line holds a JSON {type(value).__name__}, not an object",
                line,
                "write one JSON object on this line",
            )
            return None
        return cast("dict[str, Any]", value)

    def _resolve_aliases(self, line: int, fields: dict[str, Any]) -> None:
        for alias, name in ALIASES.items():
            if alias not in fields or name in fields:
                continue
            fields[name] = fields[alias] if alias == "lang" else fields.pop(alias)
            if alias not in self.aliases:
                self.aliases.add(alias)
                self.report(
                    "manifest_alias", f"field {alias} is read as {name} (first on this line)", line, f"rename {alias} to {name}", "warning"
                )

    def _report_field(self, line: int, name: str, kind: str, message: str) -> None:
        shown = name if name in Utterance.model_fields else "an extra field"
        if kind == "missing":
            self.report("field_missing", f"the row has no {shown}", line, f"add {shown} to the row")
        else:
            self.report("field_invalid", f"{shown}: {message}", line, f"correct {shown}")

    def _check(self, line: int, utterance: Utterance) -> None:
        if not utterance.text.strip() and not utterance.skipped:
            self.report("text_empty", "the text is empty", line, f"add the text, remove the row or mark it {SKIP_MARK}")
        if utterance.lang is not None and utterance.lang != utterance.target_lang:
            self.report("lang_mismatch", "lang and target_lang differ, so training and serving would use different prompts", line,
                        "write the same tag into both, or drop lang")  # fmt: skip
        if utterance.id is None:
            return
        first = self.ids.setdefault(utterance.id, line)
        if first != line:
            self.report("id_duplicate", f"the id stands on line {first} already", line, "give every row an id of its own")


def _plain(raw: bytes) -> Utterance | None:
    """A line without fault, parsed and checked in one go, in half the time. None where that fails, or may let pass what JSON has not; then each step is taken
    by itself, to say what is wrong. A row with all fields needs no alias.
    """
    if len(raw) > MAX_LINE_BYTES or b"NaN" in raw or b"Infinity" in raw:
        return None
    try:
        return Utterance.model_validate_json(raw)
    except ValidationError:
        return None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _json_reason(error: Exception) -> str:
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else "NaN, Infinity or too deep"
