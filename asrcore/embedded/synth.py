"""Synthetic speech and a telephone channel (pipeline step 2 of 3: grammar -> synth -> sets).

Speech comes from espeak-ng through ctypes, from the `espeakng-loader` wheel (GPL-3 engine: a development dependency, never shipped).
Everything made here is synthetic; a number measured on it says nothing about real speech and must be called synthetic.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr
from scipy.signal import butter, sosfilt  # pyright: ignore[reportUnknownVariableType]

from asrcore.embedded import voices

Audio = npt.NDArray[np.float32]
WIDEBAND_HZ = 16_000
TELEPHONE_HZ = 8_000
ESPEAK_LANGUAGE = {"en-US": "en-us", "es-ES": "es", "bg-BG": "bg", "el-GR": "el"}


class Espeak:
    """In-process espeak-ng with its own voice variants and the drawn ones of one locale. Not thread safe; the last instance of a process counts."""

    _SYNCHRONOUS = 2
    _UTF8 = 1

    def __init__(self, locale: str) -> None:
        try:
            espeakng_loader: Any = importlib.import_module("espeakng_loader")
        except ImportError as error:
            raise RuntimeError("synthesis needs the development extra: pip install 'asrtune[synth]'") from error
        self._lib: Any = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
        self._data = tempfile.TemporaryDirectory(prefix="asrtune-espeak-")
        data = Path(self._data.name) / "espeak-ng-data"
        shutil.copytree(espeakng_loader.get_data_path(), data)
        voices.write_drawn(locale, data / "voices" / "!v")
        self.rate: int = self._lib.espeak_Initialize(self._SYNCHRONOUS, 0, str(data).encode(), 0)
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
