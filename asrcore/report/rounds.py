"""The campaign behind the tuned checkpoint: error rate over rounds, and over hours of target data with the learning curve."""

from __future__ import annotations

import math
from collections.abc import Sequence

from asrcore.campaign.history import History, RoundRate
from asrcore.report.canvas import Point, Scale, dot, figure, grid_y, interval_y, label, line, verdict_mark
from asrcore.report.markup import Html, el, join
from asrcore.report.numbers import count, rate, span, ticks
from asrcore.report.parts import metric, note, pill, section, short, table, with_ci

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420.0, 260.0, 46.0, 404.0, 24.0, 208.0
_LOOK = {"promote": "kept", "reject": "forgotten", "undecided": "inconclusive"}
"""Judgement -> the look of the guard verdict that means as much: good, bad, not known."""


def rounds(history: History) -> Html:
    """Both plots and a table of all rounds."""
    name = metric(history.rounds[0].wer)
    about = (
        f"{name} after normalisation on {history.set_name.replace('_', ' ')}, {history.latency_ms} ms, prompt {history.prompt_mode}. In force: "
        f"{short(history.in_force, 60)}. {_friendly(history.times_used)}"
    )
    marks = "Circle: promoted; diamond: rejected; square: undecided; hollow: base. Line: the model in force. Bars: 95\u00a0% interval of each rate, while verdicts compare pairs."
    panels = [el("div", el("h3", "By round"), by_round(history, name), note(marks), class_="panel")]
    fitted = [one for one in history.rounds if one.on_curve and one.hours]
    if fitted:
        panels.append(
            el("div", el("h3", "By hours of target audio"), by_hours(history, fitted, name), note(_curve_in_words(history)), class_="panel")
        )
    alone = [] if fitted or history.refused is None else [note(_curve_in_words(history))]
    head = ("candidate", "target hours", name, "guards", "verdict")
    rows = [
        [
            join(el("bdi", short(one.checkpoint, 40)), el("small", ", ".join([f"round {one.number}", *([one.lever.replace("_", " ")] if one.lever else [])]))),
            "–" if one.hours is None else f"{one.hours:.3g}", with_ci(one.wer), pill(one.guards) if one.guards else "–",
            el("span", one.judgement, class_=f"pill {_LOOK[one.judgement]}") if one.judgement in _LOOK else "–",
        ]
        for one in history.rounds
    ]  # fmt: skip
    return section("Rounds", about, el("div", *panels, class_="two"), *alone, table("Rounds of the campaign", head, rows))


def by_round(history: History, name: str) -> Html:
    """Every round's rate with its interval, and the rate of the model in force as a line of steps."""
    shown = history.rounds
    goal = [history.goal_percent] if history.goal_percent is not None else []
    y, marks = _rates([v for one in shown for v in (one.wer.percent, *(one.wer.ci95 or ()))] + goal)
    x = Scale(-0.5, shown[-1].number + 0.5, LEFT, RIGHT)
    body = [grid_y(y, marks, LEFT, RIGHT, "%"), label(name, LEFT - 34, 12, "axis"), label("round", (LEFT + RIGHT) / 2, BOTTOM + 42, "axis", "middle")]
    body += [label(f"{n:g}", x(n), BOTTOM + 20, "tick", "middle") for n in ticks(0.0, float(shown[-1].number), 8) if n <= shown[-1].number and n % 1 == 0]
    if goal:
        body += [el("line", x1=LEFT, x2=RIGHT, y1=y(goal[0]), y2=y(goal[0]), class_="level"),
                 label(f"goal {rate(goal[0])}", LEFT + 4, y(goal[0]) - 6, "name base")]  # fmt: skip
    steps = [Point(x(0), y(shown[0].wer.percent))]
    for one in shown[1:]:
        if one.judgement == "promote":
            steps += [Point(x(one.number), steps[-1].y), Point(x(one.number), y(one.wer.percent))]
    body.append(line([*steps, Point(x(shown[-1].number), steps[-1].y)], "line tuned"))
    body += [_round_mark(one, x(one.number), y) for one in shown]
    said = "; ".join(f"round {one.number}: {rate(one.wer.percent)} %{'' if one.number == 0 else f', {one.judgement}'}" for one in shown)
    return figure(f"{name} by round", said, HEIGHT, body, width=WIDTH)


