"""Measures of one decoded recording: true bandwidth, clipping, level, identity."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from asrcore.audio import Samples

NARROW_BAND_SHARE = 0.001
"""Share of energy above 4 kHz in the frames that have most of it. Telephone audio resampled to 16 kHz reached 0.00004, wideband speech no less
than 0.002 (synthetic speech, 600 utterances). A resampler without a filter (linear, repeated samples) leaves images above 4 kHz and hides it."""
CLIPPED_SHARE = 0.001
"""Share of samples in flat tops at full scale that is heard as distortion."""
SILENCE_DBFS = -60.0
"""RMS level under which there is no speech to hear."""

DIGEST_FIELD = "audio_digest"
"""Extra field of a manifest row that holds `pcm_digest` as hex, so that leakage checks need not decode the audio again."""

_FULL_SCALE = 0.985
_FRAME_SECONDS = 0.032
_SPLIT_HZ = 4_300  # a little over 4 kHz: resampling filters leak there
_FLOOR_DB = 35.0


class Signal(NamedTuple):
    """`high_share`: energy share above 4 kHz in the frames that have most of it (98th percentile), 0 to 1. `level_dbfs`: RMS."""

    seconds: float
    high_share: float
    clipped_share: float
    level_dbfs: float
    digest: bytes


def measure(samples: Samples, rate: int) -> Signal:
    """Measures mono samples at their native rate."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return Signal(
        seconds=len(samples) / rate,
        high_share=_high_share(samples, rate),
        clipped_share=_clipped_share(samples),
        level_dbfs=20 * float(np.log10(max(level, 1e-10))),
        digest=pcm_digest(samples, rate),
    )


def pcm_digest(samples: Samples, rate: int) -> bytes:
    """Identity of a recording: 12 bytes over 16-bit PCM at its native rate, so that WAV and FLAC of it are equal."""
    pcm = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2")
    return hashlib.blake2b(pcm.tobytes(), digest_size=12, person=str(rate).encode()).digest()


def _high_share(samples: Samples, rate: int) -> float:
    """Per frame, since over a whole utterance vowels drown the fricatives; frames far under the loudest are left out (noise floor)."""
    size = round(_FRAME_SECONDS * rate)
    if rate <= 2 * _SPLIT_HZ or len(samples) < size:
        return 0.0 if rate <= 2 * _SPLIT_HZ else 1.0
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 2] * np.hanning(size).astype(np.float32)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1)))
    hertz = np.fft.rfftfreq(size, 1 / rate)
    total, high = power[:, hertz > 100].sum(axis=1), power[:, hertz > _SPLIT_HZ].sum(axis=1)
    loud = (total > total.max() * 10 ** (-_FLOOR_DB / 10)) & (total > 0)
    return float(np.percentile(high[loud] / total[loud], 98)) if loud.any() else 1.0


def _clipped_share(samples: Samples) -> float:
    """Samples at full scale that equal their neighbour: a peak touches full scale once, a clipped one stays there."""
    top = np.abs(samples) >= _FULL_SCALE
    flat = top[1:] & top[:-1] & (np.sign(samples[1:]) == np.sign(samples[:-1]))
    return float(np.count_nonzero(flat)) / len(samples)
