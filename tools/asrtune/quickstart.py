"""`asrtune quickstart`: the whole loop on the embedded base and embedded synthetic speech, through the same tools an agent calls.

unpack -> inspect -> validate tags -> shards -> base evals -> plan -> fine-tune -> blend -> tuned evals -> compare -> replay check -> export -> report

Every stage is content-addressed, so the same command after Ctrl-C goes on with what is not finished. All speech is synthetic.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from asrcore import io
from asrcore.embedded import shipped
from asrcore.errors import ToolFault
from asrcore.jobs import JobView, cancel_job, follow, get_job
from asrcore.requests import BlendResult, EvalCell
from asrcore.results import Result
from asrcore.workspace import Config, Workspace
from asrtune import registry

if TYPE_CHECKING:
    from rich.console import Console

MARGIN_POINTS = 3.0
"""The quickstart's declared margin: its guard sets hold 1,550 words each, far too few to prove a smaller one."""
REPLAY_SHARE = 0.65
STEPS = 250
PEAK_LR = 2e-4
ALPHA = 0.85
"""How far to go from the base to the tuned weights: most of the gain, and what the guards lost on the way comes back (docs/log.md)."""
CONTEXTS = ((56, 0), (56, 3), (56, 13))
BATCH = 32
NEXT_COMMAND = "asrtune inspect-dataset YOUR/train.jsonl --base nvidia/nemotron-3.5-asr-streaming-0.6b   # or a path to a .nemo"


