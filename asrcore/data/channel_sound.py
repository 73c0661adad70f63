"""How the steps of a simulated channel sound: filters, rooms, noise, level, lost packets. What is drawn for an utterance is in `channel_draw.py`.

Samples come in and go out at 16 kHz and keep their number. A band up to 3800 Hz and every codec take the signal to 8 kHz, where it stays.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr

from asrcore import audio, io
from asrcore.audio import MODEL_RATE, Samples
from asrcore.data import channel_codecs
from asrcore.data.audio_files import audio_files
from asrcore.data.channel import CODECS, Step, codecs_of, parse_chains, stages, uses_noise
from asrcore.data.channel_draw import Drawn, draw, key_of, rng_of
from asrcore.data_requests import ChannelPlan, NoiseRef
from asrcore.errors import NotReadyError, Problem, ToolFault, UsageError
from asrcore.fingerprint import check_ref, require_unchanged
from asrcore.manifest import Row

NARROW_RATE = channel_codecs.RATE
NARROW_TOP_HZ = 3_800
"""A band that ends here or below is a telephone's: the signal goes on at 8 kHz."""
PACKET_S = 0.02
MOST_NOISE_FILES = 2_000

_BUTTERWORTH_ORDER = 4
_DIRECT_DB = (0.0, 10.0)
"""Direct sound against all reflections: a handset or headset near the mouth, in dB."""
_HEADROOM = 0.99
_CACHED_S = 60.0
_LEAST = 640
"""Samples (40 ms) that a shorter utterance is filled up to on its way: codecs work in frames of 20 ms."""


def make_plan(chains: tuple[str, ...], noise: Path | None, roots: tuple[Path, ...]) -> ChannelPlan | None:
    """The checked plan of a call; None where no chain is asked for.

    Raises `channel_invalid`, `encoder_missing`, `noise_unused` (a noise folder that no step takes), `noise_invalid`, `no_audio`.
    """
    if noise is not None and not chains:
        raise UsageError("noise_unused", "a folder of noise is given, but no channel.", next_step="pass channel too, such as telephone, or leave noise out.")
    if not chains:
        return None
    parsed = parse_chains(chains)
    channel_codecs.require_encoders(codecs_of(parsed))
    if noise is None:
        return ChannelPlan(chains=parsed)
    if not uses_noise(parsed):
        raise UsageError("noise_unused", "a folder of noise is given, but no chain has a noise step.", next_step="add noise:10-25 to a chain, or leave noise out.")
    return ChannelPlan(chains=parsed, noise=_noise_refs(noise, roots))


def _noise_refs(folder: Path, roots: tuple[Path, ...]) -> tuple[NoiseRef, ...]:
    files = audio_files([folder], roots)
    problems: list[Problem] = []
    if len(files) > MOST_NOISE_FILES:
        problems.append(Problem(code="noise_invalid", message=f"{len(files)} files, {MOST_NOISE_FILES} are the most", file=str(folder), fix="pass fewer"))
    for file in files[:MOST_NOISE_FILES]:
        try:
            audio.probe(file)
        except NotReadyError as error:
            problems.append(Problem(code=error.code, message=error.message, file=str(file), fix="remove or replace the file"))
    if problems:
        raise NotReadyError("noise_invalid", f"{len(problems)} problem(s) with the noise files.", next_step="correct what problems lists, then call again.",
                            problems=problems)  # fmt: skip
    return tuple(NoiseRef(path=str(file), sha256=io.sha256_file(file)) for file in files)


