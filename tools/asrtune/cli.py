"""The `asrtune` command. Listing and help load the catalog only; a verb's options are built when it is called (`asrtune.cli_verbs`)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from asrtune import catalog

HELP = """Fine-tune, measure and export a streaming speech recognition model.

The commands stand in the order of the work. Every tool takes [bold]--json[/bold] for machines; jobs take [bold]--wait[/bold].
Exit codes: 0 ok, 2 usage, 3 not ready, 4 environment, 5 tool error, 6 needs approval."""


class AsrtuneGroup(TyperGroup):
    """Tools from the catalog as light stand-ins, replaced by the real command once one is chosen. `build_shards` is `build-shards`, too."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        tools = {t.command: TyperCommand(t.command, help=t.summary, rich_help_panel=t.stage) for t in catalog.TOOLS}
        self.commands = {**tools, **self.commands}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        plain = args[0].replace("_", "-")
        name, command, rest = super().resolve_command(ctx, [plain, *args[1:]] if plain in self.commands else args)
        tool = next((t for t in catalog.TOOLS if t.command == name), None)
        if tool is not None:
            from asrtune.cli_verbs import verb_command

            command = verb_command(tool)
        return name, command, rest

    def main(self, args: Sequence[str] | None = None, *rest: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """As usual, but a usage error of a machine's call (`--json`) is the same JSON on stderr as every other error."""
        args = list(sys.argv[1:] if args is None else args)
        if not standalone_mode or "--json" not in args:
            return super().main(args, *rest, standalone_mode=standalone_mode, **extra)
        try:
            code = super().main(args, *rest, standalone_mode=False, **extra)
        except Exception as error:
            message = getattr(error, "format_message", None)
            if message is None:
                raise
            from asrtune.cli_verbs import usage_error

            usage_error(message())
            code = 2
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(name="asrtune", cls=AsrtuneGroup, help=HELP, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]})  # fmt: skip

_OTHER = "More"


@app.callback()
def root() -> None:
    """Holds the group together; all options belong to commands."""


@app.command(rich_help_panel="This machine")
def quickstart(
    home: Annotated[Path, typer.Option(help="Folder for everything it makes.", file_okay=False)] = Path(".asrtune/quickstart"),
    seed: Annotated[int, typer.Option(help="Seed of the synthetic data and of the training.", min=0)] = 0,
    steps: Annotated[int | None, typer.Option(help="Training steps; default: what the plan says.", min=1)] = None,
    replay: Annotated[bool, typer.Option("--replay/--no-replay", help="Mix the base's own languages in; without them it forgets.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a step on stdout.")] = False,
) -> None:
    """The whole loop on synthetic speech and the embedded base."""
    from asrtune.cli_misc import run_quickstart

    raise typer.Exit(run_quickstart(home, seed=seed, replay=replay, steps=steps, as_json=as_json))


@app.command(rich_help_panel="This machine")
def init(
    folder: Annotated[Path, typer.Argument(help="Where asrtune.toml goes.", file_okay=False)] = Path("."),
) -> None:
    """Write asrtune.toml; a person's act, it needs a terminal."""
    from asrtune.cli_person import write_config

    raise typer.Exit(write_config(folder))


@app.command(rich_help_panel="This machine")
def approve(plan: Annotated[str, typer.Argument(metavar="PLAN_ID", help="The plan that launch_finetune refused.")]) -> None:
    """Approve a plan that is over a limit of asrtune.toml; a person's act, it needs a terminal."""
    from asrtune.cli_person import approve_plan

    raise typer.Exit(approve_plan(plan))


