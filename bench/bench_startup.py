"""Start-up time of the two surfaces against the smallest thing of their kind, started in turn on the same machine.

    python bench/bench_startup.py [--runs 15] [--json]

`asrtune --help` against a two-command Typer app's `--help`; the MCP handshake (initialize, tools/list over stdio, from process start to the
last answer) against a bare SDK server with one tool. Exit code 1 when a ratio of medians is over its bar. Not a test: wall clocks lie on busy
machines, ratios of interleaved medians less so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

BARS = {"help": 2.0, "handshake": 1.3}

ROOT = Path(__file__).parents[1]

BARE_CLI = """
import typer
app = typer.Typer()
@app.command()
def one(name: str): "First."
@app.command()
def two(count: int = 1): "Second."
app()
"""

BARE_SERVER = """
from mcp.server import MCPServer
server = MCPServer("bare")
@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b
server.run("stdio")
"""

INITIALIZE: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "initialize",
              "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}}  # fmt: skip
INITIALIZED: dict[str, Any] = {"jsonrpc": "2.0", "method": "notifications/initialized"}
LIST: dict[str, Any] = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}


class Row(NamedTuple):
    name: str
    ours: float
    bare: float
    bar: float

    @property
    def ratio(self) -> float:
        return self.ours / self.bare


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        app, server = Path(folder) / "app.py", Path(folder) / "server.py"
        app.write_text(BARE_CLI, encoding="utf-8")
        server.write_text(BARE_SERVER, encoding="utf-8")
        python = [sys.executable]
        rows = [
            _row("help", options.runs, lambda argv: _run([*argv, "--help"]), [*python, "-m", "asrtune"], [*python, str(app)]),
            _row("handshake", options.runs, _handshake, [*python, "-m", "asrtune", "mcp"], [*python, str(server)]),
        ]
    if options.json:
        print(json.dumps([{**row._asdict(), "ratio": row.ratio} for row in rows]))
    else:
        for row in rows:
            verdict = "ok" if row.ratio <= row.bar else "OVER"
            print(f"{row.name:10} ours {row.ours * 1000:6.0f} ms   bare {row.bare * 1000:6.0f} ms   ratio {row.ratio:.2f}   bar {row.bar}   {verdict}")
    return int(any(row.ratio > row.bar for row in rows))


def _row(name: str, runs: int, timed: Callable[[list[str]], float], ours: list[str], bare: list[str]) -> Row:
    """Medians in seconds of interleaved runs, after one of each that is not counted (it fills the byte-code and disk caches)."""
    times = [(timed(ours), timed(bare)) for _ in range(runs + 1)][1:]
    return Row(name, statistics.median(t for t, _ in times), statistics.median(t for _, t in times), BARS[name])


def _run(argv: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(argv, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def _handshake(argv: list[str]) -> float:
    start = time.perf_counter()
    with subprocess.Popen(argv, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for messages, answer in (([INITIALIZE], 1), ([INITIALIZED, LIST], 2)):
            for message in messages:
                server.stdin.write(json.dumps(message) + "\n")
            server.stdin.flush()
            reply = json.loads(server.stdout.readline())
            if reply.get("id") != answer or "result" not in reply:
                raise SystemExit(f"{argv[-1]} answered {reply}")
        elapsed = time.perf_counter() - start
        server.stdin.close()
        server.wait(timeout=30)
    return elapsed


def _environment() -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "tools"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


if __name__ == "__main__":
    sys.exit(main())
