"""The link between the server's front process and the process that owns the model: frames over one socket pair.

    4 bytes length of what follows (little endian) · 1 byte kind · body

Kind 0 is a JSON object, one of the messages below; kind 1 is audio: 4 bytes stream number, then PCM16 samples. Light: no torch, no asyncio.
"""

from __future__ import annotations

import struct
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, TypeAdapter

from asrcore.errors import ErrorView
from asrcore.requests import AttContext
from asrcore.results import Frozen

LINK = "ASRTUNE_SERVE_FD"
"""Environment variable with the number of the child's end of the link."""
MAX_FRAME = 8 << 20
"""Bytes. Larger than any frame that either side makes; a length above it means the link is out of step."""

_HEAD = struct.Struct("<IB")
_STREAM = struct.Struct("<I")
_JSON, _AUDIO = 0, 1


class Load(Frozen):
    """First message to the child: the model to open, how many streams it may hold, and what it must have room for."""

    do: Literal["load"] = "load"
    checkpoint: str
    places: int = Field(ge=1, le=4096)
    contexts: tuple[AttContext, ...] = Field(min_length=1)
    device: str = "cpu"


class Open(Frozen):
    """A new stream with its own prompt slot (trap 3.10) and its own att_context_size. `rate` is the sample rate of its audio in Hz."""

    do: Literal["open"] = "open"
    stream: int
    slot: int
    rate: int
    context: AttContext


class End(Frozen):
    """No more audio: the rest is decoded, then the stream is done."""

    do: Literal["end"] = "end"
    stream: int


class Drop(Frozen):
    """The client is gone: forget the stream, answer nothing more."""

    do: Literal["drop"] = "drop"
    stream: int


class Stop(Frozen):
    do: Literal["stop"] = "stop"


class Ready(Frozen):
    """The model is loaded."""

    say: Literal["ready"] = "ready"


class Failed(Frozen):
    """The model cannot be loaded, or the engine broke; the child ends."""

    say: Literal["failed"] = "failed"
    error: ErrorView


class LiveWord(Frozen):
    """A written word. Times are seconds of its stream; `glue`: it continues the word before it, without a space."""

    text: str
    start: float
    end: float
    glue: bool = False


class Update(Frozen):
    """What one chunk of one stream brought. `words` are new and will not change; `open` is the word that may still grow."""

    stream: int
    heard_s: float
    words: tuple[LiveWord, ...] = ()
    open: LiveWord | None = None
    languages: tuple[str, ...] = ()
    done: bool = False


class Updates(Frozen):
    """All streams that took part in one round of the engine."""

    say: Literal["updates"] = "updates"
    updates: tuple[Update, ...]


class Audio(NamedTuple):
    stream: int
    pcm: bytes


Command = Load | Open | End | Drop | Stop
Report = Ready | Failed | Updates

_COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="do")])
_REPORT: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="say")])


class OutOfStep(Exception):
    """The bytes on the link are no frames: a bug or a foreign writer; the link is of no more use."""


def pack(message: Command | Report) -> bytes:
    body = message.model_dump_json().encode("utf-8")
    return _HEAD.pack(len(body) + 1, _JSON) + body


def pack_audio(stream: int, pcm: bytes) -> bytes:
    return _HEAD.pack(_STREAM.size + len(pcm) + 1, _AUDIO) + _STREAM.pack(stream) + pcm


class Frames:
    """Bytes in, whole frames out, however the bytes were cut."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """(kind, body) of every frame that is now complete. Raises `OutOfStep`."""
        self._held += data
        found: list[tuple[int, bytes]] = []
        at = 0
        while len(self._held) - at >= _HEAD.size:
            length, kind = _HEAD.unpack_from(self._held, at)
            if not 1 <= length <= MAX_FRAME or kind not in (_JSON, _AUDIO):
                raise OutOfStep
            end = at + 4 + length
            if len(self._held) < end:
                break
            found.append((kind, bytes(self._held[at + _HEAD.size : end])))
            at = end
        del self._held[:at]
        return found


def command_of(kind: int, body: bytes) -> Command | Audio:
    """Raises `OutOfStep`."""
    try:
        if kind == _AUDIO:
            return Audio(_STREAM.unpack_from(body)[0], body[_STREAM.size :])
        return _COMMAND.validate_json(body)
    except (ValueError, struct.error) as error:
        raise OutOfStep from error


def report_of(kind: int, body: bytes) -> Report:
    """Raises `OutOfStep`."""
    try:
        if kind == _AUDIO:
            raise OutOfStep
        return _REPORT.validate_json(body)
    except ValueError as error:
        raise OutOfStep from error
