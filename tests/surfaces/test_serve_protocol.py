"""The live server without a model: what clients may say, how they are refused, and that nobody hears somebody else's words.

A stand-in for the engine's process (fake_engine.py) writes words that name their stream; the real one is in tests/model/test_serve.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from asrcore.errors import AsrtuneError, UsageError
from asrcore.serve.app import Server
from asrcore.serve.protocol import CLOSE_CODES
from asrcore.serve.settings import TOKEN, Limits, Settings, require_token

pytestmark = pytest.mark.anyio
FAKE = (sys.executable, str(Path(__file__).with_name("fake_engine.py")))
SECOND = bytes(2 * 16_000)
SECRET = "a token of some length"


def settings(**changes: Any) -> Settings:
    limits = Limits(**{"grace_s": 2.0, **changes.pop("limits", {})})
    base: dict[str, Any] = {
        "checkpoint": "x.nemo", "name": "x", "slots": {"en-US": 0, "el-GR": 21, "bg-BG": 30, "auto": 101}, "contexts": ((56, 0), (56, 3), (56, 13)),
        "default_context": (56, 3), "limits": limits,
    }  # fmt: skip
    return Settings(**(base | changes))


@asynccontextmanager
async def serving(**changes: Any) -> AsyncIterator[tuple[Server, str, aiohttp.ClientSession]]:
    server = Server(settings(**changes), FAKE)
    url = await server.start()
    running = asyncio.create_task(server.serve_until_stopped())
    try:
        async with aiohttp.ClientSession() as client:
            yield server, url, client
    finally:
        server.stop()
        await asyncio.gather(running, return_exceptions=True)


async def rest(ws: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    """All messages up to the close."""
    return [json.loads(message.data) async for message in ws if message.type is aiohttp.WSMsgType.TEXT]


async def caption(client: aiohttp.ClientSession, url: str, *, seconds: int = 3, **start: Any) -> list[dict[str, Any]]:
    """A well-behaved client from first to last message."""
    async with client.ws_connect(f"{url}/v1/stream") as ws:
        await ws.send_str(json.dumps(start))
        for _ in range(seconds):
            await ws.send_bytes(SECOND)
        await ws.send_str('{"type": "end"}')
        return await rest(ws)


def text_of(messages: list[dict[str, Any]]) -> str:
    return "".join(("" if m["glue"] else " ") + m["text"] for m in messages if m["type"] == "final").strip()


async def refused(client: aiohttp.ClientSession, url: str, *messages: str | bytes, **options: Any) -> tuple[str, int | None]:
    """The code of the error message, and the close code."""
    async with client.ws_connect(f"{url}/v1/stream", **options) as ws:
        for message in messages:
            await (ws.send_bytes(message) if isinstance(message, bytes) else ws.send_str(message))
        replies = await rest(ws)
        return (replies[-1]["code"] if replies and replies[-1]["type"] == "error" else ""), ws.close_code


async def test_a_stream_gets_ready_then_words_with_times_then_done_and_a_normal_close() -> None:
    async with serving() as (_, url, client):
        messages = await caption(client, url, language="el-GR", latency_ms=80)
    assert messages[0] == {
        "type": "ready",
        "version": 1,
        "language": "el-GR",
        "latency_ms": 80,
        "att_context_size": [56, 0],
        "sample_rate": 16000,
    }
    assert text_of(messages) == "s21w0 s21w1 s21w2 s21w3 s21w4 s21w5 end"
    assert messages[-1]["type"] == "done"
    assert messages[-1]["audio_s"] == 3.0
    finals = [m for m in messages if m["type"] == "final"]
    assert [m["segment"] for m in finals] == list(range(messages[-1]["segments"]))
    assert all(m["language"] == "el-GR" and m["start"] <= m["end"] <= m["audio_s"] and m["lag_ms"] >= 0 for m in finals)
    assert [word for m in finals for word, _, _ in m["words"]] == text_of(messages).split()


async def test_in_auto_the_language_is_the_one_the_model_wrote() -> None:
    async with serving() as (_, url, client):
        messages = await caption(client, url, language="auto")
    assert {m["language"] for m in messages if m["type"] == "final"} == {"el-GR"}


async def test_many_streams_at_once_of_many_languages_get_their_own_words_only() -> None:
    """Trap 3.10."""
    tags = {"en-US": 0, "el-GR": 21, "bg-BG": 30, "auto": 101}
    async with serving() as (_, url, client):
        wanted = list(tags.items()) * 8
        heard = await asyncio.gather(*(caption(client, url, language=tag) for tag, _ in wanted))
    for (_, slot), messages in zip(wanted, heard, strict=True):
        assert set(text_of(messages).split()) == {f"s{slot}w{n}" for n in range(6)} | {"end"}


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (["{"], "start_invalid"), (["[]"], "start_invalid"), (['{"sample_rate": "x"}'], "start_invalid"), (['{"colour": 1}'], "start_invalid"),
        (["[" * 100_000], "start_invalid"), ([SECOND], "start_invalid"), (['{"sample_rate": 44100}'], "sample_rate_unsupported"),
        (['{"language": "xx-XX"}'], "unknown_tag"), (['{"latency_ms": 100}'], "latency_unsupported"), (["{}", b"abc"], "audio_frame_invalid"),
        (["{}", b""], "audio_frame_invalid"), (["{}", "nonsense"], "message_invalid"), (["{}", '{"type": "stop"}'], "message_invalid"),
        (["{}", SECOND, SECOND, SECOND], "audio_too_long"),
    ],
)  # fmt: skip
async def test_what_cannot_be_served_is_refused_with_a_code_and_a_close_code(messages: list[str | bytes], code: str) -> None:
    async with serving(limits={"max_audio_s": 2.0}) as (server, url, client):
        assert await refused(client, url, *messages) == (code, CLOSE_CODES[code])
        assert await places_free(server, 0)
        assert text_of(await caption(client, url, seconds=1)).endswith("end"), "the server goes on"


async def test_a_message_above_the_size_limit_closes_the_connection_with_1009() -> None:
    async with serving(limits={"max_message_bytes": 1000}) as (_, url, client):
        _, code = await refused(client, url, "{}", bytes(2000))
    assert code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_a_client_that_says_nothing_is_sent_away() -> None:
    async with serving(limits={"start_timeout_s": 0.05, "idle_timeout_s": 0.05}) as (_, url, client):
        assert await refused(client, url) == ("start_missing", CLOSE_CODES["start_missing"])
        assert await refused(client, url, "{}") == ("stream_idle", CLOSE_CODES["stream_idle"])


async def test_a_full_server_says_so_and_has_room_again_when_a_stream_ends() -> None:
    async with serving(limits={"max_connections": 1}) as (server, url, client):
        async with client.ws_connect(f"{url}/v1/stream") as first:
            await first.send_str("{}")
            assert (await first.receive_json())["type"] == "ready"
            assert await refused(client, url, "{}") == ("server_full", CLOSE_CODES["server_full"])
        assert await places_free(server, 0)
        assert text_of(await caption(client, url)).endswith("end")


async def test_clients_that_vanish_leave_nothing_behind() -> None:
    async with serving(limits={"max_connections": 4}) as (server, url, client):
        for n in range(100):
            ws = await client.ws_connect(f"{url}/v1/stream")
            if n % 3:
                await ws.send_str("{}")
                await ws.send_bytes(SECOND)
            if n % 2:
                await ws.close()
            else:
                pull_the_cable(ws)
            if n % 4 == 3:
                assert await places_free(server, 0)
        assert await places_free(server, 0)
        assert not server.engine._streams
        assert text_of(await caption(client, url)).startswith("s101w0")


def pull_the_cable(ws: aiohttp.ClientWebSocketResponse) -> None:
    """The connection ends without a close frame."""
    connection = ws._response.connection
    assert connection is not None
    assert connection.transport is not None
    connection.transport.abort()


async def places_free(server: Server, taken: int) -> bool:
    async with asyncio.timeout(10):
        while server._places.taken != taken or server._sessions:
            await asyncio.sleep(0)
    return True


async def garbage(ws: aiohttp.ClientWebSocketResponse, chance: random.Random) -> None:
    """Bytes that are no WebSocket frames, in the middle of a stream."""
    connection = ws._response.connection
    assert connection is not None
    assert connection.transport is not None
    connection.transport.write(chance.randbytes(chance.randint(1, 5000)))


async def misbehave(client: aiohttp.ClientSession, url: str, how: int, chance: random.Random) -> None:
    """One client that no server wants: random text or bytes, frames that are none, half a stream, a cable that is pulled."""
    async with client.ws_connect(f"{url}/v1/stream") as ws:
        with contextlib.suppress(ConnectionError, RuntimeError):
            if how != 0:
                await ws.send_str("{}")
                await ws.send_bytes(bytes(2 * chance.randint(1, 8000)))
            match how:
                case 0:
                    await ws.send_str(chance.choice(["", "{}{}", "null", "\x00", "[" * 999, '{"language": 3}', '{"token": "' + "x" * 999 + '"}']))
                case 1:
                    await ws.send_bytes(chance.randbytes(2 * chance.randint(0, 999) + 1))
                case 2:
                    await garbage(ws, chance)
                case 3:
                    pull_the_cable(ws)
                case _:
                    await ws.send_str(chance.choice(['{"type": "end"', '{"type": "start"}', "end", '{"type": "end", "type": "no"}']))
        if how != 3:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(10):
                    await rest(ws)


async def storm(count: int) -> None:
    """Bad clients of every kind at once, and good ones between them, who must hear their own words and nothing else."""
    chance, tags = random.Random(0), {"en-US": 0, "el-GR": 21, "bg-BG": 30, "auto": 101}
    async with serving(limits={"max_connections": 200}) as (server, url, client):
        for wave in range(count):
            good = list(tags.items())
            jobs = [misbehave(client, url, how, chance) for how in chance.choices(range(5), k=16)]
            heard = await asyncio.gather(*(caption(client, url, language=tag) for tag, _ in good), *jobs)
            for (_, slot), messages in zip(good, heard[: len(good)], strict=True):
                assert text_of(messages).split() == [*(f"s{slot}w{n}" for n in range(6)), "end"], f"wave {wave}"
            assert await places_free(server, 0)
            assert not server.engine._streams


async def test_bad_clients_of_every_kind_cost_nobody_else_a_word() -> None:
    await storm(3)


@pytest.mark.slow
async def test_a_thousand_bad_clients_cost_nobody_else_a_word() -> None:
    await storm(64)


async def test_a_slow_reader_is_dropped_and_told_so_when_it_reads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASRTUNE_FAKE", "flood")
    async with serving(limits={"max_unread": 8}) as (server, url, client):
        assert await refused(client, url, "{}", SECOND) == ("slow_reader", CLOSE_CODES["slow_reader"])
        assert await places_free(server, 0)


async def test_a_slow_reader_beside_others_costs_them_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket is full, so that sending to it never ends: its replies wait, it is dropped, and a stream that is read goes on to its end."""
    monkeypatch.setenv("ASRTUNE_FAKE", "flood")
    async with serving(limits={"max_unread": 4000}) as (server, url, client):
        async with client.ws_connect(f"{url}/v1/stream") as deaf:
            await deaf.send_str('{"language": "el-GR"}')
            assert (await deaf.receive_json())["type"] == "ready"
            (session,) = server._sessions
            never = asyncio.Event()
            monkeypatch.setattr(session._ws, "send_str", lambda _: never.wait())
            for _ in range(3):
                await deaf.send_bytes(bytes(320))
            messages = await caption(client, url, seconds=1, language="bg-BG")
            assert set(text_of(messages).split()) == {"s30w0", "s30w1", "end"}
            while not deaf.closed:
                await deaf.receive()
            assert deaf.close_code == CLOSE_CODES["slow_reader"]
        assert await places_free(server, 0)


