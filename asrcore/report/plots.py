"""Plots as inline SVG. Colours are CSS classes of the page, so one drawing serves light and dark; every mark has a title to hover over.

No colour carries a meaning alone: base is hollow, tuned is filled, verdicts are written out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from asrcore.report.markup import Html, el, join
from asrcore.report.numbers import MINUS, rate, signed, span, ticks
from asrcore.requests import EvalCell, Wer
from asrcore.score.replay import GuardResult

WIDTH = 680.0


class Scale(NamedTuple):
    """Maps [low, high] to pixels [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


class Point(NamedTuple):
    x: float
    y: float


class Bar(NamedTuple):
    """One stacked bar of error kinds."""

    label: str
    system: str
    wer: Wer


def wer_over_latency(pairs: Sequence[tuple[EvalCell, EvalCell]], caption: str) -> Html:
    """Base and tuned over the chunk length (log scale) with their 95 % intervals. One set and prompt mode."""
    pairs = sorted(pairs, key=lambda pair: pair[0].latency_ms)
    height, left, right, top, bottom = 300.0, 52.0, WIDTH - 96, 22.0, 250.0
    shown = [bound for pair in pairs for cell in pair for bound in (cell.normalised.percent, *(cell.normalised.ci95 or ()))]
    low, high = min(shown), max(shown)
    marks = ticks(0.0 if low < 0.4 * high else low, max(high, 1.0))
    y = Scale(marks[0], marks[-1], bottom, top)
    latencies = [math.log2(pair[0].latency_ms) for pair in pairs]
    x = Scale(min(latencies) - 0.35, max(latencies) + 0.35, left, right)
    body = [_grid_y(y, marks, left, right, "%")]
    for place, (base, _) in zip(latencies, pairs, strict=True):
        body.append(el("text", f"{base.latency_ms} ms", x=x(place), y=bottom + 20, class_="tick", text_anchor="middle"))
    body.append(el("text", "chunk length", x=(left + right) / 2, y=bottom + 42, class_="axis", text_anchor="middle"))
    ends: list[tuple[float, str]] = []
    for system, side, shift in (("base", 0, -5.0), ("tuned", 1, 5.0)):
        cells = [pair[side] for pair in pairs]
        points = [Point(x(place) + shift, y(cell.normalised.percent)) for place, cell in zip(latencies, cells, strict=True)]
        body.append(_line(points, f"line {system}"))
        for point, cell in zip(points, cells, strict=True):
            body.append(_dot(point, cell.normalised, y, system, f"{system}, {cell.latency_ms} ms"))
        ends.append((points[-1].y, system))
    body += [
        el("text", name, x=right + 10, y=place + 4, class_=f"name {name}")
        for name, place in zip((e[1] for e in ends), _apart([e[0] for e in ends], 18), strict=True)
    ]
    summary = "; ".join(f"{b.latency_ms} ms: {rate(b.normalised.percent)} to {rate(t.normalised.percent)} %" for b, t in pairs)
    return _figure(f"Error rate over latency, {caption}", summary, height, body)


def forest(guards: Sequence[GuardResult], names: Sequence[str]) -> Html:
    """Loss of each guard with its one-sided 95 % bounds, zero, and the margin from which on the loss is too large."""
    row, top, left, right = 40.0, 34.0, 24 + _label_width(names), WIDTH - 178
    height = top + row * len(guards) + 46
    bottom = top + row * len(guards)
    values = [v for g in guards for v in (*g.bounds95, g.margin_points, 0.0)]
    reach = max(values) - min(values)
    marks = ticks(min(values) - 0.05 * reach, max(values) + 0.05 * reach, 6)
    x = Scale(marks[0], marks[-1], left, right)
    body: list[Html] = []
    for mark in marks:
        body.append(el("line", x1=x(mark), x2=x(mark), y1=top - 6, y2=bottom, class_="zero" if mark == 0 else "grid"))
        body.append(
            el(
                "text",
                "0" if mark == 0 else f"{mark:+g}".replace("-", MINUS),
                x=x(mark),
                y=bottom + 18,
                class_="tick",
                text_anchor="middle",
            )
        )
    body.append(el("text", "change in points (right is worse)", x=(left + right) / 2, y=bottom + 38, class_="axis", text_anchor="middle"))
    body.append(el("text", "loss and 95 % bounds", x=WIDTH - 6, y=16.0, class_="axis", text_anchor="end"))
    for number, (guard, name) in enumerate(zip(guards, names, strict=True)):
        y = top + row * (number + 0.5)
        low, high = guard.bounds95
        said = f"{name}: {signed(guard.loss_points)} points, bounds {span(guard.bounds95, sign=True)}, margin {guard.margin_points:.2g}: {guard.verdict}"
        body += [
            el("rect", x=x(guard.margin_points), y=y - row / 2 + 3, width=right - x(guard.margin_points), height=row - 6, class_="beyond"),
            el("line", x1=x(guard.margin_points), x2=x(guard.margin_points), y1=y - row / 2 + 3, y2=y + row / 2 - 3, class_="margin"),
            el("text", name, x=left - 14, y=y + 4, class_="row", text_anchor="end"),
            el("g", el("title", said),
               el("line", x1=x(low), x2=x(high), y1=y, y2=y, class_=f"whisker {guard.verdict}"),
               *(el("line", x1=x(v), x2=x(v), y1=y - 5, y2=y + 5, class_=f"whisker {guard.verdict}") for v in guard.bounds95),
               el("circle", cx=x(guard.loss_points), cy=y, r=5.5, class_=f"mark {guard.verdict}")),
            el("text", f"{signed(guard.loss_points)}  ({span(guard.bounds95, sign=True)})", x=WIDTH - 6, y=y - 2, class_="value", text_anchor="end"),
            el("text", guard.verdict, x=WIDTH - 6, y=y + 13, class_=f"verdict {guard.verdict}", text_anchor="end"),
        ]  # fmt: skip
    summary = "; ".join(f"{name} {signed(g.loss_points)} points, {g.verdict}" for g, name in zip(guards, names, strict=True))
    return _figure("Loss on each guard set with its margin", summary, height, body)


def error_kinds(bars: Sequence[Bar]) -> Html:
    """Substitutions, deletions and insertions, stacked, in percent of the reference words. Two bars (base, tuned) a label."""
    row, top, left, right = 24.0, 8.0, 76 + _label_width([bar.label for bar in bars]), WIDTH - 62
    gaps = [12.0 * (number // 2) for number in range(len(bars))]
    bottom = top + row * len(bars) + (gaps[-1] if gaps else 0)
    marks = ticks(0.0, max(1.0, *(bar.wer.percent for bar in bars)))
    x = Scale(0.0, marks[-1], left, right)
    body: list[Html] = []
    for mark in marks:
        body.append(el("line", x1=x(mark), x2=x(mark), y1=top, y2=bottom, class_="grid"))
        body.append(el("text", f"{mark:g} %", x=x(mark), y=bottom + 18, class_="tick", text_anchor="middle"))
    for number, (bar, gap) in enumerate(zip(bars, gaps, strict=True)):
        y = top + row * number + gap
        if number % 2 == 0:
            body.append(el("text", bar.label, x=left - 60, y=y + row + 4, class_="row", text_anchor="end"))
        body.append(el("text", bar.system, x=left - 10, y=y + row / 2 + 4, class_=f"name {bar.system}", text_anchor="end"))
        start = left
        for kind, errors in (
            ("substitutions", bar.wer.substitutions),
            ("deletions", bar.wer.deletions),
            ("insertions", bar.wer.insertions),
        ):
            share = 100 * errors / bar.wer.words
            end = start + share / marks[-1] * (right - left)
            body.append(el("rect", el("title", f"{bar.label}, {bar.system}: {errors} {kind}, {share:.2f} %"),
                           x=start, y=y + 3, width=end - start, height=row - 6, class_=f"{kind} {bar.system}"))  # fmt: skip
            if end - start > 34:
                body.append(
                    el("text", rate(share), x=(start + end) / 2, y=y + row / 2 + 4, class_=f"inside {bar.system}", text_anchor="middle")
                )
            start = end
        body.append(el("text", rate(bar.wer.percent), x=start + 7, y=y + row / 2 + 4, class_="value"))
    summary = "; ".join(f"{b.label} {b.system}: S {b.wer.substitutions}, D {b.wer.deletions}, I {b.wer.insertions}" for b in bars)
    return _figure("Kinds of errors", summary, bottom + 30, body)


def curve(
    points: Sequence[Point], title: str, unit: str, *, level: tuple[float, str] | None = None, best: float | None = None, dots: bool = False
) -> Html:
    """One quantity over training steps. `level` is a dashed reference line with its name; `best` is the step to mark."""
    width, height, left, right, top, bottom = 420.0, 250.0, 46.0, 404.0, 16.0, 200.0
    values = [p.y for p in points] + ([level[0]] if level else [])
    low, high = min(values), max(values)
    marks = ticks(0.0 if low < 0.5 * high and low >= 0 else low, high if high > low else low + 1.0)
    y = Scale(marks[0], marks[-1], bottom, top)
    end = max(1.0, *(p.x for p in points))
    x = Scale(0.0, end, left, right)
    body = [_grid_y(y, marks, left, right, unit)]
    body += [
        el("text", f"{step:g}", x=x(step), y=bottom + 20, class_="tick", text_anchor="middle") for step in ticks(0.0, end, 4) if step <= end
    ]
    body.append(el("text", "step", x=(left + right) / 2, y=bottom + 40, class_="axis", text_anchor="middle"))
    if level:
        place = y(level[0])
        body.append(el("line", x1=left, x2=right, y1=place, y2=place, class_="level"))
        body.append(el("text", level[1], x=right, y=place + (14 if place < top + 16 else -6), class_="name base", text_anchor="end"))
    drawn = [Point(x(p.x), y(p.y)) for p in points]
    body.append(_line(drawn, "line tuned"))
    if dots:
        for point, place in zip(points, drawn, strict=True):
            chosen = point.x == best
            label = f"step {point.x:g}: {point.y:.2f} {unit}" + (", chosen" if chosen else "")
            body.append(
                el(
                    "circle",
                    el("title", label),
                    cx=place.x,
                    cy=place.y,
                    r=6.5 if chosen else 4.0,
                    class_="mark tuned" if chosen else "mark hollow",
                )
            )
            if chosen:
                body.append(
                    el(
                        "text",
                        f"chosen, {rate(point.y)}",
                        x=place.x,
                        y=place.y + (22 if place.y < bottom - 26 else -12),
                        class_="name tuned",
                        text_anchor="end" if place.x > width / 2 else "start",
                    )
                )
    first, last = points[0], points[-1]
    return _figure(title, f"from {first.y:.2f} at step {first.x:g} to {last.y:.2f} at step {last.x:g}", height, body, width=width)


def _figure(title: str, summary: str, height: float, body: Sequence[Html], width: float = WIDTH) -> Html:
    svg = el("svg", el("title", title), el("desc", summary), *body, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=f"{title}. {summary}",
             style=f"max-width:{width * 1.15:g}px;min-width:{width * 0.75:g}px")  # fmt: skip
    return el("div", svg, class_="plot", tabindex="0", role="group", aria_label=title)


def _grid_y(y: Scale, marks: Sequence[float], left: float, right: float, unit: str) -> Html:
    lines = [el("line", x1=left, x2=right, y1=y(mark), y2=y(mark), class_="grid") for mark in marks]
    names = [
        el(
            "text",
            f"{mark:g}{' ' + unit if unit and mark == marks[-1] else ''}",
            x=left - 8,
            y=y(mark) + 4,
            class_="tick",
            text_anchor="end",
        )
        for mark in marks
    ]
    return join(*lines, *names)


def _label_width(labels: Sequence[str]) -> float:
    """Pixels that the longest label takes, about; fonts differ."""
    return 7.6 * max(map(len, labels))


def _line(points: Sequence[Point], class_: str) -> Html:
    return el("polyline", points=" ".join(f"{p.x:.1f},{p.y:.1f}" for p in points), class_=class_)


def _dot(point: Point, wer: Wer, y: Scale, system: str, label: str) -> Html:
    whiskers: list[Html] = []
    if wer.ci95 is not None:
        low, high = (y(v) for v in wer.ci95)
        whiskers = [
            el("line", x1=point.x, x2=point.x, y1=low, y2=high, class_=f"whisker {system}"),
            *(el("line", x1=point.x - 4, x2=point.x + 4, y1=v, y2=v, class_=f"whisker {system}") for v in (low, high)),
        ]
    mark = el("circle", cx=point.x, cy=point.y, r=5.0, class_=f"mark {'hollow' if system == 'base' else 'tuned'}")
    return el("g", el("title", f"{label}: {rate(wer.percent)} % ({span(wer.ci95)})"), *whiskers, mark)


def _apart(places: Sequence[float], least: float) -> list[float]:
    """Two label positions moved apart so that they do not overlap."""
    first, second = places
    push = max(0.0, least - abs(first - second)) / 2
    return [first - push, second + push] if first <= second else [first + push, second - push]
