"""What goes on the page, gathered and checked; then the page is written as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from asrcore import io
from asrcore.campaign.history import History
from asrcore.errors import ToolFault, UsageError
from asrcore.report import diffs, facts, guards, page, quality, rounds, targets, training
from asrcore.report.clips import find_clips
from asrcore.report.heard import missed_terms
from asrcore.report.markup import Html
from asrcore.report.parts import Target, conditions
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
    campaign_id: str | None = None
    """The campaign whose rounds are on the page."""
    sources: tuple[str, ...]
    """Ids of the comparisons, the replay check and the campaign's last decision behind it."""


def build_report(
    title: str,
    target_pairs: Sequence[CellPair],
    guard_pairs: Sequence[CellPair],
    comparisons: Sequence[Comparison],
    replay: ReplayReport | None,
    trained: Training | None,
    out: Path,
    roots: Sequence[Path] = (),
    history: History | None = None,
) -> Path:
    """Writes one HTML page without scripts or outside resources to `out` and returns it.

    `target_pairs` are (base, tuned) evals with one comparison each; `guard_pairs` are those of `replay`. The utterances shown get a player where
    their manifest and sound lie below one of `roots` (resolved). Raises `no_targets`, `comparison_missing`, and what reading the hypotheses raises.
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
    found = [Target(base, tuned, by_pair[base.eval_id, tuned.eval_id]) for base, tuned in target_pairs]
    first = target_pairs[0][0]
    headline = min(found, key=lambda t: (t.base.set.sha256 != first.set.sha256, t.base.prompt_mode != first.prompt_mode, t.base.latency_ms))
    pair = pair_up(headline.base, headline.tuned, headline.comparison.seed)
    cells = [(system, cell) for both in (*target_pairs, *guard_pairs) for system, cell in zip(("base", "tuned"), both, strict=True)]
    at = f"{conditions(headline.base)}."
    cases = diffs.choose(pair)
    clips = find_clips(headline.tuned.set, cases.lines, roots)
    missed = [term for cell in (headline.tuned, headline.base) if cell.terms for term in cell.terms.missed]
    content: list[Html] = [
        page.opening(title, datetime.now(UTC), headline, replay, synthetic=_any_synthetic([cell for _, cell in cells])),
        targets.targets(found),
        targets.languages(found, headline, replay),
        *([guards.guards(replay)] if replay else []),
        targets.error_kinds(found, replay),
        quality.slices(headline, at),
        quality.terms(found, missed_terms(pair, missed), at),
        quality.style(found),
        quality.tags(found),
        diffs.utterances(cases, clips, at),
        *([rounds.rounds(history)] if history else []),
        *([training.training(trained.run, trained.events, headline.tuned.checkpoint)] if trained else []),
        quality.decoding(cells),
        facts.facts(found, cells, replay, trained.run if trained else None),
    ]
    io.write_text(out, page.document(title, content, players=bool(clips.by_line)))
    return out


def _any_synthetic(cells: Sequence[EvalCell]) -> bool:
    """Whether any utterance behind these evals says that its source is synthetic."""
    files = {cell.hypotheses for cell in cells}
    return any((h.source or "").lower().startswith("synthetic") for file in files for h in read_hypotheses(Path(file)))
