"""Child process `python -m asrcore.model.train request.json`: one fine-tune from base to `best.nemo`.

One process, or one for each GPU under torchrun (asrcore.model.train_ranks).

verify inputs -> restore the base -> score it on dev -> smoke steps -> train, a scored candidate at every `candidate_every` steps -> best.nemo.
SIGTERM saves a state; the next attempt with the same request goes on from it (asrcore.model.train_state says what that guarantees).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from asrcore import io
from asrcore.errors import NotReadyError, Stopped, ToolFault
from asrcore.fingerprint import check_ref, check_shards, require_unchanged
from asrcore.jobs.child import LOGGERS, Reporter, main
from asrcore.model.candidates import CandidateStore, dev_error_rate, write_nemo
from asrcore.model.linear_adapters import write_adapters
from asrcore.model.loader import batches, fewest_rows
from asrcore.model.restore import prompt_slots, restore
from asrcore.model.surfaces import Movement, remove_adapters, select
from asrcore.model.train_loggers import MetricLoggers
from asrcore.model.train_loop import Loop, learning_rate, smoke_steps
from asrcore.model.train_ranks import Ranks, keep_apart
from asrcore.model.train_state import Kept, load_state, save_state
from asrcore.requests import Averaged, Candidate, Consumed, TrainRequest, TrainResult

CONSUMED = "consumed.jsonl"
EVENT_SECONDS = 1.0
"""Least time between two progress events of a stage."""


def run(request: TrainRequest, reporter: Reporter) -> TrainResult:
    """Raises `fingerprint_mismatch`, `resume_mismatch`, `tags_not_trainable`, `loss_not_finite`, `surface_not_moved`, `surface_leaked`,
    `replay_not_consumed`, `disk_full`, `logger_missing`, with several processes `batch_smaller_than_ranks`, `too_few_gpus`, `ranks_diverged`, `world_size_changed`,
    and what reading the dev manifest raises."""
    reporter.event("verify", 0, request.max_steps, "compare base, dev and shards with the plan")
    require_unchanged(
        [*check_ref(request.base), *check_ref(request.dev), *check_shards(request.shards)],
        next_step="put the original files back, or plan_finetune again.",
    )
    ranks = Ranks.of_environment()
    with ranks.together():
        return FineTune(request, reporter, ranks).logged()


class FineTune:
    """One attempt at one run. Every rank trains; what is written, scored or decided is `ranks.first`'s."""

    def __init__(self, request: TrainRequest, reporter: Reporter, ranks: Ranks) -> None:
        self.request, self.reporter, self.ranks = request, reporter, ranks
        self.out = Path(request.out)
        _require_rows(request, ranks)
        ranks.first(lambda: io.remove_parts(self.out))
        self.started = self.last_event = time.monotonic()
        settings = reporter.folder / LOGGERS
        self.loggers = MetricLoggers({}, print) if ranks.rank else MetricLoggers.open(settings, self.out, request.run_id, print)
        self.model: Any = restore(Path(request.base.path), device=ranks.device)
        keep_apart(self.model)
        _require_context(self.model, request.att_context_size)
        self.store = CandidateStore(self.out)
        self.movement = Movement(self.model)
        io.require_disk(self.out, _disk_need(self.model, averaged=request.ema_decay > 0))
        self.surface = select(self.model, request.surface, request.seed)
        self.movement.start(self.model)
        self.trainable = self.surface.parameters
        self.loop = Loop(self.model, request, self.trainable, ranks)
        self.kept = Kept(self.trainable, self.loop.optimiser, self.loop.average.tensors)
        saved = load_state(self.out, request, self.kept, ranks.world_size)
        self.loop.counters = saved or self.loop.counters
        self.resumed_from = self.loop.counters.step

    def logged(self) -> TrainResult:
        """The run, with its loggers told how it ended."""
        status = "failed"
        try:
            result = self.run()
            status = "success"
        except Stopped:
            status = "aborted"
            raise
        finally:
            self.loggers.close(status)
        return result

    def run(self) -> TrainResult:
        if self.loop.counters.base_dev_wer is None:
            base_dev_wer = self.ranks.first(lambda: self.score("base"))
            self.loop.counters = self.loop.counters.model_copy(update={"base_dev_wer": base_dev_wer})
        self.train()
        consumed = self.consumed()
        return self.ranks.first(lambda: self.finish(consumed))

    def finish(self, consumed: tuple[Consumed, ...]) -> TrainResult:
        best = self.store.best()
        self.loop.release()
        remove_adapters(self.model)
        averaged = self.average(best)
        if not (averaged and averaged.kept):
            self.store.load(self.model, (best,))
        checkpoint = write_nemo(self.model, self.out / "best.nemo", self.request.run_id)
        write_adapters(self.model, self.out)
        counters = self.loop.counters
        assert counters.base_dev_wer is not None
        self.reporter.event("train", counters.step, self.request.max_steps, f"best candidate: step {best.step}",
                            best_dev_wer=best.dev_wer, base_dev_wer=counters.base_dev_wer)  # fmt: skip
        return TrainResult(
            run_id=self.request.run_id, best=checkpoint, best_step=best.step, candidates=self.store.all(), averaged=averaged, base_dev_wer=counters.base_dev_wer,
            consumed=consumed, steps=counters.step, resumed_from=self.resumed_from,
            trainable_parameters=sum(p.numel() for p in self.trainable.values()), seconds=round(time.monotonic() - self.started, 2),
            audio_hours_per_hour=round(sum(c.seconds for c in consumed) / max(counters.train_seconds, 1e-6), 2),
        )  # fmt: skip

    def train(self) -> None:
        request, smoke = self.request, smoke_steps(self.request.max_steps)
        if self._is_candidate(self.loop.counters.step):
            self.candidate()  # the last attempt stopped between saving its state and scoring this candidate
        data = batches(request, self.model.tokenizer, prompt_slots(self.model),
                       sample_rate=int(self.model.cfg.sample_rate), skip=self.loop.counters.step, ranks=self.ranks)  # fmt: skip
        while self.loop.counters.step < request.max_steps and not self._plateau():
            self._stop_if_asked()
            applied = self.loop.step(next(data))
            step = self.loop.counters.step
            self.report(
                "" if applied else "step skipped: loss or gradient not finite", force=not applied or step in (1, smoke, request.max_steps)
            )
            if step >= smoke and not self.loop.counters.smoke_passed:
                self.movement.check(self.model, self.surface.moves)
                self.loop.counters = self.loop.counters.model_copy(update={"smoke_passed": True})
                self.save()  # a state that cannot be written must show now and not at the first candidate
            if self._is_candidate(step):
                self.save()
                self.candidate()

    def candidate(self) -> None:
        step = self.loop.counters.step
        with self.loop.average.in_place():
            self.ranks.first(lambda: self.store.add(self.model, step, self.score(f"step {step}"), self.loop.counters.loss))
        self.ranks.first(self.note_consumed)

    def average(self, best: Candidate) -> Averaged | None:
        """Leaves the mean of the best candidates in the model and scores it (Wortsman et al. 2022, model soups, arXiv 2203.05482)."""
        souped = self.store.best_few()
        if len(souped) < 2:
            return None
        self.store.load(self.model, souped)
        rate = self.score("the mean of the best candidates")
        return Averaged(steps=tuple(c.step for c in souped), dev_wer=rate, kept=rate < best.dev_wer)

    def score(self, what: str) -> float:
        """Dev error rate in percent of the present weights."""

        def progress(done: int) -> None:
            self.reporter.stop_if_asked()
            if time.monotonic() - self.last_event > EVENT_SECONDS:
                self._event(f"dev eval of {what}: {done} utterances")

        self._event(f"dev eval of {what}")
        rate = dev_error_rate(self.model, self.request, progress)
        self._event(f"dev eval of {what} done", dev_wer=rate)
        return rate

    def report(self, message: str, *, force: bool) -> None:
        now = self.loop.counters
        if not force and time.monotonic() - self.last_event < EVENT_SECONDS:
            return
        audio = sum(s for by_locale in now.seconds.values() for s in by_locale.values())
        self._event(
            message, loss=now.loss, lr=learning_rate(now.step, self.request), skipped=now.skipped,
            utterances_per_s=sum(now.utterances.values()) / max(now.train_seconds, 1e-6), audio_hours_per_hour=audio / max(now.train_seconds, 1e-6),
        )  # fmt: skip

    def note_consumed(self) -> None:
        """What each source gave so far, as a line of the run's `consumed.jsonl`; its replay share is a metric of the job."""
        found, step = self.consumed_so_far(), self.loop.counters.step
        io.append_line(self.out / CONSUMED, json.dumps({"step": step, "sources": [one.model_dump() for one in found]}))
        replay, audio = (sum(one.seconds for one in found if one.role in roles) for roles in (("replay",), ("train", "replay")))
        self._event("what the sources gave so far", replay_share=replay / max(audio, 1e-6))

    def consumed(self) -> tuple[Consumed, ...]:
        """What each source gave to the whole run. Raises `replay_not_consumed` for a source with nothing (trap 3.13)."""
        found = self.consumed_so_far()
        unused = [c.source for c in found if not c.utterances]
        if unused:
            raise ToolFault("replay_not_consumed", f"no utterance of {', '.join(unused)} reached a training step in {self.loop.counters.step} steps.",
                            next_step="build_shards with a larger replay_share, or plan_finetune with more max_steps.")  # fmt: skip
        return found

    def consumed_so_far(self) -> tuple[Consumed, ...]:
        """What each source gave to steps that moved weights."""
        now = self.loop.counters
        return tuple(
            Consumed(
                source=source.name, role=source.role, utterances=now.utterances.get(source.name, 0),
                seconds=round(sum(now.seconds.get(source.name, {}).values()), 2),
                seconds_by_locale={locale: round(s, 2) for locale, s in sorted(now.seconds.get(source.name, {}).items())},
            )
            for source in self.request.shards.sources
        )  # fmt: skip

    def save(self) -> None:
        self.ranks.require_same(self.trainable.values())
        self.ranks.first(lambda: save_state(self.out, self.request, self.loop.counters, self.kept, self.ranks.world_size))

    def _is_candidate(self, step: int) -> bool:
        due = step > 0 and (step % self.request.candidate_every == 0 or step == self.request.max_steps)
        return due and self.ranks.first(lambda: not self.store.path(step).exists())

    def _plateau(self) -> bool:
        """True when the newest `patience` candidates all fell short of the best before them."""
        patience = self.request.patience
        return patience is not None and self.ranks.first(lambda: fell_short([candidate.dev_wer for candidate in self.store.all()], patience))

    def _stop_if_asked(self) -> None:
        if self.ranks.any(self.reporter.stopping):
            self.save()
            raise Stopped

    def _event(self, message: str, **metrics: float) -> None:
        self.last_event = time.monotonic()
        step = self.loop.counters.step
        self.reporter.event("train", step, self.request.max_steps, message, **metrics)
        self.loggers.log(step, metrics)


