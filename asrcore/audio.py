"""Audio files in: header and samples. Everything that libsndfile reads (WAV with PCM, G.711, GSM; FLAC, Ogg Opus and Vorbis, MP3, …)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from asrcore import audio_header
from asrcore.audio_header import MODEL_RATE, AudioInfo
from asrcore.errors import NotReadyError, Problem, clean_text

Samples = NDArray[np.float32]

_BLOCK = 1 << 20


def probe(path: Path) -> AudioInfo:
    """Reads the header only. Raises `audio_missing`, `audio_unreadable` or `audio_empty`."""
    known = audio_header.read(path)
    if known is not None:
        return known
    with _open(path) as file:
        return _info(file)


def blocks(path: Path, *, offset: float = 0.0, duration: float | None = None) -> Iterator[Samples]:
    """The samples at their own rate in blocks of at most 2**20, channels averaged: a recording of hours needs no more memory than a minute of it.

    At least one sample is given in all. Raises what `decode` raises, each when its place is reached.
    """
    with _open(path) as file:
        yield from _blocks(file, path, offset, duration)


def decode(path: Path, *, rate: int = MODEL_RATE, offset: float = 0.0, duration: float | None = None) -> Samples:
    """Samples in [-1, 1], channels averaged, at `rate` Hz; a piece of the file with `offset` and `duration` in seconds.

    A piece that reaches over the end is cut there; the caller compares lengths. Raises `audio_missing`, `audio_unreadable` (also for
    NaN in float files) or `audio_empty` (also for an offset at or behind the end).
    """
    with _open(path) as file:
        native = file.samplerate
        found = list(_blocks(file, path, offset, duration))
    samples = found[0] if len(found) == 1 else np.concatenate(found)
    return samples if native == rate else np.asarray(soxr.resample(samples, native, rate), dtype=np.float32)


def _open(path: Path) -> sf.SoundFile:
    if not path.is_file():
        raise _fault("audio_missing", path, "does not exist or is no file", "restore the file, correct audio_filepath, or remove the row")
    try:
        file = sf.SoundFile(path)
    except (sf.LibsndfileError, TypeError, OSError) as error:  # TypeError: a .raw name without rate
        if path.stat().st_size == 0:
            raise _fault("audio_empty", path, "has 0 bytes", "replace the file, or remove the row") from error
        raise _fault("audio_unreadable", path, "is no audio that libsndfile can open", "replace the file, or remove the row") from error
    if file.frames == 0:
        file.close()
        raise _fault("audio_empty", path, "holds no samples", "replace the file, or remove the row")
    return file


def _info(file: sf.SoundFile) -> AudioInfo:
    return AudioInfo(file.samplerate, file.channels, file.frames, file.frames / file.samplerate, f"{file.format}/{file.subtype}")


def _blocks(file: sf.SoundFile, path: Path, offset: float, duration: float | None) -> Iterator[Samples]:
    native, whole_numbers, empty = file.samplerate, file.subtype.startswith("PCM_"), True
    for block in _read(file, path, round(offset * native), None if duration is None else round(duration * native)):
        if not whole_numbers and not np.isfinite(block).all():
            raise _fault("audio_unreadable", path, "holds NaN or infinite samples", "replace the file, or remove the row")
        empty = False
        yield block
    if empty:
        raise _fault("audio_empty", path, "holds no samples in the wanted piece", "correct offset and duration, or remove the row")


def _read(file: sf.SoundFile, path: Path, start: int, count: int | None) -> Iterator[Samples]:
    """Mono samples of the piece, in blocks: headers may lie about the length, and GSM files cannot be sought in.

    Only PCM (WAV, FLAC and the like) is sought in; seeking in compressed streams is not sample-exact in every codec.
    """
    left = sys.maxsize if count is None else count
    try:
        if file.subtype.startswith("PCM_"):
            file.seek(min(start, file.frames))
            start = 0
        while start + left > 0:
            block = np.asarray(file.read(min(start + left, _BLOCK), dtype="float32", always_2d=True), dtype=np.float32)
            if len(block) == 0:
                break
            wanted = block[start:]
            start = max(0, start - len(block))
            left -= len(wanted)
            if len(wanted):
                yield wanted[:, 0] if wanted.shape[1] == 1 else wanted.mean(axis=1, dtype=np.float32)
    except sf.LibsndfileError as error:
        raise _fault("audio_unreadable", path, "breaks off while decoding", "replace the file, or remove the row") from error


def _fault(code: str, path: Path, what: str, fix: str) -> NotReadyError:
    """File names come from data, so the message has none: the file stands where files stand."""
    return NotReadyError(code, f"the audio file {what}.", next_step=f"{fix}.", problems=[Problem(code=code, message=what, file=clean_text(str(path), 300), fix=fix)])
