"""HTML and SVG elements that escape what they are given. Transcripts are untrusted: text becomes markup only through `Html`."""

from __future__ import annotations

import html
import re
import unicodedata

_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|ms|points?)(?!\w))")
_KEPT = frozenset("\r\n\t\u200c\u200d")


class Html(str):
    """Text that is markup already. Made by `el`, `join` and `tied` only, and once for the shipped style sheet."""

    __slots__ = ()


def el(name: str, *children: str, **attributes: str | float | None) -> Html:
    """`<name a="…">children</name>`, well-formed as XML. Plain strings are escaped; None leaves an attribute out; `class_` is `class`, `_` is `-`."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(_plain(value))}"' for key, value in attributes.items() if value is not None
    )
    return Html(f"<{name}{shown}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    return Html("".join(child if isinstance(child, Html) else text(child) for child in children))


def text(value: str) -> Html:
    """Escaped, without control, format and bidi characters that could fake what is shown or break the page; the joiners that Persian and Indic
    spelling needs stay."""
    kept = "".join(
        " " if c in "\r\n\t" else c
        for c in value
        if c in _KEPT or unicodedata.category(c) not in {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
    )
    return Html(html.escape(kept, quote=True))


def tied(child: str) -> Html:
    """As markup, with numbers and their units on one line."""
    return Html(_BEFORE_UNIT.sub("\u00a0", join(child)))


def _plain(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
