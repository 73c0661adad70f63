"""The target sets: error rates over latency, by language, and kinds of errors."""

from __future__ import annotations

from collections.abc import Sequence

from asrcore.report import plots
from asrcore.report.canvas import for_both
from asrcore.report.markup import Html, el, join
from asrcore.report.numbers import count, p_value, percent, rate, signed, span
from asrcore.report.parts import Target, folded, guard_labels, metric, named, note, pill, section, short, table, target_labels, with_ci
from asrcore.requests import EvalCell, Wer
from asrcore.score.replay import ReplayReport

MAX_BARS = 24
"""Labels in the plot of error kinds; the table holds all."""


def targets(found: Sequence[Target]) -> Html:
    """Plot and table of the target sets, one plot a set and prompt mode that has several latencies."""
    groups: dict[tuple[str, str], list[Target]] = {}
    for target in found:
        groups.setdefault((target.base.set.sha256, target.base.prompt_mode), []).append(target)
    panels = [_over_latency(group) for group in groups.values() if len(group) > 1]
    head = ("set", "latency", "base", "tuned", "change", "relative", "p", "verdict", "size")
    rows = [
        [
            join(el("bdi", short(t.name, 60)), el("small", t.base.prompt_mode)), f"{t.base.latency_ms} ms", with_ci(t.comparison.base), with_ci(t.comparison.tuned),
            join(signed(t.comparison.delta_points), el("small", span(t.comparison.ci95, sign=True))),
            f"{signed(t.comparison.relative_percent, 0)} %" if t.comparison.relative_percent is not None else "–", p_value(t.comparison.p_value),
            join(pill(t.comparison.verdict), *([el("small", f"{count(t.comparison.more_words)} more {t.unit}s would decide")] if t.comparison.more_words else [])),
            join(count(t.comparison.words), el("small", f"{count(t.comparison.clusters)} {t.comparison.cluster_kind}s")),
        ]
        for t in found
    ]  # fmt: skip
    about = (
        f"{' and '.join(sorted({t.metric for t in found}))} in percent after normalisation ({found[0].comparison.normaliser}) with its 95 % interval, "
        "streamed at each latency with both models under the same conditions. Change in points; negative is better."
    )
    pairs = "Bars are each model's own interval. The verdict compares pairs of transcripts, so it can be clear where bars overlap."
    several = f" Each of the {len(found)} verdicts stands alone at 95 %; they are not independent, and none is corrected for the others." if len(found) > 1 else ""
    return section(
        "Target", about, *panels, note(pairs + several), table("Target sets", head, rows), _all_numbers([cell for t in found for cell in (t.base, t.tuned)])
    )


def _over_latency(group: Sequence[Target]) -> Html:
    """One set and prompt mode."""
    first, pairs = group[0], [(t.base, t.tuned) for t in group]
    heading = el("h3", f"{first.metric} over latency: {short(first.name, 60)}, prompt {first.base.prompt_mode}")
    drawn = for_both(lambda width: plots.wer_over_latency(pairs, first.metric, f"{first.name}, {first.base.prompt_mode}", width))
    return el("div", heading, drawn, class_="panel")


def languages(found: Sequence[Target], headline: Target, replay: ReplayReport | None) -> Html:
    """Base against tuned for every language measured at the latency and prompt mode of the headline; nothing where there is only one."""
    at = headline.base.att_context, headline.base.prompt_mode
    rows: dict[str, tuple[str, plots.Language]] = {}
    for t in found:
        if (t.base.att_context, t.base.prompt_mode) != at:
            continue
        whole = plots.Language("+".join(t.base.locales), _rate(t.comparison.base), _rate(t.comparison.tuned))
        parts = [plots.Language(p.locale, plots.Rate(p.base_percent), plots.Rate(p.tuned_percent)) for p in t.comparison.by_locale]
        for number, row in enumerate(parts or [whole]):
            rows[f"{t.base.eval_id} {number}"] = t.name, _as_character_rate(row, t.comparison.base)
    for guard in replay.guards if replay else ():
        if (guard.att_context, guard.prompt_mode) == at:
            row = plots.Language("+".join(guard.locales), _rate(guard.base), _rate(guard.tuned))
            rows.setdefault(f"{guard.base_eval} 0", (guard.set.name.replace("_", " "), _as_character_rate(row, guard.base)))
    if len(rows) < 2:
        return join()
    drawn = [row for _, row in rows.values()]
    again = {row.label for row in drawn if sum(other.label == row.label for other in drawn) > 1}
    shown = [row._replace(label=short(f"{row.label}, {name}" if row.label in again else row.label)) for name, row in rows.values()]
    about = (
        f"Error rate after normalisation at {headline.base.latency_ms} ms, prompt {headline.base.prompt_mode}, target first, then guards."
    )
    return section("Base and tuned by language", about, el("div", _systems(), for_both(lambda width: plots.languages(shown, width)), class_="panel"))


