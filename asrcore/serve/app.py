"""The HTTP side: the WebSocket endpoint, the page, the health endpoint, who may connect, and how the server ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from asrcore.addresses import bracketed, is_loopback
from asrcore.errors import EnvironmentFault
from asrcore.serve.engine import ENGINE, Engine
from asrcore.serve.session import CLOSING_S, Places, Session, same_secret, stopping
from asrcore.serve.settings import Settings, languages

STREAM = "/v1/stream"
PAGE = Path(__file__).parent / "page"
_FILES = {"/": ("index.html", "text/html"), "/page.css": ("page.css", "text/css"), "/page.js": ("page.js", "text/javascript"),
          "/capture.js": ("capture.js", "text/javascript")}  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
}  # fmt: skip


class Server:
    """`start`, then `serve_until_stopped`. One engine, any number of sessions up to the limit."""

    def __init__(self, settings: Settings, engine_command: Sequence[str] = ENGINE) -> None:
        self.settings = settings
        self._command = engine_command
        self._places = Places(settings.limits.max_connections)
        self._sessions: set[Session] = set()
        self._stopped = asyncio.Event()

    async def start(self) -> str:
        """Loads the model, then listens; gives the base URL. Raises what the engine raises, and `address_in_use`."""
        self.engine = Engine(self.settings, self._command)
        try:
            await self.engine.start()
            self._runner = web.AppRunner(self._app(), access_log=None, handle_signals=False, shutdown_timeout=1.0)
            await self._runner.setup()
            site = web.TCPSite(self._runner, self.settings.host.strip("[]"), self.settings.port)
            await site.start()
        except OSError as error:
            await self.engine.stop()
            raise EnvironmentFault("address_in_use", f"cannot listen on {self.settings.host} port {self.settings.port} ({error.strerror}).",
                                   next_step="pass another --port, or --port 0 for a free one.") from error  # fmt: skip
        except BaseException:
            await self.engine.stop()
            raise
        self.port = int(self._runner.addresses[0][1])
        return f"http://{bracketed(self.settings.host)}:{self.port}"

    def stop(self) -> None:
        """Asks the server to end; sessions get their last words within the grace period."""
        self._stopped.set()

    async def serve_until_stopped(self) -> None:
        """Returns when `stop` was called. Raises `serve_engine_died` when the engine broke; clients were told before."""
        stopped = asyncio.create_task(self._stopped.wait())
        await asyncio.wait({stopped, self.engine.failed}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        self._stopped.set()
        for session in self._sessions:
            session.stop(self.engine.failed.result() if self.engine.failed.done() else stopping())
        if closing := [asyncio.create_task(session.closed.wait()) for session in self._sessions]:
            _, late = await asyncio.wait(closing, timeout=self.settings.limits.grace_s + CLOSING_S)
            for one in late:
                one.cancel()
        await self._runner.cleanup()
        await self.engine.stop()
        if self.engine.failed.done():
            raise self.engine.failed.result()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get(STREAM, self._stream)
        app.router.add_get("/health", self._health)
        for path in _FILES:
            app.router.add_get(path, self._file)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuses other sites' pages, and names of this address that somebody else's DNS made up."""
        if is_loopback(self.settings.host) and not is_loopback(_name(request.headers.get("Host", ""))):
            raise web.HTTPForbidden(text="This server answers on its loopback address only.\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self.settings.origins and _netloc(origin) != request.headers.get("Host"):
            raise web.HTTPForbidden(text="Pages of another origin may not connect; start the server with --origin to let one in.\n")
        return await handler(request)

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = _FILES[request.path]
        return web.Response(body=(PAGE / name).read_bytes(), content_type=kind, charset="utf-8", headers=_HEADERS)

    async def _health(self, request: web.Request) -> web.Response:
        lags = sorted(self.engine.lags)
        state = "failed" if self.engine.dead else "stopping" if self._stopped.is_set() else "ok"
        body = {
            "status": state, "checkpoint": self.settings.name, "connections": self._places.taken, "max_connections": self._places.total,
            "languages": languages(self.settings.slots), "latencies_ms": list(self.settings.latencies), "token_required": self.settings.token is not None,
            "latency_ms": next(ms for ms, context in self.settings.latencies.items() if context == self.settings.default_context),
            "lag_p95_ms": round(lags[int(0.95 * (len(lags) - 1))], 1) if lags else None, "stream": STREAM,
        }  # fmt: skip
        return web.json_response(body, status=200 if state == "ok" else 503, headers=_HEADERS)

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        if self._stopped.is_set():
            raise web.HTTPServiceUnavailable(text="The server shuts down.\n")
        ws = web.WebSocketResponse(compress=False, max_msg_size=self.settings.limits.max_message_bytes, timeout=2.0)
        await ws.prepare(request)
        session = Session(ws, self.engine, self.settings, self._places, trusted=self._trusted(request))
        self._sessions.add(session)
        try:
            await session.run(request.transport)
        finally:
            self._sessions.discard(session)
        return ws

    def _trusted(self, request: web.Request) -> bool:
        """Whether the Authorization header holds the token; without one the first message has to."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return bool(self.settings.token) and scheme.lower() == "bearer" and same_secret(token, str(self.settings.token))


def _name(header: str) -> str:
    """The name in a Host header, without port and brackets; empty when there is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    """Host and port of an origin; empty for `null` and for what is no origin, which no Host header equals."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


async def serve(settings: Settings, on_ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C. `on_ready` gets the base URL. Raises what `Server.start` and `serve_until_stopped` raise."""
    server = Server(settings)
    loop = asyncio.get_running_loop()
    starting = asyncio.create_task(server.start())

    def stop() -> None:
        server.stop()
        starting.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        url = await starting
    except asyncio.CancelledError:
        return
    on_ready(url)
    await server.serve_until_stopped()
