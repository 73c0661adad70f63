"""`asrtune serve`: a person's command, not a tool; an agent that wants text from audio calls transcribe."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import typer

from asrcore.checkpoint import read_checkpoint
from asrcore.errors import AsrtuneError, EnvironmentFault, UsageError
from asrcore.jobs.checkpoints import resolve_checkpoint
from asrcore.serve.settings import TOKEN, Limits, Settings, require_token, served_contexts
from asrcore.workspace import Workspace
from asrtune.cli_verbs import show_error


def run_server(
    checkpoint: str, *, att_context: str, host: str, port: int, max_connections: int, origins: Sequence[str], device: str, as_json: bool
) -> int:
    """Serves until Ctrl-C or SIGTERM; 0 then, else the exit code of the error."""
    try:
        settings = settings_of(
            Workspace.open(),
            checkpoint,
            att_context=att_context,
            host=host,
            port=port,
            max_connections=max_connections,
            origins=origins,
            device=device,
        )
        if not as_json:
            typer.echo(f"Loading {settings.name} …", err=True)
        _serve(settings, as_json=as_json)
    except AsrtuneError as error:
        return show_error(error, as_json=as_json)
    return 0


def settings_of(
    ws: Workspace, checkpoint: str, *, att_context: str, host: str, port: int, max_connections: int, origins: Sequence[str], device: str
) -> Settings:
    """Raises `att_context_invalid`, `att_context_untrained`, `device_unknown`, `origin_invalid`, `serve_token_missing`, and what opening the checkpoint raises."""
    match = re.fullmatch(r"\s*(\d{1,2})\s*,\s*(\d{1,2})\s*", att_context)
    if match is None:
        raise UsageError("att_context_invalid", "--att-context is not LEFT,RIGHT.", next_step="pass for example --att-context 56,3.")
    if not re.fullmatch(r"cpu|cuda(:\d{1,2})?", device):
        raise UsageError("device_unknown", "--device is neither cpu nor cuda.", next_step="pass --device cpu or --device cuda.")
    if bad := [origin for origin in origins if not re.fullmatch(r"https?://[^/\s]+", origin)]:
        raise UsageError(
            "origin_invalid",
            f"{len(bad)} --origin is not scheme://host[:port].",
            next_step="pass for example --origin https://captions.example.",
        )
    token = require_token(host, os.environ.get(TOKEN))
    ref = resolve_checkpoint(ws, checkpoint)
    info = read_checkpoint(Path(ref.path))
    default = (int(match[1]), int(match[2]))
    return Settings(
        checkpoint=ref.path, name=ref.name, slots=info.prompt_dictionary, contexts=served_contexts(info, default), default_context=default,
        device=device, host=host, port=port, token=token, origins=tuple(origins), limits=Limits(max_connections=max_connections),
    )  # fmt: skip


def _serve(settings: Settings, *, as_json: bool) -> None:
    """Raises `aiohttp_missing`, and what serving raises. NeMo brings aiohttp; an environment cut down by hand may lack it."""
    try:
        from asrcore.serve.app import STREAM, serve
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise EnvironmentFault(
            "aiohttp_missing", "aiohttp, which serves the WebSocket, is not installed.", next_step="pip install aiohttp"
        ) from error
    asyncio.run(serve(settings, lambda url: _announce(url, STREAM, as_json=as_json)))


def _announce(url: str, stream: str, *, as_json: bool) -> None:
    socket = url.replace("http://", "ws://", 1) + stream
    typer.echo(json.dumps({"url": url, "websocket": socket}) if as_json else f"Serving on {url}/ (WebSocket {socket}). Ctrl-C stops.")