@dataclass
class Loop:
    """One run of the loop: where it is, what the stages cost, what they made."""

    ws: Workspace
    home: Path
    console: Console | None
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def call(self, tool: str, **arguments: Any) -> Result[Any]:
        return registry.call(tool, arguments, self.ws)

    def job(self, tool: str, **arguments: Any) -> JobView:
        """Starts a job tool, follows it with a progress bar and returns its end. Raises the job's own error. Ctrl-C cancels it with a checkpoint."""
        view: JobView = self.call(tool, **arguments).data
        self._follow(view)
        ended = get_job(self.ws, view.job_id)
        if ended.state != "succeeded" or ended.result is None:
            if ended.error is not None:
                raise ended.error.to_error()
            raise ToolFault("stage_failed", f"{tool} ended as {ended.state}.", next_step=f"read the log in {ended.folder}, then run quickstart again.")
        return ended

    def _follow(self, view: JobView) -> None:
        try:
            self._show_events(view)
        except KeyboardInterrupt:
            cancel_job(self.ws, view.job_id)
            typer.echo("Stopped, finished work is kept. The same command goes on from here.", err=True)
            raise

    def _show_events(self, view: JobView) -> None:
        events = follow(self.ws, view.job_id)
        if self.console is None:
            for event in events:
                typer.echo(json.dumps({"job": view.job_id, **event.model_dump(mode="json")}), err=True)
            return
        from asrtune import render

        with render.progress(view) as show:
            for event in events:
                show(event)

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Times one stage and says so."""
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)
        if self.console is not None:
            self.console.print(f"[green]✓[/] {name:<12} {self.seconds[name]:6.1f} s")

    def evaluate(self, checkpoint: str, manifests: list[Path], contexts: tuple[tuple[int, int], ...]) -> list[EvalCell]:
        done = self.job(
            "run_streaming_eval", checkpoint=checkpoint, manifests=[str(m) for m in manifests],
            att_context_sizes=[list(c) for c in contexts], batch_size=BATCH,
        )  # fmt: skip
        assert done.result is not None
        return [EvalCell.model_validate(cell) for cell in done.result["cells"]]


def run(home: Path, *, seed: int, replay: bool, steps: int | None, console: Console | None) -> int:
    """Runs the loop below `home`, writes `summary.json` and `report.html` there and prints one table. Exit code 0, or raises `AsrtuneError`."""
    home = home.resolve()
    io.require_disk(home, 400_000_000)
    loop = Loop(Workspace(home / "workspace", Config(data_roots=(str(home),)), home), home, console)
    started = time.monotonic()
    with loop.stage("unpack"):
        sets = shipped.unpack(home / "data")
    train = sets[shipped.TELEPHONE_TRAIN]
    with loop.stage("inspect"):
        inspected = loop.call("inspect_dataset", manifest=str(train))
        tags = loop.call("validate_language_tags", manifest=str(train))
    with loop.stage("shards"):
        shards_job = loop.job(
            "build_shards", train=[str(train)], replay=[str(sets[name]) for name in shipped.REPLAY] if replay else [],
            replay_share=REPLAY_SHARE if replay else 0.0, seed=seed,
        )  # fmt: skip
    with loop.stage("base evals"):
        base = loop.evaluate("embedded", [sets[shipped.TELEPHONE_TEST]], CONTEXTS)
        base += loop.evaluate("embedded", [sets[name] for name in (shipped.CLEAN_TEST, *shipped.GUARDS)], CONTEXTS[:1])
    with loop.stage("plan"):
        assert shards_job.result is not None
        plan = loop.call(
            "plan_finetune", shards_id=shards_job.result["shards_id"], dev_manifest=str(sets[shipped.TELEPHONE_DEV]),
            max_steps=steps or STEPS, peak_lr=PEAK_LR, seed=seed,
        )  # fmt: skip
    with loop.stage("fine-tune"):
        trained = loop.job("launch_finetune", plan_id=plan.data.plan_id)
        assert trained.result is not None
        run_id = str(trained.result["run_id"])
    with loop.stage("blend"):
        blended = loop.job("blend_checkpoints", base="embedded", tuned=[run_id], alphas=[ALPHA])
        candidate = BlendResult.model_validate(blended.result).blends[0].blend_id
    with loop.stage("tuned evals"):
        tuned = loop.evaluate(candidate, [sets[shipped.TELEPHONE_TEST]], CONTEXTS)
        tuned += loop.evaluate(candidate, [sets[name] for name in (shipped.CLEAN_TEST, *shipped.GUARDS)], CONTEXTS[:1])
    targets, clean, guards = list(zip(base[:3], tuned[:3], strict=True)), (base[3], tuned[3]), list(zip(base[4:], tuned[4:], strict=True))
    with loop.stage("verdicts"):
        compared = [loop.call("compare_models", base_eval=b.eval_id, tuned_eval=t.eval_id) for b, t in targets]
        kept = loop.call(
            "check_replay", base_evals=[b.eval_id for b, _ in guards], tuned_evals=[t.eval_id for _, t in guards], margin_points=MARGIN_POINTS,
        )  # fmt: skip
    with loop.stage("export"):
        exported = loop.job("export_model", checkpoint=candidate, smoke_manifest=str(sets[shipped.TELEPHONE_DEV]))
    with loop.stage("report"):
        report = loop.call(
            "make_report", title="Greek telephony on the embedded base (synthetic speech)", base_evals=[b.eval_id for b, _ in targets],
            tuned_evals=[t.eval_id for _, t in targets], guard_base_evals=[b.eval_id for b, _ in guards],
            guard_tuned_evals=[t.eval_id for _, t in guards], run_id=run_id,
        )  # fmt: skip
        page = next(artifact.path for artifact in report.artifacts if artifact.kind == "report")
        shutil.copyfile(page, home / "report.html")
    loop.seconds["total"] = round(time.monotonic() - started, 1)
    assert exported.result is not None
    summary = {
        "synthetic": True,
        "seed": seed,
        "replay": replay,
        "target": {
            "locale": shipped.TARGET_LOCALE, "set": shipped.TELEPHONE_TEST, "words": targets[0][0].normalised.words,
            "wer": {str(b.latency_ms): {"base": b.normalised.percent, "tuned": t.normalised.percent} for b, t in targets},
            "gain_ci95": [-compared[0].data.ci95[1], -compared[0].data.ci95[0]], "verdict": compared[0].data.verdict,
        },
        "clean": {"set": shipped.CLEAN_TEST, "base": clean[0].normalised.percent, "tuned": clean[1].normalised.percent},
        "guards": [
            {"locale": guard.locales[0], "words": guard.words, "clusters": guard.clusters, "base": guard.base.percent, "tuned": guard.tuned.percent,
             "margin": guard.margin_points, "verdict": guard.verdict}
            for guard in kept.data.guards
        ],
        "data": {"verdict": inspected.data.verdict, "tags": tags.summary},
        "seconds": loop.seconds,
        "artifacts": {"report": str(home / "report.html"), "checkpoint": exported.result["path"], "run": run_id, "blend": candidate, "ledger": str(loop.ws.ledger_path)},
    }  # fmt: skip
    io.write_json(home / "summary.json", summary)
    show(summary, console)
    return 0


def show(summary: dict[str, Any], console: Console | None) -> None:
    """One table for people, or the summary as JSON on stdout."""
    if console is None:
        typer.echo(json.dumps(summary, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table(title="Word error rate in %, synthetic speech, streaming", title_justify="left")
    for column, justify in (("set", "left"), ("latency", "right"), ("base", "right"), ("tuned", "right"), ("verdict", "left")):
        table.add_column(column, justify="right" if justify == "right" else "left")
    target = summary["target"]
    for latency, wer in target["wer"].items():
        low, high = target["gain_ci95"]
        verdict = f"{target['verdict']} (gain {low:.1f} to {high:.1f} points)" if latency == "80" else ""
        table.add_row("Greek, telephone", f"{latency} ms", f"{wer['base']:.1f}", f"{wer['tuned']:.1f}", verdict)
    table.add_row("Greek, clean", "80 ms", f"{summary['clean']['base']:.1f}", f"{summary['clean']['tuned']:.1f}", "")
    for guard in summary["guards"]:
        table.add_row(f"guard {guard['locale']}", "80 ms", f"{guard['base']:.1f}", f"{guard['tuned']:.1f}",
                      f"{guard['verdict']} (margin {guard['margin']:g} points)")  # fmt: skip
    console.print(table)
    console.print(f"report      {_short(summary['artifacts']['report'])}\ncheckpoint  {_short(summary['artifacts']['checkpoint'])}")
    console.print(f"{summary['seconds']['total']:.0f} s in all. Your own data and the real checkpoint:\n  {NEXT_COMMAND}", highlight=False)


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