async def test_a_client_faster_than_the_engine_is_read_from_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASRTUNE_FAKE", "deaf")
    async with serving(limits={"backlog_s": 2.0}) as (server, url, client):
        ws = await client.ws_connect(f"{url}/v1/stream")
        await ws.send_str("{}")
        for _ in range(6):
            await ws.send_bytes(SECOND)
        await ws.receive_json()
        async with asyncio.timeout(10):
            while not (streams := list(server.engine._streams.values())) or streams[0].sent_s < 2.0:
                await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0)
        assert streams[0].sent_s == 2.0
        pull_the_cable(ws)


async def test_when_the_engine_dies_clients_are_told_and_the_server_ends_with_the_same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASRTUNE_FAKE", "die")
    server = Server(settings(), FAKE)
    url = await server.start()
    running = asyncio.create_task(server.serve_until_stopped())
    async with aiohttp.ClientSession() as client:
        assert await refused(client, url, "{}", SECOND) == ("serve_engine_died", 1011)
    with pytest.raises(AsrtuneError, match="serve_engine_died"):
        await running


async def test_an_engine_that_cannot_load_is_the_error_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASRTUNE_FAKE", "refuse")
    with pytest.raises(AsrtuneError, match="checkpoint_not_nemo"):
        await Server(settings(), FAKE).start()


