"""What only a person may do, at a terminal: set limits (init), say yes to a plan that is over them (approve), publish an export (upload)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer


def approve_plan(plan_id: str) -> int:
    """Shows a plan and its cost, and records a yes to one run of it when the person types its digest. Refuses without a terminal."""
    from asrcore.errors import AsrtuneError, clean_text
    from asrcore.jobs import Ledger
    from asrcore.recipe import load_plan
    from asrcore.recipe.approval import approval_of, approve, over_anywhere, plan_digest
    from asrcore.workspace import Workspace
    from asrtune.cli_verbs import show_error

    try:
        require_terminal("a plan over a limit is for a person to approve.", f"asrtune approve {clean_text(plan_id, 40)}")
        ws = Workspace.open()
        plan = load_plan(ws, plan_id)
        over = over_anywhere(plan, ws.config)
        with Ledger.open(ws) as ledger:
            earlier = approval_of(ledger, plan_id)
        typer.echo(described(plan, over, earlier.runs if earlier is not None else ()))
        if not over:
            typer.echo("It keeps every limit and needs no approval.")
            return 0
        typed = str(typer.prompt(f"Type {plan_digest(plan)} to approve one run of exactly this plan, or Ctrl-C"))
        with Ledger.open(ws) as ledger:
            approve(ws, ledger, plan, typed)
    except AsrtuneError as error:
        return show_error(error, as_json=False)
    typer.echo(f"Approved. launch_finetune may start one run of {plan_id} now.")
    return 0


def described(plan: Any, over: tuple[str, ...], runs: tuple[str, ...] = ()) -> str:
    """The lines a person decides on; `runs` are those that had a yes before."""
    summary, request = plan.summary, plan.request
    seconds = summary.estimates.seconds
    lines = [
        f"{summary.plan_id}: {request.max_steps} steps of {request.batch_size} utterances on {request.surface}, base {request.base.name}",
        f"time    {'unknown' if seconds is None else f'about {seconds / 3600:.1f} h'} ({summary.estimates.basis})",
        f"memory  {summary.estimates.memory_gb:g} GB, disk {summary.estimates.disk_gb:g} GB, GPUs {summary.estimates.gpus}",
        *(f"data    {use.source} ({use.role}): {use.hours:g} h, {use.share_of_audio:.0%} of the audio" for use in summary.sources),
        *(f"over    {limit}" for limit in over),
        *(f"before  {run_id} had a yes" for run_id in runs),
        *(("stop    a run that had a yes is ended at twice its time, on a cluster at the cluster's limit",) if over else ()),
    ]
    return "\n".join(lines)


def upload_export(export_id: str, repository: str, *, public: bool) -> int:
    """Shows what would go where, and uploads when the person types the repository's name. Refuses without a terminal."""
    from asrcore.errors import AsrtuneError, NotReadyError
    from asrcore.export.upload import folder_of, require_repository, require_token, upload
    from asrcore.workspace import Workspace
    from asrtune.cli_verbs import show_error

    try:
        require_terminal("publishing is for a person to decide.", "asrtune upload EXPORT_ID OWNER/NAME")
        require_repository(repository)
        token = require_token()
        folder = folder_of(Workspace.open(), export_id)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9
        typer.echo(f"{export_id}: {size:.2f} GB from {folder}\nto      {repository}, {'public' if public else 'private'} if it is made now")
        typer.echo("Its README.md names licence and data. Whether the tuning data may be published with it, no tool knows.")
        if str(typer.prompt("Type OWNER/NAME to upload, or Ctrl-C")).strip() != repository:
            raise NotReadyError("upload_not_confirmed", "what was typed is not the repository; nothing was uploaded.",
                                next_step=f"run `asrtune upload {export_id} {repository}` again.")  # fmt: skip
        address = upload(folder, repository, token, public=public)
    except AsrtuneError as error:
        return show_error(error, as_json=False)
    typer.echo(f"Uploaded: {address}")
    return 0


def require_terminal(what: str, command: str) -> None:
    """Raises `terminal_needed` unless a person can type here: limits are not an agent's to set or to lift."""
    from asrcore.errors import ApprovalNeeded

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ApprovalNeeded("terminal_needed", what, next_step=f"ask the person to run `{command}` in a terminal.")


def write_config(folder: Path) -> int:
    """Asks a person for roots and budgets and writes `asrtune.toml`. Refuses without a terminal: limits are not an agent's to set."""
    from asrcore import io
    from asrcore.errors import AsrtuneError, UsageError
    from asrcore.workspace import CONFIG_NAME, load_config
    from asrtune.cli_verbs import show_error

    path = folder.resolve() / CONFIG_NAME
    try:
        require_terminal("init sets data roots and budgets, which only a person may do.", "asrtune init")
        if path.exists():
            raise UsageError(
                "config_exists", f"{path} is there already.", next_step="edit it by hand, or remove it and run `asrtune init` again."
            )
        roots = str(typer.prompt("Folders that tools may read data from, separated by commas", default="."))
        text = config_text(
            [root.strip() for root in roots.split(",") if root.strip()],
            price_per_gpu_hour=typer.prompt("Price of a GPU-hour here, 0 if it is your own", default=0.0, type=float),
            max_gpu_hours=typer.prompt("Paid GPU-hours a launch may plan without approval", default=0.0, type=float),
            max_parallel_jobs=typer.prompt("Jobs at a time", default=1, type=int),
            max_disk_gb=typer.prompt("Disk for the workspace, in GB", default=100.0, type=float))  # fmt: skip
        _check_config(text, path, load_config)
        io.write_text(path, text)
    except AsrtuneError as error:
        return show_error(error, as_json=False)
    typer.echo(f"Wrote {path}")
    return 0


def config_text(roots: list[str], *, price_per_gpu_hour: float, max_gpu_hours: float, max_parallel_jobs: int, max_disk_gb: float) -> str:
    """The text of an `asrtune.toml`. JSON strings are TOML strings."""
    return (
        "# Read by asrtune at start; no tool writes it.\n"
        f"data_roots = {json.dumps(roots)}\n"
        'output_root = ".asrtune"\n\n'
        "[budgets]\n"
        f"price_per_gpu_hour = {price_per_gpu_hour}\n"
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
