"""One client: reads its messages, feeds the engine, sends the words back, and closes with a code that says why."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import Coroutine, Generator
from typing import TypeVar

from aiohttp import WSMessage, WSMsgType, web

from asrcore.errors import AsrtuneError, NotReadyError, UsageError
from asrcore.locales import AUTO, latency_ms
from asrcore.serve import protocol
from asrcore.serve.engine import Engine, EngineStream, died
from asrcore.serve.pcm import SAMPLE_BYTES
from asrcore.serve.protocol import Reply, Start
from asrcore.serve.segments import Segmenter
from asrcore.serve.settings import Settings

_CLOSE_S = 2.0
"""Seconds that a client gets to read the last message, and again to answer the close frame."""
CLOSING_S = 2 * _CLOSE_S
"""Seconds from a session's last message to its end, at most."""
_LINGER_S = 10.0
"""Seconds that a connection whose client does not read may hold its buffers after that."""

ResultT = TypeVar("ResultT")


class ClientGone(Exception):
    """The client closed or the connection broke; nothing is left to say."""


class Places:
    """How many streams the engine has room for, and how many are open."""

    def __init__(self, total: int) -> None:
        self.total, self.taken = total, 0

    @contextlib.contextmanager
    def one(self) -> Generator[None]:
        """A place for as long as the block runs. Raises `server_full`."""
        if self.taken >= self.total:
            raise NotReadyError("server_full", f"all {self.total} places are taken.", next_step="connect again in a while.")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Session:
    """Used for one connection. `run` returns when it is closed, whatever the client does."""

    def __init__(self, ws: web.WebSocketResponse, engine: Engine, settings: Settings, places: Places, *, trusted: bool) -> None:
        self._ws, self._engine, self._settings, self._places, self._trusted = ws, engine, settings, places, trusted
        self._outbox: asyncio.Queue[Reply | None] = asyncio.Queue(settings.limits.max_unread)
        self._stopping = asyncio.Event()
        self._why: AsrtuneError = stopping()
        self.closed = asyncio.Event()

    def stop(self, why: AsrtuneError) -> None:
        """The stream ends here; the client gets its last words, then why."""
        self._why = why
        self._stopping.set()

    async def run(self, transport: asyncio.Transport | None) -> None:
        writer = asyncio.create_task(self._write())
        code = protocol.NORMAL
        try:
            await self._converse(writer)
        except ClientGone:
            writer.cancel()
        except AsrtuneError as error:
            last, code = protocol.refusal(error)
            self._say_last(last)
        finally:
            await self._close(writer, code)
            if transport is not None and code != protocol.NORMAL:
                asyncio.get_running_loop().call_later(_LINGER_S, transport.abort)
            self.closed.set()

    async def _converse(self, writer: asyncio.Task[None]) -> None:
        start = await self._unless_stopping(self._start())
        context, slot = self._settings.context_of(start.latency_ms), self._settings.slot_of(start.language)
        with self._places.one():
            stream = await self._engine.open(slot, start.sample_rate, context)
            try:
                self._say(protocol.Accepted(language=start.language, latency_ms=latency_ms(context), att_context_size=context,
                                            sample_rate=start.sample_rate))  # fmt: skip
                await self._serve(stream, start, writer)
            finally:
                await self._engine.drop(stream)

    async def _serve(self, stream: EngineStream, start: Start, writer: asyncio.Task[None]) -> None:
        listening = asyncio.create_task(self._listen(stream))
        telling = asyncio.create_task(self._tell(stream, None if start.language == AUTO else start.language))
        stopped = asyncio.create_task(self._stopping.wait())
        tasks = (listening, telling, stopped)
        try:
            await asyncio.wait({*tasks, writer}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                listening.cancel()
                await stream.end()
                await asyncio.wait({telling, writer}, timeout=self._settings.limits.grace_s, return_when=asyncio.FIRST_COMPLETED)
                raise self._why
            if listening.done() and not listening.exception():  # the client said end
                await asyncio.wait({telling, writer}, return_when=asyncio.FIRST_COMPLETED)
            for task in (telling, listening, writer):
                if task.done() and (error := task.exception()):
                    raise error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _unless_stopping(self, work: Coroutine[None, None, ResultT]) -> ResultT:
        """Raises why the session stops, when it does before the work is done."""
        doing, stopped = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise self._why
            return doing.result()
        finally:
            doing.cancel()
            stopped.cancel()
            await asyncio.gather(doing, stopped, return_exceptions=True)

    async def _start(self) -> Start:
        try:
            message = await self._receive(self._settings.limits.start_timeout_s)
        except TimeoutError:
            raise UsageError(
                "start_missing", "no first message came in time.", next_step="send the first message when the connection opens."
            ) from None
        start = protocol.parse_start(str(message.data) if message.type is WSMsgType.TEXT else "")
        wanted = self._settings.token
        if wanted and not self._trusted and not same_secret(start.token or "", wanted):
            raise UsageError("serve_token_wrong", "the token is missing or wrong.",
                             next_step='send it as "token" in the first message, or as Authorization: Bearer.')  # fmt: skip
        return start

    async def _listen(self, stream: EngineStream) -> None:
        """Feeds the engine until the client says end. A client that is faster than the engine is read from more slowly."""
        limits = self._settings.limits
        while True:
            try:
                message = await self._receive(limits.idle_timeout_s)
            except TimeoutError:
                raise UsageError("stream_idle", f"no message came for {limits.idle_timeout_s:g} s.",
                                 next_step='send audio, or {"type": "end"} when there is no more.') from None  # fmt: skip
            if message.type is WSMsgType.TEXT:
                protocol.require_end(str(message.data))
                return await stream.end()
            pcm = bytes(message.data)
            if not pcm or len(pcm) % SAMPLE_BYTES:
                raise UsageError("audio_frame_invalid", f"a binary message of {len(pcm)} bytes is not whole samples.",
                                 next_step="send little-endian PCM16, at least one sample a message.")  # fmt: skip
            await stream.send(pcm, time.monotonic())
            if stream.sent_s > limits.max_audio_s:
                raise UsageError("audio_too_long", f"a stream may hold {limits.max_audio_s:g} s of audio.",
                                 next_step="end this stream and open another.")  # fmt: skip
            await stream.room(limits.backlog_s)

    async def _receive(self, seconds: float) -> WSMessage:
        """The next text or binary message. Raises `TimeoutError` and `ClientGone`."""
        message: WSMessage = await self._ws.receive(timeout=seconds)
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            raise ClientGone
        return message

    async def _tell(self, stream: EngineStream, asked: str | None) -> None:
        """Engine updates to messages, until the stream is done."""
        segmenter, language, shown, told = Segmenter(), asked, "", 0
        while True:
            update = await stream.updates.get()
            if update is None:
                raise died()
            language = asked or (update.languages[-1] if update.languages else language)
            lag = stream.lag_ms(update.heard_s, time.monotonic())
            self._engine.lags.append(lag)
            heard = protocol.Heard(audio_s=round(update.heard_s, 3), lag_ms=round(lag, 1))
            finals, under_way = segmenter.take(update.words, update.open, update.heard_s, done=update.done)
            for segment in finals:
                self._say(protocol.spoken("final", segment, language, heard))
                told, shown = told + 1, ""
            if under_way and under_way.text != shown:
                self._say(protocol.spoken("partial", under_way, language, heard))
                shown = under_way.text
            elif not finals:
                self._say(heard)
            if update.done:
                return self._say(protocol.Done(audio_s=heard.audio_s, segments=told))

    def _say(self, reply: Reply) -> None:
        """Raises `slow_reader` when too many replies wait."""
        try:
            self._outbox.put_nowait(reply)
        except asyncio.QueueFull:
            raise UsageError("slow_reader", "replies were not read in time.", next_step="read every message as it comes.") from None

    def _say_last(self, reply: Reply | None) -> None:
        """A refusal, or None for the end, goes out even when the outbox is full: what waits in it is of no use any more."""
        while self._outbox.full():
            self._outbox.get_nowait()
        self._outbox.put_nowait(reply)

    async def _write(self) -> None:
        while (reply := await self._outbox.get()) is not None:
            try:
                await self._ws.send_str(reply.model_dump_json())
            except (ConnectionError, RuntimeError):  # RuntimeError: the close frame of the client was answered already
                raise ClientGone from None

    async def _close(self, writer: asyncio.Task[None], code: int) -> None:
        """Sends what waits, then the close frame."""
        self._say_last(None)
        await asyncio.wait({writer}, timeout=_CLOSE_S)
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        with contextlib.suppress(TimeoutError, ConnectionError, RuntimeError):
            await asyncio.wait_for(self._ws.close(code=code, drain=False), _CLOSE_S)


def same_secret(given: str, wanted: str) -> bool:
    """In a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def stopping() -> NotReadyError:
    return NotReadyError("server_stopping", "the server shuts down.", next_step="connect again in a while.")
