"""How long, how much memory, how much disk, and what to expect. Rough by intent; every number says what it rests on."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from asrcore.checkpoint import CheckpointInfo
from asrcore.jobs import Ledger
from asrcore.machine import Gpu, memory_gb, read_gpus
from asrcore.memory import FLOAT, RUNTIME_BYTES, Load, Memory, Network, largest_batch, training_memory
from asrcore.recipe.defaults import SMALL_D_MODEL, Data, Recipe
from asrcore.recipe.overlap import ShardRows
from asrcore.recipe.spec import Estimates, Gain, Plan
from asrcore.recipe.surface import moves, work_share
from asrcore.requests import TrainRequest, TrainResult

KEPT_CANDIDATES = 5
"""Three best, the newest, and one being written."""
SMALL_CPU_PACE = 60.0
"""Audio seconds per second that a 3.6 M model trains at on 2 free cores (own measurement, synthetic speech)."""
SMALL_CPU_PARAMETERS = 3.6e6
A100_PACE = 280.0
"""Audio seconds per second of a published fine-tune of the 0.6 B model: 8000 batches of 200 s in 1 h 35 on one A100 (card of LokaalHub/frisian-asr-streaming-0.6b)."""
CPU_DEV_PACE = 60.0
"""Audio seconds per second of streaming decode of the small model at 80 ms on 2 cores."""
START_SECONDS = 25.0
CHARACTERS_PER_TOKEN = 3.0
GPU_HEADROOM = 0.90
"""Share of a GPU's memory that a batch may fill: the rest is CUDA's own, and what the allocator cannot use (NeMo's OOMptimizer keeps as much free)."""
CPU_HEADROOM = 0.80
"""Of main memory: other programs, and the pages of the files that are read."""
STEP_OVERHEAD_SECONDS = {"cuda": 0.2, "cpu": 0.0}
"""Of a step of a large model besides its arithmetic: kernels are started one by one, the host waits once. An assumption, not a measurement."""
A100_ARITHMETIC_PACE = 200.0 / (200.0 / A100_PACE - STEP_OVERHEAD_SECONDS["cuda"])
"""The same figure without what its steps of 200 s cost besides: 389."""

PUBLIC_GAINS: dict[str, tuple[str, ...]] = {
    "da-DK": ("a public Danish fine-tune, 10 h: 35.83 -> 16.01 % on Common Voice (community report, no replay)",),
    "sv-SE": ("a public Swedish fine-tune, 26 h: 40 -> 18 % (community report, no replay)",),
    "nb-NO": ("a public Norwegian fine-tune, 87 h: 76 -> 17 % (community report, no replay)",),
    "ko-KR": ("a public Korean fine-tune: FLEURS CER 10.3 -> 10.0 while Russian went 31.9 -> 35.0 (community report)",),
}
"""Published before -> after of the 0.6 B model, by locale (their model cards). Other data, other scorers: an order of magnitude at best."""


_RUN_ID = len("run_0123456789ab")


class Run(NamedTuple):
    """One finished run of this workspace."""

    request: TrainRequest
    result: TrainResult


def earlier_runs(ledger: Ledger, base_sha256: str) -> Iterator[Run]:
    """Finished runs from the same base, newest first."""
    plans = {plan.request.run_id: plan.request for plan in (Plan.model_validate(row.data) for row in ledger.list("plan", 200))}
    for row in ledger.list("run", 200):
        result = TrainResult.model_validate(row.data)
        request = plans.get(result.run_id[:_RUN_ID])  # a run started with force_new has a number behind it
        if request is not None and request.base.sha256 == base_sha256:
            yield Run(request, result)


def memory(base: CheckpointInfo, surface: str, batch_size: int, rows: ShardRows, *, averaged: bool = False) -> Memory:
    """Of a step on `batch_size` utterances, all as long as the longest and with as many labels as the richest."""
    load = Load(batch_size, rows.longest_seconds, labels_of(rows))
    return training_memory(network(base), moves(base, surface), load, bf16=_gpu(), averaged=averaged)


def network(base: CheckpointInfo) -> Network:
    return Network(base.size_bytes / FLOAT, base.n_layers, base.d_model, base.vocabulary_size + 1)


def device_memory() -> tuple[float, str]:
    """Bytes of the memory that a training would run in, and what it is; 0 bytes where the driver does not say."""
    if _gpu():
        found = _gpus()
        return (found[0].memory_gb * 1e9, f"this GPU ({found[0].name})") if found else (0.0, "this GPU")
    return memory_gb()[0] * 1e9, "this machine's memory"


def device_name() -> str:
    """As `find_batch` writes it down: the GPU's name, or `cpu`."""
    if not _gpu():
        return "cpu"
    found = _gpus()
    return found[0].name if found else "unknown GPU"


def usable_memory() -> float | None:
    """10^9 bytes that a step may take on this device; None where the driver does not say."""
    size, _ = device_memory()
    return size * (GPU_HEADROOM if _gpu() else CPU_HEADROOM) / 1e9 or None


def labels_of(rows: ShardRows) -> int:
    """Tokens of the richest utterance, about."""
    return max(1, math.ceil(rows.most_characters / CHARACTERS_PER_TOKEN))


def fitting_batch(base: CheckpointInfo, surface: str, rows: ShardRows, *, averaged: bool = False) -> tuple[int, str] | None:
    """The most utterances of the longest kind that fit, by the formulas, and why; None where the size of the memory is not known."""
    usable, (size, what) = usable_memory(), device_memory()
    if usable is None:
        return None
    free = usable * 1e9 - (0 if _gpu() else RUNTIME_BYTES)
    found = largest_batch(network(base), moves(base, surface), rows.longest_seconds, labels_of(rows), free, bf16=_gpu(), averaged=averaged)
    return max(1, found), f"as many as the longest utterances ({rows.longest_seconds:.0f} s) may be in {what} of {size / 1e9:.0f} GB, by the memory formulas"


def estimate(
    base: CheckpointInfo, surface: str, recipe: Recipe, data: Data, rows: ShardRows, dev_seconds: float, runs: list[Run], *, averaged: bool = False
) -> Estimates:
    """Seconds include start, dev evals and training. Memory is the GPU's where there is one, else that of the process."""
    pace, basis = _pace(base, surface, runs)
    audio = recipe.max_steps * recipe.batch_size * data.mean_seconds
    evals = 1 + math.ceil(recipe.max_steps / recipe.candidate_every)
    large = base.d_model >= SMALL_D_MODEL and not runs
    overhead = recipe.max_steps * STEP_OVERHEAD_SECONDS["cuda" if _gpu() else "cpu"] if large else 0.0
    dev_pace = CPU_DEV_PACE * min(1.0, pace / SMALL_CPU_PACE) if not _gpu() else A100_PACE
    longest = recipe.batch_size if recipe.batch_seconds is None else max(1, int(recipe.batch_seconds / data.longest_seconds))
    weights, used = base.size_bytes, memory(base, surface, longest, rows, averaged=averaged)
    return Estimates(
        steps=recipe.max_steps, seconds=round(START_SECONDS + audio / pace + overhead + evals * dev_seconds / dev_pace), basis=basis,
        memory_gb=round((used.training if _gpu() else used.peak) / 1e9, 2),
        disk_gb=round((KEPT_CANDIDATES + 2) * weights / 1e9 + 2 * (3 + averaged) * weights / 1e9, 2), gpus=1 if _gpu() else 0,
    )  # fmt: skip


def cost(estimates: Estimates, price_per_gpu_hour: float) -> float | None:
    """In the person's currency; None without a GPU, a price or a known time."""
    if not estimates.gpus or not price_per_gpu_hour or estimates.seconds is None:
        return None
    return round(estimates.gpus * estimates.seconds / 3600 * price_per_gpu_hour, 2)


def gain(base: CheckpointInfo, locales: list[str], dev_sha256: str, runs: list[Run]) -> Gain:
    """Own runs on the same dev set first, then public rows for the 0.6 B model; nothing is guessed."""
    evidence = [
        f"{run.result.run_id}: {run.result.base_dev_wer:.1f} -> {min(c.dev_wer for c in run.result.candidates):.1f} % on this dev set "
        f"({run.request.max_steps} steps at {run.request.peak_lr:g})"
        for run in runs if run.request.dev.sha256 == dev_sha256 and run.result.candidates
    ]  # fmt: skip
    if base.d_model >= SMALL_D_MODEL:
        evidence += [row for locale in locales for row in PUBLIC_GAINS.get(locale, ())]
    return Gain(expected="evidence" if evidence else "unknown", evidence=tuple(evidence[:5]))


def _pace(base: CheckpointInfo, surface: str, runs: list[Run]) -> tuple[float, str]:
    """Audio seconds that training gets through in a second, and what that rests on. A figure of another surface is put in proportion to its arithmetic."""
    share = work_share(base, surface)
    if runs:
        same = next((run for run in runs if run.request.surface == surface), runs[0])
        pace = same.result.audio_hours_per_hour * work_share(base, same.request.surface) / share
        how = "" if same.request.surface == surface else f" on {same.request.surface}, put in proportion to its arithmetic"
        return pace, f"{same.result.run_id} trained {same.result.audio_hours_per_hour:g} h of audio an hour from this base{how}"
    if _gpu():
        return A100_ARITHMETIC_PACE / share, "a published full fine-tune of the 0.6 B model on one A100, in proportion to the surface's arithmetic; this GPU was not measured"
    pace = SMALL_CPU_PACE * min(1.0, SMALL_CPU_PARAMETERS * FLOAT / base.size_bytes) / share
    return pace, f"{SMALL_CPU_PACE:g} h of audio an hour for a full fine-tune of a 3.6 M model on 2 free cores, in proportion to parameters and surface; this machine was not measured"


def _gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists()


def _gpus() -> tuple[Gpu, ...]:
    try:
        return read_gpus()
    except (OSError, subprocess.SubprocessError):
        return ()
