"""The GPU stage of bench/full_size.py: training speed, streams in real time, memory against the plan. Without a CUDA device it measures nothing and says so.

**Never run so far**: no GPU was at hand. Rows: audio hours an hour of full and LoRA training at the plan's own batch, in bf16 with the prompt layer in fp32;
their peak of GPU memory, and that of the largest batch that `find_batch` finds, against the formulas (bar: within 10 %); steps a second of full training
beside NeMo's own fit on the same data, batch and precision (`bench/train.py`; bar: 1.2 times); how many streams the exact engine keeps up with at 80, 320 and
1,120 ms beside NeMo's own loop (bar: 2 times), and the fast engine's audio seconds a second beside NeMo's loop (bar: 10 times at 80 ms).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.full_size_stages import Found, Place

Figure = tuple[str, str, bool]
STEPS = 40
CONTEXTS = {80: (56, 0), 320: (56, 3), 1120: (56, 13)}
EXACT_GOAL, FAST_GOAL, STOCK_GOAL, PEAK_SHARE = 2.0, 10.0, 1.2, 0.10
MOST_STREAMS = 1024


def measure(place: Place) -> Found:
    import torch

    if not torch.cuda.is_available():
        return Found(said="not measured: no CUDA device here", measured=False)
    return Found(said=torch.cuda.get_device_name(), figures=(*training(place, "lora:8"), *training(place, "full"), beside_stock(place), *streaming(place)))


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
    searched = search(place, plan.request)
    shutil.rmtree(plan.request.out, ignore_errors=True)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with Utilisation() as used:
        result = child.run(plan.request, place.reporter(f"gpu_{surface.replace(':', '_')}"))
    peak, planned = torch.cuda.max_memory_allocated() / 1e9, plan.summary.estimates.memory_gb
    return [
        (f"training, {surface}, batch {plan.request.batch_size}", f"{result.audio_hours_per_hour:.0f} audio hours an hour, GPU {used.percent:.0f} % busy", True),
        # Most batches are shorter than the one that the plan allows for: a peak above the plan is the miss here.
        (f"peak memory, {surface}", f"{peak:.1f} GB, planned {planned:.1f} GB", peak <= planned * (1 + PEAK_SHARE)),
        searched,
    ]


def search(place: Place, request: Any) -> Figure:
    """The largest batch of 20 s utterances that fits, and its peak against the formulas."""
    from asrcore.batch_requests import BatchRequest
    from asrcore.model import find_batch as child
    from asrcore.recipe.estimates import usable_memory

    usable = usable_memory()
    if usable is None:
        return f"largest batch, {request.surface}", "not measured: the driver does not say how much memory there is", False
    found = child.run(BatchRequest(train=request, longest_seconds=20.0, labels=60, memory_gb=usable), place.reporter(f"gpu_batch_{request.surface.replace(':', '_')}"))
    best = max((trial for trial in found.tried if trial.fits), key=lambda trial: trial.batch_size, default=None)
    if best is None:
        return f"largest batch, {request.surface}", f"not one utterance of 20 s fits into {usable:.0f} GB", False
    value = f"{best.batch_size} utterances of 20 s: peak {best.peak_gb:.1f} GB, predicted {best.predicted_gb:.1f} GB; {len(found.tried)} tried in {found.seconds:.0f} s"
    return f"largest batch, {request.surface}", value, abs(best.peak_gb - best.predicted_gb) <= PEAK_SHARE * best.peak_gb


def beside_stock(place: Place) -> Figure:
    """Steps a second of full training in bf16 beside NeMo's own, each in a process of its own; counts only with the same losses."""
    root = Path(__file__).parents[1]
    command = [sys.executable, str(root / "bench" / "train.py"), "--base", str(place.base), "--bf16", "--json", "--steps", str(STEPS), "--folder", str(place.folder / "stock")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        return "training beside NeMo's fit", f"failed: {(done.stderr.strip().splitlines() or ['no output'])[-1][:150]}", False
    told = json.loads(lines[-1])
    ours, stock = told["steps_per_s"]["ours"], told["steps_per_s"]["stock"]
    return "training beside NeMo's fit", f"{ours:.2f} against {stock:.2f} steps a second; losses within {told['worst']:.1e}", told["same"] and ours >= STOCK_GOAL * stock


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
