"""Headers of plain WAV and FLAC files without libsndfile: what an import or a check of a million files spends its time on.

Only what is beyond doubt is answered: the header agrees with itself and with the size of the file. For everything else (other formats, sizes that
lie, chunks of metadata in front that are longer than what is read here) `read` gives None, and libsndfile is asked. Where both answer, they answer the same.

Formats: RIFF WAVE with PCM, IEEE float or G.711, and WAVE_FORMAT_EXTENSIBLE with PCM (Microsoft, "Multiple Channel Audio Data and WAVE Files"); FLAC by
its STREAMINFO block (RFC 9639, section 8.2).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MODEL_RATE = 16_000
"""Sample rate of the model family, in Hz."""

DURATION_TOLERANCE = 0.2
"""Seconds that NeMo's tarred reader forgives between a row's duration and its file; nearer than that a row is the whole file."""

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # a named pipe must not make us wait
_HEAD = 512

_RIFF = struct.Struct("<4s4x8sIHHIIHH")
_CHUNK = struct.Struct("<4sI")
_FMT_AT, _FMT_BODY = 12, 20
_EXTENSIBLE = 0xFFFE
_PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")
_WAV = {
    (1, 8): "WAV/PCM_U8", (1, 16): "WAV/PCM_16", (1, 24): "WAV/PCM_24", (1, 32): "WAV/PCM_32", (3, 32): "WAV/FLOAT", (3, 64): "WAV/DOUBLE",
    (6, 8): "WAV/ALAW", (7, 8): "WAV/ULAW",
    (_EXTENSIBLE, 16): "WAVEX/PCM_16", (_EXTENSIBLE, 24): "WAVEX/PCM_24", (_EXTENSIBLE, 32): "WAVEX/PCM_32",
}  # fmt: skip
"""(format tag, bits a sample) -> name as libsndfile gives it."""

_STREAMINFO = struct.Struct(">B3s10xQ")
_FIRST_BLOCK, _SECOND_BLOCK, _STREAMINFO_LENGTH = 4, 42, b"\x00\x00\x22"
_FLAC = {8: "FLAC/PCM_S8", 16: "FLAC/PCM_16", 24: "FLAC/PCM_24"}
_LAST_BLOCK, _FRAME_SYNC = 0x80, (b"\xff\xf8", b"\xff\xf9")


class AudioInfo(NamedTuple):
    """What the file's header says. `seconds` = frames / rate; `format` as in `WAV/PCM_16`."""

    rate: int
    channels: int
    frames: int
    seconds: float
    format: str


def read(path: Path | str) -> AudioInfo | None:
    """None where libsndfile has to be asked: for other formats, for what is broken, for what is no file."""
    found = read_file(path, _header_only)
    return None if found is None else found[0]


def read_file(path: Path | str, wanted: Callable[[AudioInfo], bool]) -> tuple[AudioInfo, bytes] | None:
    """Header of a file as `read` gives it, and all of its bytes where the header is a wanted one (else none), of one opening: both are of the same file."""
    try:
        handle = os.open(path, _FLAGS)
    except (OSError, ValueError):
        return None
    try:
        head = os.pread(handle, _HEAD, 0)
        size = os.lseek(handle, 0, os.SEEK_END)
        info = _info(handle, head, size)
        if info is None:
            return None
        if not wanted(info):
            return info, b""
        data = os.pread(handle, size, 0)
        return (info, data) if len(data) == size else None  # cut meanwhile, or longer than one read gives
    except (OSError, struct.error):
        return None
    finally:
        os.close(handle)


def _header_only(_: AudioInfo) -> bool:
    return False


def _info(handle: int, head: bytes, size: int) -> AudioInfo | None:
    if head.startswith(b"RIFF"):
        return _wav(head, size)
    return _flac(handle, head, size) if head.startswith(b"fLaC") else None


def _wav(head: bytes, size: int) -> AudioInfo | None:
    _, kind, length, tag, channels, rate, _, frame, bits = _RIFF.unpack_from(head)
    name = _WAV.get((tag, bits))
    if kind != b"WAVEfmt " or name is None or not rate or not channels or frame * 8 != channels * bits:
        return None
    if tag == _EXTENSIBLE and (length < 40 or head[38:40] != head[34:36] or head[44:60] != _PCM_GUID):
        return None
    at = _FMT_BODY + length + (length & 1)
    found, length = _CHUNK.unpack_from(head, at)
    while found != b"data":
        at += 8 + length + (length & 1)
        found, length = _CHUNK.unpack_from(head, at)
    if length == 0 or length % frame or at + 8 + length > size:
        return None
    frames = length // frame
    return AudioInfo(rate, channels, frames, frames / rate, name)


def _flac(handle: int, head: bytes, size: int) -> AudioInfo | None:
    """The eight bytes behind the block and frame sizes: 20 bits of rate, 3 of channels - 1, 5 of bits - 1, 36 of samples."""
    last, length, packed = _STREAMINFO.unpack_from(head, _FIRST_BLOCK)
    if length != _STREAMINFO_LENGTH or last & ~_LAST_BLOCK:
        return None
    rate, channels, frames = packed >> 44, (packed >> 41 & 7) + 1, packed & 0xFFFFFFFFF
    name = _FLAC.get((packed >> 36 & 31) + 1)
    if name is None or not rate or not frames:
        return None
    at = _SECOND_BLOCK
    while not last & _LAST_BLOCK:
        block = head[at : at + 4] if at + 4 <= len(head) else os.pread(handle, 4, at)
        if len(block) < 4:
            return None
        last = block[0]
        at += 4 + int.from_bytes(block[1:], "big")
    frame = head[at : at + 2] if at + 2 <= len(head) else os.pread(handle, 2, at)
    return AudioInfo(rate, channels, frames, frames / rate, name) if at < size and frame in _FRAME_SYNC else None
