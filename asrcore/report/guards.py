"""The guard sets: loss against margin, and language tags in auto."""

from __future__ import annotations

from collections.abc import Sequence

from asrcore.report import plots
from asrcore.report.canvas import for_both
from asrcore.report.markup import Html, el, join
from asrcore.report.numbers import count, percent, signed
from asrcore.report.parts import guard_labels, pill, section, short, table, with_ci
from asrcore.score.replay import GuardResult, ReplayReport


def guards(replay: ReplayReport) -> Html:
    """Forest plot and table of the replay check."""
    labels = guard_labels(replay.guards)
    head = ("guard", "base", "tuned", "loss", "upper bound", "margin", "verdict", "power", "size")
    rows = [
        [
            join(el("bdi", label), el("small", f"{short(guard.set.name.replace('_', ' '))}, {guard.latency_ms} ms, {guard.prompt_mode}")),
            with_ci(guard.base), with_ci(guard.tuned), signed(guard.loss_points, 2), signed(guard.bounds95[1], 2), f"{guard.margin_points:.2f}",
            join(pill(guard.verdict), *([el("small", _what_it_takes(guard))] if guard.verdict == "inconclusive" else [])),
            percent(guard.power), join(count(guard.words), el("small", f"{count(guard.clusters)} {guard.cluster_kind}s")),
        ]
        for guard, label in zip(replay.guards, labels, strict=True)
    ]  # fmt: skip
    rule = (
        "Kept: the upper 95 % bound of the loss is under the margin. Forgotten: a loss is shown (Holm over all guards) and its estimate exceeds the margin. "
        f"Margin: {replay.margin_rule}. Power is the chance to prove “kept” at this size if nothing was lost. Rates after normalisation ({replay.normaliser})."
    )
    return section("Other languages", rule, el("div", for_both(lambda width: plots.forest(replay.guards, labels, width)), class_="panel"), table("Guard sets", head, rows),
                   _auto_tags(replay.guards, labels))  # fmt: skip


def _what_it_takes(guard: GuardResult) -> str:
    return f"{count(guard.more_words)} more {guard.base.unit}s" if guard.more_words else "large enough, loss too near the margin"


def _auto_tags(found: Sequence[GuardResult], labels: Sequence[str]) -> Html:
    rows = [
        [label, *map(percent, guard.wrong_tag_rates)]
        for guard, label in zip(found, labels, strict=True)
        if guard.wrong_tag_rates is not None
    ]
    return (
        join(el("h3", "Wrong or missing language tag in auto"), table("Wrong tags in auto", ("guard", "base", "tuned"), rows))
        if rows
        else join()
    )
