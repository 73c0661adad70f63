"""How many live streams a server keeps up with: N connections in real time, and how late their words are.

    python bench/bench_serve.py [--checkpoint embedded] [--seconds 30] [--case 1120:64 --case 320:32 --case 80:8] [--threads N]

Each connection sends synthetic speech of the embedded test sets at the speed of sound, 80 ms a message, starting at a random moment within a chunk.
The lag of a chunk is the time from sending its last sample to receiving the message that its words come in, measured by the client; clients share the
machine with the server, which makes it look slower than it is. Bars, on 2 cores with the embedded base: 64 connections at 1120 ms and 32 at 320 ms
with a p95 lag of at most one chunk; 80 ms is only measured. Every clip must also read the same in every connection (99 %). Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import aiohttp
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from asrcore.audio import decode
from asrcore.embedded import shipped
from asrcore.manifest import load_rows

SETS = ("en-US_guard_test", "es-ES_guard_test", "bg-BG_guard_test", "el-GR_clean_test")
PIECE_S, RATE = 0.08, 16_000
BARS = {1120: 64, 320: 32}


class Clip(NamedTuple):
    """Utterances of one language, one after another, as PCM16."""

    language: str
    pcm: bytes


class Heard(NamedTuple):
    clip: int
    text: str
    lags_ms: list[float]
    late_s: float
    """How far the client itself fell behind the clock, at most; above some milliseconds the measurement is of the client."""


def clips_of(folder: Path, seconds: float) -> list[Clip]:
    """One of each language, `seconds` long."""
    manifests, found = shipped.unpack(folder), list[Clip]()
    for name in SETS:
        rows = load_rows(manifests[name])
        samples = np.concatenate([decode(row.audio) for row in rows[: max(2, round(seconds))]])
        samples = np.tile(samples, 1 + int(seconds * RATE) // len(samples))[: int(seconds * RATE)]
        found.append(Clip(rows[0].utterance.target_lang, np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2").tobytes()))
    return found


async def listen(client: aiohttp.ClientSession, url: str, latency: int, number: int, clip: Clip, wait: float) -> Heard:
    """One client in real time."""
    await asyncio.sleep(wait)
    piece, late, sent = int(PIECE_S * RATE) * 2, 0.0, list[tuple[float, float]]()
    async with client.ws_connect(url) as ws:
        await ws.send_str(json.dumps({"language": clip.language, "latency_ms": latency}))
        assert (await ws.receive_json())["type"] == "ready"
        began = time.perf_counter()

        async def speak() -> float:
            worst = 0.0
            for n, at in enumerate(range(0, len(clip.pcm), piece), start=1):
                due = began + n * PIECE_S
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                await ws.send_bytes(clip.pcm[at : at + piece])
                now = time.perf_counter()
                worst = max(worst, now - due)
                sent.append((min(n * PIECE_S, len(clip.pcm) / 2 / RATE), now))
            await ws.send_str('{"type": "end"}')
            return worst

        speaking = asyncio.create_task(speak())
        text, lags, last = "", list[float](), 0.0
        async for message in ws:
            now, told = time.perf_counter(), json.loads(message.data)
            if told["type"] == "error":
                raise RuntimeError(told["code"])
            if told["type"] == "final":
                text += ("" if told["glue"] else " ") + told["text"]
            if told["type"] != "done" and told["audio_s"] > last:
                last = told["audio_s"]
                at = bisect.bisect_left(sent, last - 1e-6, key=lambda entry: entry[0])
                lags.append(1000 * (now - sent[min(at, len(sent) - 1)][1]))
        late = await speaking
    return Heard(number, text.strip(), lags, late)


async def case(url: str, latency: int, connections: int, clips: list[Clip], chance: random.Random) -> tuple[list[Heard], float]:
    """All connections at once, and the wall seconds they took."""
    began = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        heard = await asyncio.gather(
            *(
                listen(client, url, latency, n % len(clips), clips[n % len(clips)], chance.uniform(0, latency / 1000))
                for n in range(connections)
            )
        )
    return heard, time.perf_counter() - began


def agreement(heard: list[Heard]) -> float:
    """Share of connections whose text is the most frequent one of their clip."""
    texts: dict[int, Counter[str]] = {}
    for one in heard:
        texts.setdefault(one.clip, Counter())[one.text] += 1
    return sum(counter.most_common(1)[0][1] for counter in texts.values()) / len(heard)


def busy(process: psutil.Process) -> float:
    """CPU seconds of a process and its children."""
    return sum(sum(p.cpu_times()[:2]) for p in [process, *process.children(recursive=True)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="embedded")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--case", action="append", help="LATENCY_MS:CONNECTIONS; default 1120:64 320:32 80:8")
    parser.add_argument("--threads", type=int, default=0, help="Of the engine; default: what OMP_NUM_THREADS or the machine says.")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    cases = [tuple(map(int, text.split(":"))) for text in options.case or ["1120:64", "320:32", "80:8"]]
    root = Path(__file__).parents[1]
    paths = os.pathsep.join([str(root), str(root / "tools"), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths} | ({"OMP_NUM_THREADS": str(options.threads)} if options.threads else {})
    command = [
        sys.executable,
        "-m",
        "asrtune",
        "serve",
        options.checkpoint,
        "--json",
        "--device",
        options.device,
        "--max-connections",
        str(max(n for _, n in cases)),
    ]
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        clips = clips_of(Path(folder), options.seconds)
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["websocket"]
            process = psutil.Process(server.pid)
            for latency, connections in cases:
                before = busy(process)
                heard, wall = asyncio.run(case(url, latency, connections, clips, random.Random(0)))
                lags = np.array([lag for one in heard for lag in one.lags_ms])
                p50, p95, p99 = np.percentile(lags, [50, 95, 99])
                cores = (busy(process) - before) / wall
                same, late = agreement(heard), 1000 * max(one.late_s for one in heard)
                words = sum(len(one.text.split()) for one in heard) / len(heard)
                needed = BARS.get(latency) == connections
                good = p95 <= latency and same >= 0.99
                missed |= needed and not good
                print(f"{latency:5d} ms  {connections:3d} connections  lag p50 {p50:.0f}  p95 {p95:.0f}  p99 {p99:.0f} ms  server {cores:.2f} cores  "
                      f"{words:.0f} words each  same text {same:.1%}  client late by at most {late:.0f} ms  "
                      f"{'meets' if good else 'misses'} {'the bar' if needed else 'p95 <= one chunk'}", flush=True)  # fmt: skip
        finally:
            server.terminate()
            code = server.wait(timeout=30)
    print(f"the server ended with {code}")
    return int(missed or code != 0)


if __name__ == "__main__":
    sys.exit(main())
