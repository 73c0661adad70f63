"""What becomes of a row's audio in a shard where its samples have to be seen: decoded, sent through a simulated channel, encoded as FLAC or Opus."""

from __future__ import annotations

import io as memory
from collections.abc import Mapping

import numpy as np
import soundfile as sf

from asrcore import audio
from asrcore.audio_header import MODEL_RATE
from asrcore.data import opus
from asrcore.data.shard_member import BARE_PCM, WAV_FORMS, Member, Packing, member_name, require_length
from asrcore.manifest import Row

_COPIED = dict.fromkeys(WAV_FORMS, ".wav") | {"FLAC": ".flac"}


def made(packing: Packing, row: Row) -> Member:
    """Audio of one row: the file's own bytes when they are 16 kHz mono WAV or FLAC and the row is all of it, else 16-bit FLAC at 16 kHz.

    With `packing.opus`, Opus in place of WAV and FLAC: such a file is not encoded twice. What a simulated channel changes is always encoded anew.
    Raises what `decode_row` raises, and what `Channel.play` and `opus.encode` raise.
    """
    drawn = packing.channel.draw(row) if packing.channel is not None else None
    name, fields = member_name(packing.source, row.line, row.utterance.id), drawn.fields if drawn is not None else {}
    if packing.channel is not None and drawn is not None and drawn.steps:
        samples = decode_row(row)[2]
        return _encoded(packing, name, packing.channel.play(samples, drawn), fields)
    info = audio.probe(row.audio)
    suffix = _suffix_of_copy(packing, info)
    if suffix is not None and row.utterance.covers(info.seconds):
        return Member(name + suffix, row.audio.read_bytes(), _seconds_of_copy(row, info), fields)
    return _encoded(packing, name, decode_row(row)[2], fields)


def _suffix_of_copy(packing: Packing, info: audio.AudioInfo) -> str | None:
    """None where the file is not in the form that the shards are in."""
    if info.rate != MODEL_RATE or info.channels != 1:
        return None
    if packing.opus:
        return opus.SUFFIX if info.format == opus.FORMAT else None
    return _COPIED.get(info.format.split("/")[0])


def _encoded(packing: Packing, name: str, samples: audio.Samples, fields: Mapping[str, str]) -> Member:
    seconds = len(samples) / MODEL_RATE
    if not packing.opus:
        return Member(f"{name}.flac", flac(samples), seconds, fields)
    lossy = opus.encode(samples, packing.opus)
    return Member(name + opus.SUFFIX, lossy.data, seconds, fields, lossy.energy, lossy.error)


def decode_row(row: Row) -> tuple[audio.AudioInfo, bool, audio.Samples]:
    """Header of the row's file, whether the row is all of it, and its samples at 16 kHz mono.

    Raises what `audio.decode` raises, and `duration_too_long`.
    """
    info = audio.probe(row.audio)
    whole = row.utterance.covers(info.seconds)
    samples = audio.decode(row.audio, offset=row.utterance.offset, duration=None if whole else row.utterance.duration)
    require_length(row, len(samples) / MODEL_RATE)
    return info, whole, samples


def _seconds_of_copy(row: Row, info: audio.AudioInfo) -> float:
    """Seconds that the file decodes to. All but PCM in WAV is decoded for it, so that a file that breaks off does not reach training."""
    seconds = info.seconds if info.format in BARE_PCM else sum(len(block) for block in audio.blocks(row.audio)) / info.rate
    require_length(row, seconds)
    return seconds


def flac(samples: audio.Samples) -> bytes:
    """16-bit FLAC at 16 kHz mono."""
    pcm = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    out = memory.BytesIO()
    sf.write(out, pcm, MODEL_RATE, format="FLAC", subtype="PCM_16")
    return out.getvalue()
