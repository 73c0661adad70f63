"""Answers for people: rich tables, problems with their fixes, and the next calls as commands to copy. The only module that imports rich.

Everything is shown as plain `Text`: markup in names or in data is never interpreted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from asrcore.errors import ErrorView, Problem, clean_text
from asrcore.results import Result
from asrtune.cli_verbs import command_line

if TYPE_CHECKING:
    from asrcore.requests import Event

MAX_ROWS = 20
MAX_COLUMNS = 8
WIDEST_CELLS = 240
"""Characters of the widest cells of a table together. Wider rows become blocks: columns of a few characters cannot be read."""
_STYLE = {"error": "red", "warning": "yellow", "info": "cyan"}
_GOOD = {"READY", "succeeded", "better", "kept"}
_BAD = {"UNUSABLE", "NEEDS FIX", "failed", "lost", "worse", "forgotten"}


def console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False)


def result(answer: Result[Any]) -> None:
    """The whole envelope on stdout."""
    out = console()
    out.print(Text(answer.summary, style="bold"))
    data = cast("dict[str, Any]", answer.data.model_dump(mode="json"))
    untrusted = data.pop("untrusted_text", None)
    for part in _body(data):
        out.print(part)
    text = "\n".join(clean_text(line, 500) for line in _lines(untrusted))
    if text:
        out.print(Panel(Text(text, style="dim"), title="from data or logs", title_align="left", border_style="dim"))
    if answer.warnings:
        out.print(_problems(answer.warnings))
    for artifact in answer.artifacts:
        out.print(Text.assemble((f"{artifact.kind} ", "dim"), artifact.path), soft_wrap=True)
    for action in answer.next_actions:
        out.print(Text.assemble(("next  ", "dim"), (command_line(action.tool, action.arguments), "green"), (f"   {action.why}", "dim")), soft_wrap=True)


def error(view: ErrorView) -> None:
    """An error on stderr: what, where, how to go on. Problems that the message tells already are not told twice."""
    out = console(stderr=True)
    out.print(Text.assemble((f"[{view.code}] ", "bold red"), view.message), soft_wrap=True)
    for fix in dict.fromkeys(problem.fix for problem in view.problems if problem.fix and problem.message in view.message):
        out.print(Text.assemble(("fix   ", "dim"), fix), soft_wrap=True)
    if news := tuple(problem for problem in view.problems if problem.message not in view.message):
        out.print(_problems(news))
    out.print(Text.assemble(("Next: ", "bold"), view.next_step), soft_wrap=True)


@contextlib.contextmanager
def progress(job: Any) -> Generator[Callable[[Event], None]]:
    """A progress bar on stderr for one job; call what it yields with each event."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[metrics]}", markup=False, style="dim"))  # fmt: skip
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{job.kind} {job.job_id}", total=None, metrics="")

        def show(event: Event) -> None:
            metrics = "  ".join(f"{name} {value:.4g}" for name, value in list(event.metrics.items())[:4])
            bar.update(task, description=clean_text(f"{event.stage} {event.message}".strip(), 60), completed=event.step,
                       total=event.total or None, metrics=metrics)  # fmt: skip

        yield show


def _body(data: dict[str, Any]) -> Iterator[RenderableType]:
    """Single values as one grid; each list of records as a table; nested records under their name."""
    single = {name: value for name, value in data.items() if not _is_nested(value) and value not in (None, "", [], {})}
    if single:
        grid = Table.grid(padding=(0, 2))
        for name, value in single.items():
            grid.add_row(Text(_words(name), style="dim"), _cell(value))
        yield grid
    for name, value in data.items():
        if not _is_nested(value):
            continue
        if isinstance(value, list):
            yield _records(name, cast("list[dict[str, Any]]", value))
        else:
            yield Group(Text(_words(name), style="bold dim"), *(_indented(part) for part in _body(cast("dict[str, Any]", value))))


def _records(name: str, rows: list[dict[str, Any]]) -> RenderableType:
    names = dict.fromkeys(key for row in rows for key, value in row.items() if value not in (None, "", [], {}))
    columns = [c for c in names if not any(_is_nested(row.get(c)) for row in rows)][:MAX_COLUMNS]
    more = f" ({len(rows) - MAX_ROWS} more with --json)" if len(rows) > MAX_ROWS else ""
    if sum(max(len(_plain(row.get(column))) for row in rows) for column in columns) > WIDEST_CELLS:
        return Group(Text(f"{_words(name)}{more}", style="bold dim"), *(_block(row, columns) for row in rows[:MAX_ROWS]))
    table = Table(title=Text(f"{_words(name)}{more}"), title_justify="left", title_style="bold dim", header_style="dim", box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(_words(column), justify="right" if all(isinstance(r.get(column), (int, float)) for r in rows) else "left")
    for row in rows[:MAX_ROWS]:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    return table


def _block(row: dict[str, Any], columns: list[str]) -> RenderableType:
    """One record, its values below each other and the first as the heading."""
    grid = Table.grid(padding=(0, 2))
    for column in columns[1:]:
        if row.get(column) not in (None, "", [], {}):
            grid.add_row(Text(_words(column), style="dim"), _cell(row.get(column)))
    return Group(Text(_plain(row.get(columns[0])), style="bold"), _indented(grid))


def _problems(problems: tuple[Problem, ...]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for problem in problems[:MAX_ROWS]:
        line = f"{problem.where}  {problem.message}" if problem.where else problem.message
        table.add_row(Text(problem.severity, style=_STYLE[problem.severity]), Text(problem.code, style="dim"),
                      Group(Text(line), Text(f"fix: {problem.fix}", style="dim")) if problem.fix else Text(line))  # fmt: skip
    if len(problems) > MAX_ROWS:
        table.add_row("", "", Text(f"… {len(problems) - MAX_ROWS} more with --json", style="dim"))
    return table


def _indented(part: RenderableType) -> RenderableType:
    from rich.padding import Padding

    return Padding(part, (0, 0, 0, 2))


def _is_nested(value: Any) -> bool:
    """Records, lists of records, and maps that do not fit one line."""
    if isinstance(value, list):
        return isinstance(next(iter(cast("list[Any]", value)), None), dict)
    return isinstance(value, dict) and (len(cast("dict[str, Any]", value)) > 8 or any(isinstance(v, (dict, list)) for v in cast("dict[str, Any]", value).values()))


def _cell(value: Any) -> Text:
    text = _plain(value)
    return Text(text, style="green" if text in _GOOD else "red" if text in _BAD else "")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return ", ".join(map(_plain, items[:10])) + (f" … ({len(items)})" if len(items) > 10 else "")
    if isinstance(value, dict):
        return "  ".join(f"{name} {_plain(item)}" for name, item in cast("dict[str, Any]", value).items() if item not in (None, "", [], {}))
    return "" if value is None else clean_text(str(value), 300)


def _lines(untrusted: Any) -> list[str]:
    """Text, a list of texts, or a record of named values."""
    if isinstance(untrusted, dict):
        return [f"{_words(name)}: {_plain(value)}" for name, value in cast("dict[str, Any]", untrusted).items() if value]
    return [_plain(line) for line in cast("list[Any]", untrusted)] if isinstance(untrusted, list) else str(untrusted or "").splitlines()


def _words(name: str) -> str:
    return name.replace("_", " ")
