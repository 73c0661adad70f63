"""What goes on the page, gathered and checked; then the page is written as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from asrcore import io
from asrcore.errors import ToolFault, UsageError
from asrcore.report import page, sections
from asrcore.report.markup import Html
from asrcore.requests import EvalCell, Event, TrainResult
from asrcore.results import Frozen
from asrcore.score.compare import Comparison, Verdict
from asrcore.score.hypotheses import pair_up, read_hypotheses
from asrcore.score.replay import GuardVerdict, ReplayReport

CellPair = tuple[EvalCell, EvalCell]


class Training(Frozen):
    """The run behind the tuned checkpoint, with the events of all its attempts in order."""

    run: TrainResult
    events: tuple[Event, ...] = ()


class ReportView(Frozen):
    """A report as the ledger and the tools know it."""

    report_id: str
    title: str
    path: str
    size_bytes: int
    targets: tuple[Verdict, ...]
    """One per target pair, in the order given."""
    replay: GuardVerdict | None
    run_id: str | None
    sources: tuple[str, ...]
    """Ids of the comparisons and of the replay check behind it."""


def build_report(
    title: str,
    target_pairs: Sequence[CellPair],
    guard_pairs: Sequence[CellPair],
    comparisons: Sequence[Comparison],
    replay: ReplayReport | None,
    training: Training | None,
    out: Path,
) -> Path:
    """Writes one HTML page without scripts or outside resources to `out` and returns it.

    `target_pairs` are (base, tuned) evals with one comparison each; `guard_pairs` are those of `replay`. Raises `no_targets`, and what reading
    the hypotheses raises.
    """
    if not target_pairs:
        raise UsageError(
            "no_targets", "there is no pair of evals to report on.", next_step="pass at least one base_evals and tuned_evals id."
        )
    by_pair = {(c.base_eval, c.tuned_eval): c for c in comparisons}
    missing = [base.eval_id for base, tuned in target_pairs if (base.eval_id, tuned.eval_id) not in by_pair]
    if missing:
        raise ToolFault(
            "comparison_missing", f"{len(missing)} target pairs came without a comparison.", next_step="call make_report, which makes them."
        )
    targets = [sections.Target(base, tuned, by_pair[base.eval_id, tuned.eval_id]) for base, tuned in target_pairs]
    headline = min(
        targets,
        key=lambda t: (
            t.base.set.sha256 != target_pairs[0][0].set.sha256,
            t.base.prompt_mode != target_pairs[0][0].prompt_mode,
            t.base.latency_ms,
        ),
    )
    lines = pair_up(headline.base, headline.tuned, headline.comparison.seed)
    cells = [cell for pair in (*target_pairs, *guard_pairs) for cell in pair]
    content: list[Html] = [
        page.opening(title, datetime.now(UTC), headline, replay, synthetic=_any_synthetic(cells)),
        sections.targets(targets),
        sections.error_kinds(targets, replay),
        *([sections.guards(replay)] if replay else []),
        *([sections.training(training.run, training.events)] if training else []),
        sections.utterances(headline, lines),
        sections.facts(targets, cells, replay, training.run if training else None),
    ]
    io.write_text(out, page.document(title, content))
    return out


def _any_synthetic(cells: Sequence[EvalCell]) -> bool:
    """Whether any utterance behind these evals says that its source is synthetic."""
    files = {cell.hypotheses for cell in cells}
    return any((h.source or "").lower().startswith("synthetic") for file in files for h in read_hypotheses(Path(file)))
