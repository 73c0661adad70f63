"""The GPU stage of bench/full_size.py: training speed, streams in real time, memory against the plan. Without a CUDA device it measures nothing and says so.

**Never run so far**: no GPU was at hand. Rows: audio hours an hour of full and LoRA training at the plan's own batch, the peak of GPU memory against the
plan's prediction (bar: within 10 %), how many streams the exact engine keeps up with at 80, 320 and 1,120 ms beside NeMo's own loop (bar: 2 times), and
the fast engine's audio seconds a second beside NeMo's loop (bar: 10 times at 80 ms). The stock training script is not part of NeMo's wheel, so its figure is not taken here:
run NeMo's `examples/asr/asr_transducer/speech_to_text_rnnt_bpe_prompt.py` on the same shards, batch and precision, and divide (goal: 1.2 times).
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from bench.full_size_stages import Found, Place

Figure = tuple[str, str, bool]
STEPS = 40
CONTEXTS = {80: (56, 0), 320: (56, 3), 1120: (56, 13)}
EXACT_GOAL, FAST_GOAL, PEAK_SHARE = 2.0, 10.0, 0.10
MOST_STREAMS = 1024


def measure(place: Place) -> Found:
    import torch

    if not torch.cuda.is_available():
        return Found(said="not measured: no CUDA device here", measured=False)
    return Found(said=torch.cuda.get_device_name(), figures=(*training(place, "lora:8"), *training(place, "full"), *streaming(place)))


def training(place: Place, surface: str) -> list[Figure]:
    """Speed, utilisation and peak of one short run at the batch that the plan chose."""
    import torch

    from asrcore.embedded import shipped
    from asrcore.model import train as child
    from asrcore.recipe import FinetuneSpec, make_plan
    from asrcore.requests import ShardsResult

    shards = ShardsResult.model_validate_json(place.kept("shards"))
    spec = FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(place.rows(shipped.TELEPHONE_DEV, 2)), base=str(place.base), surface=surface,
                        max_steps=STEPS)  # fmt: skip
    plan = make_plan(spec, place.workspace).plan
    torch.cuda.reset_peak_memory_stats()
    with Utilisation() as used:
        result = child.run(plan.request, place.reporter(f"gpu_{surface.replace(':', '_')}"))
    peak, planned = torch.cuda.max_memory_allocated() / 1e9, plan.summary.estimates.memory_gb
    return [
        (f"training, {surface}, batch {plan.request.batch_size}", f"{result.audio_hours_per_hour:.0f} audio hours an hour, GPU {used.percent:.0f} % busy", True),
        (f"peak memory, {surface}", f"{peak:.1f} GB, planned {planned:.1f} GB", abs(peak - planned) <= PEAK_SHARE * peak),
    ]


def streaming(place: Place) -> list[Figure]:
    """Streams in real time of the exact engine and of NeMo's loop, and speed of the fast engine."""
    from asrcore.audio import decode
    from asrcore.manifest import load_rows
    from asrcore.model.fast import FastDecoder
    from asrcore.model.restore import restore
    from asrcore.model.stream import StreamingDecoder, StreamItem
    from tests.model.nemo_loop import nemo_loop

    model = restore(place.base, device="cuda")
    clip = decode(load_rows(place.rows("bg-BG_guard_test", 1))[0].audio)
    length = len(clip) / 16_000

    def items(count: int) -> list[Any]:
        return [StreamItem(n, lambda: clip, 30, length) for n in range(count)]

    figures: list[Figure] = []
    for chunk_ms, context in CONTEXTS.items():
        ours = most_streams(length, lambda n, context=context: StreamingDecoder(model, context, n).decode(items(n)))
        theirs = most_streams(length, lambda n, context=context: nemo_loop(model, [clip] * n, "bg-BG", n, context))
        figures.append((f"streams in real time at {chunk_ms} ms", f"{ours}; NeMo's loop {theirs}", ours >= EXACT_GOAL * theirs))

    def fastest(run: Callable[[int], Any]) -> float:
        return max(n * length / timed(run, n) for n in (16, 64, 256))

    fast = fastest(lambda n: FastDecoder(model, CONTEXTS[80], n).decode(items(n)))
    slow = fastest(lambda n: nemo_loop(model, [clip] * n, "bg-BG", n, CONTEXTS[80]))
    figures.append(("fast engine at 80 ms, audio seconds a second", f"{fast:.0f}; NeMo's loop {slow:.0f}", fast >= FAST_GOAL * slow))
    return figures


def most_streams(seconds: float, run: Callable[[int], Any]) -> int:
    """The largest power of two of streams of `seconds` that are decoded together in less time than they last."""
    streams = 1
    while streams < MOST_STREAMS and timed(run, 2 * streams) < seconds:
        streams *= 2
    return streams if timed(run, streams) < seconds else 0


def timed(run: Callable[[int], Any], streams: int) -> float:
    """Wall seconds of the second of two runs."""
    import torch

    run(streams)
    torch.cuda.synchronize()
    started = time.perf_counter()
    run(streams)
    torch.cuda.synchronize()
    return time.perf_counter() - started


class Utilisation:
    """Mean share of time in which the GPU computed, asked of `nvidia-smi` twice a second; NaN where it does not answer."""

    def __enter__(self) -> Utilisation:
        self._seen: list[float] = []
        self._over = threading.Event()
        self._asking = threading.Thread(target=self._ask, daemon=True)
        self._asking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._asking.join()

    @property
    def percent(self) -> float:
        return sum(self._seen) / len(self._seen) if self._seen else float("nan")

    def _ask(self) -> None:
        command = shutil.which("nvidia-smi")
        while command and not self._over.wait(0.5):
            told = subprocess.run([command, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"], capture_output=True, text=True, check=False)
            if told.returncode == 0 and (first := told.stdout.partition("\n")[0].strip()).isdigit():
                self._seen.append(float(first))
