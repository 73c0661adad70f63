"""What a server is told when it starts, and what its model offers."""

from __future__ import annotations

from pydantic import Field

from asrcore.addresses import is_loopback
from asrcore.checkpoint import CheckpointInfo
from asrcore.errors import NotReadyError, UsageError
from asrcore.locales import AUTO, latency_ms
from asrcore.requests import AttContext
from asrcore.results import Frozen

TOKEN = "ASRTUNE_SERVE_TOKEN"  # noqa: S105 - the name of a variable
"""Environment variable with the token that clients must send. The engine's process never sees it (asrcore.jobs.process.environment)."""


class Limits(Frozen):
    """What one client, and all together, may ask of the server."""

    max_connections: int = Field(default=64, ge=1, le=4096, description="Streams at a time; each has its place in the engine's memory.")
    max_message_bytes: int = Field(default=1 << 18, ge=2, description="Of one WebSocket message: 8 s at 16 kHz.")
    max_audio_s: float = Field(default=4 * 3600.0, gt=0, description="Of one stream, without an end.")
    start_timeout_s: float = Field(default=10.0, gt=0, description="To the first message.")
    idle_timeout_s: float = Field(default=60.0, gt=0, description="Without any message.")
    backlog_s: float = Field(
        default=10.0, gt=0, description="Audio that waits for the engine; with more, the client is no longer read from."
    )
    max_unread: int = Field(default=256, ge=1, description="Replies that wait for a client that does not read; then it is dropped.")
    grace_s: float = Field(default=5.0, ge=0, description="On shutdown: for streams to get their last words.")


class Settings(Frozen):
    """`token` None: nobody is asked for one, which only a loopback address allows."""

    checkpoint: str
    name: str
    slots: dict[str, int]
    contexts: tuple[AttContext, ...] = Field(min_length=1)
    default_context: AttContext
    device: str = "cpu"
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    token: str | None = Field(default=None, min_length=1, repr=False)
    origins: tuple[str, ...] = ()
    limits: Limits = Limits()

    @property
    def latencies(self) -> dict[int, AttContext]:
        """Chunk length in ms -> att_context_size, shortest first."""
        return {latency_ms(context): context for context in sorted(self.contexts, key=lambda context: context[1])}

    def slot_of(self, language: str) -> int:
        """Raises `unknown_tag`."""
        if language not in self.slots:
            raise NotReadyError("unknown_tag", "the checkpoint has no prompt slot for that language.",
                             next_step="send one of `languages` of /health, or auto.")  # fmt: skip
        return self.slots[language]

    def context_of(self, latency: int | None) -> AttContext:
        """Raises `latency_unsupported`."""
        if latency is None:
            return self.default_context
        if latency not in self.latencies:
            raise UsageError("latency_unsupported", f"a latency of {latency} ms is not served.",
                             next_step=f"send one of {', '.join(map(str, self.latencies))} as latency_ms.")  # fmt: skip
        return self.latencies[latency]


def served_contexts(info: CheckpointInfo, default: tuple[int, int]) -> tuple[AttContext, ...]:
    """The checkpoint's att_context_size values with the left context of `default`, which all streams share.

    Raises `att_context_untrained` when `default` is none of them.
    """
    if default not in info.att_contexts:
        raise UsageError("att_context_untrained", f"the checkpoint was not trained at [{default[0]},{default[1]}].",
                         next_step=f"pass one of {' '.join(f'{left},{right}' for left, right in info.att_contexts)} as --att-context.")  # fmt: skip
    return tuple(context for context in info.att_contexts if context[0] == default[0])


def require_token(host: str, token: str | None) -> str | None:
    """The token to ask clients for. Raises `serve_token_missing`: a server that others can reach asks for one."""
    if not token and not is_loopback(host):
        raise UsageError("serve_token_missing", "an address that other machines can reach needs a token.",
                         next_step=f"set {TOKEN} to a long random string in the environment, or leave --host out.")  # fmt: skip
    if token and len(token) < 16:
        raise UsageError(
            "serve_token_short", f"the token in {TOKEN} has fewer than 16 characters.", next_step="make one: openssl rand -hex 24"
        )
    return token or None


def languages(slots: dict[str, int]) -> list[str]:
    """Tags a client can ask for, auto first."""
    return [AUTO, *sorted(tag for tag in slots if tag != AUTO)] if AUTO in slots else sorted(slots)
