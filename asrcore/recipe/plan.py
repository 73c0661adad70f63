"""Spec -> plan: resolves the base, the shards and the dev set, decides every value, and finds every obstacle before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from asrcore import io
from asrcore.checkpoint import CheckpointInfo, checkpoint_ref, read_checkpoint, resolve_base
from asrcore.errors import NotReadyError, Problem
from asrcore.jobs import Ledger
from asrcore.jobs.checkpoints import resolve_checkpoint
from asrcore.locales import latency_ms
from asrcore.manifest import manifest_ref
from asrcore.recipe import checks
from asrcore.recipe.approval import over_limits
from asrcore.recipe.batch import found_batch
from asrcore.recipe.defaults import Recipe, decide, describe
from asrcore.recipe.estimates import cost, earlier_runs, estimate, fitting_batch, gain
from asrcore.recipe.overlap import ShardRows, scan_shards
from asrcore.recipe.spec import Decision, FinetuneSpec, Plan, PlanSummary, SourceUse
from asrcore.recipe.surface import surface_problems
from asrcore.requests import MODULES, ShardsResult, TrainRequest
from asrcore.workspace import Workspace


class Planned(NamedTuple):
    """A plan that nothing blocks, and what should be known about it (warnings)."""

    plan: Plan
    warnings: tuple[Problem, ...]


def make_plan(spec: FinetuneSpec, ws: Workspace) -> Planned:
    """Stores and returns the plan. Raises `shards_unknown`, `plan_blocked` with every problem at once, `path_missing`, `path_refused`
    and what opening the base raises. Starts nothing; reads the shard manifests once and hashes shards of up to 4 GB."""
    ledger = Ledger.open(ws)
    row = ledger.get("shards", spec.shards_id)
    if row is None:
        raise NotReadyError("shards_unknown", "the ledger has no shards of that id.",
                            next_step='call build_shards, or list_objects with {"kind": "shards"} for an id.')  # fmt: skip
    shards = ShardsResult.model_validate(row)
    manifest = ws.resolve_data(spec.dev_manifest)
    base = _base(ws, spec.base)

    problems, hashed = checks.shard_problems(shards)
    dev, dev_problems = checks.dev_rows(manifest)
    problems += dev_problems
    problems += checks.tag_problems(spec, base, shards, dev, manifest)
    problems += checks.context_problems(spec, base)
    problems += checks.base_problems(base)
    problems += surface_problems(base, spec.surface)
    max_duration = TrainRequest.model_fields["max_duration"].default
    rows = ShardRows((), max_duration, 0, 0)
    if not any(p.code == "file_missing" for p in problems):
        rows = scan_shards(shards, dev, manifest, max_duration)
        problems += rows.problems
        problems += _too_long(rows, max_duration)

    data = describe(shards, rows.longest_seconds or max_duration)
    averaged = spec.ema_decay > 0
    fits = found_batch(ledger, base, spec.surface, rows, averaged=averaged) or fitting_batch(base, spec.surface, rows, averaged=averaged)
    recipe = decide(spec, base, data, refinement=spec.base.startswith("run_"), fits=fits)
    uses = _uses(shards, recipe)
    problems += checks.source_problems(uses)
    runs = list(earlier_runs(ledger, base.sha256))
    estimates = estimate(base, spec.surface, recipe, data, rows, sum(row.utterance.duration for row in dev), runs, averaged=averaged)
    estimates = estimates.model_copy(update={"cost": cost(estimates, ws.config.budgets.price_per_gpu_hour)})
    problems += checks.resource_problems(ws, estimates)
    _refuse(problems)

    request = _request(spec, ws, base, shards, manifest, recipe)
    summary = PlanSummary(
        plan_id="plan_" + request.run_id.removeprefix("run_"), run_id=request.run_id, spec=spec,
        decisions=(*recipe.decisions, _verification(hashed), _latency(spec)), sources=uses, estimates=estimates,
        expected_gain=gain(base, _target_locales(shards), request.dev.sha256, runs), command=f"python -m {MODULES['train']} request.json",
    )  # fmt: skip
    plan = Plan(summary=summary, request=request)
    plan = plan.model_copy(update={"summary": summary.model_copy(update={"needs_approval": over_limits(plan, ws.config.budgets)})})
    ledger.put("plan", summary.plan_id, plan)
    return Planned(plan, tuple(p for p in problems if p.severity != "error"))


def load_plan(ws: Workspace, plan_id: str) -> Plan:
    """The stored plan. Raises `plan_unknown`."""
    row = Ledger.open(ws).get("plan", plan_id)
    if row is None:
        raise NotReadyError(
            "plan_unknown", "the ledger has no plan of that id.", next_step="call plan_finetune; its answer holds the plan_id."
        )
    return Plan.model_validate(row)


def _base(ws: Workspace, name: str) -> CheckpointInfo:
    """A run stands for its best candidate, a blend or a base with a new locale for its file; everything else is `resolve_base`'s."""
    made_here = name.startswith(("run_", "blend_", "base_"))
    return read_checkpoint(Path(resolve_checkpoint(ws, name).path)) if made_here else resolve_base(ws, name)