def fell_short(rates: list[float], patience: int) -> bool:
    """Whether the newest `patience` rates all are no better than the best before them."""
    return len(rates) > patience and min(rates[-patience:]) >= min(rates[:-patience])


def _require_rows(request: TrainRequest, ranks: Ranks) -> None:
    if ranks.world_size > 1 and (rows := fewest_rows(request)) < ranks.world_size:
        raise NotReadyError("batch_smaller_than_ranks", f"a batch of {rows} cannot be shared by {ranks.world_size} processes.",
                            next_step=f"plan_finetune with a larger batch_size, so that each has {ranks.world_size} or more, or ask the person for fewer processes in asrtune.toml.")  # fmt: skip


def _require_context(model: Any, context: tuple[int, int]) -> None:
    trained = [tuple(c) for c in model.encoder.att_context_size_all]
    if context not in trained:
        raise NotReadyError("context_not_trained", f"att_context_size {list(context)} is not among the checkpoint's {[list(c) for c in trained]}.",
                            next_step="plan again with one of these.")  # fmt: skip


def _disk_need(model: Any, *, averaged: bool) -> int:
    """Bytes: kept candidates and one being written, the `.nemo` and its temp file, two states (at most weights, two moments and an average each)."""
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    return 5 * weights + 2 * weights + 2 * (3 + averaged) * weights


if __name__ == "__main__":
    main(TrainRequest, run)