@app.command(rich_help_panel="This machine")
def upload(
    export: Annotated[str, typer.Argument(metavar="EXPORT_ID", help="A finished export of this workspace.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="On huggingface.co; made if it is not there.")],
    public: Annotated[bool, typer.Option("--public/--private", help="Of a repository that is made.")] = False,
) -> None:
    """Upload an export to huggingface.co with the token in HF_TOKEN; a person's act, it needs a terminal."""
    from asrtune.cli_person import upload_export

    raise typer.Exit(upload_export(export, repository, public=public))


@app.command(rich_help_panel="This machine")
def report(
    which: Annotated[str | None, typer.Argument(metavar="[REPORT_ID|PATH]", help="Default: the newest of this workspace.")] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser; only ever from a terminal.")] = True,
) -> None:
    """Print the path of a report and open it in the browser."""
    from asrtune.cli_misc import open_report

    raise typer.Exit(open_report(which, show=show))


@app.command(rich_help_panel=_OTHER)
def mcp(
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP at /mcp instead of stdin and stdout; ASRTUNE_MCP_TOKEN holds the token.")] = False,
    host: Annotated[str | None, typer.Option(help="With --http: address; outside loopback a token is required. Default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="With --http: 0 lets the system choose. Default 8321.", min=0, max=65535)] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="With --http: a name that clients may call this machine.")] = None,
) -> None:
    """Serve the tools over MCP on stdin and stdout, or over HTTP."""
    if http or host is not None or port is not None or allow_host:
        from asrtune.cli_misc import serve_over_http

        raise typer.Exit(serve_over_http(host, port, allow_host or [], http=http))
    from asrtune.mcp_server import serve

    serve()


@app.command(rich_help_panel=_OTHER)
def serve(
    checkpoint: Annotated[str, typer.Argument(help='"embedded", a run, blend, base or export id, a .nemo path or a hub id.')],
    att_context: Annotated[str, typer.Option(help="LEFT,RIGHT frames of 80 ms for clients that name no latency.")] = "56,3",
    host: Annotated[str, typer.Option(help="Address to listen on; all but loopback ask clients for ASRTUNE_SERVE_TOKEN.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: a free one.", min=0, max=65535)] = 0,
    max_connections: Annotated[int, typer.Option(help="Streams at a time; more are sent away.", min=1, max=4096)] = 64,
    origin: Annotated[list[str] | None, typer.Option(help="Origin of a page elsewhere that may connect; once for each.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="The addresses as one line of JSON on stdout.")] = False,
) -> None:
    """Serve live transcription: a WebSocket and a page with a microphone."""
    from asrtune.cli_serve import run_server

    raise typer.Exit(run_server(checkpoint, att_context=att_context, host=host, port=port, max_connections=max_connections, origins=origin or [],
                                device=device, as_json=as_json))  # fmt: skip


@app.command(rich_help_panel=_OTHER)
def call(
    tool: Annotated[str, typer.Argument(help="Tool name, as in `asrtune schema`.", autocompletion=lambda: list(catalog.NAMES))],
    arguments: Annotated[str, typer.Option("--json", help="The arguments as a JSON object; - reads them from stdin.")] = "{}",
) -> None:
    """Call a tool as an MCP client would; answers JSON."""
    from asrtune.cli_misc import call_tool

    raise typer.Exit(call_tool(tool, arguments))


@app.command(rich_help_panel=_OTHER)
def schema(
    tool: Annotated[str | None, typer.Argument(help="One tool; default: all.", autocompletion=lambda: list(catalog.NAMES))] = None,
) -> None:
    """Print the JSON schemas of the tools."""
    from asrtune.cli_misc import print_schema

    raise typer.Exit(print_schema(tool))


@app.command(rich_help_panel=_OTHER)
def replay(
    script: Annotated[Path, typer.Argument(help='A recipe (.toml), or JSON lines {"tool", "arguments", "expect", "save", "wait"}.', exists=True, dir_okay=False)],
    change: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A value of the recipe, e.g. base=base.nemo; once for each.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TOOL", help="End after the first call of this tool, e.g. plan_finetune.")] = None,
) -> None:
    """Run a script or recipe of tool calls and check the answers."""
    from asrtune.cli_replay import run_script

    raise typer.Exit(run_script(script, change or [], until))


@app.command(rich_help_panel="Measuring")
def campaign(
    campaign_id: Annotated[str | None, typer.Argument(metavar="[CAMPAIGN_ID]", help="Default: the newest of this workspace.")] = None,
    more_hours: Annotated[float | None, typer.Option(help="What would so many more hours of target data bring?", min=0.01)] = None,
    hard: Annotated[int, typer.Option(help="Also so many utterances and words of the first target that were missed most.", min=0, max=1000)] = 0,
    target: Annotated[int, typer.Option(help="Whose learning curve, by its place among the targets.", min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as one JSON object on stdout.")] = False,
) -> None:
    """Show a campaign: rounds, decisions, learning curve."""
    from asrtune.cli_campaign import show_campaign

    raise typer.Exit(show_campaign(campaign_id, hours=more_hours, hard=hard, target=target, as_json=as_json))


@app.command(rich_help_panel="Measuring")
def gate(
    baseline: Annotated[list[str], typer.Option(help="Eval id of the baseline on a target; once for each.")],
    candidate: Annotated[list[str], typer.Option(help="Eval id of the candidate on a target; once for each.")],
    guard_baseline: Annotated[list[str] | None, typer.Option(help="Eval id of the baseline on a guard.")] = None,
    guard_candidate: Annotated[list[str] | None, typer.Option(help="Eval id of the candidate on a guard.")] = None,
    not_worse: Annotated[bool, typer.Option("--not-worse", help="Pass targets whose loss is not shown, instead of asking for a gain.")] = False,
    margin_points: Annotated[float | None, typer.Option(help="Largest acceptable loss of a guard, in points.", min=0.0)] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the summary here, e.g. $GITHUB_STEP_SUMMARY.", dir_okay=False)] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.", dir_okay=False)] = None,
) -> None:
    """For CI: exit 0 when the candidate passes against the baseline, 3 when not."""
    from asrtune.cli_campaign import run_gate

    raise typer.Exit(run_gate(baseline, candidate, guard_baseline or [], guard_candidate or [], not_worse=not_worse, margin_points=margin_points,
                              markdown_file=markdown, junit_file=junit))  # fmt: skip


@app.command("find-batch", rich_help_panel="Training")
def find_batch(
    plan_id: Annotated[str, typer.Argument(metavar="PLAN_ID", help="A plan on the device that will train.")],
    as_json: Annotated[bool, typer.Option("--json", help="The job as JSON on stdout.")] = False,
) -> None:
    """Try the largest batch of a plan on this device, as a job."""
    from asrtune.cli_misc import start_batch_search

    raise typer.Exit(start_batch_search(plan_id, as_json=as_json))


@app.command("agent-docs", rich_help_panel=_OTHER)
def agent_docs(
    topic: Annotated[str | None, typer.Argument(help="A page of the skill; default: their names.")] = None,
) -> None:
    """Print a page of the skill: what an agent reads before it works."""
    from asrtune.cli_misc import print_agent_docs

    raise typer.Exit(print_agent_docs(topic))


@app.command(rich_help_panel=_OTHER)
def install(
    host: Annotated[str, typer.Option(help="claude, codex, cursor, vscode or gemini.", autocompletion=lambda: ["claude", "codex", "cursor", "vscode", "gemini"])],
    folder: Annotated[Path, typer.Option(help="Project that the agent works in.", file_okay=False, exists=True)] = Path("."),
    write: Annotated[bool, typer.Option("--write", help="Write the files; without it they are only shown.")] = False,
) -> None:
    """Make a coding agent find the tools and the skill in one project."""
    from asrtune.cli_misc import install_for

    raise typer.Exit(install_for(host, folder, write=write))


ledger = typer.Typer(help="The record of everything that exists here: data sets, plans, jobs, evals, decisions.", no_args_is_help=True)
app.add_typer(ledger, name="ledger", rich_help_panel=_OTHER)


@ledger.callback()
def ledger_group() -> None:
    """Keeps `export` a command of its own while it is the only one."""


@ledger.command("export")
def ledger_export(
    as_json: Annotated[bool, typer.Option("--json", help="Every row as one JSON object on stdout; without it the number of rows.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the JSON here instead.", dir_okay=False)] = None,
) -> None:
    """Write the whole ledger as JSON: objects, jobs, attempts, changes of state, GPU leases."""
    from asrtune.cli_misc import export_ledger

    raise typer.Exit(export_ledger(out, as_json=as_json))


@app.command(rich_help_panel=_OTHER)
def version() -> None:
    """Print the version."""
    from asrtune import __version__

    typer.echo(__version__)


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="asrtune")


if __name__ == "__main__":
    main()