def error_kinds(found: Sequence[Target], replay: ReplayReport | None) -> Html:
    """Stacked bars of S, D, I for targets and guards."""
    pairs = [(label, t.comparison.base, t.comparison.tuned) for t, label in zip(found, target_labels([t.base for t in found]), strict=True)]
    targeted = {t.base.eval_id for t in found}
    rest = [g for g in (replay.guards if replay else ()) if g.base_eval not in targeted]
    pairs += [(label, guard.base, guard.tuned) for guard, label in zip(rest, guard_labels(rest), strict=True)]
    bars = [plots.Bar(label, system, wer) for label, *both in pairs[:MAX_BARS] for system, wer in zip(("base", "tuned"), both, strict=True)]
    legend = el("ul", *(el("li", el("i", class_=kind), kind) for kind in ("substitutions", "deletions", "insertions")), class_="legend")
    left_out = (
        [note(f"The first {MAX_BARS} of {len(pairs)} are drawn; the table has all.")] if len(pairs) > MAX_BARS else []
    )
    rows = [
        [label, system, rate(wer.percent), *(count(v) for v in (wer.substitutions, wer.deletions, wer.insertions, wer.words))]
        for label, *both in pairs for system, wer in zip(("base", "tuned"), both, strict=True)
    ]  # fmt: skip
    counts = folded("Counts", table("Counts of errors by kind", ("set", "system", "rate", "S", "D", "I", "reference"), rows))
    about = (
        "Substitutions, deletions and insertions in percent of the reference, after normalisation. Deletions are what streaming models fail by when "
        "they go silent; insertions are what they make up."
    )
    return section("Kinds of errors", about, el("div", legend, for_both(lambda width: plots.error_kinds(bars, width)), *left_out, class_="panel"), counts)


def _systems() -> Html:
    marks = (("hollow", "base"), ("filled", "tuned"))
    return el(
        "ul", *(el("li", el("i", class_=f"round {kind}"), name) for kind, name in marks), el("li", "bars: 95 % interval of each"), class_="legend"
    )


def _rate(wer: Wer) -> plots.Rate:
    return plots.Rate(wer.percent, wer.ci95)


def _as_character_rate(row: plots.Language, wer: Wer) -> plots.Language:
    return row._replace(label=f"{row.label} (CER)") if metric(wer) == "CER" else row


def _all_numbers(cells: Sequence[EvalCell]) -> Html:
    head = ("set", "system", "raw", "normalised", "S", "D", "I", "size", "empty", "own script", "wrong tag", "speed")
    rows = [
        [
            named(cell), "base" if number % 2 == 0 else "tuned", rate(cell.raw.percent), rate(cell.normalised.percent),
            *(count(v) for v in (cell.normalised.substitutions, cell.normalised.deletions, cell.normalised.insertions, cell.normalised.words, cell.empty_hypotheses)),
            percent(cell.script_share), "–" if cell.wrong_tag_rate is None else percent(cell.wrong_tag_rate), f"{cell.rtfx:.1f} ×",
        ]
        for number, cell in enumerate(cells)
    ]  # fmt: skip
    about = note(
        "Raw counts case and punctuation. Empty: transcripts without a word. Wrong tag: share of utterances in auto. "
        "Speed: seconds of audio decoded per second."
    )
    return folded("All numbers", about, table("All numbers of the target evals", head, rows))