async def test_stopping_gives_open_streams_their_last_words_then_1001() -> None:
    async with serving() as (server, url, client), client.ws_connect(f"{url}/v1/stream") as ws:
        await ws.send_str("{}")
        await ws.send_bytes(SECOND)
        assert [(await ws.receive_json())["type"] for _ in range(2)] == ["ready", "partial"]
        server.stop()
        messages = await rest(ws)
        assert text_of(messages) == "s101w0 s101w1 end"
        assert (messages[-1]["code"], ws.close_code) == ("server_stopping", 1001)


async def test_with_a_token_only_those_who_know_it_get_in_and_the_engine_never_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.jobs.process import environment

    monkeypatch.setenv(TOKEN, SECRET)
    assert TOKEN not in environment()
    async with serving(token=SECRET) as (_, url, client):
        for start in ("{}", json.dumps({"token": "wrong"}), json.dumps({"token": "φ"})):
            assert await refused(client, url, start) == ("serve_token_wrong", CLOSE_CODES["serve_token_wrong"])
        bearer = {"Authorization": f"Bearer {SECRET}"}
        assert await refused(client, url, "{}", '{"type": "end"}', headers=bearer) == ("", 1000)
        assert text_of(await caption(client, url, token=SECRET)).endswith("end")
        async with client.get(f"{url}/health") as answer:
            assert SECRET not in await answer.text()
            assert (await answer.json())["token_required"] is True


