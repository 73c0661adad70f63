"""Which files are audio by their name, and the audio files of what a person pointed at: files as they are, folders one level deep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from asrcore.errors import NotReadyError

AUDIO_SUFFIXES = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .w64 .rf64 .caf .sph .nist .voc .gsm .m4a .aac .wma .webm .amr .mp4".split()
)
"""Files that count as audio in a folder, everywhere. Some of them libsndfile cannot open: those are reported one by one, not overlooked. Formats
without a header (.raw) are left out: nothing says what is in them."""

MOST = 10_000


def audio_files(places: Iterable[Path], roots: Sequence[Path]) -> list[Path]:
    """Files in the order given, those of a folder by name, none twice. A link that leads out of the data roots is left out of a folder.

    Raises `no_audio` when there is none and `too_many_files` over 10,000.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.is_dir():
            found[place] = None
            continue
        inside = sorted(path for path in place.iterdir() if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file())
        found |= dict.fromkeys(path for path in inside if any(path.resolve().is_relative_to(root) for root in roots))
    if not found:
        raise NotReadyError(
            "no_audio", "there is no audio file in the folders given.", next_step="pass files, or a folder that holds audio files itself."
        )
    if len(found) > MOST:
        raise NotReadyError(
            "too_many_files", f"{len(found)} files are more than the {MOST} of one job.", next_step="pass fewer folders, in several calls."
        )
    return list(found)
