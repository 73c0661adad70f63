"""The sound of single utterances, for a player on the page: own files only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from asrcore import io
from asrcore.errors import AsrtuneError
from asrcore.manifest import Row, below, row_positions, rows_at
from asrcore.requests import ManifestRef

PLAYABLE = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".webm"})
"""Suffixes that browsers play; for others (e.g. .sph) there is no player."""


class Clips(NamedTuple):
    """Addresses (`file:`, percent-encoded, with the part to play) by line of the manifest, and in words why some or all are missing."""

    by_line: dict[int, str]
    missing: str = ""


def find_clips(manifest: ManifestRef, lines: Sequence[int], roots: Sequence[Path]) -> Clips:
    """Clips of these lines whose manifest and sound lie below one of the (resolved) `roots`, with symlinks followed.

    The manifest must still be the one that was decoded, else a line would play another utterance. Nothing is opened outside the roots.
    """
    path = Path(manifest.path)
    if not roots or not lines or not below(path, roots):
        return Clips({}, "No players: the manifest is not below a data root." if roots and lines else "")
    if not path.is_file():
        return Clips({}, "No players: the manifest is gone.")
    try:
        if io.sha256_file(path) != manifest.sha256:
            return Clips({}, "No players: the manifest changed since the eval.")
        positions = row_positions(path)
        rows = rows_at(path, [line for line in dict.fromkeys(lines) if 0 < line <= len(positions)], positions)
    except (AsrtuneError, OSError):
        return Clips({}, "No players: the manifest cannot be read.")
    found = {row.line: address for row in rows if (address := _address(row, roots)) is not None}
    wanted = len(set(lines))
    return Clips(found, "" if len(found) == wanted else f"{wanted - len(found)} of {wanted} clips have no player: the file is gone, outside the data roots or of a kind browsers do not play.")  # fmt: skip


def _address(row: Row, roots: Sequence[Path]) -> str | None:
    try:
        audio = row.audio.resolve()
        if audio.suffix.lower() not in PLAYABLE or not below(audio, roots) or not audio.is_file():
            return None
        start = row.utterance.offset
        return f"{audio.as_uri()}#t={start:.3f},{start + row.utterance.duration:.3f}"
    except (OSError, ValueError, RuntimeError):  # a name too long, a NUL, a loop of links
        return None
