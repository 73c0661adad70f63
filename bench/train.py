"""Steps a second of our trainer against NeMo's own way of training, on the same data (the shipped sets; synthetic speech).

    python bench/train.py [--base FILE.nemo] [--steps 12] [--batch 16] [--bf16] [--folder build/bench_train] [--json]

Both train the same checkpoint with the same loader config, seeds, AdamW, rate and clipping; SpecAugment off, prompts `langID`. "stock" is what
NeMo's speech_to_text_finetune.py does once its config is read: setup_training_data, setup_optimization and Lightning's fit, with NeMo's loss.
Each runs in a process of its own; stock twice, in the environment that our jobs get (freed memory kept) and in the shell's.
Exit code 1 when the losses of the first steps differ: then two different things were timed. No bar; the figures go to docs/log.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from asrcore import io
from asrcore.checkpoint import checkpoint_ref, embedded_base, read_checkpoint
from asrcore.data.shard_request import check_manifests, make_request
from asrcore.data.shards import run as pack
from asrcore.embedded import shipped
from asrcore.jobs.process import environment
from asrcore.manifest import manifest_ref
from asrcore.requests import TrainRequest
from asrcore.results import Frozen

RATE = 1e-4
COMPARED = 3
"""Steps whose losses must be equal; after each the rounding of two losses has gone through AdamW once more."""
TOLERANCE = {False: 1e-3, True: 3e-2}
"""Relative, in fp32 and in bf16 (where stock also rounds the prompt layer, trap 3.9)."""
UNTIMED = 2


class Timing(Frozen):
    """One run: loss of every step in nats an utterance, and when it was done, in seconds."""

    losses: tuple[float, ...]
    done: tuple[float, ...]

    @property
    def steps_per_s(self) -> float:
        """From the median step after the first few, which warm up."""
        return 1 / statistics.median(b - a for a, b in zip(self.done[UNTIMED - 1 :], self.done[UNTIMED:], strict=False))


class Silent:
    """A reporter that nobody reads."""

    def event(self, stage: str, step: int = 0, total: int = 0, message: str = "", **metrics: float) -> None: ...

    def stop_if_asked(self) -> None: ...


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=None)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--bf16", action="store_true", help="mixed precision in both; needs a GPU")
    parser.add_argument("--folder", type=Path, default=Path("build/bench_train"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", choices=RUNS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    if options.child:
        request = TrainRequest.model_validate_json((folder / "request.json").read_bytes())
        io.write_json(folder / f"{options.child}.json", RUNS[options.child](request, options.bf16))
        return 0
    io.write_json(folder / "request.json", make(folder, options.base, options.steps, options.batch))
    again = [sys.executable, __file__, "--folder", str(folder), *(["--bf16"] if options.bf16 else [])]
    found: dict[str, Timing] = {}
    for name, child, env in (("ours", "ours", environment()), ("stock", "stock", environment()), ("stock, shell's memory", "stock", dict(os.environ))):
        subprocess.run([*again, "--child", child], check=True, env=env, stdout=sys.stderr)
        found[name] = Timing.model_validate_json((folder / f"{child}.json").read_bytes())
    ours, stock = found["ours"], found["stock"]
    worst = max(abs(a / b - 1) for a, b in zip(ours.losses[:COMPARED], stock.losses[:COMPARED], strict=True))
    same = worst <= TOLERANCE[options.bf16]
    if options.json:
        print(json.dumps({"steps_per_s": {name: timing.steps_per_s for name, timing in found.items()}, "worst": worst, "same": same}))
        return int(not same)
    print(f"batch {options.batch}, {options.steps} steps, {'bf16' if options.bf16 else 'fp32'}, {os.cpu_count()} cores seen\n")
    print("| trainer | steps/s | loss of the first steps |\n| --- | --- | --- |")
    for name, timing in found.items():
        print(f"| {name} | {timing.steps_per_s:.3f} | {', '.join(f'{loss:.4f}' for loss in timing.losses[:COMPARED])} |")
    print(f"\nours {ours.steps_per_s / stock.steps_per_s:.2f} times stock; losses differ by {worst:.1e} relative: {'equal' if same else 'NOT EQUAL'}")
    return int(not same)


def make(folder: Path, base: Path | None, steps: int, batch: int) -> TrainRequest:
    """Shards of the shipped sets, half of them replay, and a request whose rate is the same at every step."""
    sets = shipped.unpack(folder / "data")
    facts = check_manifests([sets[shipped.TELEPHONE_TRAIN]], [sets[name] for name in shipped.REPLAY], (folder,))
    reporter: Any = Silent()
    shards = pack(make_request(facts, 0.5, utterances_per_shard=200, seed=0, folder=folder / "shards"), reporter)
    info = read_checkpoint(base or embedded_base())
    return TrainRequest(
        run_id="run_bench", base=checkpoint_ref(info, "base"), shards=shards, dev=manifest_ref(sets[shipped.TELEPHONE_DEV]), max_steps=steps,
        batch_size=batch, peak_lr=RATE, min_lr=RATE, warmup_steps=1, prompt_mode="langID", spec_augment=False, candidate_every=steps,
        out=str(folder / "run"),
    )  # fmt: skip


def ours(request: TrainRequest, bf16: bool) -> Timing:
    """The loop of `asrcore.model.train`, without its dev evals."""
    loader, loops, precision, ranks = (importlib.import_module(f"asrcore.model.{name}") for name in ("loader", "train_loop", "train_precision", "train_ranks"))
    model = prepared(request)
    loop: Any = loops.Loop(model, request, dict(model.named_parameters()))
    if not bf16:
        loop.precision = precision.Precision(ranks.ALONE.device.partition(":")[0], bf16=False)
    slots = importlib.import_module("asrcore.model.restore").prompt_slots(model)
    data = loader.batches(request, model.tokenizer, slots, sample_rate=int(model.cfg.sample_rate), skip=0)
    losses: list[float] = []
    inner = loop.backward

    def noted(batch: Any) -> Any:
        loss = inner(batch)
        losses.append(float(loss))
        return loss

    loop.backward = noted
    done: list[float] = []
    for _ in range(request.max_steps):
        loop.step(next(data))
        done.append(time.perf_counter())
    return Timing(losses=tuple(losses), done=tuple(done))


def stock(request: TrainRequest, bf16: bool) -> Timing:
    """NeMo's model under Lightning's Trainer, as its fine-tuning script sets them up."""
    loader, ranks = (importlib.import_module(f"asrcore.model.{name}") for name in ("loader", "train_ranks"))
    torch: Any = importlib.import_module("torch")
    lightning: Any = importlib.import_module("lightning.pytorch")
    omegaconf: Any = importlib.import_module("omegaconf")
    losses: list[float] = []
    done: list[float] = []

    class Watch(lightning.Callback):
        """Draws the context of a step from the same seed as ours does, and notes loss and time."""

        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
            seed = request.seed * 1_000_003 + len(losses) + 1
            random.seed(seed)
            torch.manual_seed(seed)

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
            losses.append(float(outputs["loss"]))
            done.append(time.perf_counter())

    model = prepared(request)
    model.spec_augmentation = None
    trainer: Any = lightning.Trainer(
        max_steps=request.max_steps, accelerator=ranks.ALONE.device.partition(":")[0], devices=1, precision="bf16-mixed" if bf16 else "32-true",
        gradient_clip_val=request.gradient_clip, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, limit_val_batches=0, num_sanity_val_steps=0, callbacks=[Watch()],
    )  # fmt: skip
    model.set_trainer(trainer)
    bins = loader.duration_bins(request.shards, request.max_duration)
    config = loader.loader_config(request, bins, int(model.cfg.sample_rate)) | {
        "initialize_prompt_feature": True, "prompt_dictionary": omegaconf.OmegaConf.to_container(model.cfg.model_defaults.prompt_dictionary),
        "num_prompts": int(model.num_prompts), "default_prompt_mode": "langID",
    }  # fmt: skip
    model.setup_training_data(omegaconf.OmegaConf.create(config))
    loops = importlib.import_module("asrcore.model.train_loop")
    optimiser = {"name": "adamw", "lr": request.peak_lr, "betas": list(loops.BETAS), "weight_decay": request.weight_decay}
    model.setup_optimization(omegaconf.OmegaConf.create(optimiser))
    trainer.fit(model)
    return Timing(losses=tuple(losses), done=tuple(done))


def prepared(request: TrainRequest) -> Any:
    """The base in training mode, without dither, on the device that our trainer would take."""
    restore, ranks = (importlib.import_module(f"asrcore.model.{name}") for name in ("restore", "train_ranks"))
    model = restore.restore(Path(request.base.path), device=ranks.ALONE.device)
    model.train()
    return model


RUNS: dict[str, Callable[[TrainRequest, bool], Timing]] = {"ours": ours, "stock": stock}


if __name__ == "__main__":
    sys.exit(main())
