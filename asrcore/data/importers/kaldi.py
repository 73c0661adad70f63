"""A Kaldi data directory: wav.scp, text, and where they exist segments, utt2spk, utt2lang (kaldi-asr.org/doc/data_prep.html).

An entry of wav.scp that ends in `|` is a shell command; it is reported and never run. Relative paths are tried below `audio_root`, else below the
directory. Memory: the five files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from asrcore.data.importers.lines import read_lines
from asrcore.data.importers.rows import AudioFinder, BadRow, Item, Place, RawRow, ReadRequest


class _Entry(NamedTuple):
    place: Place
    value: str


def read(request: ReadRequest) -> Iterator[Item]:
    """Every utterance of `segments`, or of `wav.scp` where there are no segments, and every line of `text` without audio."""
    folder, bad = request.folder, list[BadRow]()
    files = {name: _table(folder / name, request.roots, bad) for name in ("wav.scp", "text", "segments", "utt2spk", "utt2lang")}
    yield from bad
    recordings, texts, segments = files["wav.scp"], files["text"], files["segments"]
    finder = AudioFinder(request.audio_root or folder)
    for utterance, entry in (segments or recordings).items():
        text = texts.pop(utterance, None)
        if text is None:
            yield BadRow(entry.place, "text_missing")
            continue
        piece = _piece(entry) if segments else (utterance, 0.0, None)
        if piece is None:
            yield BadRow(entry.place, "line_invalid")
            continue
        recording, start, end = piece
        audio = _audio(recordings.get(recording), finder)
        if isinstance(audio, str):
            yield BadRow(entry.place, audio)
            continue
        speaker, locale = (files[name].get(utterance) for name in ("utt2spk", "utt2lang"))
        yield RawRow(text.place, audio, text.value, locale.value if locale else None, utterance, speaker.value if speaker else None, start,
                     None if end is None else end - start, extra={"recording": recording} if segments else {})  # fmt: skip
    yield from (BadRow(entry.place, "audio_missing") for entry in texts.values())
    yield from finder.bad


def _table(path: Path, roots: tuple[Path, ...], bad: list[BadRow]) -> dict[str, _Entry]:
    """First word -> rest of the line. The second line of a key is bad."""
    found: dict[str, _Entry] = {}
    if not path.exists() and path.name not in ("wav.scp", "text"):
        return found
    for line in read_lines(path, roots):
        if isinstance(line, BadRow):
            bad.append(line)
            continue
        key, _, value = line.text.replace("\t", " ").strip().partition(" ")
        if key in found:
            bad.append(BadRow(line.place, "id_duplicate"))
        else:
            found[key] = _Entry(line.place, value.strip())
    return found


def _piece(entry: _Entry) -> tuple[str, float, float] | None:
    try:
        recording, start, end = entry.value.split()
        return recording, float(start), float(end)
    except ValueError:
        return None


def _audio(entry: _Entry | None, finder: AudioFinder) -> Path | str:
    """The file, or the reason why there is none."""
    if entry is None or not entry.value:
        return "audio_missing"
    if entry.value.endswith("|"):
        return "audio_command"
    return finder.find(entry.value) or "audio_ambiguous"
