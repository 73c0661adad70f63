"""What a reader yields: a row as the corpus states it, or a place that is no row, with the reason. Nothing is dropped without one of both."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from asrcore.data.audio_files import AUDIO_SUFFIXES
from asrcore.hub_datasets import HubDataset

REASONS: Mapping[str, tuple[str, str]] = {
    "line_too_long": ("the line is longer than 1 MiB", "write one utterance a line"),
    "not_utf8": ("the line is not UTF-8", "save the file as UTF-8"),
    "line_invalid": ("the line has not the shape of its format", "correct the line"),
    "quote_unbalanced": ("a quotation mark is opened and not closed", "close it, or double the marks inside the field"),
    "columns_short": ("the line has fewer columns than the header", "correct the line"),
    "file_unreadable": ("the file cannot be read", "give this user access to it"),
    "folder_unreadable": ("the folder cannot be read; nothing in it was counted", "give this user access to it"),
    "folder_link": ("a link to a folder is not followed; nothing behind it was counted", "import the folder it points to"),
    "file_refused": ("the file lies outside the data roots", "move it below a data root, or ask the person to add one"),
    "text_missing": ("the audio has no transcript", "add it, or remove the audio"),
    "transcript_missing": ("the second checkpoint has not transcribed this audio", "transcribe the same files with both checkpoints"),
    "text_empty": ("the transcript is empty", "add the text, or remove the row"),
    "audio_ambiguous": ("several audio files have this name", "name the file with its folder, or pass audio_root"),
    "audio_refused": ("the audio lies outside the data roots", "move it below a data root, or ask the person to add one"),
    "audio_missing": ("the audio file does not exist", "restore the file, or pass the audio_root it lies below"),
    "audio_unreadable": ("the audio cannot be decoded", "replace the file, or convert it to WAV or FLAC"),
    "audio_empty": ("the audio holds no samples", "replace the file"),
    "audio_truncated": ("the file decodes to less audio than its header promises", "replace the file"),
    "audio_changed": ("the audio is not what was transcribed", "transcribe it again with both checkpoints"),
    "audio_command": ("wav.scp names a command, which is never run", "run it yourself and name the file it makes"),
    "cut_computed": ("the cut is no plain piece of a mono file: transformed, mixed, one channel of several, or in an archive",
                     "write it with Lhotse's save_audios, then import those cuts"),
    "piece_outside": ("offset and duration reach over the end of the audio", "correct offset and duration"),
    "number_invalid": ("offset or duration is no number of seconds", "write plain seconds"),
    "locale_missing": ("the row names no locale", "pass target_lang, or map a column to it"),
    "locale_invalid": ("the locale is no tag such as el-GR", "write the tag of the spoken language"),
    "locale_conflict": ("the row has another locale than target_lang", "import this locale in a call of its own"),
    "row_translation": ("the text is a translation, not what is spoken", "leave it out"),
    "row_not_transcribed": ("the row has no transcript of the spoken words in the chosen style", "leave it out"),
    "id_duplicate": ("the id, or the same piece of audio, stands further up", "keep one of the rows"),
    "name_not_text": ("the file name is not UTF-8", "rename the file"),
}
"""Why a place is not in the manifest: what is wrong, and what to do."""

PSEUDO_LABEL = "pseudo_label"
"""Field of rows whose text a model wrote (`importers.pseudo`): they may be learned from, and measure nothing."""


class Place(NamedTuple):
    """A file, and a line in it from 1 where there are lines."""

    file: Path
    line: int | None = None


class BadRow(NamedTuple):
    """A place that is no usable row. `reason` is a key of REASONS."""

    place: Place
    reason: str


class RawRow(NamedTuple):
    """One utterance as the corpus states it, unchecked. Times in seconds; a `duration` of None means the whole file.

    `mark` becomes `_skipme` of the manifest row: the corpus itself warns of it (`reason:filter`).
    """

    place: Place
    audio: Path
    text: str
    locale: str | None = None
    id: str | None = None
    speaker: str | None = None
    offset: float = 0.0
    duration: float | None = None
    mark: str | None = None
    extra: Mapping[str, Any] = {}


Item = RawRow | BadRow


class ReadRequest(NamedTuple):
    """What a reader is asked for. `source` is a file or folder below `roots`, or with `hub` in that repository; `columns` maps our field to a column's name or number."""

    source: Path
    roots: tuple[Path, ...]
    split: str | None = None
    columns: Mapping[str, str] = {}
    audio_root: Path | None = None
    style: str = "written"
    """`written` keeps case and punctuation where a corpus has two transcripts, `spoken` takes the normalised one."""
    locale: str | None = None
    """The caller's tag for all rows, for readers that judge texts; which rows it may stand for is the importer's to say."""
    store: Path | None = None
    """Folder for audio that lies inside other files; None: it cannot be taken."""
    agree_with: Path | None = None
    """Pseudo-labels: job folder of the second checkpoint's transcripts."""
    recipe: str = ""
    """Name of the Lhotse recipe that knows the folder `source`."""
    hub: HubDataset | None = None
    """Files to fetch, instead of those of `source`."""

    @property
    def folder(self) -> Path:
        return self.source if self.source.is_dir() else self.source.parent


def walk(folder: Path, bad: list[BadRow]) -> Iterator[Path]:
    """Files below `folder` in a fixed order, without hidden ones. Links to folders and unreadable folders are appended to `bad`."""

    def refused(error: OSError) -> None:
        bad.append(BadRow(Place(Path(str(error.filename))), "folder_unreadable"))

    for base, folders, files in os.walk(folder, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        bad.extend(BadRow(Place(Path(base, name)), "folder_link") for name in folders if os.path.islink(os.path.join(base, name)))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(base, name)


class AudioFinder:
    """Finds the audio that a row names: by path below a root, else by its name alone anywhere below it.

    Memory: about 300 bytes a file, and only once a name alone has been asked for.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bad: list[BadRow] = []
        """Folders that could not be searched."""
        self._by_stem: dict[str, Path | None] | None = None

    def find(self, name: str) -> Path | None:
        """The file; a path that does not exist where there is none of that name (found out later); None when there are several."""
        direct = Path(os.path.normpath(self.root / name))
        if os.path.isfile(direct):
            return direct
        if self._by_stem is None:
            self._by_stem = self._index()
        return self._by_stem.get(_stem(os.path.basename(name)), direct)

    def _index(self) -> dict[str, Path | None]:
        found: dict[str, Path | None] = {}
        for path in walk(self.root, self.bad):
            if path.suffix.lower() in AUDIO_SUFFIXES:
                stem = path.name[: -len(path.suffix)]
                found[stem] = None if stem in found else path
        return found


def _stem(name: str) -> str:
    """The name without an audio suffix; other dots belong to the name."""
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in AUDIO_SUFFIXES else name

