"""Synthetic speech and a telephone channel (pipeline step 2 of 3: grammar -> synth -> sets).

Speech comes from espeak-ng through ctypes, from the `espeakng-loader` wheel (GPL-3 engine: a development dependency, never shipped).
Everything made here is synthetic; a number measured on it says nothing about real speech and must be called synthetic.
"""

from __future__ import annotations

import ctypes
import importlib
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr
from scipy.signal import butter, sosfilt  # pyright: ignore[reportUnknownVariableType]

Audio = npt.NDArray[np.float32]
WIDEBAND_HZ = 16_000
TELEPHONE_HZ = 8_000

TRAIN_VOICES: tuple[str, ...] = tuple(
    "m1 m2 m4 m5 m6 m7 m8 f1 f3 f4 f5 Alex Alicia Annie Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Mike Nguyen Reed linda david "
    "john max paul pedro quincy rob robert edward ian iven boris caleb benjamin antonio anika aunty norbert marcelo sandro travis".split()
)
TEST_VOICES: tuple[str, ...] = ("m3", "f2", "Andrea", "Michael", "steph", "adam", "belinda", "zac", "victor", "miguel", "gustave", "shelby")
"""espeak voice variants; the two lists share none, and test sets draw from the second only."""
ESPEAK_LANGUAGE = {"en-US": "en-us", "es-ES": "es", "bg-BG": "bg", "el-GR": "el"}


class Espeak:
    """In-process espeak-ng. Not thread safe: one instance a process."""

    _SYNCHRONOUS = 2
    _UTF8 = 1

    def __init__(self) -> None:
        try:
            espeakng_loader: Any = importlib.import_module("espeakng_loader")
        except ImportError as error:
            raise RuntimeError("synthesis needs the development extra: pip install 'asrtune[synth]'") from error
        self._lib: Any = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
        self.rate: int = self._lib.espeak_Initialize(self._SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
        self._parts: list[npt.NDArray[np.int16]] = []
        callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

        def collect(samples: Any, count: int, _events: Any) -> int:
            if samples and count > 0:
                self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        self._callback = callback_type(collect)  # kept: the library holds only the pointer
        self._lib.espeak_SetSynthCallback(self._callback)
        self._lib.espeak_Synth.argtypes = [
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip

    def say(self, text: str, voice: str, words_per_minute: int, pitch: int) -> Audio:
        """Mono float32 at 16 kHz, peak about 0.5. `voice` is an espeak name such as `el+f2`; pitch 0-99."""
        self._parts.clear()
        if self._lib.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak has no voice {voice!r}")
        for parameter, value in ((1, words_per_minute), (3, pitch), (4, 50), (7, 0)):
            self._lib.espeak_SetParameter(parameter, value, 0)
        data = text.encode() + b"\0"
        self._lib.espeak_Synth(data, len(data), 0, 0, 0, self._UTF8, None, None)
        self._lib.espeak_Synchronize()
        if not self._parts:
            raise ValueError(f"espeak said nothing for {text!r}")
        audio = np.concatenate(self._parts).astype(np.float32) / 32768
        audio = np.asarray(soxr.resample(audio, self.rate, WIDEBAND_HZ), dtype=np.float32)
        return trim(audio * (0.5 / max(1e-3, float(np.abs(audio).max()))))


def trim(audio: Audio, threshold: float = 0.01, keep_s: float = 0.12) -> Audio:
    """Cuts leading and trailing silence down to `keep_s` seconds."""
    loud = np.flatnonzero(np.abs(audio) > threshold)
    if not len(loud):
        return audio
    keep = int(keep_s * WIDEBAND_HZ)
    return audio[max(0, int(loud[0]) - keep) : int(loud[-1]) + keep]


def telephone(audio: Audio, rng: np.random.Generator, babble: Audio) -> Audio:
    """The narrow-band channel of the Greek telephone sets: noise, 300-3400 Hz, level, A-law or mu-law, GSM 06.10. 8 kHz float32.

    `babble` is speech of other utterances (16 kHz) that is mixed with pink noise as background at 8-20 dB SNR.
    """
    background = pink(len(audio), rng) + _loop(babble, len(audio), rng) * rng.uniform(0.0, 1.0)
    snr_db = rng.uniform(8, 20)
    gain = np.sqrt(float(audio @ audio) / (float(background @ background) + 1e-9) / 10 ** (snr_db / 10))
    narrow = soxr.resample((audio + gain * background).astype(np.float32), WIDEBAND_HZ, TELEPHONE_HZ)
    narrow = np.asarray(sosfilt(butter(4, [300, 3400], "bandpass", fs=TELEPHONE_HZ, output="sos"), narrow), dtype=np.float32)
    level_db = rng.uniform(-18, -4)
    narrow *= 10 ** (level_db / 20) / max(1e-4, float(np.abs(narrow).max()))
    narrow = codec(narrow, "WAV", str(rng.choice(["ALAW", "ULAW"])))
    return codec(narrow, "WAV", "GSM610")


def codec(audio: Audio, container: str, subtype: str) -> Audio:
    """One pass through a libsndfile codec at 8 kHz, in memory."""
    buffer = io.BytesIO()
    sf.write(buffer, np.clip(audio, -0.99, 0.99), TELEPHONE_HZ, format=container, subtype=subtype)
    buffer.seek(0)
    return np.asarray(sf.read(buffer, dtype="float32")[0][: len(audio)], dtype=np.float32)


def pink(length: int, rng: np.random.Generator) -> Audio:
    """Unit-variance noise whose power falls as 1/f."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum /= np.sqrt(np.maximum(1.0, np.arange(len(spectrum))))
    noise = np.fft.irfft(spectrum, length)
    return (noise / (noise.std() + 1e-9)).astype(np.float32)


def _loop(audio: Audio, length: int, rng: np.random.Generator) -> Audio:
    start = int(rng.integers(0, len(audio)))
    looped = np.resize(np.roll(audio, -start), length)
    return (looped / (looped.std() + 1e-9)).astype(np.float32)
