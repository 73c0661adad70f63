"""The frame of the page and its first screen: what was found, in a sentence and three cards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from importlib import resources

from asrcore.report.markup import Html, el, join, text, tied
from asrcore.report.numbers import count, rate, signed, span
from asrcore.report.parts import Target, pill
from asrcore.score.replay import ReplayReport

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The page asks for nothing and runs nothing, even if some text slipped through as markup."""


def document(title: str, content: Sequence[Html], *, players: bool) -> str:
    """The whole file. `players` lets it read sound from this machine, and from nowhere else."""
    policy = f"{_POLICY}; media-src file:" if players else _POLICY
    style = Html(resources.files("asrcore.report").joinpath("page.css").read_text(encoding="utf-8"))
    head = (
        '<meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{text(policy)}"/><meta name="referrer" content="no-referrer"/>'
    )
    foot = el("footer", "Made by asrtune. Rates are corpus rates in percent; differences are in points, negative is better.")
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}{el("title", title)}{el("style", style)}</head><body>{el("main", *content, foot)}</body></html>\n'


def opening(title: str, made: datetime, headline: Target, replay: ReplayReport | None, *, synthetic: bool) -> Html:
    """Title, the finding in words, and the cards."""
    c = headline.comparison
    flag = [el("span", "Synthetic speech: no statement about human speakers", class_="flag")] if synthetic else []
    names = f"{c.tuned_checkpoint.name} against {c.base_checkpoint.name} · {made:%d %B %Y, %H:%M} UTC"
    cards = [_target_card(headline), *([_guard_card(replay)] if replay else []), _evidence_card(headline)]
    return el(
        "header",
        *flag,
        el("h1", title),
        el("p", names, class_="meta"),
        el("p", tied(_finding(headline, replay)), class_="lead"),
        el("div", *cards, class_="cards"),
    )


def _finding(headline: Target, replay: ReplayReport | None) -> str:
    c, unit = headline.comparison, headline.unit
    gap, (low, high) = c.delta_points, c.ci95
    at = f"At {c.latency_ms} ms"
    if c.verdict == "better":
        first = f"{at} the tuned model makes {rate(-gap)} fewer errors per 100 {unit}s on {headline.name} (95 % interval {rate(-high)} to {rate(-low)})."
    elif c.verdict == "worse":
        first = f"{at} the tuned model makes {rate(gap)} more errors per 100 {unit}s on {headline.name} (95 % interval {rate(low)} to {rate(high)})."
    else:
        more = f" About {count(c.more_words)} more {unit}s would decide a difference of this size." if c.more_words else ""
        first = f"{at} the set {headline.name} cannot tell the two models apart: {signed(gap)} points (95 % interval {span(c.ci95, sign=True)}).{more}"
    if replay is None:
        return f"{first} Other languages were not checked."
    return f"{first} {_guards_in_words(replay)}"


def _guards_in_words(replay: ReplayReport) -> str:
    total, counts = len(replay.guards), Counter(guard.verdict for guard in replay.guards)
    if replay.verdict == "kept":
        return f"All {total} guard sets are kept within their margin." if total > 1 else "The guard set is kept within its margin."
    parts = [f"{counts[verdict]} {verdict}" for verdict in ("forgotten", "inconclusive", "kept") if counts[verdict]]
    return f"Guard sets: {', '.join(parts)}, of {total}."


def _target_card(headline: Target) -> Html:
    c = headline.comparison
    relative = f", {signed(c.relative_percent, 0)} % relative" if c.relative_percent is not None else ""
    return _card(
        f"{headline.metric} on {headline.name}, {c.latency_ms} ms",
        join(f"{rate(c.base.percent)} → {rate(c.tuned.percent)}", el("small", " %")),
        join(
            pill(c.verdict), f" {signed(c.delta_points)} points ({span(c.ci95, sign=True)}){relative}; prompt {c.prompt_mode}, normalised"
        ),
    )


def _guard_card(replay: ReplayReport) -> Html:
    kept = sum(guard.verdict == "kept" for guard in replay.guards)
    return _card(
        "Other languages",
        join(f"{kept} of {len(replay.guards)}", el("small", " kept")),
        join(
            pill(replay.verdict),
            f" margin {replay.margin_rule}; chance to prove all kept if nothing was lost: {100 * replay.power_all:.0f} %",
        ),
    )


def _evidence_card(headline: Target) -> Html:
    c = headline.comparison
    people = (
        f"{count(c.clusters)} speakers"
        if c.cluster_kind == "speaker"
        else f"{count(c.clusters)} different sentences; nothing is said about new speakers"
    )
    return _card(
        "Evidence", join(count(c.words), el("small", f" {headline.unit}s")),
        f"{count(headline.base.utterances)} utterances, {headline.base.seconds / 60:.0f} minutes, {people}",
    )  # fmt: skip


def _card(title: str, big: Html, below: str) -> Html:
    return el("section", el("h2", title), el("div", big, class_="big"), el("p", tied(below)), class_="card")
