"""One utterance as it goes into a tar: its name, its row, and its bytes where they are a file's own. What has to be decoded first is in `shard_audio.py`.

This module is light: it loads neither numpy nor a codec.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from asrcore import audio_header
from asrcore.audio_header import DURATION_TOLERANCE, MODEL_RATE, AudioInfo
from asrcore.data_requests import OpusKbits
from asrcore.errors import NotReadyError
from asrcore.manifest import Row

if TYPE_CHECKING:
    from asrcore.data.channel_sound import Channel

WAV_FORMS = ("WAV", "WAVEX")
BARE_PCM = frozenset(f"{form}/{subtype}" for form in WAV_FORMS for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32"))
"""Such a file cannot break off in the middle: its header counts only samples that the file has room for (`audio_header`), and every bit pattern is a sample."""


class Packing(NamedTuple):
    """How the rows of one manifest are packed. `shar`: with a twin in Lhotse's Shar layout. `opus`: lossy, in kbit/s; 0: lossless."""

    source: str
    manifest: str
    channel: Channel | None = None
    shar: bool = False
    opus: OpusKbits = 0


class Member(NamedTuple):
    """One utterance as it goes into the tar."""

    name: str
    data: bytes
    seconds: float
    fields: Mapping[str, str] = {}
    """What the simulated channel adds to the row."""
    energy: float = 0.0
    error: float = 0.0
    """Sums of squares: of the samples that were made Opus, and of what that changed in them."""


def copied(packing: Packing, row: Row) -> Member | None:
    """The row as the bytes of its file: PCM in WAV at 16 kHz mono, all of which the row is. None where its samples have to be seen. Raises `duration_too_long`.
    """
    if packing.channel is not None or packing.opus:
        return None
    found = audio_header.read_file(row.audio, partial(_as_it_is, row))
    if found is None or not found[1]:
        return None
    info, data = found
    require_length(row, info.seconds)
    return Member(member_name(packing.source, row.line, row.utterance.id) + ".wav", data, info.seconds)


def _as_it_is(row: Row, info: AudioInfo) -> bool:
    return info.format in BARE_PCM and info.rate == MODEL_RATE and info.channels == 1 and row.utterance.covers(info.seconds)


def require_length(row: Row, seconds: float) -> None:
    """Raises `duration_too_long` where the row's audio has fewer seconds than the row says."""
    if seconds < row.utterance.duration - DURATION_TOLERANCE:
        raise NotReadyError("duration_too_long", "offset and duration of the row reach over the end of the audio.",
                            next_step="correct offset and duration of the row.")  # fmt: skip


def member_name(source: str, line: int, identity: str | None) -> str:
    """Unique in a set: source, line, and as much of the id as helps a reader. ASCII letters, digits, dots and underscores only."""
    readable = re.sub(r"[^A-Za-z0-9]+", "_", identity or "").strip("_")[:32]
    return f"{source[:40]}_{line:08d}" + (f"_{readable}" if readable else "")


def shard_row(row: Row, packed: Member, number: int) -> dict[str, Any]:
    """The row as the loader reads it: the member's name, its real duration, no offset, extras kept."""
    fields = row.utterance.to_row()
    fields.pop("offset", None)
    return fields | {
        "audio_filepath": packed.name,
        "duration": round(packed.seconds, 6),
        "sampling_rate": MODEL_RATE,
        "shard_id": number,
        **packed.fields,
    }