class Channel:
    """A plan made ready: `draw` says what a row goes through, `play` lets its samples go through it."""

    def __init__(self, plan: ChannelPlan, seed: int) -> None:
        """Raises `channel_invalid`, `encoder_missing`, and `fingerprint_mismatch` when a noise file is not what the plan was made with."""
        require_unchanged([p for ref in plan.noise for p in check_ref(ref)], "call the tool again: the noise files have changed.")
        channel_codecs.require_encoders(codecs_of(plan.chains))
        self.seed = seed
        self.noise = sorted(plan.noise, key=lambda ref: (ref.sha256, ref.path))
        self._chains = [(chain, stages(chain)) for chain in plan.chains]

    def draw(self, row: Row) -> Drawn:
        return draw(self._chains, key_of(row, self.seed))

    def play(self, samples: Samples, drawn: Drawn) -> Samples:
        """16 kHz samples as they come out of the channel, the same number. Raises `noise_unreadable`, `encoder_failed`."""
        if not drawn.steps:
            return samples
        sound = _Sound(channel_codecs.resized(samples, max(len(samples), _LEAST)), MODEL_RATE)
        for place, step in enumerate(drawn.steps):
            sound = self._step(sound, step, rng_of(drawn.key, f"sound {place}"))
        return channel_codecs.resized(_headroom(_at(sound, MODEL_RATE).samples), len(samples))

    def _step(self, sound: _Sound, step: Step, rng: np.random.Generator) -> _Sound:
        if step.name in CODECS:
            narrow = _at(sound, NARROW_RATE)
            return narrow._replace(samples=channel_codecs.through(_headroom(narrow.samples), step))
        if step.name == "bandpass":
            return _bandpass(sound, step.low, step.high)
        samples, rate = sound
        match step.name:
            case "noise":
                made = pink(len(samples), rng) if not self.noise else self._recorded(len(samples), rate, rng)
                return _Sound(with_noise(samples, made, step.low), rate)
            case "room":
                return _Sound(in_room(samples, rate, step.low, rng), rate)
            case "level":
                return _Sound(at_level(samples, step.low), rate)
            case _:
                return _Sound(lose_packets(samples, rate, step.low, rng), rate)

    def _recorded(self, length: int, rate: int, rng: np.random.Generator) -> Samples:
        """A piece of a noise file at a place drawn; a file that is shorter goes round."""
        ref = self.noise[int(rng.integers(len(self.noise)))]
        file, at = Path(ref.path), float(rng.random())
        try:
            seconds = audio.probe(file).seconds
            if seconds <= _CACHED_S:
                whole = _whole(ref.path, ref.sha256, rate)
                return np.resize(np.roll(whole, -int(at * len(whole))), length)
            start = at * max(0.0, seconds - length / rate)
            return np.resize(audio.decode(file, rate=rate, offset=start, duration=length / rate), length)
        except NotReadyError as error:
            raise ToolFault("noise_unreadable", f"a noise file cannot be used any more: {error.message}",
                            next_step="take it out of the noise folder, then call the tool again.") from error  # fmt: skip


class _Sound(NamedTuple):
    samples: Samples
    rate: int


@lru_cache(maxsize=16)
def _whole(path: str, sha256: str, rate: int) -> Samples:
    """Kept by content, since a server lives longer than a file. At most 16 x 60 s at 16 kHz: 61 MB."""
    return audio.decode(Path(path), rate=rate)


def pink(length: int, rng: np.random.Generator) -> Samples:
    """Noise whose power falls as 1/f, the usual stand-in for a room's background; its level is of no matter here."""
    size = int(_scipy("fft").next_fast_len(length, real=True))
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum /= np.sqrt(np.maximum(1.0, np.arange(len(spectrum))))
    return np.fft.irfft(spectrum, size)[:length].astype(np.float32)


