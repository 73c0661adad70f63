"""What clients and the server say to each other over the WebSocket, and the codes that a connection is closed with (docs/concepts/serving.md).

    client   {"sample_rate": 16000, "language": "el-GR", "latency_ms": 320, "token": "…"}     first, as text
    server   {"type": "ready", …}
    client   PCM16 little-endian mono, binary, any even number of bytes a message
    server   {"type": "partial"|"final"|"progress", …}
    client   {"type": "end"}
    server   the last finals, {"type": "done", …}, close 1000

A refusal is one {"type": "error", "code", "message", "next_step"} and a close code from the table below.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field, ValidationError

from asrcore.errors import AsrtuneError, UsageError
from asrcore.locales import AUTO
from asrcore.results import Frozen
from asrcore.serve.pcm import RATES
from asrcore.serve.segments import Segment

VERSION = 1

NORMAL, GOING_AWAY, BROKEN = 1000, 1001, 1011
"""RFC 6455, section 7.4.1."""
BAD_REQUEST, NO_ACCESS, TIMED_OUT, TOO_MUCH, FULL, TOO_SLOW = 4400, 4401, 4408, 4413, 4429, 4430
"""The range for private use, after the HTTP status that means the same."""

CLOSE_CODES: dict[str, int] = {
    "start_invalid": BAD_REQUEST, "sample_rate_unsupported": BAD_REQUEST, "unknown_tag": BAD_REQUEST, "latency_unsupported": BAD_REQUEST,
    "audio_frame_invalid": BAD_REQUEST, "message_invalid": BAD_REQUEST, "serve_token_wrong": NO_ACCESS, "start_missing": TIMED_OUT,
    "stream_idle": TIMED_OUT, "audio_too_long": TOO_MUCH, "server_full": FULL, "slow_reader": TOO_SLOW, "server_stopping": GOING_AWAY,
    "serve_engine_died": BROKEN,
}  # fmt: skip


class Start(Frozen):
    """The first message of a client."""

    sample_rate: int = Field(default=16_000, description="Hz of the PCM16 samples that follow: 8000 or 16000.")
    language: str = Field(default=AUTO, min_length=2, max_length=16, description="A tag of the checkpoint such as el-GR, or auto.")
    latency_ms: int | None = Field(default=None, description="Chunk length, one of `latencies_ms` of /health; default: the server's.")
    token: str | None = Field(
        default=None, max_length=500, description="Where the server asks for one and no Authorization header holds it."
    )


class Accepted(Frozen):
    type: Literal["ready"] = "ready"
    version: int = VERSION
    language: str
    latency_ms: int
    att_context_size: tuple[int, int]
    sample_rate: int


class Heard(Frozen):
    """Audio decoded so far. `lag_ms`: from the arrival of the chunk's last sample to this message; the chunk length itself comes on top."""

    type: Literal["progress"] = "progress"
    audio_s: float
    lag_ms: float


class Spoken(Frozen):
    """`partial` is the segment under way and is replaced by the next message of the same `segment`; `final` is never taken back.

    A transcript is its finals, each with a space in front unless `glue`. `language` is what the model wrote in auto (null until it did), else as asked.
    """

    type: Literal["partial", "final"]
    segment: int
    text: str
    start: float
    end: float
    glue: bool
    language: str | None
    audio_s: float
    lag_ms: float
    words: tuple[tuple[str, float, float], ...] = ()


class Done(Frozen):
    type: Literal["done"] = "done"
    audio_s: float
    segments: int


class Refusal(Frozen):
    type: Literal["error"] = "error"
    code: str
    message: str
    next_step: str


Reply = Accepted | Heard | Spoken | Done | Refusal


def refusal(error: AsrtuneError) -> tuple[Refusal, int]:
    """The last message for an error, and the close code."""
    return Refusal(code=error.code, message=error.message, next_step=error.next_step), CLOSE_CODES.get(error.code, BROKEN)


def parse_start(text: str) -> Start:
    """Raises `start_invalid` or `sample_rate_unsupported`."""
    try:
        start = Start.model_validate_json(text)
    except ValidationError as error:
        fields = sorted({str(e["loc"][0]) for e in error.errors() if e["loc"] and str(e["loc"][0]) in Start.model_fields})
        what = f"its {', '.join(fields)} cannot be used" if fields else "it is no JSON object of the known fields"
        raise UsageError("start_invalid", f"the first message is not valid: {what}.",
                         next_step='send {"sample_rate": 16000, "language": "auto"} as the first text message.') from error  # fmt: skip
    if start.sample_rate not in RATES:
        raise UsageError("sample_rate_unsupported", f"the sample rate {start.sample_rate} is not served.",
                         next_step=f"send PCM16 at {RATES[0]} or {RATES[1]} Hz.")  # fmt: skip
    return start


def require_end(text: str) -> None:
    """The only text that may follow the first one. Raises `message_invalid`."""
    try:
        message: object = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if message != {"type": "end"}:
        raise UsageError(
            "message_invalid",
            "that text message is not known.",
            next_step='after the first message send binary PCM16, then {"type": "end"}.',
        )


def spoken(kind: Literal["partial", "final"], segment: Segment, language: str | None, heard: Heard) -> Spoken:
    words = tuple((word.text, word.start, word.end) for word in segment.words) if kind == "final" else ()
    return Spoken(type=kind, segment=segment.number, text=segment.text, start=segment.start, end=segment.end, glue=segment.glue,
                  language=language, audio_s=heard.audio_s, lag_ms=heard.lag_ms, words=words)  # fmt: skip
