"""A folder of audio with transcripts: a `.txt` beside every file, or one transcript file for all.

Transcript file, one utterance a line, the shape told by its first line: `name<TAB>text`, `name|text`, `text (name)` (sclite trn, with or without
`<s>` marks) or `name text`. `name` is a path below the folder, or a file's name with or without suffix. A file with more columns is a table: pass
`columns` with numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from asrcore.data.audio_files import AUDIO_SUFFIXES
from asrcore.data.importers.lines import Line, read_lines
from asrcore.data.importers.rows import AudioFinder, BadRow, Item, Place, RawRow, ReadRequest, walk
from asrcore.errors import UsageError

TRANSCRIPT_NAMES = ("transcripts.txt", "transcript.txt", "transcriptions.txt", "transcription.txt", "transcription", "transcripts", "text.txt")

_TRN = re.compile(r"(?:<s>)?\s*(?P<text>.*?)\s*(?:</s>)?\s*\((?P<name>[^()\s]+)\)")
_WORDS = re.compile(r"(?P<name>\S+)\s+(?P<text>\S.*)")


def read_sidecars(request: ReadRequest) -> Iterator[Item]:
    """Every audio file below the folder with the text of the `.txt` of the same name; audio or text alone is reported."""
    bad: list[BadRow] = []
    texts: set[Path] = set()
    for path in walk(request.folder, bad):
        if path.suffix.lower() == ".txt":
            texts.add(path)
    audio_bad: list[BadRow] = []
    for path in walk(request.folder, audio_bad):
        if path.suffix.lower() not in AUDIO_SUFFIXES:
            continue
        beside = path.with_suffix(".txt")
        if beside in texts:
            texts.discard(beside)
            yield _sidecar(path, beside, request.roots)
        else:
            yield BadRow(Place(path), "text_missing")
    yield from (BadRow(Place(path), "audio_missing") for path in sorted(texts))
    yield from bad


def _sidecar(audio: Path, text: Path, roots: tuple[Path, ...]) -> Item:
    lines: list[str] = []
    for line in read_lines(text, roots):
        if isinstance(line, BadRow):
            return line
        lines.append(line.text.strip())
    return RawRow(Place(text, 1), audio, " ".join(lines))


def read_transcripts(request: ReadRequest) -> Iterator[Item]:
    """Every line of the transcript file, and every audio file that it does not name. Raises `columns_missing` for a file with more columns."""
    file = request.source if request.source.is_file() else next(p for n in TRANSCRIPT_NAMES if (p := request.source / n).is_file())
    first = next((line.text for line in read_lines(file, request.roots) if isinstance(line, Line)), "")
    for mark in ("\t", "|"):
        if first.count(mark) > 1:
            raise UsageError("columns_missing", f"the transcript file has {first.count(mark) + 1} columns.",
                             next_step='pass format="table" and columns={"audio": "1", "text": "2"}, with the numbers of the right columns.')  # fmt: skip
    return _transcripts(request, file, _shape(first))


def _transcripts(request: ReadRequest, file: Path, shape: re.Pattern[str]) -> Iterator[Item]:
    root = request.audio_root or file.parent
    finder, named = AudioFinder(root), set[Path]()
    for line in read_lines(file, request.roots):
        if isinstance(line, BadRow):
            yield line
            continue
        found = shape.fullmatch(line.text.strip())
        audio = finder.find(found["name"].strip()) if found else None
        if found is None:
            yield BadRow(line.place, "line_invalid")
        elif audio is None:
            yield BadRow(line.place, "audio_ambiguous")
        else:
            named.add(audio)
            yield RawRow(line.place, audio, found["text"].strip())
    bad: list[BadRow] = []
    yield from (BadRow(Place(p), "text_missing") for p in walk(root, bad) if p.suffix.lower() in AUDIO_SUFFIXES and p not in named)
    yield from bad


def _shape(first: str) -> re.Pattern[str]:
    for mark in ("\t", "|"):
        if mark in first:
            return re.compile(rf"(?P<name>[^{re.escape(mark)}]+){re.escape(mark)}(?P<text>.*)")
    return _TRN if _TRN.fullmatch(first.strip()) else _WORDS
