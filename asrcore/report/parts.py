"""What the sections of the page share: the pair they report on, headings, tables, labels and the words for a condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from asrcore.report.markup import Html, el, join, tied
from asrcore.report.numbers import rate, span
from asrcore.requests import EvalCell, Wer
from asrcore.score.compare import Comparison
from asrcore.score.replay import GuardResult

LABEL_LIMIT = 27
"""Characters of a label in a plot or a row heading."""
_WORDS = frozenset(
    ("set", "role", "by locale", "verdict", "system", "written instead", "engine", "prompt", "guards")
)
"""Columns that hold words and are left-aligned, as the first one is; the others hold numbers."""


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

    @property
    def sides(self) -> tuple[tuple[str, EvalCell], tuple[str, EvalCell]]:
        return ("base", self.base), ("tuned", self.tuned)


def section(title: str, about: str, *content: Html) -> Html:
    return el("section", el("h2", title), *([note(about)] if about else []), *content)


def note(*words: str) -> Html:
    """A paragraph that explains numbers."""
    return el("p", tied(join(*words)), class_="note")


def folded(title: str, *content: Html) -> Html:
    """Closed until the reader opens it."""
    return el("details", el("summary", title), *content)


def pill(verdict: str) -> Html:
    return el("span", verdict, class_=f"pill {verdict}")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """The first column names the row. Scrolls sideways in a narrow window, by keyboard too."""
    titles = el("tr", *(el("th", name, scope="col", class_="left" if n == 0 or name in _WORDS else None) for n, name in enumerate(head)))
    body = [
        el(
            "tr",
            el("th", row[0], scope="row"),
            *(el("td", cell, class_="left" if name in _WORDS else None) for name, cell in zip(head[1:], row[1:], strict=True)),
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


def named(cell: EvalCell) -> Html:
    """Row heading: the set and its condition."""
    return join(el("bdi", short(set_name(cell), 60)), el("small", f"{cell.latency_ms} ms, {cell.prompt_mode}"))


def conditions(cell: EvalCell) -> str:
    """Everything that a number of this eval depends on, in a line."""
    return f"{set_name(cell)}, {cell.latency_ms} ms chunks (att_context_size {list(cell.att_context)}), prompt {cell.prompt_mode}, engine {cell.engine}, batch {cell.batch_size}"


def set_name(cell: EvalCell) -> str:
    return cell.set.name.replace("_", " ")


def metric(wer: Wer) -> str:
    return "CER" if wer.unit == "character" else "WER"


def with_ci(wer: Wer) -> Html:
    return join(rate(wer.percent), el("small", span(wer.ci95)))


def short(label: str, limit: int = LABEL_LIMIT) -> str:
    return label if len(label) <= limit else f"{label[: limit - 1]}…"


def target_labels(cells: Sequence[EvalCell]) -> list[str]:
    """The locales where there is one set, else the set's name; with the latency, and the prompt mode where these differ."""
    modes = len({cell.prompt_mode for cell in cells}) > 1
    many = len({cell.set.sha256 for cell in cells}) > 1
    name = [set_name(cell) if many else "+".join(cell.locales) for cell in cells]
    return [short(f"{n}, {cell.latency_ms} ms{', ' + cell.prompt_mode if modes else ''}") for n, cell in zip(name, cells, strict=True)]


def guard_labels(found: Sequence[GuardResult]) -> list[str]:
    """The locale where it tells the guards apart, else the set's name; with latency or prompt mode where these differ."""
    by_locale = len({(g.locales, g.att_context, g.prompt_mode) for g in found}) == len(found)
    many_contexts, many_modes = len({g.att_context for g in found}) > 1, len({g.prompt_mode for g in found}) > 1
    return [
        short(", ".join([" + ".join(g.locales) if by_locale else g.set.name.replace("_", " "), *([g.prompt_mode] if many_modes else []),
                         *([f"{g.latency_ms} ms"] if many_contexts else [])]))
        for g in found
    ]  # fmt: skip
