"""The clients of the serving benchmark: what a lag is counted from, and when a search for the number of streams ends."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import numpy as np
import psutil
import pytest
from aiohttp import web

from bench import bench_serve, sherpa_server
from bench.live import PIECE, Case, Clip, Heard, Speaker, run_case
from tests.surfaces.test_serve_protocol import serving

CLIP = Clip("el-GR", np.zeros(8 * PIECE, np.float32))


def case(chunk_ms: int, connections: int, *lags: float) -> Case:
    return Case(chunk_ms, connections, [Heard(0, "a b", list(lags), 0.0)], 1.0, 0.5)


@asynccontextmanager
async def rival(window: int) -> AsyncIterator[str]:
    """A stand-in that speaks sherpa-onnx's protocol: one result for each window of `window` messages."""

    async def stream(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        pieces = 0
        async for message in ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                assert message.data == "Done"
                await ws.send_str(json.dumps({"text": "all said"}))  # the window of the silence behind
                await ws.send_str("Done!")
                break
            assert len(message.data) == 4 * PIECE
            pieces += 1
            if pieces % window == 0:
                await ws.send_str(json.dumps({"text": "so far"}))
        return ws

    app = web.Application()
    app.router.add_get("/", stream)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@pytest.mark.anyio
async def test_every_window_of_a_rivals_stream_has_its_lag_and_silence_behind_has_none() -> None:
    async with rival(3) as url:
        done = await run_case(sherpa_server.listener(url, 160), psutil.Process(), 160, 2, [CLIP], random.Random(0))
    assert [one.text for one in done.heard] == ["all said", "all said"]
    assert [len(one.lags_ms) for one in done.heard] == [3, 3], "windows end at 0.2675, 0.4275 and 0.5875 s; the clip has 0.64"
    assert all(lag >= 0 for one in done.heard for lag in one.lags_ms)


@pytest.mark.anyio
async def test_a_client_of_ours_hears_its_words_and_one_lag_an_update() -> None:
    async with serving() as (_, url, _client):
        done = await run_case(bench_serve.listener(f"{url}/v1/stream", 320), psutil.Process(), 320, 2, [CLIP], random.Random(0))
    assert [one.text for one in done.heard] == ["s21w0 end", "s21w0 end"]
    assert [len(one.lags_ms) for one in done.heard] == [8, 8], "the stand-in answers every message"
    assert (done.in_time, done.agreement) == (done.percentile(95) <= 320, 1.0)


def test_a_window_ends_where_its_last_frame_can_be_computed() -> None:
    assert sherpa_server.window_end_s(0, 80) == pytest.approx(0.1775)
    assert sherpa_server.window_end_s(3, 80) == pytest.approx(0.1775 + 3 * 0.08)
    assert sherpa_server.window_end_s(0, 1120) == pytest.approx(1.2175)


def test_a_lag_is_counted_from_the_message_that_held_the_sample() -> None:
    class Wire:
        async def send_bytes(self, data: bytes) -> None: ...

        async def send_str(self, data: str) -> None: ...

    speaker = Speaker(Wire())  # pyright: ignore[reportArgumentType]
    asyncio.run(speaker.speak([b""] * 3, 0.2, "end"))
    first, second, last = (speaker.lag_ms(at) for at in (0.08, 0.081, 0.2))
    assert first > second > last >= 0
    assert speaker.lag_ms(9.0) == pytest.approx(last, abs=50)


def test_a_search_doubles_the_connections_until_one_is_too_late() -> None:
    asked = [one.connections for one in bench_serve.cases_of(lambda n: case(80, n, 10.0 * n), 2, search=True)]
    assert asked == [2, 4, 8, 16], "160 ms is more than a chunk of 80"
    assert [one.connections for one in bench_serve.cases_of(lambda n: case(80, n, 1.0), 4, search=False)] == [4]


def test_connections_that_read_otherwise_than_most_show_in_the_agreement() -> None:
    heard = [Heard(0, "a", [1.0], 0.0), Heard(0, "a", [1.0], 0.0), Heard(0, "b", [1.0], 0.0), Heard(1, "c", [1.0], 0.0)]
    assert Case(80, 4, heard, 1.0, 0.1).agreement == 0.75


def test_a_rival_that_does_not_start_ends_the_benchmark(tmp_path: Path) -> None:
    program, artefact = tmp_path / sherpa_server.PROGRAM, tmp_path / "artefact"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    (artefact / "deploy").mkdir(parents=True)
    (artefact / "deploy" / "sherpa_onnx_server.sh").write_text(f"exec {sherpa_server.PROGRAM}\n")
    with pytest.raises(SystemExit, match="exit code 3"), sherpa_server.serving(str(program), artefact / "chunk_80ms", streams=1, threads=1):
        pass
    with pytest.raises(SystemExit, match="is not named"):
        sherpa_server.installed(str(artefact / "deploy" / "sherpa_onnx_server.sh"))
    assert sherpa_server.installed(str(tmp_path / "nowhere" / sherpa_server.PROGRAM)) is None
