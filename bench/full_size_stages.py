"""The stages of bench/full_size.py: what each does with the checkpoint, and what it has to say. Heavy imports stay inside the stages."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from asrcore import io
from asrcore.results import Frozen

GROWTH_BAR = 1.15
"""Exponent of time over work; 1 is proportional."""
STEPS, BATCH, UTTERANCES, CONTEXT = 5, 2, 10, (56, 3)
CANDIDATE_EVERY = 3
"""A run of five steps would make a candidate at each, 10 GB of writing a step: here two, so that their mean is tried as well."""
DISK_BYTES = 45e9
"""Checkpoint 2.6 GB, a run up to 33 GB while it is checked for room (of ended runs only the best stays), exports 8 GB, and what NeMo unpacks."""
SPEAKING_SHARE = 0.3
"""Frames of 80 ms in which a transducer of this vocabulary writes a piece, about: 3 to 4 pieces a second of speech."""


class Found(Frozen):
    """What a stage tells from within its process."""

    said: str
    figures: tuple[tuple[str, str, bool], ...] = ()
    """(what, value, whether its bar was held) of a stage that measures more than its own time."""
    planned_gb: float | None = None
    """Peak of memory that the plan expected, where there is a plan."""
    measured: bool = True
    """False: this machine lacks what the stage is about."""


class Place:
    """The folder of one run: checkpoint, workspace, sets, results of the stages before."""

    def __init__(self, folder: Path, *, smoke: bool, scale_rows: int) -> None:
        self.folder, self.smoke, self.scale_rows = folder.resolve(), smoke, scale_rows
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def base(self) -> Path:
        return self.folder / "base.nemo"

    @property
    def workspace(self) -> Any:
        from asrcore.workspace import Workspace

        return Workspace.open(self.folder)

    def reporter(self, stage: str) -> Any:
        from asrcore.jobs.child import Reporter

        folder = self.folder / "jobs" / stage
        folder.mkdir(parents=True, exist_ok=True)
        return Reporter(folder)

    def base_ref(self) -> Any:
        from asrcore.checkpoint import checkpoint_ref, read_checkpoint

        return checkpoint_ref(read_checkpoint(self.base), "base")

    def rows(self, name: str, count: int) -> Path:
        """A manifest of the first rows of an embedded set."""
        from asrcore.embedded import shipped

        manifest = shipped.unpack(self.folder / "sets")[name]
        lines = manifest.read_text(encoding="utf-8").splitlines()[:count]
        first = manifest.with_name(f"first_{count}.json")
        io.write_text(first, "".join(f"{line}\n" for line in lines))
        return first

    def fresh(self, name: str) -> Path:
        """A path at which nothing of an earlier run lies, so that a stage does all of its work."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def keep(self, name: str, result: Any) -> None:
        io.write_json(self.folder / f"{name}.json", result)

    def kept(self, name: str) -> str:
        return (self.folder / f"{name}.json").read_text(encoding="utf-8")


def make(place: Place) -> Found:
    """The checkpoint."""
    from asrcore.checkpoint import embedded_base

    if place.smoke:
        shutil.copyfile(embedded_base(), place.base)
        return Found(said="the embedded base")
    from asrcore.audio import decode
    from asrcore.manifest import load_rows
    from asrcore.model.restore import restore
    from asrcore.model.topology import make_random

    io.require_disk(place.folder, int(DISK_BYTES))
    loud = place.folder / "loud.nemo"
    parameters = make_random(loud)
    model = restore(loud)
    quieten(model, decode(load_rows(place.rows("bg-BG_guard_test", 1))[0].audio))
    with io.atomic_file(place.base) as file:
        model.save_to(file.name)
    loud.unlink()
    return Found(said=f"{parameters:,} parameters, {place.base.stat().st_size / 1e9:.1f} GB")


