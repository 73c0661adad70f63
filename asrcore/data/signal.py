"""Measures of one decoded recording: true bandwidth, clipping, level, offset, silence at its ends, noise, identity."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asrcore.audio import Samples

NARROW_BAND_SHARE = 0.001
"""Share of energy above 4 kHz in the frames that have most of it. Telephone audio resampled to 16 kHz reached 0.00004, wideband speech no less
than 0.002 (synthetic speech, 600 utterances). A resampler without a filter (linear, repeated samples) leaves images above 4 kHz and hides it."""
CLIPPED_SHARE = 0.001
"""Share of samples in flat tops at full scale that is heard as distortion."""
SILENCE_DBFS = -60.0
"""RMS level under which there is no speech to hear."""
DC_SHARE = 0.02
"""Mean of the samples, as a share of full scale, from which on an offset of the recorder shows: -34 dBFS, as loud as quiet speech."""
EDGE_SILENCE_S = 1.0
"""Silence before or after the speech that is worth cutting: longer than the pauses within read sentences."""
LOW_SNR_DB = 10.0
"""Estimate under which noise is nearly as loud as the speech. A judgement: the common mixing range for training noise is 0 to 20 dB."""

DIGEST_FIELD = "audio_digest"
"""Extra field of a manifest row that holds `pcm_digest` as hex, so that leakage checks need not decode the audio again."""

_FULL_SCALE = 0.985
_FRAME_SECONDS = 0.032
_SPLIT_HZ = 4_300  # a little over 4 kHz: resampling filters leak there
_FLOOR_DB = 35.0
_FRAMES_AT_ONCE = 256  # half a megabyte, which stays in the cache
_LEVEL_SECONDS = 0.02
_QUIET_DB = 30.0  # under the speech: a frame so much quieter is a pause or an edge
_SPEECH_PERCENTILE, _NOISE_PERCENTILE = 95, 10
_SNR_FRAMES = 50  # a second: fewer frames have no pause to hear the noise in


class Signal(NamedTuple):
    """`high_share`: energy share above 4 kHz in the frames that have most of it (98th percentile), 0 to 1. `level_dbfs`: RMS. `dc`: mean of the samples.

    `lead_s`, `tail_s`: seconds before the first and after the last frame that is at most 30 dB quieter than the speech. `snr_db`: level of the speech over
    that of the pauses (95th to 10th percentile of frames of 20 ms, as NIST's STNR takes percentiles of a histogram of frames), None under a second;
    recordings without a pause read low.
    """

    seconds: float
    high_share: float
    clipped_share: float
    level_dbfs: float
    digest: bytes
    dc: float
    lead_s: float
    tail_s: float
    snr_db: float | None


def measure(blocks: Iterable[Samples], rate: int) -> Signal:
    """Measures mono samples at their native rate, given in blocks of any length and held no longer. At least one sample in all."""
    meter = _Meter(rate)
    for block in blocks:
        meter.add(block)
    return meter.signal()


def pcm_digest(samples: Samples, rate: int) -> bytes:
    """Identity of a recording: 12 bytes over 16-bit PCM at its native rate, so that WAV and FLAC of it are equal."""
    digest = _digest(rate)
    digest.update(_pcm(samples))
    return digest.digest()


def _digest(rate: int) -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=12, person=str(rate).encode())


def _pcm(samples: Samples) -> memoryview:
    """16-bit samples, little endian."""
    scaled = samples * np.float32(32768.0)
    np.rint(scaled, out=scaled)
    return np.clip(scaled, -32768, 32767, out=scaled).astype("<i2").data


class _Meter:
    """What has been heard so far: sums, the digest, energies of the frames (8 bytes each), and what the next frame and the next neighbour need."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.count = self.flat = 0
        self.levels = _Levels(rate)
        self.digest = _digest(rate)
        self.last = np.zeros(0, dtype=np.float32)
        self.band = _HighBand(rate) if rate > 2 * _SPLIT_HZ else None

    def add(self, samples: Samples) -> None:
        self.count += len(samples)
        self.levels.add(samples)
        self.digest.update(_pcm(samples))
        if max(float(samples.max()), -float(samples.min())) >= _FULL_SCALE:
            self.flat += _flat_tops(np.concatenate((self.last, samples)))
        self.last = samples[-1:]
        if self.band is not None:
            self.band.add(samples)

    def signal(self) -> Signal:
        frames, total, squares = self.levels.finish()
        level = math.sqrt(squares / self.count)
        lead, tail, snr = _edges_and_noise(frames)
        return Signal(
            seconds=self.count / self.rate,
            high_share=0.0 if self.band is None else self.band.share(),
            clipped_share=self.flat / self.count,
            level_dbfs=20 * math.log10(max(level, 1e-10)),
            digest=self.digest.digest(),
            dc=total / self.count,
            lead_s=lead * self.levels.size / self.rate,
            tail_s=tail * self.levels.size / self.rate,
            snr_db=snr,
        )


class _Levels:
    """Sum and energy of each frame of 20 ms, without overlap; 16 bytes a frame."""

    def __init__(self, rate: int) -> None:
        self.size = max(1, round(_LEVEL_SECONDS * rate))
        self.rest = np.zeros(0, dtype=np.float32)
        self.sums: list[NDArray[np.float64]] = []
        self.energies: list[NDArray[np.float64]] = []

    def add(self, samples: Samples) -> None:
        samples = np.concatenate((self.rest, samples)) if len(self.rest) else samples
        whole = len(samples) // self.size * self.size
        frames = samples[:whole].reshape(-1, self.size)
        self.sums.append(frames.sum(axis=1).astype(np.float64))
        self.energies.append(np.einsum("ij,ij->i", frames, frames).astype(np.float64))
        self.rest = samples[whole:].copy()

    def finish(self) -> tuple[NDArray[np.float64], float, float]:
        """The energies of the whole frames, each about its own mean (an offset is not heard); sum and energy of all samples."""
        sums, energies = np.concatenate(self.sums), np.concatenate(self.energies)
        rest = self.rest.astype(np.float64)
        return np.maximum(energies - sums**2 / self.size, 0), float(sums.sum() + rest.sum()), float(energies.sum() + (rest * rest).sum())


def _edges_and_noise(frames: NDArray[np.float64]) -> tuple[int, int, float | None]:
    """Quiet frames at the start and at the end, and the signal-to-noise ratio in dB (`Signal`)."""
    ranked = np.sort(frames)  # np.percentile takes ten times as long on so few
    if not len(ranked) or ranked[-1] == 0:
        return len(frames), len(frames), None
    noise, speech = (float(ranked[share * (len(ranked) - 1) // 100]) for share in (_NOISE_PERCENTILE, _SPEECH_PERCENTILE))
    if speech == 0:
        return 0, 0, None  # clicks in digital silence
    heard = np.flatnonzero(frames > speech * 10 ** (-_QUIET_DB / 10))
    floor = max(noise, speech * 1e-10)
    snr = 10 * math.log10(max(speech - floor, floor * 1e-3) / floor) if len(frames) >= _SNR_FRAMES else None
    return int(heard[0]), int(len(frames) - 1 - heard[-1]), snr


class _HighBand:
    """Energy above 4 kHz, by frames that overlap by half: over a whole utterance vowels would drown the fricatives."""

    def __init__(self, rate: int) -> None:
        self.size = round(_FRAME_SECONDS * rate)
        hertz = np.fft.rfftfreq(self.size, 1 / rate)
        # Places in a row of real and imaginary parts, one after the other.
        self.lowest, self.split = (2 * int(np.searchsorted(hertz, edge, side="right")) for edge in (100, _SPLIT_HZ))
        self.window = np.hanning(self.size).astype(np.float32)
        self.rest = np.zeros(0, dtype=np.float32)
        self.energies: list[tuple[Samples, Samples]] = []

    def add(self, samples: Samples) -> None:
        samples = np.concatenate((self.rest, samples)) if len(self.rest) else samples
        hop = self.size // 2
        frames = max(0, (len(samples) - self.size) // hop + 1)
        self.rest = samples[frames * hop :].copy()
        view = np.lib.stride_tricks.sliding_window_view(samples, self.size)[::hop] if frames else np.zeros((0, self.size), dtype=np.float32)
        for start in range(0, frames, _FRAMES_AT_ONCE):
            parts = _rfft(view[start : start + _FRAMES_AT_ONCE] * self.window).view(np.float32)
            high = parts[:, self.split :]
            low = parts[:, self.lowest : self.split]
            above = np.einsum("ij,ij->i", high, high)
            self.energies.append((np.einsum("ij,ij->i", low, low) + above, above))

    def share(self) -> float:
        """98th percentile of the frames that are not far under the loudest (noise floor); 1 where there is no frame to tell."""
        if not self.energies:
            return 1.0
        total, high = (np.concatenate(parts) for parts in zip(*self.energies, strict=True))
        loud = (total > total.max() * 10 ** (-_FLOOR_DB / 10)) & (total > 0)
        return float(np.percentile(high[loud] / total[loud], 98)) if loud.any() else 1.0


def _rfft(frames: Samples) -> NDArray[np.complex64]:
    """scipy's transform takes several rows at once, so it is four times as fast as numpy's (numpy 2.4); imported where it is used, as that takes time."""
    fft: Any = importlib.import_module("scipy.fft")  # scipy has no types
    return fft.rfft(frames, axis=1)


def _flat_tops(samples: Samples) -> int:
    """Samples at full scale that equal their neighbour: a peak touches full scale once, a clipped one stays there."""
    top = np.abs(samples) >= _FULL_SCALE
    return int(np.count_nonzero(top[1:] & top[:-1] & (np.sign(samples[1:]) == np.sign(samples[:-1]))))
