"""`asrtune mcp --http`: who is let in, that both protocol eras work through it, and that stdio does not pay for it. Real sockets on loopback."""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from typer.testing import CliRunner

from asrcore.errors import AsrtuneError
from asrcore.workspace import Workspace
from asrtune import catalog, mcp_http
from asrtune.cli import app

pytestmark = pytest.mark.anyio
ANY = str(ipaddress.IPv4Address(0))
"""Every address of the machine; nothing here listens on it."""
TOKEN = "t" * 12 + "-0123456789_XYZ"
both_eras = pytest.mark.parametrize("era", ["auto", "legacy"])
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize",
              "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}  # fmt: skip


@asynccontextmanager
async def serving(ws: Workspace, *, token: str | None = None, host: str = "127.0.0.1", names: tuple[str, ...] = ()) -> AsyncIterator[int]:
    """The server in this process, on a port that the system chose."""
    made = mcp_http.Door(host, 0, names, token)
    with mcp_http.listen(made._replace(host="127.0.0.1")) as listening:
        port = listening.getsockname()[1]
        server = mcp_http.uvicorn_server(mcp_http.build_app(ws, made, port))
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listening])
            yield port
            server.should_exit = True


async def post(port: int, body: Any = INITIALIZE, path: str = "/mcp", **headers: str) -> tuple[int, str]:
    """Status and body of one raw request; `headers` with `_` for `-`, an empty value leaves a header out."""

    def send() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        all_headers = {"host": f"127.0.0.1:{port}", "content-type": "application/json", "accept": "application/json, text/event-stream",
                       **{name.replace("_", "-"): value for name, value in headers.items()}}  # fmt: skip
        connection.putrequest("POST", path, skip_host=True)
        for name, value in {**all_headers, "content-length": str(len(data))}.items():
            if value:
                connection.putheader(name, value)
        connection.endheaders(data)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    return await anyio.to_thread.run_sync(send)


