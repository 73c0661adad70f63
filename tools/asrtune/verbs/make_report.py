"""Write one HTML page with the numbers, plots and worst utterances of a base and a tuned checkpoint.

Use it once the evals exist, to show a person what was gained and what was kept; list_objects and get_job serve programs better. Base and tuned
evals are paired by set, att_context_size and prompt mode; the guard lists add the replay check (the newest check_replay of these evals, else one
with the default margin), run_id adds the training curves, and a campaign that judged a tuned eval adds its rounds. It returns the path of
report.html, which needs no network, script or other file; transcripts on it are data of the sets. Cost: seconds, no model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from asrcore import io
from asrcore.campaign.history import campaign_of, history_of
from asrcore.errors import UsageError, clean_text
from asrcore.jobs import Ledger, store
from asrcore.jobs.child import EVENTS
from asrcore.jobs.outcome import attempt_folder
from asrcore.jobs.progress import parse_events
from asrcore.report import ReportView, Training, build_report
from asrcore.requests import EvalCell, TrainResult
from asrcore.results import Artifact, Frozen, NextAction, Result
from asrcore.score.compare import Comparison, compare_cells
from asrcore.score.replay import ReplayReport, check_guards
from asrcore.workspace import Workspace
from asrtune.verbs.check_replay import pair_evals

EvalId = Annotated[str, Field(pattern=r"^eval_[0-9a-f]{12}$")]
_LOOK_BACK = 500
"""Stored verdicts searched for one of the same evals, newest first."""


class Input(Frozen):
    title: str = Field(min_length=1, max_length=200, description="Heading of the page.")
    base_evals: tuple[EvalId, ...] = Field(min_length=1, max_length=100, description="Eval ids of the base checkpoint on the target sets.")
    tuned_evals: tuple[EvalId, ...] = Field(
        min_length=1, max_length=100, description="Eval ids of the tuned checkpoint on the same sets and conditions."
    )
    guard_base_evals: tuple[EvalId, ...] = Field((), max_length=500, description="Eval ids of the base checkpoint on the guard sets.")
    guard_tuned_evals: tuple[EvalId, ...] = Field((), max_length=500, description="Eval ids of the tuned checkpoint on the guard sets.")
    run_id: str | None = Field(None, pattern=r"^run_[0-9a-f]{12}$", description="The training run, for its curves and what it consumed.")


Output = ReportView


def run(request: Input, ws: Workspace) -> Result[Output]:
    if bool(request.guard_base_evals) != bool(request.guard_tuned_evals):
        raise UsageError(
            "guards_one_sided", "only one of guard_base_evals and guard_tuned_evals was given.", next_step="pass both or none."
        )
    with Ledger.open(ws) as ledger:
        pairs = pair_evals(ledger, request.base_evals, request.tuned_evals)
        guards = pair_evals(ledger, request.guard_base_evals, request.guard_tuned_evals)
        comparisons = [_comparison(ledger, base, tuned) for base, tuned in pairs]
        replay = _replay(ledger, guards) if guards else None
        training = _training(ws, ledger, request.run_id) if request.run_id else None
        campaign = campaign_of(ledger, {tuned.eval_id for _, tuned in pairs})
        history = history_of(ledger, campaign) if campaign else None
        behind = (replay.replay_id if replay else None, history.decision_id if history else None)
        sources = (*(c.comparison_id for c in comparisons), *filter(None, behind))
        report_id = "report_" + io.sha256_json([request.title, sources, request.run_id])[:12]
        out = ws.folder("reports", report_id) / "report.html"
        path = build_report(request.title, pairs, guards, comparisons, replay, training, out, roots=ws.data_roots, history=history)
        view = ReportView(
            report_id=report_id, title=clean_text(request.title), path=str(path), size_bytes=path.stat().st_size,
            targets=tuple(c.verdict for c in comparisons), replay=replay.verdict if replay else None, run_id=request.run_id,
            campaign_id=history.campaign_id if history else None, sources=sources,
        )  # fmt: skip
        ledger.put("report", report_id, view)
    return Result(
        summary=f"Report {report_id} is written: {path}", data=view, artifacts=(Artifact(name="report", path=str(path), kind="report"),),
        next_actions=(NextAction(tool="list_objects", arguments={"kind": "report"}, why="See all reports of this workspace."),),
    )  # fmt: skip


def _comparison(ledger: Ledger, base: EvalCell, tuned: EvalCell) -> Comparison:
    """The newest stored comparison of the two, so that the page repeats the verdict that was given; else a new one."""
    for row in ledger.list("comparison", _LOOK_BACK):
        if (row.data["base_eval"], row.data["tuned_eval"]) == (base.eval_id, tuned.eval_id):
            return Comparison.model_validate(row.data)
    comparison = compare_cells(base, tuned)
    ledger.put("comparison", comparison.comparison_id, comparison)
    return comparison


def _replay(ledger: Ledger, guards: Sequence[tuple[EvalCell, EvalCell]]) -> ReplayReport:
    """The newest stored check of the same pairs, with the margin it was given; else a new one with the default margin."""
    wanted = {(base.eval_id, tuned.eval_id) for base, tuned in guards}
    for row in ledger.list("replay", _LOOK_BACK):
        if {(guard["base_eval"], guard["tuned_eval"]) for guard in row.data["guards"]} == wanted:
            return ReplayReport.model_validate(row.data)
    report = check_guards(guards)
    ledger.put("replay", report.replay_id, report)
    return report


def _training(ws: Workspace, ledger: Ledger, run_id: str) -> Training:
    """The run and the events of all attempts of the job that made it, oldest attempt first. Raises `run_unknown`."""
    run = TrainResult.model_validate(ledger.require("run", run_id))
    jobs = [job for job in store.in_states(ledger, "succeeded") if job.kind == "train" and job.request.get("run_id") == run_id]
    files = [attempt_folder(ws.home, job.id, number) / EVENTS for job in jobs[-1:] for number in range(1, job.attempt + 1)]
    return Training(
        run=run,
        events=tuple(
            event for file in files if file.is_file() for event in parse_events(file.read_text(encoding="utf-8", errors="replace"))
        ),
    )
