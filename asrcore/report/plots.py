"""The plots of the page. Each takes typed results and returns one figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from asrcore.report.canvas import (
    NARROW_LABEL,
    WIDTH,
    Point,
    Scale,
    apart,
    dot,
    figure,
    grid_x,
    grid_y,
    interval_x,
    interval_y,
    label,
    label_width,
    line,
    verdict_mark,
)
from asrcore.report.markup import Html, el
from asrcore.report.numbers import rate, signed, span, ticks
from asrcore.report.parts import short
from asrcore.requests import EvalCell, Wer
from asrcore.score.replay import GuardResult

_UNDER = 26.0
"""Pixels that a label under its mark takes."""


class Bar(NamedTuple):
    """One stacked bar of error kinds."""

    label: str
    system: str
    wer: Wer


class Rate(NamedTuple):
    """An error rate in percent; without an interval where none was computed."""

    percent: float
    ci95: tuple[float, float] | None = None


class Language(NamedTuple):
    """One row of base against tuned."""

    label: str
    base: Rate
    tuned: Rate


def wer_over_latency(pairs: Sequence[tuple[EvalCell, EvalCell]], metric: str, caption: str, width: float) -> Html:
    """Base and tuned over the chunk length (log scale) with their 95 % intervals. One set and prompt mode."""
    pairs = sorted(pairs, key=lambda pair: pair[0].latency_ms)
    height, left, right, top, bottom = 310.0, 52.0, width - 56, 30.0, 252.0
    shown = [bound for pair in pairs for cell in pair for bound in (cell.normalised.percent, *(cell.normalised.ci95 or ()))]
    low, high = min(shown), max(shown)
    marks = ticks(0.0 if low < 0.4 * high else low, max(high, 1.0))
    y = Scale(marks[0], marks[-1], bottom, top)
    places = [math.log2(pair[0].latency_ms) for pair in pairs]
    x = Scale(min(places) - 0.35, max(places) + 0.35, left, right)
    body = [grid_y(y, marks, left, right, "%"), label(f"{metric}, 95 % interval", left - 34, 14, "axis")]
    row, free = 0, -math.inf
    for place, (base, _) in zip(places, pairs, strict=True):
        row = 1 - row if x(place) - 28 < free else 0
        free = x(place) + 28
        body.append(label(f"{base.latency_ms} ms", x(place), bottom + 20 + 14 * row, "tick", "middle"))
    body.append(label("chunk length (log scale)", (left + right) / 2, bottom + 52, "axis", "middle"))
    ends: list[tuple[float, str]] = []
    for system, side, shift in (("base", 0, -5.0), ("tuned", 1, 5.0)):
        cells = [pair[side] for pair in pairs]
        points = [Point(x(place) + shift, y(cell.normalised.percent)) for place, cell in zip(places, cells, strict=True)]
        body.append(line(points, f"line {system}"))
        body += [_upright(p, cell.normalised, y, system, f"{system}, {cell.latency_ms} ms") for p, cell in zip(points, cells, strict=True)]
        ends.append((points[-1].y, system))
    body += [
        label(name, right + 8, place + 4, f"name {name}")
        for name, place in zip((e[1] for e in ends), apart([e[0] for e in ends], 18), strict=True)
    ]
    summary = "; ".join(f"{b.latency_ms} ms: {rate(b.normalised.percent)} to {rate(t.normalised.percent)} %" for b, t in pairs)
    return figure(f"Error rate over latency, {caption}", summary, height, body, width)


def languages(rows: Sequence[Language], width: float) -> Html:
    """Base (hollow, above) and tuned (filled, below) per language with 95 % intervals."""
    names = _names([r.label for r in rows], width)
    step, top, left, right = 38.0, 14.0, 24 + label_width(names), width - 112
    bottom = top + step * len(rows)
    marks = ticks(0.0, max(1.0, *(v for r in rows for side in (r.base, r.tuned) for v in (side.percent, *(side.ci95 or ())))), _marks(width))
    x = Scale(0.0, marks[-1], left, right)
    body = [grid_x(x, marks, top - 6, bottom, "%")]
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        y = top + step * (number + 0.5)
        body.append(label(name, left - 14, y + 4, "row", "end"))
        for system, found, shift in (("base", row.base, -7.0), ("tuned", row.tuned, 7.0)):
            ends = [interval_x(x(found.ci95[0]), x(found.ci95[1]), y + shift, system, 4)] if found.ci95 else []
            said = f"{row.label}, {system}: {rate(found.percent)} % ({span(found.ci95)})"
            body.append(el("g", el("title", said), *ends, dot(x(found.percent), y + shift, system)))
        body.append(label(f"{rate(row.base.percent)} → {rate(row.tuned.percent)}", width - 6, y + 4, "value", "end"))
    summary = "; ".join(f"{r.label}: {rate(r.base.percent)} to {rate(r.tuned.percent)} %" for r in rows)
    return figure("Error rate of base and tuned by language", summary, bottom + 30, body, width)


def forest(guards: Sequence[GuardResult], names: Sequence[str], width: float) -> Html:
    """Loss of each guard with its one-sided 95 % bounds, zero, and the margin from which on the loss is too large. A phone has no room for the numbers."""
    names = _names(names, width)
    row, top, left, right = 40.0, 34.0, 24 + label_width(names), width - (170 if width == WIDTH else 96)
    bottom = top + row * len(guards)
    values = [v for g in guards for v in (*g.bounds95, g.margin_points, 0.0)]
    reach = max(values) - min(values)
    marks = ticks(min(values) - 0.05 * reach, max(values) + 0.05 * reach, _marks(width))
    x = Scale(marks[0], marks[-1], left, right)
    # The shaded fields come first, so that the grid stays visible on them.
    body: list[Html] = []
    for number, guard in enumerate(guards):
        edge, upper = x(guard.margin_points), top + row * number + 3
        body.append(el("rect", x=edge, y=upper, width=right - edge, height=row - 6, class_="beyond"))
    body.append(grid_x(x, marks, top - 6, bottom, signed=True))
    body.append(label("change in points, right is worse; dashed: margin", (left + right) / 2, bottom + 38, "axis", "middle"))
    body.append(label("loss, one-sided 95 % bounds", width - 6, 16.0, "axis", "end"))
    for number, (guard, name) in enumerate(zip(guards, names, strict=True)):
        y = top + row * (number + 0.5)
        low, high = guard.bounds95
        said = f"{name}: {signed(guard.loss_points)} points, bounds {span(guard.bounds95, sign=True)}, margin {guard.margin_points:.2g}: {guard.verdict}"
        body += [
            el("line", x1=x(guard.margin_points), x2=x(guard.margin_points), y1=y - row / 2 + 3, y2=y + row / 2 - 3, class_="margin"),
            label(name, left - 14, y + 4, "row", "end"),
            el(
                "g", el("title", said), interval_x(x(low), x(high), y, guard.verdict), verdict_mark(x(guard.loss_points), y, guard.verdict)
            ),
            label(guard.verdict, width - 6, y + (14 if width == WIDTH else 4), f"verdict {guard.verdict}", "end"),
        ]
        if width == WIDTH:
            body.append(label(f"{signed(guard.loss_points)}  ({span(guard.bounds95, sign=True)})", width - 6, y - 2, "value", "end"))
    summary = "; ".join(f"{name} {signed(g.loss_points)} points, {g.verdict}" for g, name in zip(guards, names, strict=True))
    return figure("Loss on each guard set with its margin", summary, bottom + 46, body, width)


def error_kinds(bars: Sequence[Bar], width: float) -> Html:
    """Substitutions, deletions and insertions, stacked, in percent of the reference words. Two bars (base, tuned) a label, which stands above them on a phone."""
    above = width != WIDTH
    row, top, left, right = 24.0, 8.0, 56.0 if above else 76 + label_width([bar.label for bar in bars]), width - (44 if above else 62)
    head, gap = (20.0, 10.0) if above else (0.0, 12.0)
    places = [top + row * number + head * (number // 2 + 1) + gap * (number // 2) for number in range(len(bars))]
    bottom = (places[-1] if places else top) + row
    marks = ticks(0.0, max(1.0, *(bar.wer.percent for bar in bars)), 3 if above else 5)
    x = Scale(0.0, marks[-1], left, right)
    body: list[Html] = [grid_x(x, marks, top, bottom, "%")]
    for number, (bar, y) in enumerate(zip(bars, places, strict=True)):
        if number % 2 == 0:
            body.append(label(bar.label, 4, y - 3, "row") if above else label(bar.label, left - 60, y + row + 4, "row", "end"))
        body.append(label(bar.system, left - 10, y + row / 2 + 4, f"name {bar.system}", "end"))
        kinds = (("substitutions", bar.wer.substitutions), ("deletions", bar.wer.deletions), ("insertions", bar.wer.insertions))
        start = left
        for kind, errors in kinds:
            share = 100 * errors / bar.wer.words
            end = start + share / marks[-1] * (right - left)
            body.append(el("rect", el("title", f"{bar.label}, {bar.system}: {errors} {kind}, {share:.2f} %"),
                           x=start, y=y + 3, width=end - start, height=row - 6, class_=f"{kind} {bar.system}"))  # fmt: skip
            if end - start > 34:
                body.append(label(rate(share), (start + end) / 2, y + row / 2 + 4, f"inside on-{kind} {bar.system}", "middle"))
            start = end
        body.append(label(rate(bar.wer.percent), start + 7, y + row / 2 + 4, "value"))
    summary = "; ".join(f"{b.label} {b.system}: S {b.wer.substitutions}, D {b.wer.deletions}, I {b.wer.insertions}" for b in bars)
    return figure("Kinds of errors", summary, bottom + 30, body, width)


def _marks(width: float) -> int:
    """Marks of a horizontal axis, about."""
    return 6 if width == WIDTH else 3


def _names(labels: Sequence[str], width: float) -> list[str]:
    """Labels of rows, shorter on a phone."""
    return [one if width == WIDTH else short(one, NARROW_LABEL) for one in labels]


def curve(
    points: Sequence[Point],
    title: str,
    unit: str,
    *,
    level: tuple[float, str] | None = None,
    best: float | None = None,
    dots: bool = False,
    smooth: Sequence[Point] = (),
) -> Html:
    """One quantity over training steps. `level` is a dashed reference line with its name, `best` the step to mark, `smooth` a second line on top
    of a then faint first one."""
    width, height, left, right, top, bottom = 420.0, 250.0, 46.0, 404.0, 16.0, 200.0
    values = [p.y for p in points] + ([level[0]] if level else [])
    low, high = min(values), max(values)
    marks = ticks(0.0 if low < 0.5 * high and low >= 0 else low, high if high > low else low + 1.0)
    if best is not None and marks[0] > 0 and Scale(marks[0], marks[-1], bottom, top)(low) > bottom - _UNDER:
        marks = [marks[0] - (marks[1] - marks[0]), *marks]  # room for the label under the chosen mark, where no line runs
    y = Scale(marks[0], marks[-1], bottom, top)
    end = max(1.0, *(p.x for p in points))
    x = Scale(0.0, end, left, right)
    body = [grid_y(y, marks, left, right, unit)]
    body += [label(f"{step:g}", x(step), bottom + 20, "tick", "middle") for step in ticks(0.0, end, 4) if step <= end]
    body.append(label("step", (left + right) / 2, bottom + 40, "axis", "middle"))
    if level:
        place = y(level[0])
        body.append(el("line", x1=left, x2=right, y1=place, y2=place, class_="level"))
    body.append(line([Point(x(p.x), y(p.y)) for p in points], "line tuned faint" if smooth else "line tuned"))
    if smooth:
        body.append(line([Point(x(p.x), y(p.y)) for p in smooth], "line tuned"))
    if dots:
        body += [_step_mark(point, Point(x(point.x), y(point.y)), unit, chosen=point.x == best) for point in points]
        body += [_chosen_label(p, Point(x(p.x), y(p.y)), width, bottom) for p in points if p.x == best]
    if level:
        place = y(level[0])
        body.append(label(level[1], right, place + (14 if place < top + 16 else -6), "name base", "end"))
    first, last = points[0], points[-1]
    return figure(title, f"from {first.y:.2f} at step {first.x:g} to {last.y:.2f} at step {last.x:g}", height, body, width=width)


def _step_mark(point: Point, place: Point, unit: str, *, chosen: bool) -> Html:
    said = f"step {point.x:g}: {point.y:.2f} {unit}" + (", chosen" if chosen else "")
    return el(
        "circle", el("title", said), cx=place.x, cy=place.y, r=6.5 if chosen else 4.0, class_="mark tuned" if chosen else "mark hollow"
    )


def _chosen_label(point: Point, place: Point, width: float, bottom: float) -> Html:
    """Under its mark, above it where there is no room."""
    under = place.y <= bottom - _UNDER
    return label(
        f"chosen, {rate(point.y)}", place.x, place.y + (22 if under else -12), "name tuned", "end" if place.x > width / 2 else "start"
    )


def _upright(point: Point, wer: Wer, y: Scale, system: str, said: str) -> Html:
    """A mark with a vertical whisker."""
    whisker = [interval_y(point.x, y(wer.ci95[0]), y(wer.ci95[1]), system)] if wer.ci95 is not None else []
    return el("g", el("title", f"{said}: {rate(wer.percent)} % ({span(wer.ci95)})"), *whisker, dot(point.x, point.y, system))
