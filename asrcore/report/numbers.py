"""Numbers as the page shows them: a true minus sign, thin spaces in thousands, one decimal for rates."""

from __future__ import annotations

import math

MINUS = "\u2212"


def rate(value: float) -> str:
    return f"{value:.1f}"


def signed(value: float, digits: int = 1) -> str:
    """`+0.3`, `−1.2`, `0.0`."""
    shown = f"{value:+.{digits}f}"
    return shown[1:] if float(shown) == 0 else shown.replace("-", MINUS)


def span(bounds: tuple[float, float] | None, *, sign: bool = False) -> str:
    """`29.0 to 33.9`; a dash when there is no interval."""
    if bounds is None:
        return "–"
    low, high = bounds
    return f"{signed(low)} to {signed(high)}" if sign else f"{rate(low)} to {rate(high)}"


def count(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")


def p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent(share: float) -> str:
    """A share of 0 to 1."""
    return f"{100 * share:.0f} %"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers, evenly spaced, that cover [low, high]; a flat range is made one wide."""
    high = high if high > low else low + 1.0
    width = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(width))
    step = unit * next(m for m in (1, 2, 2.5, 5, 10) if m * unit >= width * 0.999)
    first = math.floor(low / step + 1e-9)
    out = [first * step]
    while out[-1] < high - 1e-9 * step:
        out.append((first + len(out)) * step)
    return out
