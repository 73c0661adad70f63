"""PCM16 as it comes over the network, to float samples at the model's rate: the same samples as `asrcore.audio.decode` gives for a file."""

from __future__ import annotations

import numpy as np
import soxr

from asrcore.audio import MODEL_RATE, Samples

RATES = (8_000, 16_000)
"""Sample rates that a client may send, in Hz."""
SAMPLE_BYTES = 2
_FULL_SCALE = np.float32(32768.0)


class PcmStream:
    """Little-endian mono PCM16 in pieces of any even length. At 8 kHz one resampler lives as long as the stream, so pieces leave no seams."""

    def __init__(self, rate: int) -> None:
        self._resampler = None if rate == MODEL_RATE else soxr.ResampleStream(rate, MODEL_RATE, 1, dtype="float32")

    def feed(self, pcm: bytes) -> Samples:
        """Samples in [-1, 1) that are complete now; the resampler keeps the last milliseconds back."""
        return self._converted(np.frombuffer(pcm, dtype="<i2").astype(np.float32) / _FULL_SCALE, last=False)

    def finish(self) -> Samples:
        """What was kept back. Nothing may follow."""
        return self._converted(np.zeros(0, dtype=np.float32), last=True)

    def _converted(self, samples: Samples, *, last: bool) -> Samples:
        if self._resampler is None:
            return samples
        return np.asarray(self._resampler.resample_chunk(samples, last=last), dtype=np.float32)


class Tail:
    """The samples of a stream that are still needed, addressed by their number from the stream's start."""

    def __init__(self) -> None:
        self._parts: list[Samples] = []
        self._first = 0
        self.end = 0

    def append(self, samples: Samples) -> None:
        if len(samples):
            self._parts.append(samples)
            self.end += len(samples)

    def part(self, start: int, end: int) -> Samples:
        """Samples [start, end), which must be held; those before `start` are let go."""
        held = np.concatenate(self._parts) if self._parts else np.zeros(0, dtype=np.float32)
        if not self._first <= start <= end <= self.end:
            raise IndexError(f"samples {start} to {end} of {self._first} to {self.end}")
        held = held[start - self._first :]
        self._parts, self._first = [held], start
        return held[: end - start]