def by_hours(history: History, fitted: Sequence[RoundRate], name: str) -> Html:
    """The rounds that the learning curve is fitted to, the curve with its band, and the base as a level."""
    base = history.rounds[0].wer.percent
    values = [v for one in fitted for v in (one.wer.percent, *(one.wer.ci95 or ()))] + [v for at in history.curve for v in at.error]
    y, marks = _rates([*values, base])
    hours = [one.hours or 0.0 for one in fitted]
    ends = [*hours, *(at.hours for at in history.curve)]
    x = Scale(math.log2(min(ends)) - 0.3, math.log2(max(ends)) + 0.3, LEFT, RIGHT)
    body = [grid_y(y, marks, LEFT, RIGHT, "%"), label(name, LEFT - 34, 12, "axis"),
            label("hours of target audio (log scale)", (LEFT + RIGHT) / 2, BOTTOM + 42, "axis", "middle"),
            el("line", x1=LEFT, x2=RIGHT, y1=y(base), y2=y(base), class_="level"), label(f"base {rate(base)}", RIGHT, y(base) - 6, "name base", "end")]  # fmt: skip
    body += _hour_labels(sorted({*hours, *([max(ends)] if history.curve else [])}), x)
    if history.curve:
        places = [(x(math.log2(at.hours)), at) for at in history.curve]
        upper = [f"{place:.1f},{y(at.error[2]):.1f}" for place, at in places]
        lower = [f"{place:.1f},{y(at.error[0]):.1f}" for place, at in reversed(places)]
        body.append(el("polygon", points=" ".join([*upper, *lower]), class_="band"))
        median = [(at.hours, Point(place, y(at.error[1]))) for place, at in places]
        known = [point for at, point in median if at <= max(hours) * 1.0001]
        body += [line(known, "line tuned"), line([known[-1], *(point for at, point in median if at > max(hours))], "line tuned ahead")]
    body += [_mark(one, x(math.log2(one.hours or 1.0)), y, dot(x(math.log2(one.hours or 1.0)), y(one.wer.percent), "tuned"), "tuned") for one in fitted]
    said = "; ".join(f"{one.hours:.3g} hours: {rate(one.wer.percent)} %" for one in fitted)
    return figure(f"{name} by hours of target audio", said, HEIGHT, body, width=WIDTH)


def _rates(values: Sequence[float]) -> tuple[Scale, list[float]]:
    """A scale that holds all values with room above, and its marks."""
    low, high = min(values), max(values)
    marks = ticks(0.0 if low < 0.5 * high else low, max(high, low + 1.0))
    return Scale(marks[0], marks[-1], BOTTOM, TOP), marks


def _hour_labels(hours: Sequence[float], x: Scale) -> list[Html]:
    """The hours under their marks, as many as stand apart; the last one is always named."""
    shown: list[Html] = []
    free = math.inf
    for one in reversed(hours):
        place = x(math.log2(one))
        if place + 22 <= free:
            shown.append(label(f"{one:.3g}", place, BOTTOM + 20, "tick", "middle"))
            free = place - 22
    return shown


def _round_mark(one: RoundRate, x: float, y: Scale) -> Html:
    look = _LOOK.get(one.judgement, "base")
    mark = dot(x, y(one.wer.percent), "base") if look == "base" else verdict_mark(x, y(one.wer.percent), look)
    return _mark(one, x, y, mark, look)


def _mark(one: RoundRate, x: float, y: Scale, mark: Html, whisker: str) -> Html:
    said = f"round {one.number}, {short(one.checkpoint, 40)}: {rate(one.wer.percent)} % ({span(one.wer.ci95)})"
    bounds = [interval_y(x, y(one.wer.ci95[0]), y(one.wer.ci95[1]), whisker)] if one.wer.ci95 else []
    return el("g", el("title", said), *bounds, mark)


def _curve_in_words(history: History) -> Html:
    if history.refused is not None:
        return join(f"What more data brings is not known yet: {history.refused}.")
    last = history.curve[-1]
    low, _, high = last.error
    return join(
        f"Band: 90\u00a0% over all power laws that fit, runs differing by their seed too. Dashed: ahead of the data; at {last.hours:.3g} hours {span((low, high))}\u00a0%. "
        "Left out are rounds that say nothing about more data: blends, wrong labels, a worse target, a gain bought with a guard."
    )


def _friendly(times_used: int) -> str:
    if times_used < 2:
        return ""
    return f"The set has guided {count(times_used)} decisions, so its last rate is too friendly: measure what ships once on a set that guided none."
