"""Clients in real time, whatever server they talk to: the clips they speak, how late the words of each chunk come, how busy the server is."""

from __future__ import annotations

import asyncio
import bisect
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp
import numpy as np
import psutil

from asrcore.audio import MODEL_RATE, Samples, decode
from asrcore.embedded import shipped
from asrcore.manifest import load_rows

SETS = ("en-US_guard_test", "es-ES_guard_test", "bg-BG_guard_test", "el-GR_clean_test")
PIECE_S = 0.08
PIECE = round(PIECE_S * MODEL_RATE)
"""Samples of a message."""


class Clip(NamedTuple):
    """Utterances of one language, one after another."""

    language: str
    samples: Samples

    @property
    def seconds(self) -> float:
        return len(self.samples) / MODEL_RATE

    def pieces(self) -> list[Samples]:
        return [self.samples[at : at + PIECE] for at in range(0, len(self.samples), PIECE)]


class Heard(NamedTuple):
    """What one connection brought."""

    clip: int
    text: str
    lags_ms: list[float]
    late_s: float
    """How far the client itself fell behind the clock, at most; above some milliseconds the measurement is of the client."""


class Case(NamedTuple):
    """One number of connections at one chunk length, against one server."""

    chunk_ms: int
    connections: int
    heard: list[Heard]
    wall_s: float
    cpu_s: float

    def percentile(self, percent: float) -> float:
        """Of the lags of all chunks, in milliseconds."""
        return float(np.percentile([lag for one in self.heard for lag in one.lags_ms], percent))

    @property
    def in_time(self) -> bool:
        return self.percentile(95) <= self.chunk_ms

    @property
    def agreement(self) -> float:
        """Share of connections whose text is the most frequent one of their clip."""
        texts: dict[int, Counter[str]] = {}
        for one in self.heard:
            texts.setdefault(one.clip, Counter())[one.text] += 1
        return sum(counter.most_common(1)[0][1] for counter in texts.values()) / len(self.heard)

    def __str__(self) -> str:
        words = sum(len(one.text.split()) for one in self.heard) / len(self.heard)
        p50, p95, p99 = (self.percentile(percent) for percent in (50, 95, 99))
        late = 1000 * max(one.late_s for one in self.heard)
        return (
            f"{self.chunk_ms:5d} ms  {self.connections:3d} connections  lag p50 {p50:.0f}  p95 {p95:.0f}  p99 {p99:.0f} ms  server {self.cpu_s / self.wall_s:.2f} cores  "
            f"{words:.0f} words each  same text {self.agreement:.1%}  client late by at most {late:.0f} ms"
        )  # fmt: skip


class Speaker:
    """Sends a clip at the speed of sound and remembers when each piece went out."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws
        self._sent: list[tuple[float, float]] = []
        self.late_s = 0.0

    async def speak(self, pieces: Sequence[bytes], seconds: float, end: str) -> None:
        began = time.perf_counter()
        for number, piece in enumerate(pieces, start=1):
            due = began + number * PIECE_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await self._ws.send_bytes(piece)
            now = time.perf_counter()
            self.late_s = max(self.late_s, now - due)
            self._sent.append((min(number * PIECE_S, seconds), now))
        await self._ws.send_str(end)

    def lag_ms(self, audio_s: float) -> float:
        """Since the piece went out that holds the sample at `audio_s`."""
        now, at = time.perf_counter(), bisect.bisect_left(self._sent, audio_s - 1e-6, key=lambda entry: entry[0])
        return 1000 * (now - self._sent[min(at, len(self._sent) - 1)][1])


Listen = Callable[[aiohttp.ClientSession, int, Clip], Awaitable[Heard]]
"""One connection from first to last message: (session, number of the clip, clip)."""


async def run_case(listen: Listen, server: psutil.Process, chunk_ms: int, connections: int, clips: Sequence[Clip], chance: random.Random) -> Case:
    """All connections at once, each starting at a random moment within a chunk."""

    async def one(client: aiohttp.ClientSession, number: int, wait: float) -> Heard:
        await asyncio.sleep(wait)
        return await listen(client, number % len(clips), clips[number % len(clips)])

    began, before = time.perf_counter(), busy(server)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        heard = await asyncio.gather(*(one(client, n, chance.uniform(0, chunk_ms / 1000)) for n in range(connections)))
    return Case(chunk_ms, connections, heard, time.perf_counter() - began, busy(server) - before)


def busy(process: psutil.Process) -> float:
    """CPU seconds of a process and its children."""
    return sum(sum(p.cpu_times()[:2]) for p in [process, *process.children(recursive=True)])


def clips_of(folder: Path, seconds: float) -> list[Clip]:
    """One of each language, `seconds` long."""
    manifests, found = shipped.unpack(folder), list[Clip]()
    for name in SETS:
        rows = load_rows(manifests[name])
        samples = np.concatenate([decode(row.audio) for row in rows[: max(2, round(seconds))]])
        found.append(Clip(rows[0].utterance.target_lang, np.resize(samples, int(seconds * MODEL_RATE)).astype(np.float32)))
    return found
