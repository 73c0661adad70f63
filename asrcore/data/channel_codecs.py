"""Speech codecs at 8 kHz: encoded and decoded in memory, so that what comes out is what a listener behind that line gets.

G.711, GSM 06.10, G.726 and Opus are libsndfile's own (its wheel has them all). AMR-NB needs an ffmpeg with libopencore_amrnb: one on the PATH, or
the one that the package imageio-ffmpeg brings. Equal input gives equal bytes with one version of these libraries.
"""

from __future__ import annotations

import importlib
import importlib.util
import io as memory
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import soundfile as sf

from asrcore.audio import Samples
from asrcore.data import opus
from asrcore.data.channel import Step, StepName
from asrcore.errors import EnvironmentFault, ToolFault

RATE = 8_000
"""Sample rate of all of these codecs, in Hz."""

_LIBSNDFILE = {"ulaw": ("WAV", "ULAW"), "alaw": ("WAV", "ALAW"), "gsm": ("WAV", "GSM610")}
_G726 = {24.0: "G723_24", 32.0: "G721_32", 40.0: "G723_40"}
"""G.726 took in G.721 (32 kbit/s) and G.723 (24 and 40); libsndfile keeps the older names."""
_AMR_ENCODER = "libopencore_amrnb"
_AMR_DELAY = 40
"""Samples that the encoder looks ahead (5 ms, 3GPP TS 26.090) and ffmpeg does not take off, as libsndfile does for its codecs."""
_TIMEOUT_S = 120


def require_encoders(codecs: Iterable[StepName]) -> None:
    """Raises `encoder_missing` when one of the codecs cannot be had on this machine."""
    if "amr" in set(codecs) and amr_encoder() is None:
        raise EnvironmentFault("encoder_missing", f"AMR-NB needs an ffmpeg with {_AMR_ENCODER}, and there is none on this machine.",
                               next_step="install the package imageio-ffmpeg or such an ffmpeg, or use gsm in place of amr.")  # fmt: skip


def through(samples: Samples, step: Step) -> Samples:
    """8 kHz samples as they come out of the codec, of the same length. Raises `encoder_missing`, `encoder_failed`."""
    if step.name == "amr":
        heard = _amr(samples, step.low)
    elif step.name == "opus":
        heard = _libsndfile(samples, "OGG", "OPUS", compression_level=opus.level(step.low))
    elif step.name == "g726":
        heard = _libsndfile(samples, "AU", _G726[step.low])
    else:
        heard = _libsndfile(samples, *_LIBSNDFILE[step.name])
    return resized(heard, len(samples))


@cache
def amr_encoder() -> str | None:
    """Path of an ffmpeg that encodes AMR-NB; looked for once a process."""
    candidates = [shutil.which("ffmpeg")]
    if importlib.util.find_spec("imageio_ffmpeg") is not None:
        package: Any = importlib.import_module("imageio_ffmpeg")
        candidates.append(str(package.get_ffmpeg_exe()))
    for path in filter(None, candidates):
        listed = subprocess.run([path, "-hide_banner", "-encoders"], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
        if _AMR_ENCODER in listed.stdout:
            return path
    return None


def _libsndfile(samples: Samples, container: str, subtype: str, **form: Any) -> Samples:
    buffer = memory.BytesIO()
    sf.write(buffer, samples, RATE, format=container, subtype=subtype, **form)
    buffer.seek(0)
    return np.asarray(sf.read(buffer, dtype="float32")[0], dtype=np.float32)


def _amr(samples: Samples, kbits: float) -> Samples:
    path = amr_encoder()
    if path is None:
        require_encoders(("amr",))
        raise AssertionError("require_encoders raises")
    padded = np.pad(samples, (0, _AMR_DELAY))
    pcm = np.clip(np.rint(padded * 32768.0), -32768, 32767).astype("<i2").tobytes()
    raw = ("-f", "s16le", "-ar", str(RATE), "-ac", "1")
    encoded = _ffmpeg(path, (*raw, "-i", "pipe:0", "-c:a", _AMR_ENCODER, "-b:a", f"{round(kbits * 1000)}", "-f", "amr", "pipe:1"), pcm)
    decoded = _ffmpeg(path, ("-f", "amr", "-i", "pipe:0", *raw, "pipe:1"), encoded)
    return np.asarray(np.frombuffer(decoded, dtype="<i2")[_AMR_DELAY:] / 32768, dtype=np.float32)


def _ffmpeg(path: str, arguments: Iterable[str], data: bytes) -> bytes:
    done = subprocess.run([path, "-nostdin", "-v", "error", *arguments], input=data, capture_output=True, check=False, timeout=_TIMEOUT_S)
    if done.returncode != 0 or not done.stdout:
        raise ToolFault("encoder_failed", f"ffmpeg ended with code {done.returncode} while it encoded AMR-NB.",
                        next_step="use gsm in place of amr, or install another ffmpeg.")  # fmt: skip
    return done.stdout


def resized(samples: Samples, length: int) -> Samples:
    """Cut, or filled with silence: a codec's last frame may be padded, or short where a delay was taken off; resampling may be a sample off."""
    return samples[:length] if len(samples) >= length else np.pad(samples, (0, length - len(samples)))
