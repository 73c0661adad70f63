"""Text files read line by line, and CSV and TSV records, with every line that cannot be used reported instead of stopping the rest.

Byte order marks and CRLF are taken away: exports of spreadsheets have them. Memory: one line of at most MAX_LINE_BYTES.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from asrcore.data.importers.rows import BadRow, Place
from asrcore.manifest import MAX_LINE_BYTES, below

MAX_RECORD_LINES = 20
"""A quoted CSV field may span lines; a longer one is taken for a quotation mark that nobody closed."""

_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    place: Place
    text: str


class Record(NamedTuple):
    """One record of a table. `place.line` is its first line."""

    place: Place
    fields: list[str]


def read_lines(path: Path, roots: tuple[Path, ...]) -> Iterator[Line | BadRow]:
    """The lines that are not blank, without their end."""
    if not below(path, roots):
        yield BadRow(Place(path), "file_refused")
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; opening may fail by itself
    except OSError:
        yield BadRow(Place(path), "file_unreadable")
        return
    with file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            place = Place(path, number)
            if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
                while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield BadRow(place, "line_too_long")
                continue
            try:
                text = (raw.removeprefix(_BOM) if number == 1 else raw).decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                yield BadRow(place, "not_utf8")
                continue
            if text.strip():
                yield Line(place, text)


def read_records(path: Path, roots: tuple[Path, ...], delimiter: str) -> Iterator[Record | BadRow]:
    """Records of a table, header included. Tabs: quotes are plain characters, as Common Voice and FLEURS write them. Else: RFC 4180 quoting."""
    lines = read_lines(path, roots)
    if delimiter == "\t":
        for line in lines:
            yield line if isinstance(line, BadRow) else Record(line.place, [_unquoted(field) for field in line.text.split("\t")])
        return
    yield from _quoted(lines, delimiter)


def header_delimiter(header: str) -> str:
    """The one of tab, comma, semicolon and bar that the header has most of; a comma when it has none."""
    return max(",\t;|", key=header.count)


def _quoted(lines: Iterator[Line | BadRow], delimiter: str) -> Iterator[Record | BadRow]:
    """A record ends with the first line that makes its quotation marks even; where none does, its first line alone is bad."""
    waiting: deque[Line | BadRow] = deque()
    while True:
        first = waiting.popleft() if waiting else next(lines, None)
        if first is None:
            return
        if isinstance(first, BadRow):
            yield first
            continue
        text, taken = first.text, list[Line | BadRow]()
        while text.count('"') % 2:
            line = waiting.popleft() if waiting else next(lines, None)
            if line is not None:
                taken.append(line)
            if not isinstance(line, Line) or len(taken) > MAX_RECORD_LINES:
                break
            text = f"{text}\n{line.text}"
        if text.count('"') % 2:
            yield BadRow(first.place, "quote_unbalanced")
            waiting.extendleft(reversed(taken))
            continue
        try:
            (fields,) = csv.reader([text], delimiter=delimiter, strict=True)
        except (csv.Error, ValueError):  # ValueError: more than one record
            yield BadRow(first.place, "line_invalid")
            waiting.extendleft(reversed(taken))
            continue
        yield Record(first.place, fields)


def _unquoted(field: str) -> str:
    """Some writers quote TSV fields as in CSV: plain only from the doubled marks inside, as `"He said ""no""."`."""
    if len(field) >= 2 and field[0] == field[-1] == '"' and '""' in field[1:-1] and '"' not in field[1:-1].replace('""', ""):
        return field[1:-1].replace('""', '"')
    return field
