"""The recipe's values and their reasons (NVIDIA's fine-tuning skill for NeMo, public fine-tunes of this model; traps 3.12, 3.14)."""

from __future__ import annotations

import math
from typing import NamedTuple

from asrcore.checkpoint import CheckpointInfo
from asrcore.recipe import surface
from asrcore.recipe.spec import Batching, Decision, FinetuneSpec
from asrcore.requests import ShardsResult

SMALL_D_MODEL = 512
"""Encoder width below which the published rates for the 0.6 B model do not apply."""
SMALL_LR = 5e-4
LARGE_DATA_HOURS = 20.0
EPOCHS = 7.0
MIN_STEPS, MAX_STEPS = 200, 8000
SMALL_BATCH = 16
BATCH_SECONDS = 200.0
"""Audio seconds in a batch of the published fine-tunes on 80 GB."""
MAX_CANDIDATE_GAP = 500
CANDIDATES = 5


class Data(NamedTuple):
    """What the defaults need to know of the shards. `target_draws` is the share of drawn utterances that are from train sources, `longest_seconds` of those
    that the loader does not leave out as too long."""

    train_hours: float
    train_utterances: int
    mean_seconds: float
    longest_seconds: float
    target_draws: float
    replay_share: float


BATCHING: dict[Batching, str] = {
    "buckets": "utterances of like length share a batch, which more than halves the padding (32 to 13 % of a batch, embedded sets)",
    "mixed": "every batch is drawn from all lengths, padded to its longest: for sets so small that those of like length would come together again and again",
    "seconds": "as many utterances of like length as fill it: memory that holds the longest is not left empty by the short",
}  # fmt: skip


class Recipe(NamedTuple):
    batch_size: int
    batch_seconds: float | None
    max_steps: int
    peak_lr: float
    warmup_steps: int
    candidate_every: int
    decisions: tuple[Decision, ...]


def describe(shards: ShardsResult, longest_seconds: float) -> Data:
    weight = sum(source.weight for source in shards.sources)
    train = [source for source in shards.sources if source.role == "train"]
    drawn_seconds = sum(source.weight / weight * source.seconds / source.utterances for source in shards.sources)
    return Data(
        train_hours=sum(source.seconds for source in train) / 3600, train_utterances=sum(source.utterances for source in train),
        mean_seconds=drawn_seconds, longest_seconds=longest_seconds, target_draws=sum(source.weight for source in train) / weight,
        replay_share=sum(source.share for source in shards.sources if source.role == "replay"),
    )  # fmt: skip


