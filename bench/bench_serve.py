"""How many live streams a server keeps up with, and how late their words are: `asrtune serve`, and sherpa-onnx's own server on the same model.

    python bench/bench_serve.py [--checkpoint embedded] [--seconds 30] [--case 1120:64 --case 320:32 --case 80:8] [--threads N] [--search]
                                [--rival] [--rival-program PATH] [--onnx FOLDER] [--json]

Each connection sends synthetic speech of the embedded test sets at the speed of sound, 80 ms a message, starting at a random moment within a chunk.
The lag of a chunk is the time from sending the message with its last needed sample to receiving the message that its words come in, measured by the client; clients
share the machine with the server, which makes it look slower than it is. Bars, on 2 cores with the embedded base: 64 connections at 1120 ms and 32 at 320 ms
with a p95 lag of at most one chunk; 80 ms is only measured. Every clip must also read the same in every connection (99 %). Exit code 1 when a bar is missed.

`--rival` runs the same cases against `sherpa-onnx-online-websocket-server` (pip install sherpa-onnx-bin) with as many threads, on an ONNX export of the checkpoint: that
in `--onnx` (an artefact of export_model), else one that is made first, with its gate. `--search` doubles the connections of each case until p95 passes one chunk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import aiohttp
import numpy as np
import psutil

from bench import sherpa_server
from bench.live import Case, Clip, Heard, Listen, Speaker, clips_of, run_case

BARS = {1120: 64, 320: 32}
MOST = 1024
"""Connections at which a search ends."""


def listener(url: str, chunk_ms: int) -> Listen:
    """A client of `asrtune serve`."""

    async def listen(client: aiohttp.ClientSession, number: int, clip: Clip) -> Heard:
        async with client.ws_connect(url) as ws:
            await ws.send_str(json.dumps({"language": clip.language, "latency_ms": chunk_ms}))
            assert (await ws.receive_json())["type"] == "ready"
            speaker = Speaker(ws)
            pieces = [np.clip(np.round(piece * 32768), -32768, 32767).astype("<i2").tobytes() for piece in clip.pieces()]
            speaking = asyncio.create_task(speaker.speak(pieces, clip.seconds, '{"type": "end"}'))
            text, lags, last = "", list[float](), 0.0
            async for message in ws:
                told = json.loads(message.data)
                if told["type"] == "error":
                    raise RuntimeError(told["code"])
                if told["type"] == "final":
                    text += ("" if told["glue"] else " ") + told["text"]
                if told["type"] != "done" and told["audio_s"] > last:
                    last = told["audio_s"]
                    lags.append(speaker.lag_ms(last))
            await speaking
        return Heard(number, text.strip(), lags, speaker.late_s)

    return listen


@contextmanager
def serving(checkpoint: str, device: str, streams: int, threads: int) -> Generator[tuple[psutil.Process, str]]:
    """`asrtune serve`: its process and its address. A server that does not end well is an error."""
    root = Path(__file__).parents[1]
    paths = os.pathsep.join([str(root), str(root / "tools"), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "asrtune", "serve", checkpoint, "--json", "--device", device, "--max-connections", str(streams)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads)})
    try:
        assert server.stdout is not None
        yield psutil.Process(server.pid), json.loads(server.stdout.readline())["websocket"]
    finally:
        server.terminate()
        code = server.wait(timeout=30)
    if code:
        raise SystemExit(f"the server ended with {code}")


def exported(checkpoint: str, chunks_ms: Sequence[int], folder: Path) -> Path:
    """An ONNX export of the checkpoint at these chunk sizes, through its gate, in a process of its own."""
    from asrcore.checkpoint import checkpoint_ref, embedded_base, read_checkpoint
    from asrcore.embedded import shipped
    from asrcore.io import write_json
    from asrcore.manifest import manifest_ref
    from asrcore.requests import ExportRequest

    sets = shipped.unpack(folder / "sets")
    smoke, more = (manifest_ref(sets[name]) for name in ("bg-BG_guard_test", "el-GR_clean_test"))
    path = embedded_base() if checkpoint == "embedded" else Path(checkpoint)
    request = ExportRequest(checkpoint=checkpoint_ref(read_checkpoint(path), checkpoint), target="onnx", smoke=smoke, extra_smoke=(more,), smoke_utterances=4,
                            att_contexts=tuple((56, ms // 80 - 1) for ms in sorted(set(chunks_ms))), provenance={"run": "bench_serve"}, out=str(folder / "onnx"))  # fmt: skip
    job = folder / "job"
    job.mkdir()
    write_json(job / "request.json", request)
    subprocess.run([sys.executable, "-m", "asrcore.model.export", str(job / "request.json")], check=True, cwd=Path(__file__).parents[1])
    return Path(request.out)


def cases_of(run: Callable[[int], Case], connections: int, *, search: bool) -> Iterator[Case]:
    """One case; in a search twice the connections each time, until one is too late."""
    yield (case := run(connections))
    while search and case.in_time and case.connections < MOST:
        yield (case := run(2 * case.connections))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="embedded")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--case", action="append", help="LATENCY_MS:CONNECTIONS; default 1120:64 320:32 80:8")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1), help="Of each server's engine.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--json", action="store_true", help="One JSON line instead.")
    parser.add_argument("--rival", action="store_true")
    parser.add_argument("--rival-program", help=f"Default: {sherpa_server.PROGRAM} on PATH.")
    parser.add_argument("--onnx", type=Path)
    options = parser.parse_args()
    wanted = [tuple(map(int, text.split(":"))) for text in options.case or ["1120:64", "320:32", "80:8"]]
    program = sherpa_server.installed(options.rival_program) if options.rival else None
    if options.rival and program is None:
        parser.error(f"{sherpa_server.PROGRAM} is not on PATH: pip install sherpa-onnx-bin, or name it with --rival-program")
    streams = MOST if options.search else max(count for _, count in wanted)
    missed, ours, cases = False, dict[tuple[int, int], Case](), list[tuple[str, Case]]()

    def tell(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clips = clips_of(folder / "sets", options.seconds)
        chance = random.Random(0)

        def runner(server: psutil.Process, listen: Listen, chunk_ms: int) -> Callable[[int], Case]:
            return lambda count: asyncio.run(run_case(listen, server, chunk_ms, count, clips, chance))

        with serving(options.checkpoint, options.device, streams, options.threads) as (server, url):
            for chunk_ms, connections in wanted:
                for case in cases_of(runner(server, listener(url, chunk_ms), chunk_ms), connections, search=options.search):
                    needed = BARS.get(chunk_ms) == case.connections
                    good = case.in_time and case.agreement >= 0.99
                    missed |= needed and not good
                    ours[chunk_ms, case.connections] = case
                    cases.append(("asrtune", case))
                    tell(f"asrtune      {case}  {'meets' if good else 'misses'} {'the bar' if needed else 'p95 <= one chunk'}")
        if program is not None:
            onnx = options.onnx or exported(options.checkpoint, [ms for ms, _ in wanted], folder)
            for chunk_ms, connections in wanted:
                chunk = onnx / f"chunk_{chunk_ms}ms"
                with sherpa_server.serving(program, chunk, streams=streams, threads=options.threads) as (process, url):
                    rival = runner(psutil.Process(process.pid), sherpa_server.listener(url, chunk_ms), chunk_ms)
                    for case in cases_of(rival, connections, search=options.search):
                        beside = ours.get((chunk_ms, case.connections))
                        ratio = f"  p95 {case.percentile(95) / beside.percentile(95):.2f} times ours, CPU {case.cpu_s / beside.cpu_s:.2f} times" if beside else ""
                        cases.append(("sherpa-onnx", case))
                        tell(f"sherpa-onnx  {case}{ratio}")
    if options.json:
        print(json.dumps([{"server": server, "chunk_ms": case.chunk_ms, "connections": case.connections, "p95_ms": case.percentile(95),
                           "agreement": case.agreement} for server, case in cases]))  # fmt: skip
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