def quieten(model: Any, clip: Any) -> None:
    """Raises the bias of blank so that `SPEAKING_SHARE` of the clip's frames speak from the prediction network's start."""
    import torch

    from asrcore.model.stream import GreedyState, apply_prompt, mel_features

    with torch.inference_mode():
        features = mel_features(model, clip)[None]
        encoded, _ = model.encoder(audio_signal=features, length=torch.tensor([features.shape[2]]))
        frames = model.joint.project_encoder(apply_prompt(model, encoded.transpose(1, 2), torch.tensor([0])))
        start, _ = GreedyState(model, 1, torch.device("cpu")).start
        logits = model.joint.joint_after_projection(frames, start).flatten(0, 2)
        lead = logits[:, :-1].max(-1).values - logits[:, -1]
    with torch.no_grad():
        model.joint.joint_net[-1].bias[-1] += float(torch.quantile(lead, 1 - SPEAKING_SHARE))


def data(place: Place) -> Found:
    """Training shards, and the manifests of the other stages."""
    from asrcore.data import shards
    from asrcore.data.shard_request import check_manifests, make_request
    from asrcore.embedded import shipped
    from asrcore.jobs import Ledger

    ws = place.workspace
    facts = check_manifests([place.rows(shipped.TELEPHONE_TRAIN, 40)], [], ws.data_roots)
    result = shards.run(make_request(facts, 0.1, utterances_per_shard=20, seed=0, folder=ws.home / "shards"), place.reporter("shards"))
    Ledger.open(ws).put("shards", result.shards_id, result)
    place.keep("shards", result)
    return Found(said=f"{sum(source.utterances for source in result.sources)} utterances in shards")


def inspect(place: Place) -> Found:
    """Language tags against the checkpoint, without NeMo."""
    from asrcore.checkpoint import read_checkpoint
    from asrcore.data.tags import check_tags

    info = read_checkpoint(place.base)
    report = check_tags(place.rows("bg-BG_guard_test", UTTERANCES), info, "base")
    return Found(said=f"{report.rows} rows; {info.n_layers} layers, {info.vocabulary_size:,} pieces, {info.num_prompts} prompts")


def plan(place: Place) -> Found:
    """The dry run, all its values left to it."""
    from asrcore.embedded import shipped
    from asrcore.recipe import FinetuneSpec, make_plan
    from asrcore.requests import ShardsResult

    shards = ShardsResult.model_validate_json(place.kept("shards"))
    spec = FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(place.rows(shipped.TELEPHONE_DEV, 2)), base=str(place.base), max_steps=200)
    made = make_plan(spec, place.workspace).plan.summary
    return Found(said=f"{made.estimates.steps} steps; expects {made.estimates.memory_gb:g} GB, {made.estimates.disk_gb:g} GB of disk")


def train(surface: str) -> Callable[[Place], Found]:
    """`STEPS` steps of `BATCH` utterances, after the smoke steps that every run has."""

    def run(place: Place) -> Found:
        from asrcore.embedded import shipped
        from asrcore.model import train as child
        from asrcore.recipe import FinetuneSpec, make_plan
        from asrcore.requests import ShardsResult

        shards = ShardsResult.model_validate_json(place.kept("shards"))
        spec = FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(place.rows(shipped.TELEPHONE_DEV, 2)), base=str(place.base), surface=surface,
                            max_steps=STEPS, batch_size=BATCH, att_context_size=CONTEXT)  # fmt: skip
        made = make_plan(spec, place.workspace).plan
        request = made.request.model_copy(update={"candidate_every": CANDIDATE_EVERY})
        out = Path(request.out)
        shutil.rmtree(out, ignore_errors=True)
        result = child.run(request, place.reporter(surface.replace(":", "_")))
        place.keep(f"run_{surface.partition(':')[0]}", result)
        shutil.rmtree(out / "candidates")
        (out / "state.safetensors").unlink()
        stepping = sum(one.seconds for one in result.consumed) / result.audio_hours_per_hour
        return Found(said=f"{result.steps} steps, {result.trainable_parameters:,} parameters moved, {result.audio_hours_per_hour:.2f} audio hours an hour; steps are "
                          f"{stepping / result.seconds:.0%} of the run, the rest is the start, three dev evals, their mean's, and writing",
                     planned_gb=made.summary.estimates.memory_gb)  # fmt: skip

    return run


