"""The MCP server over streamable HTTP: `asrtune mcp --http`. Off unless asked for; stdio needs none of this and never loads it.

Who may call is decided before a tool is reached, in this order: the bearer token (always where one is set, and required outside loopback), the
Host and Origin headers (a web page that a person has open must not drive the tools through their browser: DNS rebinding), the size of the body.
No state is kept between requests, so a restart loses nothing and both protocol eras are served alike: jobs and plans live in the ledger.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import re
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from asrcore.addresses import bracketed, is_any, is_ipv6, is_loopback
from asrcore.errors import EnvironmentFault, UsageError, clean_text

if TYPE_CHECKING:
    from mcp.server.transport_security import TransportSecuritySettings
    from starlette.types import ASGIApp, Receive, Scope, Send

    from asrcore.workspace import Workspace

TOKEN_VARIABLE = "ASRTUNE_MCP_TOKEN"  # noqa: S105 - the name of a variable, not a secret
"""Where the token comes from. Never an argument: arguments stand in process lists and shell histories."""
SHORTEST_TOKEN = 24
"""Characters. `secrets.token_urlsafe(32)` gives 43; what a person makes up is mostly shorter than 24."""
PATH = "/mcp"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8321
LARGEST_BODY = 1_000_000
"""Bytes of one request; the arguments of a tool are held under 256,000 anyway (asrtune.registry)."""
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_MAKE_ONE = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"


class Door(NamedTuple):
    """Where the server listens and whom it lets in."""

    host: str
    port: int
    """0 lets the operating system choose."""
    names: tuple[str, ...]
    """What clients may call this machine, besides `host` itself, in a Host header."""
    token: str | None

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)


def door(host: str, port: int, names: Sequence[str] = (), *, token: str | None) -> Door:
    """A checked door. Raises `http_host_invalid`, `http_token_missing`, `http_token_weak`, `http_names_missing`."""
    for name in (host, *names):
        if not _NAME.fullmatch(name) and not is_ipv6(name):
            raise UsageError("http_host_invalid", f"{clean_text(name, 80)!r} is no host name or address.",
                             next_step="pass a name or an address without scheme, port or path, e.g. --host 127.0.0.1.")  # fmt: skip
    made = Door(host, port, tuple(names), token)
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise UsageError("http_token_weak", f"{TOKEN_VARIABLE} is not {SHORTEST_TOKEN} or more printable ASCII characters without spaces.",
                         next_step=f"set it to the output of `{_MAKE_ONE}`.")  # fmt: skip
    if token is None and not made.loopback:
        raise UsageError("http_token_missing", f"{host} can be reached from other machines, and no token is set.",
                         next_step=f"set {TOKEN_VARIABLE} to the output of `{_MAKE_ONE}` (clients send it as a Bearer token), or keep --host {DEFAULT_HOST}.")  # fmt: skip
    if not names and is_any(host):
        raise UsageError("http_names_missing", f"{host} stands for every address of this machine, so the Host header has nothing to be checked against.",
                         next_step="add --allow-host with the name that clients use, once for each name.")  # fmt: skip
    return made


def security(made: Door, port: int) -> TransportSecuritySettings:
    """Host and Origin headers that are let in: the address with its port, and each allowed name with any port or none (a proxy may stand before us)."""
    from mcp.server.transport_security import TransportSecuritySettings

    own = [] if is_any(made.host) else [f"{bracketed(made.host)}:{port}"]
    if made.loopback or is_any(made.host):
        own += [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    named = [entry for name in map(bracketed, made.names) for entry in (name, f"{name}:*")]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*dict.fromkeys(own), *named],
        allowed_origins=[f"{scheme}://{entry}" for scheme in ("http", "https") for entry in (*dict.fromkeys(own), *named)],
    )


def build_app(ws: Workspace | None, made: Door, port: int) -> ASGIApp:
    """The ASGI application: the tools at `/mcp`, nothing anywhere else. `port` is the one that is really listened on."""
    from asrtune.mcp_server import build_server

    app = build_server(ws).streamable_http_app(
        streamable_http_path=PATH, stateless_http=True, transport_security=security(made, port), max_request_body_size=LARGEST_BODY)  # fmt: skip
    return app if made.token is None else BearerToken(app, made.token)


class BearerToken:
    """Lets a request for the tools through only with the right `Authorization: Bearer` header."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._wanted = token.encode("ascii")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH and not self._knows(scope["headers"]):
            body = b'{"error":"invalid_token","error_description":"[http_token_wrong] the bearer token is missing or wrong."}'
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"www-authenticate", b'Bearer error="invalid_token"')]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, send)

    def _knows(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Exactly one header, compared in constant time."""
        given = [value for name, value in headers if name.lower() == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._wanted)


def listen(made: Door) -> socket.socket:
    """A listening socket: from here on clients may connect. Raises `http_address_unusable`."""
    family = socket.AF_INET6 if ":" in made.host else socket.AF_INET
    try:
        return socket.create_server((made.host, made.port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise EnvironmentFault(
            "http_address_unusable", f"{made.host} port {made.port} cannot be listened on ({getattr(error, 'strerror', None) or error}).",
            next_step="pass another --port (0 lets the system choose), or stop the server that has it.",
        ) from error  # fmt: skip


def uvicorn_server(app: ASGIApp) -> Any:
    """The HTTP server, not started. It logs no request lines: they add nothing, and headers must never be written."""
    import uvicorn

    return uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none", server_header=False, timeout_graceful_shutdown=5))


def serve_http(host: str, port: int, names: Sequence[str]) -> None:
    """Serves until it is interrupted. The address goes to stderr. Raises what `door` and `listen` raise."""
    import logging

    # Taken out of the environment, so that no job and no library that this process starts can see it.
    made = door(host, port, names, token=os.environ.pop(TOKEN_VARIABLE, None))
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with listen(made) as listening:
        port = listening.getsockname()[1]
        guarded = "with the token" if made.token else "without a token, from this machine only"
        sys.stderr.write(f"asrtune serves MCP at http://{bracketed(made.host)}:{port}{PATH} {guarded}\n")
        sys.stderr.flush()
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn_server(build_app(None, made, port)).run([listening])
