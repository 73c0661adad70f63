"""The front's side of the engine: starts the child process that owns the model, hands it audio, deals its updates out to the streams."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import socket
from collections import deque
from collections.abc import Sequence

from asrcore.errors import AsrtuneError, ToolFault
from asrcore.jobs.process import environment, python_module
from asrcore.serve import wire
from asrcore.serve.settings import Settings
from asrcore.serve.wire import Frames

ENGINE = python_module("asrcore.model.serve")
_STOP_S = 5.0
_LAGS = 4096
"""Lags that the percentile of /health is taken over."""


class EngineStream:
    """One stream as the front sees it: audio goes in, updates come out, and how far the engine is behind."""

    def __init__(self, engine: Engine, number: int, rate: int) -> None:
        self._engine, self.number, self._bytes_per_s = engine, number, 2 * rate
        self.updates: asyncio.Queue[wire.Update | None] = asyncio.Queue()
        self.sent_s = 0.0
        self.heard_s = 0.0
        self._arrived: deque[tuple[float, float]] = deque()
        self._moved = asyncio.Event()

    @property
    def backlog_s(self) -> float:
        """Seconds of audio that the engine has not decoded yet. A chunk that is not full is part of it."""
        return self.sent_s - self.heard_s

    async def send(self, pcm: bytes, now: float) -> None:
        self.sent_s += len(pcm) / self._bytes_per_s
        self._arrived.append((self.sent_s, now))
        await self._engine.write(wire.pack_audio(self.number, pcm))

    async def end(self) -> None:
        await self._engine.write(wire.pack(wire.End(stream=self.number)))

    async def room(self, seconds: float) -> None:
        """Waits until fewer than `seconds` of audio wait for the engine."""
        while self.backlog_s >= seconds and not self._engine.dead:
            self._moved.clear()
            await self._moved.wait()

    def take(self, update: wire.Update | None) -> None:
        """From the engine; None: it is gone."""
        if update is not None:
            self.heard_s = max(self.heard_s, update.heard_s)
        self._moved.set()
        self.updates.put_nowait(update)

    def lag_ms(self, heard_s: float, now: float) -> float:
        """Wall time since the audio up to `heard_s` was here."""
        at = bisect.bisect_left(self._arrived, heard_s - 1e-6, key=lambda arrival: arrival[0])
        arrived = self._arrived[min(at, len(self._arrived) - 1)][1] if self._arrived else now
        for _ in range(at):
            self._arrived.popleft()
        return max(0.0, 1000 * (now - arrived))


class Engine:
    """One child process. `start` returns when the model is loaded; `failed` is done when the child broke."""

    def __init__(self, settings: Settings, command: Sequence[str] = ENGINE) -> None:
        self._settings, self._command = settings, tuple(command)
        self._streams: dict[int, EngineStream] = {}
        self._next = 0
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self.dead = False
        self.lags: deque[float] = deque(maxlen=_LAGS)
        self.failed: asyncio.Future[AsrtuneError] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Raises what the child could not do: `checkpoint_not_nemo`, `serve_engine_died`, …"""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, pass_fds=(theirs.fileno(),),
                env=environment() | {wire.LINK: str(theirs.fileno())}, start_new_session=True,
            )  # fmt: skip
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        settings = self._settings
        await self.write(wire.pack(wire.Load(checkpoint=settings.checkpoint, places=settings.limits.max_connections,
                                             contexts=(settings.default_context, *settings.contexts), device=settings.device)))  # fmt: skip
        loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listening = asyncio.create_task(self._listen(loaded))
        await asyncio.wait({loaded, self.failed}, return_when=asyncio.FIRST_COMPLETED)
        if self.failed.done():
            raise self.failed.result()

    async def open(self, slot: int, rate: int, context: tuple[int, int]) -> EngineStream:
        """A new stream. The caller keeps the number of open ones within the places."""
        stream = EngineStream(self, self._next, rate)
        self._next = (self._next + 1) % (1 << 32)
        self._streams[stream.number] = stream
        await self.write(wire.pack(wire.Open(stream=stream.number, slot=slot, rate=rate, context=context)))
        return stream

    async def drop(self, stream: EngineStream) -> None:
        """Forgets a stream; one that is done is forgotten already."""
        if self._streams.pop(stream.number, None) is not None:
            await self.write(wire.pack(wire.Drop(stream=stream.number)))

    async def write(self, frame: bytes) -> None:
        """To the child; nothing when it is gone, which every stream is told by itself."""
        if self.dead:
            return
        self._writer.write(frame)
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def stop(self) -> None:
        """Asks the child to end, and ends it when it does not. Its supervisor is this process, so nothing of it stays."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            if not self.dead:
                await self.write(wire.pack(wire.Stop()))
                self._gone(None)
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _listen(self, loaded: asyncio.Future[None]) -> None:
        self._gone(await self._heard(loaded))

    async def _heard(self, loaded: asyncio.Future[None]) -> AsrtuneError:
        """Deals out what the child says until it is gone, and gives why it went."""
        frames = Frames()
        try:
            while data := await self._reader.read(1 << 16):
                for kind, body in frames.feed(data):
                    match wire.report_of(kind, body):
                        case wire.Ready():
                            loaded.set_result(None)
                        case wire.Updates(updates=updates):
                            self._deal(updates)
                        case wire.Failed(error=error):
                            return error.to_error()
        except (wire.OutOfStep, ConnectionError):
            pass
        return died()

    def _deal(self, updates: Sequence[wire.Update]) -> None:
        for update in updates:
            stream = self._streams.get(update.stream)
            if stream is None:
                continue  # dropped while its update was on the way
            if update.done:
                del self._streams[update.stream]
            stream.take(update)

    def _gone(self, error: AsrtuneError | None) -> None:
        self.dead = True
        self._writer.close()
        if error is not None and not self.failed.done():
            self.failed.set_result(error)
        for stream in self._streams.values():
            stream.take(None)
        self._streams.clear()


def died() -> ToolFault:
    return ToolFault("serve_engine_died", "the process that owns the model has ended.", retryable=True,
                     next_step="start the server again; the lines above on stderr say why it ended (out of memory shows as a kill).")  # fmt: skip
