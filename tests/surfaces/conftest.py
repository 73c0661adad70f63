"""Shared by the tests of the surfaces: a tiny manifest, planted verbs, and a raw stdio client."""

from __future__ import annotations

import json
import subprocess
import sys
import types
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asrcore.results import Frozen, Result
from asrcore.workspace import Workspace


class NoArguments(Frozen):
    """Input of a planted verb."""


class Note(Frozen):
    """Output of a planted verb."""

    text: str


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`plant(name, run)` puts `run(request, ws)` in the place of a verb module for one test."""

    def planted(name: str, run: Callable[[Any, Workspace], Any], input_model: type[Frozen] = NoArguments) -> None:
        module = types.ModuleType(f"asrtune.verbs.{name}", doc="Planted.")
        vars(module).update(Input=input_model, Output=Note, run=run)
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return planted


@pytest.fixture
def note() -> Callable[[str], Result[Note]]:
    return lambda text: Result[Note](summary="A note.", data=Note(text=text))


@pytest.fixture
def manifest(ws: Workspace) -> str:
    """A manifest of four one-second noises below the workspace's data root; its path as a caller writes it."""
    rows: list[str] = []
    for number in range(4):
        with wave.open(f"clip{number}.wav", "wb") as clip:
            clip.setnchannels(1)
            clip.setsampwidth(2)
            clip.setframerate(16000)
            clip.writeframes(bytes((n * (7 + number) * 31) % 251 for n in range(32000)))
        rows.append(json.dumps({"id": f"u{number}", "audio_filepath": f"clip{number}.wav", "duration": 1.0, "text": "One two three.",
                                "target_lang": "en-US", "lang": "en-US"}))  # fmt: skip
    Path("tiny.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return "tiny.jsonl"


class StdioServer:
    """An MCP server process and a client that reads and writes its lines; no SDK between."""

    def __init__(self, argv: list[str], cwd: Path) -> None:
        self.process = subprocess.Popen(argv, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._id = 0

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next message of the server, waited for."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of one request; the next line must be its answer."""
        self._id += 1
        self.send({"id": self._id, "method": method, "params": params})
        answer = self.receive()
        assert answer["id"] == self._id
        return answer["result"]

    def handshake(self) -> dict[str, Any]:
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        result = self.ask("initialize", client)
        self.send({"method": "notifications/initialized"})
        return result

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """`data` of one tool call."""
        return self.ask("tools/call", {"name": tool, "arguments": arguments})["structuredContent"]["data"]

    def job_at_its_end(self, job_id: str, polls: int) -> dict[str, Any]:
        """What `get_job` says once the job is over, or after `polls` long polls."""
        seen: dict[str, Any] = {}
        for _ in range(polls):
            seen = self.call("get_job", job_id=job_id, wait_s=45)
            if seen["state"] not in ("planned", "queued", "starting", "running"):
                break
        return seen

    def close(self) -> tuple[str, str]:
        """What was left on stdout, and all of stderr."""
        return self.process.communicate(timeout=60)


@pytest.fixture
def stdio_server(tmp_path: Path) -> Iterator[Callable[..., StdioServer]]:
    started: list[StdioServer] = []

    def start(*arguments: str) -> StdioServer:
        started.append(StdioServer([sys.executable, *arguments], tmp_path))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.communicate()
