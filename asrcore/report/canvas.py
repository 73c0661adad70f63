"""What the plots are drawn with: scales, axes, lines and the figure around them, as inline SVG.

Colours are CSS classes of the page, so one drawing serves light and dark; every mark has a title to hover over. No colour carries a meaning
alone: base is hollow, tuned is filled, verdicts have a shape each and are written out.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from asrcore.report.markup import Html, el, join
from asrcore.report.numbers import MINUS

WIDTH, NARROW = 760.0, 380.0
"""Units of the viewBox on a wide screen, where a unit is about a pixel, and on a phone."""
NARROW_LABEL = 14
"""Characters of a row's label on a phone."""
CHARACTER = 7.6
"""Width of a bold 12.5 px character, about; fonts differ. Full-width ones take nearly twice as much."""


class Scale(NamedTuple):
    """Maps [low, high] to pixels [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def for_both(draw: Callable[[float], Html]) -> Html:
    """The drawing made for a wide window and made for a phone, of which the page shows one. `draw` takes the width."""
    return join(el("div", draw(WIDTH), class_="wide"), el("div", draw(NARROW), class_="narrow"))


class Point(NamedTuple):
    x: float
    y: float


def figure(title: str, summary: str, height: float, body: Sequence[Html], width: float = WIDTH) -> Html:
    """The drawing with its title and its content in words, in a box that scrolls sideways in a narrow window."""
    svg = el("svg", el("title", title), el("desc", summary), *body, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=f"{title}. {summary}",
             style=f"max-width:{width * 1.17:g}px;min-width:{width * 0.8:g}px")  # fmt: skip
    return el("div", svg, class_="plot", tabindex="0", role="group", aria_label=title)


def label(words: str, x: float, y: float, class_: str, anchor: str = "start") -> Html:
    return el("text", words, x=x, y=y, class_=class_, text_anchor=None if anchor == "start" else anchor)


def grid_y(y: Scale, marks: Sequence[float], left: float, right: float, unit: str) -> Html:
    """Horizontal rules; the unit stands at the uppermost mark."""
    lines = [el("line", x1=left, x2=right, y1=y(mark), y2=y(mark), class_="grid") for mark in marks]
    names = [label(f"{mark:g}{' ' + unit if unit and mark == marks[-1] else ''}", left - 8, y(mark) + 4, "tick", "end") for mark in marks]
    return join(*lines, *names)


def grid_x(x: Scale, marks: Sequence[float], top: float, bottom: float, unit: str = "", *, signed: bool = False) -> Html:
    """Vertical rules with their numbers below; zero stands out where numbers are signed."""
    out: list[Html] = []
    for mark in marks:
        zero = signed and mark == 0
        out.append(el("line", x1=x(mark), x2=x(mark), y1=top, y2=bottom, class_="zero" if zero else "grid"))
        number = f"{mark:+g}".replace("-", MINUS) if signed and not zero else f"{mark:g}"
        out.append(label(f"{number} {unit}".rstrip(), x(mark), bottom + 18, "tick", "middle"))
    return join(*out)


def line(points: Sequence[Point], class_: str) -> Html:
    return el("polyline", points=" ".join(f"{p.x:.1f},{p.y:.1f}" for p in points), class_=class_)


def interval_x(low: float, high: float, y: float, class_: str, cap: float = 5.0) -> Html:
    """A horizontal whisker in pixels."""
    ends = (el("line", x1=v, x2=v, y1=y - cap, y2=y + cap, class_=f"whisker {class_}") for v in (low, high))
    return join(el("line", x1=low, x2=high, y1=y, y2=y, class_=f"whisker {class_}"), *ends)


def interval_y(x: float, low: float, high: float, class_: str, cap: float = 4.0) -> Html:
    """A vertical whisker in pixels."""
    ends = (el("line", x1=x - cap, x2=x + cap, y1=v, y2=v, class_=f"whisker {class_}") for v in (low, high))
    return join(el("line", x1=x, x2=x, y1=low, y2=high, class_=f"whisker {class_}"), *ends)


def dot(x: float, y: float, system: str, radius: float = 5.0) -> Html:
    """Hollow for the base, filled for the tuned model."""
    return el("circle", cx=x, cy=y, r=radius, class_=f"mark {'hollow' if system == 'base' else 'tuned'}")


def verdict_mark(x: float, y: float, verdict: str) -> Html:
    """Circle: kept; diamond: forgotten; open square: inconclusive."""
    class_ = f"mark {verdict}"
    if verdict == "kept":
        return el("circle", cx=x, cy=y, r=5.5, class_=class_)
    if verdict == "forgotten":
        return el("polygon", points=f"{x:.1f},{y - 7:.1f} {x + 7:.1f},{y:.1f} {x:.1f},{y + 7:.1f} {x - 7:.1f},{y:.1f}", class_=class_)
    return el("rect", x=x - 5, y=y - 5, width=10.0, height=10.0, class_=class_)


def label_width(labels: Sequence[str]) -> float:
    """Pixels that the longest label takes, about."""
    wide = CHARACTER * 1.75
    return max(sum(wide if unicodedata.east_asian_width(c) in "WF" else CHARACTER for c in text) for text in labels)


def apart(places: Sequence[float], least: float) -> list[float]:
    """Two label positions moved apart so that they do not overlap."""
    first, second = places
    push = max(0.0, least - abs(first - second)) / 2
    return [first - push, second + push] if first <= second else [first + push, second - push]