def decide(spec: FinetuneSpec, base: CheckpointInfo, data: Data, *, refinement: bool, fits: tuple[int, str] | None = None) -> Recipe:
    """Every value that the spec left open, each with its reason; a value the spec set is kept and marked `asked`.

    `fits` is the largest batch that the memory holds and what that rests on; None where it is not known.
    """
    small = base.d_model < SMALL_D_MODEL
    by_seconds = spec.batching == "seconds"
    batch, batch_reason = _batch(small, data, fits, by_seconds=by_seconds)
    batch = spec.batch_size or batch
    seconds = round(batch * data.mean_seconds, 1) if by_seconds else None
    value = f"{batch}" if seconds is None else f"{seconds:g} s of audio: {batch} of mean length, fewer of the longest"
    steps, steps_reason = _steps(batch, data)
    steps = spec.max_steps or steps
    rate, rate_reason = _rate(small, base, data, refinement=refinement)
    factor = surface.rate_factor(spec.surface)
    if factor != 1.0:
        rate, rate_reason = rate * factor, f"{factor:g} times the rate for all tensors: {rate_reason}"
    rate = spec.peak_lr or rate
    warmup = min(math.ceil(steps * (0.02 if steps >= 1000 else 0.1)), steps - 1)
    rates = [Decision(name="rates", value=", ".join(f"{module} {factor:g} times" for module, factor in sorted(spec.rates.items())), asked=True,
                      reason="factors on the rate by module, over the whole schedule; the others move at the rate itself")] if spec.rates else []  # fmt: skip
    every = max(1, min(MAX_CANDIDATE_GAP, steps // CANDIDATES))
    averaged = [Decision(name="ema_decay", value=f"{spec.ema_decay:g}", asked=True, reason="candidates hold a moving average of the weights: steadier late in a long run, "
                         "no more than a delay in one of few hundred steps")] if spec.ema_decay else []  # fmt: skip
    auto = {"unified": "half of the utterances carry the auto prompt and a written tag, so that auto survives tuning",
            "auto": "only auto is trained; a fixed language prompt will drift", "langID": "auto is not trained and may get worse"}  # fmt: skip
    return Recipe(batch, seconds, steps, rate, warmup, every, (
        Decision(name="surface", value=spec.surface, asked=spec.surface != "full", reason=surface.reason(spec.surface)),
        Decision(name="batch_size", value=value, asked=spec.batch_size is not None, reason=_reason(spec.batch_size, batch_reason)),
        Decision(name="batching", value=spec.batching, asked=spec.batching != "buckets", reason=BATCHING[spec.batching]),
        Decision(name="max_steps", value=str(steps), asked=spec.max_steps is not None, reason=_reason(spec.max_steps, steps_reason)),
        Decision(name="peak_lr", value=f"{rate:g}", asked=spec.peak_lr is not None, reason=_reason(spec.peak_lr, rate_reason)),
        Decision(name="schedule", value=f"linear warm-up over {warmup} steps, then cosine to the end at step {steps}",
                 reason="one max_steps for loop and schedule; a schedule that ends elsewhere trains at the wrong rate without a word"),
        Decision(name="candidate_every", value=str(every), reason="whole steps, at most a fifth of the run: early candidates are often best, and the last may be the worst"),
        Decision(name="selection", value=f"dev error rate, streamed at att_context_size {list(spec.att_context_size)}",
                 reason="ranked as it will be served; in-training WER is raw, offline and randomly prompted"),
        Decision(name="stop", value="after the whole budget" if spec.patience is None else f"after {spec.patience} candidates in a row without a better one",
                 asked=spec.patience is not None, reason="a fixed budget is the published recipe; the best candidate is kept either way"),
        Decision(name="prompt_mode", value=spec.prompt_mode, asked=spec.prompt_mode != "unified", reason=auto[spec.prompt_mode]),
        Decision(name="replay_share", value=f"{data.replay_share:.2f}",
                 reason="share of audio from other languages or domains, as the shards were built; without any, full fine-tunes forget"),
        *rates,
        *averaged,
    ))  # fmt: skip


def _reason(asked: object, reason: str) -> str:
    return reason if asked is None else f"asked for; the default: {reason}"


def _batch(small: bool, data: Data, fits: tuple[int, str] | None, *, by_seconds: bool) -> tuple[int, str]:
    """Utterances of mean length in a batch, and why."""
    if small:
        wanted, why = SMALL_BATCH, f"{SMALL_BATCH} utterances keep a step of a small model under a second on a CPU"
    else:
        wanted = round(BATCH_SECONDS / data.mean_seconds)
        wanted = max(1, wanted) if by_seconds else max(4, min(64, wanted))
        why = f"about {BATCH_SECONDS:.0f} s of audio at {data.mean_seconds:.1f} s an utterance, as in published runs on 80 GB"
    if fits is None:
        return wanted, why
    most = max(1, int(fits[0] * data.longest_seconds / data.mean_seconds)) if by_seconds else fits[0]
    return (wanted, why) if wanted <= most else (most, f"{fits[1]}; more memory would hold {wanted}: {why}")


def _steps(batch: int, data: Data) -> tuple[int, str]:
    wanted = EPOCHS * data.train_utterances / (batch * data.target_draws)
    steps = max(MIN_STEPS, min(MAX_STEPS, 10 * math.ceil(wanted / 10)))
    seen = steps * batch * data.target_draws / data.train_utterances
    bounded = "" if MIN_STEPS < steps < MAX_STEPS else f" (bounded to {MIN_STEPS}-{MAX_STEPS} steps)"
    return (
        steps,
        f"the {data.train_utterances} train utterances are seen {seen:.1f} times{bounded}; gains come early, long runs mostly forget",
    )


def _rate(small: bool, base: CheckpointInfo, data: Data, *, refinement: bool) -> tuple[float, str]:
    hours = f"{data.train_hours:.1f} h of train data"
    if small:
        rate = SMALL_LR / 5 if refinement else SMALL_LR
        return rate, f"the base is small (d_model {base.d_model}); rates for the 0.6 B model would hardly move it, and {SMALL_LR:g} worked on it in trials with synthetic speech" + (
            ", a fifth of it for refining a tuned checkpoint" if refinement else "")  # fmt: skip
    if refinement:
        return 1e-5, "the base is a tuned checkpoint: refinement rate"
    if data.train_hours < LARGE_DATA_HOURS:
        return 3e-5, f"{hours} is under {LARGE_DATA_HOURS:.0f} h: the lower of NVIDIA's two rates"
    return 1e-4, f"{hours} is at least {LARGE_DATA_HOURS:.0f} h: NVIDIA's rate for large data"