def profile(place: Place) -> Found:
    """Where the time of a full step goes. On a GPU the device is waited for around each part, so their sum is more than a step."""
    import torch

    from asrcore.embedded import shipped
    from asrcore.model import joint_loss
    from asrcore.model.loader import batches
    from asrcore.model.restore import prompt_slots, restore
    from asrcore.model.surfaces import select
    from asrcore.model.train_loop import Loop
    from asrcore.model.train_ranks import ALONE
    from asrcore.recipe import FinetuneSpec, make_plan
    from asrcore.requests import ShardsResult

    shards = ShardsResult.model_validate_json(place.kept("shards"))
    spec = FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(place.rows(shipped.TELEPHONE_DEV, 2)), base=str(place.base), max_steps=100, batch_size=BATCH)
    request = make_plan(spec, place.workspace).plan.request
    model = restore(place.base, device=ALONE.device)
    loop: Any = Loop(model, request, select(model, request.surface).parameters)
    data = batches(request, model.tokenizer, prompt_slots(model), sample_rate=int(model.cfg.sample_rate), skip=0)
    seconds: dict[str, float] = {}

    def timed(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            started = now()
            found = work(*args, **kwargs)
            seconds[part] = seconds.get(part, 0.0) + now() - started
            return found

        return run

    def now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    model.preprocessor.forward = timed("features", model.preprocessor.forward)
    model.encoder.forward = timed("encoder", model.encoder.forward)
    model.decoder.forward = timed("prediction network", model.decoder.forward)
    loop.optimiser.step = timed("optimiser", loop.optimiser.step)
    loader, step = timed("loader", lambda: next(data)), timed("step", loop.step)
    autograd: Any = torch.autograd
    together, through = joint_loss.backward, autograd.backward
    encoder_backward = timed("backward of the encoder", through)
    joint_loss.backward = timed("joint and all backward passes", together)

    def passed(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        # `Tensor.backward` comes here too, with one tensor: that is a group of the joint.
        return (encoder_backward if isinstance(tensors, list) else through)(tensors, *args, **kwargs)

    autograd.backward = passed
    try:
        for number in range(1 + STEPS):
            if number == 1:
                seconds.clear()  # the first step makes the moments
            step(loader())
    finally:
        joint_loss.backward, autograd.backward = together, through
    seconds["joint, loss and their backward"] = seconds.pop("joint and all backward passes") - seconds["backward of the encoder"]
    whole = seconds.pop("step") + seconds["loader"]
    parts = ", ".join(f"{part} {took / whole:.1%}" for part, took in sorted(seconds.items(), key=lambda one: -one[1]))
    return Found(said=f"{whole / STEPS:.2f} s a step of {BATCH} utterances: {parts}")


def evaluate(engine: Any) -> Callable[[Place], Found]:
    def run(place: Place) -> Found:
        from asrcore.manifest import manifest_ref
        from asrcore.model import evaluate as child
        from asrcore.requests import EvalRequest

        request = EvalRequest(checkpoint=place.base_ref(), sets=(manifest_ref(place.rows("bg-BG_guard_test", UTTERANCES)),), att_contexts=(CONTEXT,),
                              batch_size=UTTERANCES, engine=engine, out=str(place.fresh(f"evals/{engine}")))  # fmt: skip
        (cell,) = child.run(request, place.reporter(f"eval_{engine}")).cells
        parity = "" if cell.parity is None else f"; {cell.parity.identical_percent:g} % of {cell.parity.utterances} as the exact engine"
        chunk = "" if cell.chunk_times is None else f"; a chunk of {cell.latency_ms} ms takes {cell.chunk_times.p95_ms:.0f} ms (p95, {UTTERANCES} streams)"
        return Found(said=f"{cell.utterances} utterances, {cell.rtfx:g} audio seconds a second{chunk}{parity}")

    return run


def blend(place: Place) -> Found:
    """Half way between the base and the full fine-tune."""
    from asrcore.model import blend as child
    from asrcore.requests import BlendRequest, TrainResult

    tuned = TrainResult.model_validate_json(place.kept("run_full")).best
    out = place.fresh("blends")
    result = child.run(BlendRequest(base=place.base_ref(), tuned=(tuned,), alphas=(0.5,), out=str(out)), place.reporter("blend"))
    return Found(said=f"{len(result.blends)} checkpoint")


def export(target: Any) -> Callable[[Place], Found]:
    """One chunk size, two utterances of two locales, with the gate."""

    def run(place: Place) -> Found:
        from asrcore.manifest import manifest_ref
        from asrcore.model import export as child
        from asrcore.requests import ExportRequest

        smoke, more = (manifest_ref(place.rows(name, 1)) for name in ("bg-BG_guard_test", "el-GR_clean_test"))
        out = place.fresh(f"exports/{target}")
        request = ExportRequest(checkpoint=place.base_ref(), target=target, smoke=smoke, extra_smoke=(more,), smoke_utterances=2, att_contexts=(CONTEXT,),
                                provenance={"run": "full_size"}, out=str(out))  # fmt: skip
        result = child.run(request, place.reporter(f"export_{target}"))
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e9
        shutil.rmtree(out)
        return Found(said=f"{len(result.checks)} checks held, {result.compared_tokens} tokens compared, {size:.1f} GB")

    return run


def scaling(place: Place) -> Found:
    """Time over amount of work, as the exponent of the last tenfold."""
    from bench.bench_data import measured

    sizes = [place.scale_rows * factor for factor in (1, 10, 100)]
    stages: dict[str, list[float]] = {name: [measured(name, rows, 0).seconds for rows in sizes] for name in ("inspect", "shards")}
    stages["scoring"] = [scored(rows) for rows in sizes]
    figures: list[tuple[str, str, bool]] = []
    for name, seconds in stages.items():
        first, last = (math.log10(more / less) for less, more in pairwise(seconds))
        took = ", ".join(f"{one:.2f} s" for one in seconds)
        figures.append((f"{name}, {sizes[0]:,} / {sizes[1]:,} / {sizes[2]:,} rows", f"{took}; exponents {first:.2f}, {last:.2f}", last <= GROWTH_BAR))
    return Found(said=f"bar: exponent of the last tenfold at most {GROWTH_BAR:g}", figures=tuple(figures))


def scored(rows: int) -> float:
    """Seconds to score hypotheses of made-up words, normalised, with intervals."""
    import numpy as np

    from asrcore.requests import Hypothesis
    from asrcore.score.cell import score_hypotheses

    chance = np.random.default_rng(0)
    words = [f"word{n}" for n in range(5000)]
    hypotheses: list[Hypothesis] = []
    for n in range(rows):
        said = [words[int(pick)] for pick in chance.integers(0, len(words), 12)]
        heard = [word for word in said if chance.random() > 0.1]
        hypotheses.append(Hypothesis(id=f"u{n}", locale="en-US", reference=" ".join(said), text=" ".join(heard), raw_text=" ".join(heard), tag=None,
                                     duration=4.0, speaker=f"s{n % 200}", line=n + 1))  # fmt: skip
    started = time.perf_counter()
    score_hypotheses(hypotheses, "langID", (), ())
    return time.perf_counter() - started


def gpu(place: Place) -> Found:
    """What only a GPU can show (bench/full_size_gpu.py)."""
    from bench.full_size_gpu import measure

    return measure(place)


STAGES: dict[str, Callable[[Place], Found]] = {
    "make": make, "data": data, "inspect": inspect, "plan": plan, "train_lora": train("lora:8"), "train_full": train("full"), "profile": profile, "eval_exact": evaluate("exact"),
    "eval_fast": evaluate("fast"), "blend": blend, "export_nemo": export("nemo"), "export_transformers": export("transformers"), "export_onnx": export("onnx"),
    "scaling": scaling, "gpu": gpu,
}  # fmt: skip
