"""LibriSpeech (`84/121123/84-121123.trans.txt` beside the audio) and Multilingual LibriSpeech (`train/transcripts.txt`, `train/audio/…`).

LibriSpeech lines: `84-121123-0000 TEXT` (openslr.org/12), audio `84-121123-0000.flac` beside them. MLS lines: `4800_10003_000000<TAB>text`, audio
`audio/4800/10003/4800_10003_000000.flac` or `.opus` (openslr.org/94). The first part of an id is the reader, the second the chapter or book:
they become `speaker` and `recording`, so that a split can keep a book together.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from asrcore.data.importers.lines import read_lines
from asrcore.data.importers.rows import AudioFinder, BadRow, Item, RawRow, ReadRequest, walk
from asrcore.data.importers.tables import only

LIBRISPEECH_SUFFIX = ".trans.txt"
MLS_FILE = "transcripts.txt"

_LIBRISPEECH = re.compile(r"(?P<id>(?P<speaker>\d+)-(?P<book>\d+)-\d+)\s+(?P<text>\S.*)")
MLS_LINE = re.compile(r"(?P<id>(?P<speaker>\d+)_(?P<book>\d+)_\d+)\t(?P<text>.*)")

_Find = Callable[[re.Match[str]], Path | None]


def read(request: ReadRequest) -> Iterator[Item]:
    """All LibriSpeech chapters below the folder, or one chapter's file."""
    bad: list[BadRow] = []
    files = [request.source] if request.source.is_file() else (p for p in walk(request.source, bad) if p.name.endswith(LIBRISPEECH_SUFFIX))
    for file in files:
        finder = AudioFinder(request.audio_root or file.parent)
        yield from _rows(file, request.roots, _LIBRISPEECH, lambda found, finder=finder: finder.find(found["id"]))
        yield from finder.bad
    yield from bad


def read_mls(request: ReadRequest) -> Iterator[Item]:
    """One split of MLS: the folder with transcripts.txt, or the language's folder with `split`. Raises `split_needed`, `split_unknown`."""
    source = request.source
    if source.is_dir() and not (source / MLS_FILE).is_file():
        source = only(sorted(p.parent for p in source.glob(f"*/{MLS_FILE}")), request, "splits")
    file = source if source.is_file() else source / MLS_FILE
    audio = request.audio_root or file.parent / "audio"

    def find(found: re.Match[str]) -> Path:
        stem = audio / found["speaker"] / found["book"] / found["id"]
        return next((path for suffix in (".flac", ".opus", ".wav") if os.path.exists(path := stem.with_name(stem.name + suffix))),
                    stem.with_name(stem.name + ".flac"))  # fmt: skip

    return _rows(file, request.roots, MLS_LINE, find)


def _rows(file: Path, roots: tuple[Path, ...], shape: re.Pattern[str], find: _Find) -> Iterator[Item]:
    for line in read_lines(file, roots):
        if isinstance(line, BadRow):
            yield line
            continue
        found = shape.fullmatch(line.text.strip())
        audio = find(found) if found else None
        if found is None:
            yield BadRow(line.place, "line_invalid")
        elif audio is None:
            yield BadRow(line.place, "audio_ambiguous")
        else:
            yield RawRow(line.place, audio, found["text"], id=found["id"], speaker=found["speaker"],
                         extra={"recording": f"{found['speaker']}-{found['book']}"})  # fmt: skip
