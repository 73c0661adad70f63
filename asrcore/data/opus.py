"""Ogg Opus in memory, the same bytes for the same samples: the codec of the telephone channel, and the lossy form of shards where a person asks for it."""

from __future__ import annotations

import io as memory
import struct
import zlib
from typing import NamedTuple

import numpy as np
import soundfile as sf

from asrcore.audio import MODEL_RATE, Samples
from asrcore.errors import ToolFault

SUFFIX, FORMAT = ".ogg", "OGG/OPUS"
_SERIAL = 1
_PAGE = struct.Struct("<4sBBqIIIB")
"""Capture pattern, version, flags, granule position, serial number, page number, checksum, count of segments (RFC 3533, section 6)."""
_REVERSED = bytes(int(f"{n:08b}"[::-1], 2) for n in range(256))


class Encoded(NamedTuple):
    """`energy` and `error`: sums of squares of the samples and of what the codec changed."""

    data: bytes
    energy: float
    error: float


def encode(samples: Samples, kbits: float) -> Encoded:
    """16 kHz mono Opus of about `kbits` kbit/s (variable), after decoding it again: it has as many samples as went in.

    Raises `opus_failed` otherwise; none is known to do that.
    """
    out = memory.BytesIO()
    sf.write(out, samples, MODEL_RATE, format="OGG", subtype="OPUS", compression_level=level(kbits))
    data = with_serial(out.getvalue(), _SERIAL)
    heard = np.asarray(sf.read(memory.BytesIO(data), dtype="float32")[0], dtype=np.float32)
    if heard.shape != samples.shape:
        raise ToolFault("opus_failed", f"Opus gave back {len(heard)} samples of {len(samples)}.", next_step="call build_shards without opus.")
    changed = heard - samples
    return Encoded(data, _energy(samples), _energy(changed))


def level(kbits: float) -> float:
    """libsndfile's compression level for a bit rate of one channel: rate = 6 + 250 * (1 - level) kbit/s (libsndfile 1.2, ogg_opus.c)."""
    return 1 - (kbits - 6) / 250


def with_serial(stream: bytes, serial: int) -> bytes:
    """The Ogg stream with another serial number: libsndfile draws one by chance, and it is the only thing in which two encodings differ."""
    made, place = bytearray(stream), 0
    while place < len(made):
        pattern, *_, segments = _PAGE.unpack_from(made, place)
        if pattern != b"OggS":
            raise ValueError("not an Ogg page")
        end = place + _PAGE.size + segments
        end += sum(made[place + _PAGE.size : end])
        made[place + 14 : place + 18] = serial.to_bytes(4, "little")
        made[place + 22 : place + 26] = bytes(4)  # the checksum is taken over a page without it
        made[place + 22 : place + 26] = _checksum(made[place:end]).to_bytes(4, "little")
        place = end
    return bytes(made)


def _checksum(page: bytes | bytearray) -> int:
    """CRC-32 as Ogg takes it: the polynomial of zlib, but the highest bit first and without inversions (RFC 3533, section 6)."""
    found = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{found:032b}"[::-1], 2)


def _energy(samples: Samples) -> float:
    return float(np.einsum("i,i->", samples, samples, dtype=np.float64))
