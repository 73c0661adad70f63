"""A Hugging Face hub on loopback, as far as huggingface_hub asks one for a dataset: what a revision is, which files it has, and the files themselves.

Answers and error headers as the hub gives them (huggingface_hub 2.4: hf_api.py, file_download.py, utils/_http.py).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

REPO = "speech/greek"


def commit(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:40]


class Hub(ThreadingHTTPServer):
    """One dataset repository. `token`: what files need, `private`: what everything needs; `damaged`: paths whose bytes arrive changed."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, str] = {}
        self.damaged: set[str] = set()
        self.asked: list[str] = []
        self.token = ""
        self.private = False
        self.down = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def push(self, files: Mapping[str, bytes], branch: str = "main") -> str:
        """A new commit with just these files; its id."""
        made = commit(f"{branch} {len(self.commits)}")
        self.commits[made], self.branches[branch] = dict(files), made
        return made

    @property
    def downloads(self) -> list[str]:
        return [path for path in self.asked if path.startswith("GET") and "/resolve/" in path]


class _Handler(BaseHTTPRequestHandler):
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, urlsplit(self.path).path
        hub.asked.append(f"{self.command} {unquote(path)}")
        allowed = not hub.token or self.headers.get("Authorization") == f"Bearer {hub.token}"
        if hub.down:
            self._answer(500)
        elif not allowed and hub.private:
            self._answer(401)
        elif path.startswith(f"/api/datasets/{REPO}/tree/"):
            revision, _, folder = path.removeprefix(f"/api/datasets/{REPO}/tree/").partition("/")
            self._tree(unquote(revision), unquote(folder))
        elif path in (f"/api/datasets/{REPO}", *(f"/api/datasets/{REPO}/revision/{name}" for name in self._revisions())):
            found = self._commit(unquote(path.rpartition("/revision/")[2]) if "/revision/" in path else "main")
            self._answer(200, {"id": REPO, "sha": found})
        elif path.startswith(f"/api/datasets/{REPO}/revision/"):
            self._answer(404, code="RevisionNotFound")
        elif path.startswith(f"/datasets/{REPO}/resolve/"):
            if not allowed:
                self._answer(403, code="GatedRepo")
                return
            revision, _, name = path.removeprefix(f"/datasets/{REPO}/resolve/").partition("/")
            self._file(unquote(revision), unquote(name))
        else:
            self._answer(404, code="RepoNotFound")

    def do_POST(self) -> None:
        """What the paths of a list are: `paths-info`."""
        hub, length = self.server, int(self.headers["Content-Length"])
        revision = urlsplit(self.path).path.removeprefix(f"/api/datasets/{REPO}/paths-info/")
        body = self.rfile.read(length).decode()
        hub.asked.append(f"POST {unquote(urlsplit(self.path).path)}")
        files = hub.commits[self._commit(unquote(revision))]
        wanted = json.loads(body)["paths"] if body.startswith("{") else [unquote(part.partition("=")[2]) for part in body.split("&") if part.startswith("paths=")]
        self._answer(200, [_entry(name, files[name]) for name in wanted if name in files])

    def _revisions(self) -> list[str]:
        return [name.replace("/", "%2F") for name in (*self.server.branches, *self.server.commits)]

    def _commit(self, revision: str) -> str:
        return self.server.branches.get(revision, revision)

    def _tree(self, revision: str, folder: str) -> None:
        files = self.server.commits[self._commit(revision)]
        below = {name: data for name, data in files.items() if not folder or name.startswith(folder + "/")}
        if not below and folder:
            self._answer(404, code="EntryNotFound")
            return
        folders = {str(parent) for name in below for parent in Path(name).parents if str(parent) != "."}
        self._answer(200, [{"type": "directory", "path": name, "oid": commit(name)} for name in sorted(folders)] + [_entry(*item) for item in below.items()])

    def _file(self, revision: str, name: str) -> None:
        found = self._commit(revision)
        if found not in self.server.commits:
            self._answer(404, code="RevisionNotFound")
            return
        data = self.server.commits[found].get(name)
        if data is None:
            self._answer(404, code="EntryNotFound")
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", found)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[:-1] + bytes([data[-1] ^ 1]) if name in self.server.damaged else data)

    def _answer(self, status: int, value: Any = None, code: str = "") -> None:
        body = json.dumps({"error": code} if value is None else value).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(name: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(data), "oid": commit(name), "lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}


@contextmanager
def serving(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Hub]:
    """The hub that the library asks from now on, with an empty cache of its own and no token."""
    constants: Any = importlib.import_module("huggingface_hub.constants")
    hub = Hub()
    threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