def _request(spec: FinetuneSpec, ws: Workspace, base: CheckpointInfo, shards: ShardsResult, manifest: Path, recipe: Recipe) -> TrainRequest:
    """The request with its content-addressed run id: the same inputs and values give the same run."""
    draft = TrainRequest(
        run_id="", base=checkpoint_ref(base, spec.base), shards=shards, dev=manifest_ref(manifest), surface=spec.surface, max_steps=recipe.max_steps,
        batch_size=recipe.batch_size, batch_seconds=recipe.batch_seconds, bucketing=spec.batching != "mixed",
        peak_lr=recipe.peak_lr, rates=spec.rates, warmup_steps=recipe.warmup_steps, prompt_mode=spec.prompt_mode,
        candidate_every=recipe.candidate_every, patience=spec.patience, att_context_size=spec.att_context_size, ema_decay=spec.ema_decay, seed=spec.seed,
        out="",
    )  # fmt: skip
    run_id = "run_" + io.sha256_json(draft)[:12]
    return draft.model_copy(update={"run_id": run_id, "out": str(ws.folder("runs", run_id))})


def _uses(shards: ShardsResult, recipe: Recipe) -> tuple[SourceUse, ...]:
    weight = sum(source.weight for source in shards.sources)
    draws = recipe.max_steps * recipe.batch_size
    return tuple(
        SourceUse(
            source=source.name, role=source.role, utterances=source.utterances, hours=round(source.seconds / 3600, 3), share_of_audio=round(source.share, 4),
            expected_utterances=round(draws * source.weight / weight), epochs=round(draws * source.weight / weight / source.utterances, 2),
        )
        for source in shards.sources
    )  # fmt: skip


def _too_long(rows: ShardRows, max_duration: float) -> list[Problem]:
    if not rows.too_long:
        return []
    return [Problem(code="too_long_skipped", severity="warning", message=f"{rows.too_long} utterances are longer than {max_duration:g} s and will not be trained on",
                    fix="cut them at sentence ends before build_shards")]  # fmt: skip


def _target_locales(shards: ShardsResult) -> list[str]:
    return sorted({locale for source in shards.sources if source.role == "train" for locale in source.seconds_by_locale})


def _verification(hashed: bool) -> Decision:
    if hashed:
        return Decision(
            name="verification", value="shards hashed now, all inputs again at launch", reason="a run must see just what was planned"
        )
    return Decision(name="verification", value="shards hashed at launch", reason="they are over 4 GB; here only their presence was checked")


def _latency(spec: FinetuneSpec) -> Decision:
    return Decision(name="att_context_size", value=f"{list(spec.att_context_size)} ({latency_ms(spec.att_context_size)} ms chunks)", asked=spec.att_context_size != (56, 0),
                    reason="latency at which candidates are ranked; training itself samples all latencies of the checkpoint")  # fmt: skip


def _refuse(problems: list[Problem]) -> None:
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        codes = ", ".join(sorted({problem.code for problem in errors}))
        raise NotReadyError("plan_blocked", f"{len(errors)} problem(s) stand in the way ({codes}).",
                            next_step="mend what each problem's fix says, then call plan_finetune again.", problems=problems)  # fmt: skip
