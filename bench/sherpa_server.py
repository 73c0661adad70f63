"""sherpa-onnx's own streaming WebSocket server (the wheel `sherpa-onnx-bin`) on an exported chunk folder, as a rival of `asrtune serve`.

Its protocol (k2-fsa/sherpa-onnx, online-websocket-server-impl.cc, tried with 2.0.1): float32 samples in binary messages, `Done` at the end; one JSON result a decoded
window, `Done!` last. Results do not say which audio they are about, but there is one for each window, so the n-th is about the first n windows. The
server takes no language: every stream runs in `auto`, and one server has one chunk size. Its texts are not compared here (docs/concepts/export.md says why).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import numpy as np

from asrcore.audio import MODEL_RATE
from bench.live import Clip, Heard, Listen, Speaker

PROGRAM = "sherpa-onnx-online-websocket-server"
HOP, REACH = 160, 280
"""Samples a mel frame, and from a frame's start to the end of its window (25 ms around the middle of the hop; its fbank pads at both ends)."""
IN_FRONT = 9
"""Mel frames that a window holds in front of its chunk."""
START_S = 60.0


def installed(program: str | None) -> str | None:
    """The program's path, or None. The script that starts it knows one name only."""
    if program is not None and Path(program).name != PROGRAM:
        raise SystemExit(f"{program} is not named {PROGRAM}")
    return shutil.which(program or PROGRAM)


@contextmanager
def serving(program: str, chunk: Path, *, streams: int, threads: int) -> Generator[tuple[subprocess.Popen[bytes], str]]:
    """The server's process and its address, while the block runs, started by the artefact's own `deploy/sherpa_onnx_server.sh`. `threads` work on batches of up to `streams`, each with one thread for the network."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(Path(program).parent), os.environ.get("PATH", "")])
    setting = {"PATH": paths, "THREADS": str(threads), "STREAMS": str(streams), "LOG": str(chunk / "server.log")}
    command = ["bash", "deploy/sherpa_onnx_server.sh", chunk.name, str(port)]
    server = subprocess.Popen(command, cwd=chunk.parent, env=os.environ | setting, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(server, port)
        yield server, f"ws://127.0.0.1:{port}/"
    finally:
        server.kill()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    began = time.monotonic()
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if server.poll() is not None or time.monotonic() - began > START_S:
                raise SystemExit(f"{PROGRAM} did not start (exit code {server.poll()})") from None
            time.sleep(0.1)


def window_end_s(number: int, chunk_ms: int) -> float:
    """Audio seconds that the windows 0 … `number` need."""
    frames = chunk_ms // 10 * (number + 1) + IN_FRONT
    return ((frames - 1) * HOP + REACH) / MODEL_RATE


def listener(url: str, chunk_ms: int) -> Listen:
    async def listen(client: aiohttp.ClientSession, number: int, clip: Clip) -> Heard:
        async with client.ws_connect(url) as ws:
            speaker = Speaker(ws)
            speaking = asyncio.create_task(speaker.speak([piece.astype(np.float32).tobytes() for piece in clip.pieces()], clip.seconds, "Done"))
            text, lags = "", list[float]()
            windows = 0
            async for message in ws:
                if message.data == "Done!":
                    break
                text = str(json.loads(message.data)["text"])
                end = window_end_s(windows, chunk_ms)
                windows += 1
                if end <= clip.seconds:  # what comes after is about the silence that the server adds
                    lags.append(speaker.lag_ms(end))
            await speaking
        return Heard(number, text.strip(), lags, speaker.late_s)

    return listen
