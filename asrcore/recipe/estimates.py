"""How long, how much memory, how much disk, and what to expect. Rough by intent; every number says what it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from asrcore.checkpoint import CheckpointInfo
from asrcore.jobs import Ledger
from asrcore.recipe.defaults import SMALL_D_MODEL, Data, Recipe
from asrcore.recipe.overlap import ShardRows
from asrcore.recipe.spec import Estimates, Gain, Plan
from asrcore.recipe.surface import trainable_parameters
from asrcore.requests import TrainRequest, TrainResult

FLOAT = 4
MOVING_BYTES = 12
"""Gradient and two moments in fp32, per trainable parameter, besides the weights."""
RUNTIME_BYTES = 1.5e9
"""Python with torch and NeMo loaded, no model."""
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
ACTIVATIONS_PER_LAYER = 40
"""Floats kept for the backward pass per encoder frame, layer and unit of width."""
JOINT_COPIES = 3

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


def estimate(
    base: CheckpointInfo, surface: str, recipe: Recipe, data: Data, rows: ShardRows, dev_seconds: float, runs: list[Run]
) -> Estimates:
    """Seconds include start, dev evals and training; None when nothing is known about this machine's speed for this model."""
    parameters = base.size_bytes / FLOAT
    pace, basis = _pace(parameters, runs)
    audio = recipe.max_steps * recipe.batch_size * data.mean_seconds
    evals = 1 + math.ceil(recipe.max_steps / recipe.candidate_every)
    seconds = None
    if pace is not None:
        dev_pace = CPU_DEV_PACE * min(1.0, pace / SMALL_CPU_PACE) if not _gpu() else A100_PACE
        seconds = round(START_SECONDS + audio / pace + evals * dev_seconds / dev_pace)
    weights = base.size_bytes
    frames, labels = rows.longest_seconds / 0.08, rows.most_characters / CHARACTERS_PER_TOKEN
    together = 2 if _gpu() else recipe.batch_size
    joint = JOINT_COPIES * together * frames * (labels + 1) * (base.vocabulary_size + 1) * FLOAT
    encoder = recipe.batch_size * frames * base.n_layers * base.d_model * ACTIVATIONS_PER_LAYER * FLOAT
    return Estimates(
        steps=recipe.max_steps, seconds=seconds, basis=basis,
        memory_gb=round((RUNTIME_BYTES + weights + MOVING_BYTES * trainable_parameters(base, surface) + joint + encoder) / 1e9, 2),
        disk_gb=round((KEPT_CANDIDATES + 2) * weights / 1e9 + 2 * 3 * weights / 1e9, 2), gpus=1 if _gpu() else 0,
    )  # fmt: skip


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


def _pace(parameters: float, runs: list[Run]) -> tuple[float | None, str]:
    """Audio seconds that training gets through in a second."""
    if runs:
        newest = runs[0].result
        return newest.audio_hours_per_hour, f"{newest.run_id} trained {newest.audio_hours_per_hour:g} h of audio an hour from this base"
    if _gpu():
        return A100_PACE, "a published fine-tune of the 0.6 B model on one A100; this GPU was not measured"
    pace = SMALL_CPU_PACE * min(1.0, SMALL_CPU_PARAMETERS / parameters)
    return (
        pace,
        f"{SMALL_CPU_PACE:g} h of audio an hour for a 3.6 M model on 2 free cores, scaled by parameters; this machine was not measured",
    )


def _gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists()