def test_an_address_that_others_can_reach_needs_a_token() -> None:
    for host in ("10.0.0.1", "192.168.1.4", "::", "captions.example"):
        with pytest.raises(UsageError, match="serve_token_missing"):
            require_token(host, None)
        assert require_token(host, SECRET) == SECRET
    for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9"):
        assert require_token(host, None) is None
    with pytest.raises(UsageError, match="serve_token_short"):
        require_token("10.0.0.1", "short")


async def test_pages_of_other_origins_and_made_up_host_names_are_refused() -> None:
    async with serving(origins=("https://captions.example",)) as (_, url, client):
        own = {"Origin": url}
        for headers, status in (
            (own, 200), ({}, 200), ({"Origin": "https://captions.example"}, 200), ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Origin": "http://["}, 403), ({"Host": "[", "Origin": "null"}, 403),
            ({"Host": "evil.example", "Origin": "http://evil.example"}, 403), ({"Host": "localhost:1"}, 200),
        ):  # fmt: skip
            async with client.get(f"{url}/health", headers=headers) as answer:
                assert answer.status == status, headers
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect(f"{url}/v1/stream", headers={"Origin": "http://evil.example"})


async def test_health_says_what_can_be_asked_for_and_the_page_loads_nothing_from_elsewhere() -> None:
    async with serving() as (_, url, client):
        async with client.get(f"{url}/health") as answer:
            health = await answer.json()
        assert (health["status"], health["connections"], health["latencies_ms"], health["latency_ms"]) == ("ok", 0, [80, 320, 1120], 320)
        assert health["languages"][0] == "auto"
        for path in ("/", "/page.css", "/page.js", "/capture.js"):
            async with client.get(url + path) as answer:
                body = await answer.text()
                assert answer.status == 200
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert "http://" not in body.replace("http://www.w3.org", "")
                assert "https://" not in body
                assert "innerHTML" not in body, "what the model writes is text"


async def test_a_port_that_is_taken_is_a_coded_error() -> None:
    async with serving() as (server, _, _client):
        with pytest.raises(AsrtuneError, match="address_in_use"):
            await Server(settings(port=server.port), FAKE).start()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--att-context", "wide"], "att_context_invalid"), (["--att-context", "70,3"], "att_context_untrained"), (["--device", "tpu"], "device_unknown"),
        (["--origin", "captions"], "origin_invalid"), (["--host", "10.0.0.1"], "serve_token_missing"),
    ],
)  # fmt: skip
def test_the_command_refuses_what_cannot_be_served_before_it_loads_anything(ws: Any, options: list[str], code: str) -> None:
    from typer.testing import CliRunner

    from asrtune.cli import app

    done = CliRunner().invoke(app, ["serve", "embedded", *options, "--json"])
    assert done.exit_code == 2
    assert code in done.output


async def connects_leave_nothing_behind(server: Server, url: str, client: aiohttp.ClientSession, count: int, most_bytes: int = 16 << 20) -> None:
    """Connections in a row, every other one to its end: after a tenth of them memory, descriptors and tasks stay as they are."""
    import gc

    import psutil

    async def burst(connects: int) -> None:
        for n in range(connects):
            async with client.ws_connect(f"{url}/v1/stream") as ws:
                await ws.send_str("{}")
                await ws.send_bytes(bytes(320))
                if n % 2:
                    await ws.send_str('{"type": "end"}')
                    assert (await rest(ws))[-1]["type"] == "done"
        assert await places_free(server, 0)
        gc.collect()

    assert server.engine._process is not None
    me, child = psutil.Process(), psutil.Process(server.engine._process.pid)
    await burst(count // 10)
    before = [me.memory_info().rss, child.memory_info().rss, me.num_fds(), child.num_fds(), len(asyncio.all_tasks())]
    await burst(count - count // 10)
    after = [me.memory_info().rss, child.memory_info().rss, me.num_fds(), child.num_fds(), len(asyncio.all_tasks())]
    assert after[2:] == pytest.approx(before[2:], abs=4)
    assert max(after[0] - before[0], after[1] - before[1]) < most_bytes
    assert not server.engine._streams


@pytest.mark.slow
async def test_ten_thousand_connects_in_a_row_leave_nothing_behind() -> None:
    async with serving(limits={"max_connections": 4}) as (server, url, client):
        await connects_leave_nothing_behind(server, url, client, 10_000)
        assert text_of(await caption(client, url)).endswith("end")