@both_eras
@pytest.mark.parametrize("token", [None, TOKEN])
async def test_both_eras_shake_hands_list_and_call_over_http(ws: Workspace, manifest: str, era: str, token: str | None) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        serving(ws, token=token) as port,
        httpx2.AsyncClient(headers=headers, timeout=30) as http_client,
        Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http_client), mode=era) as session,
    ):
        assert [tool.name for tool in (await session.list_tools()).tools] == list(catalog.NAMES)
        answer = await session.call_tool("validate_language_tags", {"manifest": manifest})
        assert not answer.is_error, answer.content
        assert set(answer.structured_content) == {"summary", "data", "warnings", "next_actions", "artifacts", "truncated"}
        refused = await session.call_tool("inspect_dataset", {"manifest": "../secret.jsonl"})
        assert refused.structured_content["code"] == "path_refused"
        page = (await session.read_resource("asrtune://docs/training")).contents[0]
        assert page.text.startswith("#")  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("given", ["", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer  ", "Bearer \u00e9"])
async def test_without_the_right_token_nothing_is_answered_and_nothing_is_given_away(ws: Workspace, given: str) -> None:
    async with serving(ws, token=TOKEN) as port:
        status, body = await post(port, authorization=given)
        assert status == 401
        assert TOKEN not in body
        assert "asrtune" not in json.loads(body).get("result", {})
        assert (await post(port, authorization=f"Bearer {TOKEN}"))[0] == 200
        assert (await post(port, authorization=f"bearer {TOKEN}"))[0] == 200


@pytest.mark.parametrize("host", ["evil.example.com", "evil.example.com:80", "127.0.0.1.evil.example", "localhost:1", "127.0.0.1", "[::1]:1", "0.0.0.0:80"])
async def test_a_host_header_of_another_name_is_refused_in_both_eras(ws: Workspace, host: str) -> None:
    async with serving(ws) as port:
        for era in ({}, {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/list"}):
            status, _ = await post(port, host=host, **era)
            assert status in (400, 421), host
        assert (await post(port, host=f"localhost:{port}"))[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example.com", "null", "http://localhost:3000", "http://127.0.0.1", "file://", "http://127.0.0.1.evil.example"])
async def test_a_web_page_of_another_origin_is_refused_in_both_eras(ws: Workspace, origin: str) -> None:
    async with serving(ws) as port:
        for era in ({}, {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/list"}):
            assert (await post(port, origin=origin, **era))[0] == 403
        assert (await post(port, origin=f"http://127.0.0.1:{port}"))[0] == 200


async def test_outside_loopback_only_the_allowed_names_are_answered(ws: Workspace) -> None:
    async with serving(ws, host=ANY, names=("asr.example.org",), token=TOKEN) as port:
        known = {"authorization": f"Bearer {TOKEN}"}
        for host in ("asr.example.org", "asr.example.org:443"):
            assert (await post(port, host=host, **known))[0] == 200
        assert (await post(port, host="asr.example.org", origin="https://asr.example.org", **known))[0] == 200
        assert (await post(port, host="other.example.org", **known))[0] == 421
        assert (await post(port, host="asr.example.org", origin="https://other.example.org", **known))[0] == 403
        assert (await post(port, host="asr.example.org"))[0] == 401


async def test_what_is_too_large_no_json_or_elsewhere_is_refused(ws: Workspace) -> None:
    async with serving(ws) as port:
        assert (await post(port, b"x" * (mcp_http.LARGEST_BODY + 1)))[0] == 413
        assert (await post(port, b"{"))[0] == 400
        assert (await post(port, b"\xff\xfe"))[0] == 400
        assert (await post(port, content_type="text/plain"))[0] == 400
        for path in ("/", "/mcp/x", "/.well-known/oauth-protected-resource", "/mcp/../etc/passwd"):
            assert (await post(port, path=path))[0] == 404


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_on_loopback_a_token_is_welcome_but_not_required(host: str) -> None:
    assert mcp_http.door(host, 0, token=None).loopback
    assert mcp_http.door(host, 0, token=TOKEN).token == TOKEN


@pytest.mark.parametrize(
    ("host", "names", "token", "code"),
    [
        (ANY, ("asr.example.org",), None, "http_token_missing"), ("192.0.2.7", (), None, "http_token_missing"), ("::", (), None, "http_token_missing"),
        ("asr.example.org", (), None, "http_token_missing"), ("localhost.evil.example", (), None, "http_token_missing"), (ANY, (), TOKEN, "http_names_missing"),
        ("::", (), TOKEN, "http_names_missing"), ("127.0.0.1", (), "short", "http_token_weak"), ("127.0.0.1", (), "", "http_token_weak"),
        ("127.0.0.1", (), "a b" * 20, "http_token_weak"), ("127.0.0.1", (), "é" * 40, "http_token_weak"), ("127.0.0.1", (), TOKEN + "\n", "http_token_weak"),
        ("http://127.0.0.1", (), None, "http_host_invalid"), ("", (), None, "http_host_invalid"), ("127.0.0.1:80", (), TOKEN, "http_host_invalid"),
        ("127.0.0.1", ("*",), TOKEN, "http_host_invalid"), ("127.0.0.1", ("x:*",), TOKEN, "http_host_invalid"), ("a\u202eb", (), TOKEN, "http_host_invalid"),
    ],
)  # fmt: skip
def test_a_door_that_would_stand_open_is_refused_with_its_own_code(host: str, names: tuple[str, ...], token: str | None, code: str) -> None:
    with pytest.raises(AsrtuneError) as caught:
        mcp_http.door(host, 0, names, token=token)
    assert caught.value.code == code
    assert token is None or token == "" or token not in str(caught.value)


def test_a_port_that_is_taken_is_an_error_of_this_machine() -> None:
    with mcp_http.listen(mcp_http.Door("127.0.0.1", 0, (), None)) as taken, pytest.raises(AsrtuneError) as caught:
        mcp_http.listen(mcp_http.Door("127.0.0.1", taken.getsockname()[1], (), None))
    assert (caught.value.code, caught.value.exit_code) == ("http_address_unusable", 4)


@pytest.mark.parametrize("words", [["--port", "0"], ["--host", "127.0.0.1"], ["--allow-host", "x"]])
def test_options_of_http_without_http_are_a_usage_error(words: list[str]) -> None:
    done = CliRunner().invoke(app, ["mcp", *words])
    assert done.exit_code == 2
    assert "[http_not_asked]" in done.output


def test_no_option_takes_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(app, ["mcp", "--help"]).output
    assert "ASRTUNE_MCP_TOKEN" in shown
    assert "--token" not in shown
    assert CliRunner().invoke(app, ["mcp", "--http", "--token", TOKEN]).exit_code == 2


def test_the_command_serves_says_where_and_keeps_its_token_from_its_environment(tmp_path: Path) -> None:
    """One real process. Its children get their environment from an allow-list too (tests/jobs); this is the first of two doors."""
    script = "import os, sys\nfrom asrtune import mcp_http\n" \
             "mcp_http.build_app = lambda *a, f=mcp_http.build_app: (sys.stderr.write(f'left {mcp_http.TOKEN_VARIABLE in os.environ}\\n'), f(*a))[1]\n" \
             "mcp_http.serve_http('127.0.0.1', 0, [])\n"  # fmt: skip
    environment = {**os.environ, mcp_http.TOKEN_VARIABLE: TOKEN}
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            said = server.stderr.readline()
            assert said.startswith("asrtune serves MCP at http://127.0.0.1:")
            assert said.rstrip().endswith("/mcp with the token")
            assert server.stderr.readline() == "left False\n"
            port = int(said.split("/mcp")[0].rsplit(":", 1)[1])
            assert anyio.run(lambda: post(port))[0] == 401
            status, body = anyio.run(lambda: post(port, authorization=f"Bearer {TOKEN}"))
            assert status == 200
            assert '"name":"asrtune"' in body
        finally:
            server.terminate()
        rest = server.stderr.read()
    assert TOKEN not in said + rest


def test_stdio_loads_no_http_server(stdio_server: Callable[..., Any]) -> None:
    server = stdio_server("-X", "importtime", "-m", "asrtune", "mcp")
    server.handshake()
    _, errors = server.close()
    modules = {line.rsplit("|", 1)[1].strip() for line in errors.splitlines() if line.startswith("import time:")}
    assert "asrtune.mcp_server" in modules
    assert not modules & {"asrtune.mcp_http", "asrtune.cli_misc"}, "the SDK itself may load what it likes"
