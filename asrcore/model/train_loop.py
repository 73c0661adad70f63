"""The training loop: plain PyTorch, one process or several (train_ranks.py), exact resume (docs/decisions/0003-own-training-loop.md).

One step: batch -> features -> encoder under a sampled att_context_size -> prompt -> RNNT loss -> clipped AdamW under warm-up and cosine.
fp32 on a CPU, bf16 with an fp32 prompt layer on a GPU that has it (train_precision.py); weights, moments and loss are fp32 everywhere.
"""

from __future__ import annotations

import math
import random
import time
from typing import Any

import torch

from asrcore.errors import ToolFault
from asrcore.model import joint_loss
from asrcore.model.loader import Batch
from asrcore.model.train_average import MovingAverage
from asrcore.model.train_precision import Precision
from asrcore.model.train_ranks import ALONE, Ranks
from asrcore.model.train_state import Counters
from asrcore.requests import ModuleRates, TrainRequest

BETAS = (0.9, 0.98)
LOSS_MEMORY = 0.95
"""Weight of the past in the smoothed loss."""
MOST_SKIPPED_IN_A_ROW = 5
MOST_SKIPPED_SHARE = 0.01


def learning_rate(step: int, request: TrainRequest) -> float:
    """Rate of step 1 … max_steps: linear to `peak_lr` over `warmup_steps`, then a half cosine that reaches `min_lr` at the last step."""
    if step <= request.warmup_steps:
        return request.peak_lr * step / request.warmup_steps
    floor = min(request.min_lr, request.peak_lr)
    progress = (step - request.warmup_steps) / max(1, request.max_steps - request.warmup_steps)
    return floor + (request.peak_lr - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def smoke_steps(max_steps: int) -> int:
    """The first steps of a run, in which it must prove itself."""
    return min(max_steps, 20, max(3, max_steps // 10))


def rate_groups(trainable: dict[str, Any], rates: ModuleRates) -> list[dict[str, Any]]:
    """Parameter groups of the optimiser, one for each factor on the learning rate; a tensor's module is the first part of its name."""
    by_factor: dict[float, list[Any]] = {}
    for name, parameter in trainable.items():
        factor = next((factor for module, factor in rates.items() if name.startswith(f"{module}.")), 1.0)
        by_factor.setdefault(factor, []).append(parameter)
    return [{"params": parameters, "factor": factor} for factor, parameters in by_factor.items()]


class Loop:
    """Takes steps and counts. `counters` is what a state saves; the model's weights and the optimiser are the rest."""

    def __init__(self, model: Any, request: TrainRequest, trainable: dict[str, Any], ranks: Ranks = ALONE) -> None:
        self.model, self.request, self.trainable, self.ranks = model, request, trainable, ranks
        self.device: torch.device = next(model.parameters()).device
        self.optimiser = torch.optim.AdamW(rate_groups(trainable, request.rates), lr=request.peak_lr, betas=BETAS, weight_decay=request.weight_decay,
                                           fused=self.device.type == "cuda" or None)  # fmt: skip
        self.average = MovingAverage(trainable, request.ema_decay)
        self.precision = Precision.of(self.device)
        self.precision.prepare(model)
        self.counters = Counters()
        model.train()
        if not request.spec_augment:
            model.spec_augmentation = None
        if self.device.type == "cpu":
            # NeMo normalises the logits on a CPU; the CPU loss does it itself.
            model.joint.log_softmax = False
        else:
            model.loss._loss.fastemit_lambda = request.fastemit_lambda
            model.loss.reduction = None  # a value for each utterance: groups of a batch are summed here

    def step(self, batch: Batch) -> bool:
        """One optimiser step; False when it was skipped because the loss or the gradient was not finite (trap 3.18). Raises `loss_not_finite`."""
        started = time.monotonic()
        number = self.counters.step + 1
        self._seed(number)
        rate = learning_rate(number, self.request)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        loss = self.backward(batch)
        self.ranks.sum_gradients(self.trainable.values())
        norm = torch.nn.utils.clip_grad_norm_(self.trainable.values(), self.request.gradient_clip)
        value = self.ranks.sum(float(loss))
        finite = math.isfinite(value) and bool(torch.isfinite(norm))
        if finite:
            self.optimiser.step()
            self.average.update(number)
        self.optimiser.zero_grad(set_to_none=True)  # not before the next step: dev evals and saves need no gradients in memory
        self._count(batch, value, finite, time.monotonic() - started)
        return finite

    def backward(self, batch: Batch) -> torch.Tensor:
        """Adds the gradient of the mean negative log-likelihood per utterance of the whole batch, as far as this rank's rows give it; returns that share, in nats."""
        audio, audio_lens, tokens, token_lens, slots = batch.to(self.device)
        with self.precision.forward():
            encoded, encoded_lens = self.model.forward(input_signal=audio, input_signal_length=audio_lens, prompt_indices=slots)
            predicted, _, _ = self.model.decoder(targets=tokens, target_length=token_lens)
        scale = batch.share / len(token_lens)
        return joint_loss.backward(self.model, (encoded, predicted), (encoded_lens, token_lens), tokens, self.request.fastemit_lambda, scale, self.precision.forward)

    def release(self) -> None:
        """Gives back what only training needs: moments, and the moving average. No step can follow."""
        self.optimiser.state.clear()
        self.average.tensors.clear()

    def _seed(self, number: int) -> None:
        """What is random in a step depends on (seed, step, rank) only; exact resume rests on it.

        NeMo's encoder draws the att_context_size from `random`: the same in all ranks, so that none waits for a longer one. Dropout and
        SpecAugment draw from torch, in each rank its own.
        """
        seed = (self.request.seed * 1_000_003 + number) % 2**63
        random.seed(seed)
        torch.manual_seed(self.ranks.seed(seed))

    def _count(self, batch: Batch, loss: float, finite: bool, seconds: float) -> None:
        old = self.counters
        changes: dict[str, Any] = {"step": old.step + 1, "train_seconds": old.train_seconds + seconds}
        if finite:
            utterances = dict(old.utterances)
            audio = {source: dict(by_locale) for source, by_locale in old.seconds.items()}
            for source, locale, length in zip(batch.sources, batch.locales, batch.seconds, strict=True):
                utterances[source] = utterances.get(source, 0) + 1
                by_locale = audio.setdefault(source, {})
                by_locale[locale] = by_locale.get(locale, 0.0) + length
            weight = LOSS_MEMORY if old.loss else 0.0
            changes |= {"utterances": utterances, "seconds": audio, "skipped_in_a_row": 0, "loss": weight * old.loss + (1 - weight) * loss}
        else:
            changes |= {"skipped": old.skipped + 1, "skipped_in_a_row": old.skipped_in_a_row + 1}
        self.counters = old.model_copy(update=changes)
        self._refuse_unstable()

    def _refuse_unstable(self) -> None:
        now, allowed = self.counters, max(3, int(self.request.max_steps * MOST_SKIPPED_SHARE))
        smoking = now.skipped and now.step <= smoke_steps(self.request.max_steps)
        if smoking or now.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW or now.skipped > allowed:
            raise ToolFault(
                "loss_not_finite", f"loss or gradient was not finite in {now.skipped} of {now.step} steps ({now.skipped_in_a_row} in a row).",
                next_step="call inspect_dataset on the sources for empty or too dense rows; then plan again with half the peak_lr.",
            )  # fmt: skip