def with_noise(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Adds noise so that mean power of the utterance, pauses included, over that of the noise is `snr_db`. Silent noise adds nothing."""
    power = float(np.mean(np.square(noise, dtype=np.float64)))
    if power == 0.0:
        return samples
    gain = np.sqrt(float(np.mean(np.square(samples, dtype=np.float64))) / power / 10 ** (snr_db / 10))
    return (samples + noise * np.float32(gain)).astype(np.float32)


def in_room(samples: Samples, rate: int, rt60: float, rng: np.random.Generator) -> Samples:
    """A synthetic room after Polack's statistical model: the direct sound, then Gaussian noise that decays by 60 dB in `rt60` seconds.

    No geometry: no single early reflections and no colour of the walls. Direct sound over reflections is 0 to 10 dB, drawn evenly.
    """
    time = np.arange(max(2, round(rt60 * rate))) / rate
    response = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    response[0] = 0.0
    direct_db = float(rng.uniform(*_DIRECT_DB))
    response /= np.sqrt(float(response @ response) * 10 ** (direct_db / 10))
    response[0] = 1.0
    return np.asarray(_scipy("signal").fftconvolve(samples, response)[: len(samples)], dtype=np.float32)


def at_level(samples: Samples, dbfs: float) -> Samples:
    """The highest sample at `dbfs`; silence stays silence."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples if peak == 0.0 else (samples * np.float32(10 ** (dbfs / 20) / peak)).astype(np.float32)


def lose_packets(samples: Samples, rate: int, share: float, rng: np.random.Generator) -> Samples:
    """Each 20 ms packet but the first is lost with probability `share`, independently, and concealed.

    Concealment is that of ITU-T G.711 Appendix I in short: the last pitch period goes on, as it is for 10 ms, then 20 % weaker every 10 ms and silent
    after 60 ms; 4 ms of cross-fade lead back into the first packet that came. Lost packets do not come in bursts here, as they may on a real line.
    """
    size, fade = round(PACKET_S * rate), round(0.004 * rate)
    lost = rng.random(-(-len(samples) // size)) < share
    lost[:1] = False
    heard = samples.copy()
    edges = np.flatnonzero(np.diff(np.concatenate(([False], lost, [False])).astype(np.int8)))
    for first, after in zip(edges[::2] * size, edges[1::2] * size, strict=True):
        start, end = int(first), min(int(after), len(samples))
        until = min(end + fade, len(samples))
        made = _continued(heard[:start], until - start, rate)
        heard[start:end] = made[: end - start]
        ramp = np.linspace(0.0, 1.0, until - end, dtype=np.float32)
        heard[end:until] = made[end - start :] * (1 - ramp) + heard[end:until] * ramp
    return heard


def _continued(past: Samples, length: int, rate: int) -> Samples:
    """The last pitch period of `past` over and over, fading."""
    period = _pitch(past, rate)
    repeated = np.resize(past[-period:], length)
    time = np.arange(length) / rate
    gain = np.clip(1 - np.maximum(0.0, time - 0.01) / 0.05, 0.0, 1.0)
    return (repeated * gain).astype(np.float32)


def _pitch(past: Samples, rate: int) -> int:
    """Samples of a period between 5 and 15 ms (200 and 66 Hz) by normalised correlation of the last 20 ms; 15 ms where there is too little past."""
    shortest, longest, window = round(0.005 * rate), round(0.015 * rate), round(PACKET_S * rate)
    if len(past) < window + longest:
        return min(longest, len(past))
    template = past[-window:].astype(np.float64)
    earlier = np.lib.stride_tricks.sliding_window_view(past[-window - longest : len(past) - shortest].astype(np.float64), window)
    scores = (earlier @ template) / np.sqrt(np.square(earlier).sum(axis=1) + 1e-12)
    return longest - int(np.argmax(scores))


def _bandpass(sound: _Sound, low: float, high: float) -> _Sound:
    """Butterworth, order 4 at each edge."""
    signal, (samples, rate) = _scipy("signal"), _at(sound, NARROW_RATE) if high <= NARROW_TOP_HZ else sound
    if high >= rate / 2:  # a wide band asked for behind a narrow one: only its lower edge is left to cut
        form: Any = signal.butter(_BUTTERWORTH_ORDER, low, "highpass", fs=rate, output="sos")
    else:
        form = signal.butter(_BUTTERWORTH_ORDER, [low, high], "bandpass", fs=rate, output="sos")
    return _Sound(np.asarray(signal.sosfilt(form, samples), dtype=np.float32), rate)


def _at(sound: _Sound, rate: int) -> _Sound:
    if sound.rate == rate:
        return sound
    return _Sound(np.asarray(soxr.resample(sound.samples, sound.rate, rate), dtype=np.float32), rate)


def _scipy(name: str) -> Any:
    """scipy has no types, and takes a second to import, which shards without a channel should not pay."""
    return importlib.import_module(f"scipy.{name}")


def _headroom(samples: Samples) -> Samples:
    """Turned down as a whole where it would clip; a step that clips on purpose is not part of the grammar."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples if peak <= _HEADROOM else (samples * np.float32(_HEADROOM / peak)).astype(np.float32)
