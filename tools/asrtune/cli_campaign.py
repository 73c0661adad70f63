"""What `asrtune campaign` and `asrtune gate` do. Each gives an exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from asrcore.campaign import Decision


def show_campaign(campaign_id: str | None, *, hours: float | None, hard: int = 0, target: int = 1, as_json: bool) -> int:
    """Prints the rounds, the last decision and the learning curve of a campaign (default: the newest), computed from the ledger; with `hard`, so many
    utterances and words that were missed most. `target` counts from 1: the one whose curve is drawn, over hours in its own locale.

    Errors: `no_campaign`, `campaign_unknown`, `target_unknown`, `hypotheses_missing`.
    """
    from asrcore.campaign import curve, mining, observe, state, table
    from asrcore.errors import AsrtuneError, NotReadyError, UsageError
    from asrcore.jobs import Ledger
    from asrcore.workspace import Workspace
    from asrtune.cli_verbs import show_error

    try:
        with Ledger.open(Workspace.open()) as ledger:
            newest = ledger.list("campaign", 1) if campaign_id is None else ()
            wanted = campaign_id or (newest[0].id if newest else None)
            if wanted is None:
                raise NotReadyError("no_campaign", "this workspace has no campaign yet.", next_step="call start_campaign with the base's evals.")
            campaign = state.load_campaign(ledger, wanted)
            decisions = state.decisions_of(ledger, wanted)
            if target > len(campaign.targets):
                raise UsageError("target_unknown", f"this campaign has {len(campaign.targets)} targets, there is no number {target}.",
                                 next_step="count from 1, in the order of start_campaign's target_evals.")  # fmt: skip
            points, spread = observe.points_of(ledger, decisions, target=target - 1)
            looked_at = _looked_at(decisions)
            cells = [observe.cell_of(ledger, one) for one in looked_at] if hard else []
            utterances = mining.hardest(cells, hard) if cells else ()
            words = mining.missed_words(cells[-1], hard) if cells else ()
    except AsrtuneError as error:
        return show_error(error, as_json=as_json)
    found = curve.fit(points, spread)
    answer = table.more_hours(points, found, hours) if hours is not None else None
    if as_json:
        typer.echo(json.dumps({
            "campaign": campaign.model_dump(mode="json"), "decisions": [one.model_dump(mode="json") for one in decisions],
            "target": target, "points": [point.model_dump(mode="json") for point in points], "more_hours": answer,
            "hard_utterances": [one.model_dump(mode="json") for one in utterances], "missed_words": [one.model_dump(mode="json") for one in words],
        }, ensure_ascii=False))  # fmt: skip
        return 0
    typer.echo(table.heading(campaign, decisions) + "\n")
    if not decisions:
        typer.echo(f"No round yet: asrtune decide-next-step {wanted}")
        return 0
    typer.echo(table.rounds_table(decisions) + "\n\n" + table.curve_of(campaign.targets[target - 1]) + "\n" + table.drawing(points, found) + "\n")
    if hard:
        typer.echo(table.hard_cases(utterances, words) + "\n")
    typer.echo(answer if answer is not None else f"{decisions[-1].decision_id}: {decisions[-1].why[0]}. Next: {decisions[-1].lever}: {decisions[-1].why[1]}.")
    return 0


def _looked_at(decisions: Sequence[Decision]) -> tuple[str, ...]:
    """Evals of the first target: what the newest candidate was compared with and its own; the base's alone before there is one."""
    if not decisions:
        return ()
    this = decisions[-1].round
    return this.target_pairs[0] if this.target_pairs else this.incumbent_evals[:1]


def run_gate(
    baseline: list[str], candidate: list[str], guard_baseline: list[str], guard_candidate: list[str], *, not_worse: bool, margin_points: float | None,
    markdown_file: Path | None, junit_file: Path | None,
) -> int:  # fmt: skip
    """Compares the evals, prints the Markdown summary (and writes the files), and ends with 0 when all checks pass.

    Errors: `gate_failed` (exit 3), `guards_one_sided`, `evals_unpaired`, what compare_cells and check_guards raise.
    """
    from asrcore import io
    from asrcore.campaign.gate import gate, junit, markdown
    from asrcore.errors import AsrtuneError, NotReadyError, UsageError
    from asrcore.jobs import Ledger
    from asrcore.score.compare import compare_cells
    from asrcore.score.replay import check_guards
    from asrcore.workspace import Workspace
    from asrtune.cli_verbs import show_error
    from asrtune.verbs.check_replay import pair_evals, refuse_trained

    try:
        if bool(guard_baseline) != bool(guard_candidate):
            raise UsageError("guards_one_sided", "only one side of the guards was given.", next_step="pass --guard-baseline and --guard-candidate, or neither.")
        with Ledger.open(Workspace.open()) as ledger:
            targets = pair_evals(ledger, tuple(baseline), tuple(candidate))
            guards = pair_evals(ledger, tuple(guard_baseline), tuple(guard_candidate))
            unchecked = refuse_trained(ledger, [*targets, *guards])
            replay = check_guards(guards, margin_points) if guards else None
            report = gate([compare_cells(*pair) for pair in targets], replay, "not_worse" if not_worse else "better")
        report = report.model_copy(update={"warnings": (*report.warnings, *(problem.message for problem in unchecked))})
        text = markdown(report)
        if markdown_file is not None:
            io.write_text(markdown_file.resolve(), text)
        if junit_file is not None:
            io.write_text(junit_file.resolve(), junit(report))
        typer.echo(text, nl=False)
        if not report.passed:
            failed = sum(not check.passed for check in report.checks)
            raise NotReadyError("gate_failed", f"{failed} of {len(report.checks)} checks did not pass.",
                                next_step="see the table; compare_models and check_replay give the whole numbers of a pair.")  # fmt: skip
    except AsrtuneError as error:
        return show_error(error, as_json=False)
    return 0
