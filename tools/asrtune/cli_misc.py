"""What the commands that are not tools do: call, schema, init, quickstart, report. Each gives an exit code."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, cast

import typer

from asrtune import catalog


def call_tool(name: str, arguments: str) -> int:
    """`arguments` is a JSON object, or `-` for stdin."""
    from asrcore.errors import AsrtuneError, UsageError
    from asrtune import registry
    from asrtune.cli_verbs import show_error

    try:
        text = sys.stdin.read() if arguments == "-" else arguments
        try:
            value: object = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise UsageError("arguments_invalid", "--json does not hold a JSON object.",
                             next_step=f"pass an object, e.g. --json '{{}}'; `asrtune schema {name if name in catalog.NAMES else ''}` shows it.")  # fmt: skip
        typer.echo(registry.call(name, cast("dict[str, Any]", value)).model_dump_json())
    except AsrtuneError as error:
        return show_error(error, as_json=True)
    return 0


def print_schema(name: str | None) -> int:
    """The shipped schemas of one tool or all, as `tools/list` serves them."""
    if name is not None and name not in catalog.NAMES:
        from asrcore.errors import AsrtuneError
        from asrtune import registry
        from asrtune.cli_verbs import show_error

        try:
            registry.load(name)
        except AsrtuneError as error:
            return show_error(error, as_json=True)
    tools = [{"name": t.name, "kind": t.kind, "title": t.title, "summary": t.summary, "annotations": t.annotations._asdict(),
              **catalog.shipped()[t.name]} for t in catalog.TOOLS if name in (None, t.name)]  # fmt: skip
    typer.echo(json.dumps(tools if name is None else tools[0], ensure_ascii=False, indent=1))
    return 0


def run_quickstart(home: Path, *, seed: int, replay: bool, steps: int | None, as_json: bool) -> int:
    """The loop of `asrtune.quickstart`; `as_json` gives it no console, so it prints JSON."""
    from asrcore.errors import AsrtuneError
    from asrtune.cli_verbs import show_error
    from asrtune.quickstart import run

    try:
        if as_json:
            return run(home, seed=seed, replay=replay, steps=steps, console=None)
        from asrtune import render

        return run(home, seed=seed, replay=replay, steps=steps, console=render.console())
    except AsrtuneError as error:
        return show_error(error, as_json=as_json)


def open_report(which: str | None, *, show: bool) -> int:
    """Prints the path of a report (an id, an .html file, or none for the newest) and, where a person sits at a terminal, opens it in the browser.

    Errors: `no_report`, `report_unknown`, `report_missing`, `report_path_missing`.
    """
    import webbrowser

    from asrcore.errors import AsrtuneError
    from asrtune.cli_verbs import show_error

    try:
        path = _find_report(which)
    except AsrtuneError as error:
        return show_error(error, as_json=False)
    typer.echo(str(path))
    if show and sys.stdin.isatty() and sys.stdout.isatty() and not webbrowser.open(path.as_uri()):
        typer.echo("There is no browser here: open the file above on a machine that has one.", err=True)
    return 0


def _find_report(which: str | None) -> Path:
    from asrcore.errors import NotReadyError, UsageError
    from asrcore.jobs import Ledger
    from asrcore.report import ReportView
    from asrcore.workspace import Workspace

    again = "call make_report, which writes it anew."
    if which is not None and not re.fullmatch(r"report_[0-9a-f]{12}", which):
        path = Path(which).resolve()
        if path.suffix.lower() != ".html" or not path.is_file():
            raise UsageError("report_path_missing", "there is no .html file of that name.",
                             next_step="pass a report id (asrtune list-objects report), a path, or nothing for the newest.")  # fmt: skip
        return path
    with Ledger.open(Workspace.open()) as ledger:
        if which is not None:
            path = Path(ReportView.model_validate(ledger.require("report", which)).path)
            if not path.is_file():
                raise NotReadyError("report_missing", f"{which} is in the ledger, but its file is gone.", next_step=again)
            return path
        paths = [Path(ReportView.model_validate(row.data).path) for row in ledger.list("report", 100)]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise NotReadyError("no_report", "this workspace has no report yet.", next_step=again.replace("writes it anew", "writes one"))
    # A report that was made again keeps its place in the ledger; its file is the newer one.
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def write_config(folder: Path) -> int:
    """Asks a person for roots and budgets and writes `asrtune.toml`. Refuses without a terminal: limits are not an agent's to set."""
    from asrcore import io
    from asrcore.errors import ApprovalNeeded, AsrtuneError, UsageError
    from asrcore.workspace import CONFIG_NAME, load_config
    from asrtune.cli_verbs import show_error

    path = folder.resolve() / CONFIG_NAME
    try:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise ApprovalNeeded("terminal_needed", "init sets data roots and budgets, which only a person may do.",
                                 next_step="ask the person to run `asrtune init` in a terminal.")  # fmt: skip
        if path.exists():
            raise UsageError(
                "config_exists", f"{path} is there already.", next_step="edit it by hand, or remove it and run `asrtune init` again."
            )
        roots = str(typer.prompt("Folders that tools may read data from, separated by commas", default="."))
        text = config_text(
            [root.strip() for root in roots.split(",") if root.strip()],
            max_gpu_hours=typer.prompt("Paid GPU-hours a launch may plan without approval", default=0.0, type=float),
            max_parallel_jobs=typer.prompt("Jobs at a time", default=1, type=int),
            max_disk_gb=typer.prompt("Disk for the workspace, in GB", default=100.0, type=float))  # fmt: skip
        _check_config(text, path, load_config)
        io.write_text(path, text)
    except AsrtuneError as error:
        return show_error(error, as_json=False)
    typer.echo(f"Wrote {path}")
    return 0


def config_text(roots: list[str], *, max_gpu_hours: float, max_parallel_jobs: int, max_disk_gb: float) -> str:
    """The text of an `asrtune.toml`. JSON strings are TOML strings."""
    return (
        "# Read by asrtune at start; no tool writes it.\n"
        f"data_roots = {json.dumps(roots)}\n"
        'output_root = ".asrtune"\n\n'
        "[budgets]\n"
        f"max_gpu_hours = {max_gpu_hours}\n"
        f"max_parallel_jobs = {max_parallel_jobs}\n"
        f"max_disk_gb = {max_disk_gb}\n"
    )


def _check_config(text: str, path: Path, load: Any) -> None:
    """Raises `config_invalid` for answers that the config refuses, before anything is written at `path`."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / path.name
        trial.write_text(text, encoding="utf-8")
        load(trial)
