"""Check that the other languages were kept: a non-inferiority test per guard set, with margin and power stated.

Use it after run_streaming_eval has scored both checkpoints on the guard sets, in langID and, if the product serves it, in auto; base and tuned
evals are paired by set, att_context_size and prompt mode. Do not use it for the target set (a gain is for compare_models to show); a guard whose
recordings the tuned run was trained on is refused (guard_overlaps_replay). It returns kept for a guard where the 95 % upper bound of its loss is under
margin_points (left out: the larger of 0.5 point and 5 % of the base's rate), forgotten where a loss is shown and its estimate exceeds the margin, else
inconclusive with the number of words that would do; all are kept only when every one is. Cost: seconds, about a minute more for every 10 million
training utterances; no model is loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from asrcore.errors import NotReadyError, Problem, clean_text
from asrcore.jobs import ALL_ROWS, Ledger
from asrcore.jobs.store import train_request
from asrcore.requests import Blend, EvalCell, ShardsResult, TrainResult
from asrcore.results import Frozen, NextAction, Result
from asrcore.score.hypotheses import read_hypotheses
from asrcore.score.leak import Trained, find_trained
from asrcore.score.replay import ReplayReport, check_guards
from asrcore.workspace import Workspace

EvalId = Annotated[str, Field(pattern=r"^eval_[0-9a-f]{12}$")]


class Input(Frozen):
    base_evals: tuple[EvalId, ...] = Field(min_length=1, max_length=500, description="Eval ids of the base checkpoint on the guard sets.")
    tuned_evals: tuple[EvalId, ...] = Field(
        min_length=1, max_length=500, description="Eval ids of the tuned checkpoint on the same sets and conditions."
    )
    margin_points: float | None = Field(
        None, gt=0, le=100, allow_inf_nan=False,
        description="Largest acceptable loss in points of WER; else the larger of 0.5 and 5 % of the base's rate.",
    )  # fmt: skip


Output = ReplayReport


def run(request: Input, ws: Workspace) -> Result[Output]:
    with Ledger.open(ws) as ledger:
        pairs = pair_evals(ledger, request.base_evals, request.tuned_evals)
        unchecked = refuse_trained(ledger, pairs)
        report = check_guards(pairs, request.margin_points)
        ledger.put("replay", report.replay_id, report)
    return Result(summary=sentence(report), data=report, warnings=(*_warnings(report), *unchecked), next_actions=_next(report))


def pair_evals(ledger: Ledger, base_evals: tuple[str, ...], tuned_evals: tuple[str, ...]) -> list[tuple[EvalCell, EvalCell]]:
    """Pairs by set, att_context_size and prompt mode, in the order of `base_evals`. Raises `eval_unknown`, `evals_unpaired` with all of them."""
    base, tuned = (_cells(ledger, ids) for ids in (base_evals, tuned_evals))
    problems = [
        Problem(
            code="eval_unpaired",
            message=f"{side} eval {cell.eval_id} ({clean_text(cell.set.name, 60)}, {cell.latency_ms} ms, {cell.prompt_mode}) {what}",
            fix=fix,
        )
        for side, own, other in (("base", base, tuned), ("tuned", tuned, base))
        for cell in own
        for what, fix in _unpaired(cell, own, other)
    ]
    if problems:
        raise NotReadyError("evals_unpaired", f"{len(problems)} evals have no single partner of the same set, att_context_size and prompt mode.",
                            next_step="run run_streaming_eval for what is missing, and pass each pair once.", problems=problems)  # fmt: skip
    partners = {_conditions(cell): cell for cell in tuned}
    return [(cell, partners[_conditions(cell)]) for cell in base]


def refuse_trained(ledger: Ledger, pairs: Sequence[tuple[EvalCell, EvalCell]]) -> tuple[Problem, ...]:
    """Raises `guard_overlaps_replay` with every guard line that the tuned run, or a run it started from, was trained on.

    Where the training data is not known to this workspace or is gone, the answer is the warning `overlap_unchecked`.
    """
    base, tuned = pairs[0]
    shards, known = _trained_on(ledger, tuned.checkpoint.sha256, base.checkpoint.sha256)
    guards = {cell.set.sha256: cell for cell, _ in pairs}
    try:
        found = find_trained({key: read_hypotheses(Path(cell.hypotheses)) for key, cell in guards.items()}, shards)
    except OSError:
        found, known = (), False
    if found:
        raise _overlap(found, guards)
    if known:
        return ()
    return (Problem(
        code="overlap_unchecked", severity="warning", message="the data that the tuned checkpoint was trained on is not in this workspace, "
        "so nobody checked that the guards were not trained on.", fix="make sure of it yourself, or tune with launch_finetune and keep the shards.",
    ),)  # fmt: skip


def _trained_on(ledger: Ledger, tuned: str, base: str) -> tuple[list[ShardsResult], bool]:
    """Shards of the runs behind `tuned`, through blends and the checkpoints they started from, back to `base`; False when a way breaks off before."""
    runs = {result.best.sha256: result.run_id for result in (TrainResult.model_validate(row.data) for row in ledger.list("run", ALL_ROWS))}
    blends = {blend.checkpoint.sha256: blend for blend in (Blend.model_validate(row.data) for row in ledger.list("blend", ALL_ROWS))}
    shards, seen, left, known = list[ShardsResult](), {base}, [tuned], True
    while left:
        sha256 = left.pop()
        if sha256 in seen:
            continue
        seen.add(sha256)
        if sha256 in blends:
            left += [blends[sha256].base.sha256, *(checkpoint.sha256 for checkpoint in blends[sha256].tuned)]
            continue
        train = train_request(ledger, runs.get(sha256))
        if train is None:
            known = False
            continue
        shards.append(train.shards)
        left.append(train.base.sha256)
    return shards, known


def _overlap(found: Sequence[Trained], guards: dict[str, EvalCell]) -> NotReadyError:
    counts = Counter(one.guard for one in found)
    shares = ", ".join(
        f"{clean_text(guards[key].set.name, 60)} {count} of {guards[key].utterances}" for key, count in counts.most_common(5)
    )
    return NotReadyError(
        "guard_overlaps_replay", f"the tuned checkpoint was trained on {len(found)} guard utterances ({shares}{', …' if len(counts) > 5 else ''}).",
        next_step="take the lines in problems out of the guard manifests and run run_streaming_eval for both checkpoints again, "
        "or build_shards without these recordings and tune again.",
        problems=[Problem(code="guard_overlap", message=f"the recording is in the {one.role} source {one.source}", file=guards[one.guard].set.path,
                          line=one.line, fix="take it out of the guard manifest, or out of the training data") for one in found],
    )  # fmt: skip


def sentence(report: ReplayReport) -> str:
    """The verdict in one sentence."""
    counts = Counter(guard.verdict for guard in report.guards)
    shares = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("kept", "forgotten", "inconclusive") if counts[verdict])
    worst = max(report.guards, key=lambda guard: guard.bounds95[1] - guard.margin_points)
    closest = f"{clean_text(worst.set.name, 60)} {worst.loss_points:+.2f} points, upper bound {worst.bounds95[1]:+.2f}, margin {worst.margin_points:.2f}"
    more = ""
    if worst.verdict == "inconclusive":
        needs = (
            f"needs about {worst.more_words:,} more {worst.base.unit}s"
            if worst.more_words
            else "is large enough, its measured loss is too near the margin"
        )
        more = f"; that set {needs}"
    return f"Other languages {report.verdict}: of {len(report.guards)} guards {shares}; closest call {closest}{more}."


def _cells(ledger: Ledger, ids: tuple[str, ...]) -> list[EvalCell]:
    return [EvalCell.model_validate(ledger.require("eval", eval_id)) for eval_id in dict.fromkeys(ids)]


def _conditions(cell: EvalCell) -> tuple[str, tuple[int, int], str]:
    return cell.set.sha256, cell.att_context, cell.prompt_mode


def _unpaired(cell: EvalCell, own: list[EvalCell], other: list[EvalCell]) -> list[tuple[str, str]]:
    here, there = (sum(_conditions(c) == _conditions(cell) for c in side) for side in (own, other))
    if here > 1:
        return [("has a twin on its own side", "pass one eval of each set and condition")]
    return [] if there else [("has no partner", "run the missing eval, or leave this one out")]


def _warnings(report: ReplayReport) -> tuple[Problem, ...]:
    """One warning a code, with the guards it is about."""
    guards: dict[str, list[str]] = {}
    first: dict[str, Problem] = {}
    for guard in report.guards:
        for warning in guard.warnings:
            first.setdefault(warning.code, warning)
            guards.setdefault(warning.code, []).append(clean_text(guard.set.name, 60))
    return tuple(
        warning.model_copy(update={"message": f"{', '.join(dict.fromkeys(guards[code]))}: {warning.message}" if len(guards[code]) == 1 else
                                   f"{len(guards[code])} guards ({', '.join(list(dict.fromkeys(guards[code]))[:5])}), e.g. {warning.message}"})
        for code, warning in first.items()
    )  # fmt: skip


def _next(report: ReplayReport) -> tuple[NextAction, ...]:
    pairs = {"base_evals": [g.base_eval for g in report.guards], "tuned_evals": [g.tuned_eval for g in report.guards]}
    page = NextAction(tool="make_report", arguments={"title": "Guard languages", **pairs, "guard_base_evals": pairs["base_evals"],
                      "guard_tuned_evals": pairs["tuned_evals"]}, why="Put the guards on a page; pass the target set's evals as base_evals and tuned_evals if you have them.")  # fmt: skip
    more = NextAction(
        tool="list_objects",
        arguments={"kind": "shards"},
        why="See which replay share the run had, then build_shards with a larger replay_share and tune again.",
    )
    return (more, page) if report.verdict == "forgotten" else (page,)
