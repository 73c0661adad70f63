"""What the commands that are not tools do: call, schema, quickstart, report, ledger, agent-docs, install. Each gives an exit code."""

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

    name = name.replace("-", "_")
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
    name = name and name.replace("-", "_")
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


def start_batch_search(plan_id: str, *, as_json: bool) -> int:
    """Starts the job, or finds it. The plan stays as it is: plan again once the job has succeeded, and the new plan goes by what it found.

    Errors: `plan_unknown`, `memory_unknown`, and those of starting a job.
    """
    from asrcore.errors import AsrtuneError
    from asrcore.recipe.launch import find_batch
    from asrcore.workspace import Workspace
    from asrtune.cli_verbs import show_error

    try:
        job = find_batch(Workspace.open(), plan_id)
    except AsrtuneError as error:
        return show_error(error, as_json=as_json)
    typer.echo(job.model_dump_json() if as_json else f"{job.job_id}: {job.state}. Next: asrtune get-job {job.job_id}; once it has succeeded, plan-finetune again without batch_size.")
    return 0


def serve_over_http(host: str | None, port: int | None, names: list[str], *, http: bool) -> int:
    """Serves until interrupted. The options of HTTP without --http are a usage error, so that nobody believes stdio to be a network server."""
    from asrcore.errors import AsrtuneError, UsageError
    from asrtune import mcp_http
    from asrtune.cli_verbs import show_error

    try:
        if not http:
            raise UsageError("http_not_asked", "--host, --port and --allow-host belong to --http.", next_step="add --http, or leave them out.")
        mcp_http.serve_http(host or mcp_http.DEFAULT_HOST, mcp_http.DEFAULT_PORT if port is None else port, names)
    except AsrtuneError as error:
        return show_error(error, as_json=False)
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


def export_ledger(out: Path | None, *, as_json: bool) -> int:
    """The ledger of this workspace; in ASCII, so that names from data cannot act on a terminal."""
    from collections import Counter

    from asrcore import io
    from asrcore.errors import AsrtuneError
    from asrcore.jobs import Ledger
    from asrcore.jobs.dump import dump
    from asrcore.workspace import Workspace
    from asrtune.cli_verbs import show_error

    try:
        ws = Workspace.open()
        with Ledger.open(ws) as ledger:
            found = dump(ledger)
        text = json.dumps(found.model_dump(mode="json"), separators=(",", ":")) + "\n"
        if out is not None:
            io.write_text(out.resolve(), text)
    except AsrtuneError as error:
        return show_error(error, as_json=as_json)
    if as_json and out is None:
        typer.echo(text, nl=False)
        return 0
    kinds = Counter(str(one.kind) for one in found.objects) + Counter({"job": len(found.jobs), "attempt": len(found.attempts)})
    typer.echo(f"{ws.ledger_path}: " + (", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())) or "empty"))
    if out is not None:
        typer.echo(f"Wrote {out.resolve()}")
    return 0


def print_agent_docs(topic: str | None) -> int:
    """One page of the skill, or the names of all."""
    from asrcore.errors import UsageError
    from asrtune import agent_docs
    from asrtune.cli_verbs import show_error

    names = ", ".join(agent_docs.topics())
    if topic is None:
        typer.echo(names)
        return 0
    text = agent_docs.read(topic)
    if text is None:
        return show_error(UsageError("topic_unknown", "there is no page of that name.", next_step=f"pass one of: {names}."), as_json=False)
    typer.echo(text, nl=False)
    return 0


def install_for(host: str, folder: Path, *, write: bool) -> int:
    """Shows, or with `write` makes, the config entry and the skill folder of one host below `folder`."""
    from asrcore.errors import AsrtuneError, UsageError
    from asrtune import install
    from asrtune.cli_verbs import show_error

    try:
        if host not in install.HOSTS:
            raise UsageError("host_unknown", "asrtune does not know that host.", next_step=f"pass --host with one of: {', '.join(install.HOSTS)}.")
        changes = install.plan(host, folder)
        if write:
            install.write(changes)
    except AsrtuneError as error:
        return show_error(error, as_json=False)
    for change in changes:
        state = "unchanged" if not change.differs else "written" if write else "would be written"
        typer.echo(f"{change.path}  {state}")
    if not write:
        typer.echo(f"\n{changes[0].path}:\n{changes[0].text}")
        by_hand = install.HOSTS[host].by_hand
        typer.echo(f"The host's own command does the same for the config: {by_hand}" if by_hand else "With --write these files are written.")
    return 0
