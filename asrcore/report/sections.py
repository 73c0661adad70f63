"""The parts of the page below the first screen. Each takes typed results and returns markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from asrcore.report import diffs, plots
from asrcore.report.markup import Html, el, join
from asrcore.report.numbers import count, p_value, percent, rate, signed, span
from asrcore.requests import EvalCell, Event, TrainResult, Wer
from asrcore.score.compare import Comparison
from asrcore.score.hypotheses import Pair
from asrcore.score.replay import GuardResult, ReplayReport

MAX_CURVE_POINTS = 400
CASES = 5


class Target(NamedTuple):
    """One target set at one att_context_size and prompt mode."""

    base: EvalCell
    tuned: EvalCell
    comparison: Comparison

    @property
    def unit(self) -> str:
        return self.comparison.base.unit

    @property
    def metric(self) -> str:
        return metric(self.comparison.base)

    @property
    def name(self) -> str:
        return set_name(self.base)


def targets(found: Sequence[Target]) -> Html:
    """Plot and table of the target sets, one plot a set and prompt mode that has several latencies."""
    groups: dict[tuple[str, str], list[Target]] = {}
    for target in found:
        groups.setdefault((target.base.set.sha256, target.base.prompt_mode), []).append(target)
    panels = [
        el("div", el("h3", f"{group[0].metric} over latency: {group[0].name}, {group[0].base.prompt_mode}"),
           plots.wer_over_latency([(t.base, t.tuned) for t in group], f"{group[0].name}, {group[0].base.prompt_mode}"), class_="panel")
        for group in groups.values() if len(group) > 1
    ]  # fmt: skip
    head = ("set", "latency", "base", "tuned", "change", "relative", "p", "verdict", "size")
    rows = [
        [
            join(t.name, el("small", t.base.prompt_mode)), f"{t.base.latency_ms} ms", _with_ci(t.comparison.base), _with_ci(t.comparison.tuned),
            join(signed(t.comparison.delta_points), el("small", span(t.comparison.ci95, sign=True))),
            f"{signed(t.comparison.relative_percent, 0)} %" if t.comparison.relative_percent is not None else "–", p_value(t.comparison.p_value),
            join(pill(t.comparison.verdict), *([el("small", f"{count(t.comparison.more_words)} more {t.unit}s would decide")] if t.comparison.more_words else [])),
            join(count(t.comparison.words), el("small", f"{count(t.comparison.clusters)} {t.comparison.cluster_kind}s")),
        ]
        for t in found
    ]  # fmt: skip
    return _section(
        "Target", "Normalised error rate in percent with its 95 % interval, streamed at each latency with both models under the same conditions.",
        *panels, table("Target sets", head, rows), _all_numbers([cell for t in found for cell in (t.base, t.tuned)]), _by_locale(found),
    )  # fmt: skip


def error_kinds(found: Sequence[Target], replay: ReplayReport | None) -> Html:
    """Stacked bars of S, D, I for targets and guards."""
    bars: list[plots.Bar] = []
    labels = _labels([t.base for t in found])
    for target, label in zip(found, labels, strict=True):
        bars += [plots.Bar(label, "base", target.comparison.base), plots.Bar(label, "tuned", target.comparison.tuned)]
    targeted = {t.base.eval_id for t in found}
    rest = [g for g in replay.guards if g.base_eval not in targeted] if replay else []
    for guard, label in zip(rest, guard_labels(rest), strict=True):
        bars += [plots.Bar(label, "base", guard.base), plots.Bar(label, "tuned", guard.tuned)]
    legend = el("ul", *(el("li", el("i", class_=kind), kind) for kind in ("substitutions", "deletions", "insertions")), class_="legend")
    return _section(
        "Kinds of errors", "Deletions are what streaming models fail by when they go silent; insertions are what they make up. In percent of the reference.",
        el("div", legend, plots.error_kinds(bars), class_="panel"),
    )  # fmt: skip


def guards(replay: ReplayReport) -> Html:
    """Forest plot and table of the replay check."""
    labels = guard_labels(replay.guards)
    head = ("guard", "base", "tuned", "loss", "upper bound", "margin", "verdict", "power", "size")
    rows = [
        [
            join(label, el("small", f"{_short(guard.set.name.replace('_', ' '))}, {guard.latency_ms} ms")), _with_ci(guard.base), _with_ci(guard.tuned), signed(guard.loss_points, 2),
            signed(guard.bounds95[1], 2), f"{guard.margin_points:.2f}",
            join(pill(guard.verdict), *([el("small", _what_it_takes(guard))] if guard.verdict == "inconclusive" else [])),
            percent(guard.power), join(count(guard.words), el("small", f"{count(guard.clusters)} {guard.cluster_kind}s")),
        ]
        for guard, label in zip(replay.guards, labels, strict=True)
    ]  # fmt: skip
    rule = (
        "Kept: the upper 95 % bound of the loss is under the margin. Forgotten: a loss is shown (Holm over all guards) and its estimate exceeds the margin. "
        f"Margin: {replay.margin_rule}. Power is the chance to prove “kept” at this size if nothing was lost."
    )
    return _section("Other languages", rule, el("div", plots.forest(replay.guards, labels), class_="panel"), table("Guard sets", head, rows),
                    _auto_tags(replay.guards, labels))  # fmt: skip


def training(run: TrainResult, events: Sequence[Event]) -> Html:
    """Loss and dev error rate over steps, and what each source gave."""
    losses = {
        event.step: event.metrics["loss"] for event in events if "loss" in event.metrics and event.metrics["loss"] == event.metrics["loss"]
    }
    points = [plots.Point(float(step), loss) for step, loss in sorted(losses.items())]
    points = points[:: max(1, -(-len(points) // MAX_CURVE_POINTS))]
    panels: list[Html] = []
    if len(points) > 1:
        panels.append(el("div", el("h3", "Training loss"), plots.curve(points, "Training loss over steps", ""), class_="panel"))
    dev = [plots.Point(0.0, run.base_dev_wer), *(plots.Point(float(c.step), c.dev_wer) for c in run.candidates)]
    drawn = plots.curve(
        dev,
        "Error rate on the dev set over steps",
        "%",
        level=(run.base_dev_wer, f"base {rate(run.base_dev_wer)}"),
        best=float(run.best_step),
        dots=True,
    )
    panels.append(el("div", el("h3", "Error rate on the dev set, streamed"), drawn, class_="panel"))
    rows = [[source.source, source.role, count(source.utterances), f"{source.seconds / 3600:.2f} h",
             ", ".join(f"{locale} {seconds / 60:.0f} min" for locale, seconds in source.seconds_by_locale.items())] for source in run.consumed]  # fmt: skip
    said = (
        f"{count(run.steps)} steps in {run.seconds / 60:.1f} minutes, {count(run.trainable_parameters)} trainable parameters; "
        f"the checkpoint of step {count(run.best_step)} was chosen on the dev set."
    )
    return _section(
        "Training",
        said,
        el("div", *panels, class_="two"),
        table("What training consumed", ("source", "role", "utterances", "audio", "by locale"), rows),
    )


def utterances(headline: Target, pair: Pair) -> Html:
    """Regressions first, then what is still wrong."""
    at = f"{headline.name}, {headline.base.latency_ms} ms, after normalisation. "
    legend = join(
        at, el("del", "said"), " is missing or replaced, ", el("ins", "written"), " was not said. The number is the count of errors."
    )
    parts: list[Html] = []
    for heading, cases in (("Worse than before", diffs.regressions(pair, CASES)), ("Most errors left", diffs.worst(pair, CASES))):
        shown = el("div", *map(diffs.card, cases), class_="cases") if cases else el("p", "No such utterance.", class_="note")
        parts += [el("h3", heading), shown]
    return _section("Utterances", legend, *parts)


def facts(found: Sequence[Target], cells: Sequence[EvalCell], replay: ReplayReport | None, run: TrainResult | None) -> Html:
    """What the numbers rest on, and the warnings that go with them."""
    first = found[0]
    sets = {cell.set.sha256: cell for cell in cells}
    versions = sorted({f"{name} {version}" for cell in cells for name, version in cell.versions.items()})
    entries: list[tuple[str, str]] = [
        ("Base checkpoint", _checkpoint(first.base)),
        ("Tuned checkpoint", _checkpoint(first.tuned)),
        *([("Run", el("code", run.run_id))] if run else []),
        ("Engine", ", ".join(sorted({f"{cell.engine}, batch {cell.batch_size}" for cell in cells}))),
        ("Normaliser", first.comparison.normaliser),
        ("Interval", f"{first.comparison.method}; seed {first.comparison.seed}"),
        *([("Guard rule", f"one-sided 5 % a guard, margin {replay.margin_rule}; seed {replay.seed}")] if replay else []),
        ("Versions", ", ".join(versions)),
        *((f"Set {set_name(cell)}", join(f"{count(cell.utterances)} utterances, {count(cell.normalised.words)} {cell.normalised.unit}s, {', '.join(cell.locales)}, ",
                                         el("code", cell.set.sha256[:12]))) for cell in sets.values()),
    ]  # fmt: skip
    warned = [(set_name(t.base), w) for t in found for w in t.comparison.warnings]
    warned += [(guard.set.name.replace("_", " "), w) for guard in (replay.guards if replay else ()) for w in guard.warnings]
    about: dict[str, dict[str, None]] = {}
    for name, warning in warned:
        about.setdefault(warning.message, {})[name] = None
    said = [f"{', '.join(names)}: {message}" for message, names in about.items()]
    caveats = [el("h3", "Caveats"), el("ul", *(el("li", line) for line in said), class_="caveats")] if said else []
    listed = el("dl", *(join(el("dt", name), el("dd", value)) for name, value in entries), class_="facts")
    return _section("What this rests on", "", *caveats, el("div", listed, class_="panel"))


def pill(verdict: str) -> Html:
    return el("span", verdict, class_=f"pill {verdict}")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """The first column names the row; columns of words are left-aligned."""
    words = {"set", "guard", "source", "role", "by locale", "verdict", "locale", "system"}
    titles = el("tr", *(el("th", name, scope="col", class_="left" if name in words else None) for name in head))
    body = [
        el(
            "tr",
            el("th", row[0], scope="row"),
            *(el("td", cell, class_="left" if name in words else None) for name, cell in zip(head[1:], row[1:], strict=True)),
        )
        for row in rows
    ]
    return el(
        "div",
        el("table", el("thead", titles), el("tbody", *body), aria_label=caption),
        class_="table",
        tabindex="0",
        role="group",
        aria_label=caption,
    )


def set_name(cell: EvalCell) -> str:
    return cell.set.name.replace("_", " ")


def metric(wer: Wer) -> str:
    return "CER" if wer.unit == "character" else "WER"


def guard_labels(found: Sequence[GuardResult]) -> list[str]:
    """The locale where it tells the guards apart, else the set's name; with latency or prompt mode where these differ."""
    by_locale = len({(g.locales, g.att_context, g.prompt_mode) for g in found}) == len(found)
    many_contexts, many_modes = len({g.att_context for g in found}) > 1, len({g.prompt_mode for g in found}) > 1
    return [
        _short(", ".join([" + ".join(g.locales) if by_locale else g.set.name.replace("_", " "), *([g.prompt_mode] if many_modes else []),
                          *([f"{g.latency_ms} ms"] if many_contexts else [])]))
        for g in found
    ]  # fmt: skip


