"""What a fine-tune is asked to be, and what a plan answers. Rates are peak values, not Noam multipliers (NeMo 3.0, core/optim/lr_scheduler.py)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asrcore.checkpoint import EMBEDDED
from asrcore.requests import ModuleRates, Role, Surface, TrainPromptMode, TrainRequest
from asrcore.results import Frozen

Batching = Literal["buckets", "mixed", "seconds"]


class FinetuneSpec(Frozen):
    """The wish. Whatever is left out is decided by the plan, with the reason."""

    shards_id: str = Field(pattern=r"^shards_[0-9a-f]{12}$", description="What build_shards gave.")
    dev_manifest: str = Field(
        min_length=1, description="Manifest that ranks the candidates; below a data root, not trained on."
    )
    base: str = Field(
        default=EMBEDDED,
        min_length=1,
        description='"embedded", a .nemo path, a run id (refinement), or a hub id such as nvidia/nemotron-3.5-asr-streaming-0.6b.',
    )
    surface: Surface = Field(
        default="full",
        description="Tensors that may move: full; lora:r (merged); top_layers:k (k highest encoder layers and all above); decoder_joint; prompt "
        "(its kernel); adapter:d (NeMo's, width d; not exportable).",
    )
    max_steps: int | None = Field(default=None, ge=1, le=1_000_000, description="Optimiser steps; else from the data.")
    peak_lr: float | None = Field(
        default=None, gt=0, le=0.1, allow_inf_nan=False, description="Peak AdamW rate; else from hours and model."
    )
    rates: ModuleRates = Field(default={}, description="Factors on peak_lr by module.")
    batch_size: int | None = Field(
        default=None, ge=1, le=1024, description="Utterances a step; else from model, durations and memory."
    )
    batching: Batching = Field(
        default="buckets", description="batch_size of like length; mixed: of any; seconds: as many as fill it."
    )
    prompt_mode: TrainPromptMode = Field(
        default="unified", description="Prompts in training; unified: half langID, half auto, keeps auto alive."
    )
    att_context_size: tuple[int, int] = Field(
        default=(56, 0), description="[left, right] frames at which candidates are ranked, as served."
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Stop after so many candidates without a better one.",
    )
    ema_decay: float = Field(default=0.0, ge=0, lt=1, description="Decay of a moving average of the weights; 0: none.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of data order, prompts and dropout.")


class Decision(Frozen):
    """One value of the recipe, and why it is what it is. `asked` is True when the spec set it."""

    name: str
    value: str
    reason: str
    asked: bool = False


class SourceUse(Frozen):
    """What the run will see of one source, expected from the sampling weights. `epochs` is how often an utterance is seen on average."""

    source: str
    role: Role
    utterances: int
    hours: float
    share_of_audio: float
    expected_utterances: int
    epochs: float


class Estimates(Frozen):
    """Rough: good for "fits or not" and "minutes or days". `basis` says where the speed comes from."""

    steps: int
    seconds: float | None
    basis: str
    memory_gb: float
    disk_gb: float
    gpus: int = 0
    """GPUs that the run would hold; 0 on a machine without one."""
    cost: float | None = Field(default=None, description="At price_per_gpu_hour of asrtune.toml; null without a price, a GPU or a known time.")


class Gain(Frozen):
    """What to expect on the target set: evidence, or an honest `unknown`."""

    expected: Literal["evidence", "unknown"]
    evidence: tuple[str, ...] = ()


class PlanSummary(Frozen):
    """A plan as the tools show it. Everything that was decided is in `decisions`; the full request lies in the ledger under `plan_id`."""

    plan_id: str
    run_id: str
    spec: FinetuneSpec
    decisions: tuple[Decision, ...]
    sources: tuple[SourceUse, ...]
    estimates: Estimates
    expected_gain: Gain
    needs_approval: tuple[str, ...] = Field(default=(), description="Limits of asrtune.toml that the plan exceeds: a person has to approve it first.")
    command: str = Field(description="The process that launch_finetune starts, in the job's folder.")


class Plan(Frozen):
    """A ledger row of kind `plan`: the summary, and the fully resolved request that launch_finetune submits unchanged."""

    summary: PlanSummary
    request: TrainRequest