def _labels(cells: Sequence[EvalCell]) -> list[str]:
    modes = len({cell.prompt_mode for cell in cells}) > 1
    many = len({cell.set.sha256 for cell in cells}) > 1
    name = [set_name(cell) if many else "+".join(cell.locales) for cell in cells]
    return [_short(f"{n}, {cell.latency_ms} ms{', ' + cell.prompt_mode if modes else ''}") for n, cell in zip(name, cells, strict=True)]


def _short(label: str, limit: int = 27) -> str:
    return label if len(label) <= limit else f"{label[: limit - 1]}…"


def _section(title: str, about: str, *content: Html) -> Html:
    return el("section", el("h2", title), *([el("p", about, class_="note")] if about else []), *content)


def _with_ci(wer: Wer) -> Html:
    return join(rate(wer.percent), el("small", span(wer.ci95)))


def _what_it_takes(guard: GuardResult) -> str:
    return f"{count(guard.more_words)} more {guard.base.unit}s" if guard.more_words else "large enough, loss too near the margin"


def _checkpoint(cell: EvalCell) -> Html:
    return join(f"{cell.checkpoint.name}, sha256 ", el("code", cell.checkpoint.sha256[:16]))


def _all_numbers(cells: Sequence[EvalCell]) -> Html:
    head = ("set", "system", "raw", "normalised", "S", "D", "I", "size", "empty", "own script", "wrong tag", "speed")
    rows = [
        [
            join(set_name(cell), el("small", f"{cell.latency_ms} ms, {cell.prompt_mode}")), "base" if number % 2 == 0 else "tuned", rate(cell.raw.percent), rate(cell.normalised.percent),
            *(count(v) for v in (cell.normalised.substitutions, cell.normalised.deletions, cell.normalised.insertions, cell.normalised.words, cell.empty_hypotheses)),
            percent(cell.script_share), "–" if cell.wrong_tag_rate is None else percent(cell.wrong_tag_rate), f"{cell.rtfx:.1f} ×",
        ]
        for number, cell in enumerate(cells)
    ]  # fmt: skip
    about = el(
        "p",
        "Raw counts case and punctuation. Empty: transcripts without a word. Speed: seconds of audio decoded per second.",
        class_="note",
    )
    return el("details", el("summary", "All numbers"), about, table("All numbers of the target evals", head, rows))


def _by_locale(found: Sequence[Target]) -> Html:
    rows = [
        [join(t.name, el("small", f"{t.base.latency_ms} ms, {t.base.prompt_mode}")), part.locale, rate(part.base_percent), rate(part.tuned_percent),
         signed(part.delta_points), count(part.words)]
        for t in found for part in t.comparison.by_locale
    ]  # fmt: skip
    return (
        el("details", el("summary", "By locale"), table("By locale", ("set", "locale", "base", "tuned", "change", "words"), rows))
        if rows
        else join()
    )


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
