"""One command per tool, built from the tool's input schema, and what happens when it runs.

Required single values are positional, in the order of the fields; a single required list is the last positional and takes many; everything
else is an option, repeated for lists. A pair such as an att_context_size is written `56,0` or `[56,0]`. All checking is left to the verb's `Input`, so
the command line refuses exactly what MCP refuses, with all problems at once.
"""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer
import typer.main

from asrtune import catalog

if TYPE_CHECKING:
    from asrcore.errors import AsrtuneError
    from asrcore.requests import Event
    from asrcore.results import Result
    from asrcore.workspace import Workspace

INTERRUPTED = 130


class Field(NamedTuple):
    """One argument of a tool, as the command line sees it."""

    name: str
    schema: dict[str, Any]
    positional: bool
    required: bool

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def core(self) -> dict[str, Any]:
        """The schema without the null of an optional value."""
        for option in self.schema.get("anyOf", ()):
            if option.get("type") != "null":
                return option
        return self.schema

    @property
    def many(self) -> bool:
        """A list that is given one by one; a pair of numbers is one value."""
        return self.core.get("type") == "array" and not _is_pair(self.core)

    @property
    def item(self) -> dict[str, Any]:
        return self.core.get("items", {}) if self.many else self.core


def fields_of(tool: catalog.Tool) -> tuple[Field, ...]:
    """The arguments of a tool in the order of its schema, from `schemas.json`."""
    schema = catalog.shipped()[tool.name]["input_schema"]
    required = schema.get("required", [])
    fields = [Field(name, prop, False, name in required) for name, prop in schema.get("properties", {}).items()]
    lists = [f for f in fields if f.required and f.many]
    placed = [f for f in fields if f.required and not f.many] + (lists if len(lists) == 1 else [])
    return tuple(f._replace(positional=True) for f in placed) + tuple(f for f in fields if f not in placed)


def verb_command(tool: catalog.Tool) -> Any:
    """The Typer command of one tool."""
    parameters = [_parameter(field) for field in fields_of(tool)]
    parameters.append(_keyword("as_json", bool, typer.Option("--json", help="The answer as one JSON object on stdout, errors on stderr."), False))
    if tool.returns_job:
        parameters.append(_keyword("wait", bool, typer.Option("--wait", help="Follow the job to its end; the job goes on if you leave."), False))

    if tool.kind != "read":
        parameters.append(_keyword("dry_run", bool, typer.Option("--dry-run", help="Check the call and show it; nothing is written or started."), False))

    def run(**values: Any) -> None:
        as_json, wait, dry_run = values.pop("as_json"), values.pop("wait", False), values.pop("dry_run", False)
        if dry_run:
            raise typer.Exit(show_call(tool, arguments_of(tool, values), as_json=as_json))
        raise typer.Exit(run_tool(tool, arguments_of(tool, values), as_json=as_json, wait=wait))

    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    examples = "\n".join(f"  {example}" for example in tool.examples)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(tool.command, help=tool.description, epilog=f"\b\nExample:\n{examples}", short_help=tool.summary)(run)
    command = typer.main.get_command(single)
    command.name = tool.command
    return command


def arguments_of(tool: catalog.Tool, values: dict[str, Any]) -> dict[str, Any]:
    """What was typed, as JSON values; options that were not given are left out, so defaults come from the tool."""
    arguments: dict[str, Any] = {}
    for field in fields_of(tool):
        value: Any = values[field.name]
        if value in (None, []) or (value is False and field.schema.get("default") is False):
            continue
        arguments[field.name] = [_typed(v, field.item) for v in cast("list[Any]", value)] if field.many else _typed(value, field.item)
    return arguments


def command_line(name: str, arguments: dict[str, Any]) -> str:
    """The command that makes this call, for people to copy."""
    import shlex

    tool = catalog.tool(name)
    words = ["asrtune", tool.command]
    for field in fields_of(tool):
        if field.name not in arguments:
            continue
        value = arguments[field.name]
        for item in cast("list[Any]", value) if field.many else [value]:
            text = _typed_back(item)
            words += [text] if field.positional else [field.flag] if item is True else [field.flag, text]
    return shlex.join(words)


# --- running --------------------------------------------------------------------------------------------------------------------------


def run_tool(tool: catalog.Tool, arguments: dict[str, Any], *, as_json: bool, wait: bool) -> int:
    """Calls the tool, shows the answer, gives the exit code."""
    from asrcore.errors import AsrtuneError
    from asrcore.workspace import Workspace
    from asrtune import registry

    try:
        ws = Workspace.open()
        result = registry.call(tool.name, arguments, ws)
        if wait:
            result = await_job(result, ws, as_json=as_json)
    except AsrtuneError as error:
        return show_error(error, as_json=as_json)
    except KeyboardInterrupt:
        if wait:
            typer.echo("Left; the job goes on. `asrtune list-objects job` finds it, `asrtune get-job ID --wait` follows it.", err=True)
        return INTERRUPTED
    if as_json:
        typer.echo(result.model_dump_json())
    else:
        from asrtune import render

        render.result(result)
    return job_exit_code(result) if wait else 0


def show_call(tool: catalog.Tool, arguments: dict[str, Any], *, as_json: bool) -> int:
    """Shows what the call would be, checked and with its defaults, and what it would do. Runs nothing of the tool; gives the exit code.

    What a tool finds only in its inputs (a missing file, a plan over a limit) is not looked for: `plan_finetune` is the dry run of a training.
    """
    from asrcore.errors import AsrtuneError
    from asrcore.workspace import Workspace
    from asrtune import registry

    try:
        home = Workspace.open().home
        checked = registry.validate(registry.load(tool.name), arguments).model_dump(mode="json")
    except AsrtuneError as error:
        return show_error(error, as_json=as_json)
    if as_json:
        typer.echo(json.dumps({"dry_run": True, "tool": tool.name, "arguments": checked, "home": str(home), "starts_job": tool.kind == "job",
                               "destructive": tool.annotations.destructive}, ensure_ascii=False))  # fmt: skip
        return 0
    does = "would start a job that writes" if tool.kind == "job" else "would stop or change what is" if tool.annotations.destructive else "would write"
    typer.echo(f"Dry run: {tool.name} {does} below {home}; nothing was done.")
    for name, value in checked.items():
        typer.echo(f"  {name}: {json.dumps(value, ensure_ascii=False)}")
    return 0


def await_job(result: Result[Any], ws: Workspace, *, as_json: bool = True) -> Result[Any]:
    """The job's last state, once it ended; a progress bar on stderr meanwhile unless `as_json`."""
    from asrcore.jobs import follow
    from asrtune import registry

    job_id = result.data.job_id
    with _progress(result, as_json) as show:
        for event in follow(ws, job_id):
            show(event)
    return registry.call("get_job", {"job_id": job_id}, ws)


def job_exit_code(result: Result[Any]) -> int:
    """0 for a job that succeeded or still runs, else its error's exit code; 5 where it left none."""
    job = result.data
    if job.state in ("failed", "cancelled", "lost", "orphaned"):
        return job.error.exit_code if job.error is not None else 5
    return 0


def show_error(error: AsrtuneError, *, as_json: bool) -> int:
    """The error on stderr, for machines as ErrorView JSON. Gives its exit code."""
    from asrtune import registry

    view = registry.error_view(error)
    if as_json:
        typer.echo(view.model_dump_json(), err=True)
    else:
        from asrtune import render

        render.error(view)
    return error.exit_code


def usage_error(message: str) -> None:
    """A call that the command line itself refused, as ErrorView JSON on stderr."""
    from asrcore.errors import UsageError, clean_text

    show_error(UsageError("arguments_invalid", clean_text(message), next_step="see --help of the command."), as_json=True)


@contextlib.contextmanager
def _progress(result: Result[Any], as_json: bool) -> Generator[Callable[[Event], None]]:
    if as_json:
        yield lambda event: None
        return
    from asrtune import render

    with render.progress(result.data) as show:
        yield show


# --- building -------------------------------------------------------------------------------------------------------------------------


def _parameter(field: Field) -> inspect.Parameter:
    core, item = field.core, field.item
    default = field.schema.get("default")
    description = str(field.schema.get("description", core.get("description", "")))
    bounds = _bounds(item)
    help_text = f"{description} {bounds}".strip() if bounds else description
    if default not in (None, [], "", False):
        given = cast("list[Any]", default) if field.many else [default]
        help_text += f" [default: {' '.join(map(_typed_back, given))}]"
    choices = [str(c) for c in item.get("enum", [item["const"]] if "const" in item else [])]
    if choices and field.positional:
        help_text += f" One of: {', '.join(choices)}."
    shared: dict[str, Any] = {"help": help_text, "metavar": _metavar(field, choices), "show_default": False}
    if choices:
        shared["autocompletion"] = lambda: choices
    if item.get("type") == "boolean" and not field.positional:
        flag = field.flag if default is False else f"{field.flag}/--no-{field.flag[2:]}"
        return _keyword(field.name, bool, typer.Option(flag, help=help_text, show_default=False), default)
    kind: Any = list[str] if field.many else str
    if field.positional:
        return _keyword(field.name, kind, typer.Argument(**shared), inspect.Parameter.empty)
    if field.required:
        return _keyword(field.name, kind, typer.Option(field.flag, **shared), inspect.Parameter.empty)
    return _keyword(field.name, kind | None, typer.Option(field.flag, **shared), None)


def _keyword(name: str, kind: Any, info: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def _metavar(field: Field, choices: list[str]) -> str:
    if field.positional:
        return field.name.upper()
    if choices:
        return "|".join(choices)
    item = field.item
    return "N,N" if _is_pair(item) else {"integer": "INT", "number": "NUMBER", "string": "TEXT"}.get(str(item.get("type")), "JSON")


def _bounds(item: dict[str, Any]) -> str:
    low, high = item.get("minimum", item.get("exclusiveMinimum")), item.get("maximum", item.get("exclusiveMaximum"))
    if low is None and high is None:
        return ""
    left = "" if low is None else f"{low} {'<' if 'exclusiveMinimum' in item else '<='} "
    right = "" if high is None else f" {'<' if 'exclusiveMaximum' in item else '<='} {high}"
    return f"({left}x{right})"


def _is_pair(schema: dict[str, Any]) -> bool:
    """A fixed row of numbers, such as an att_context_size."""
    if schema.get("type") != "array":
        return False
    parts = schema.get("prefixItems") or [schema.get("items", {})]
    fixed = "prefixItems" in schema or schema.get("minItems", 0) == schema.get("maxItems", -1)
    return fixed and all(part.get("type") in ("integer", "number") for part in parts)


def _typed_back(value: Any) -> str:
    """A JSON value as a person types it."""
    return value if isinstance(value, str) else ",".join(map(str, cast("list[Any]", value))) if isinstance(value, (list, tuple)) else json.dumps(value)


def _typed(text: Any, schema: dict[str, Any]) -> Any:
    """Typed text as the JSON value the schema asks for; what does not fit stays text, for the tool to refuse with the rest."""
    if not isinstance(text, str):
        return text
    if _is_pair(schema):
        part = {"type": "number"} if "number" in json.dumps(schema) else {"type": "integer"}
        return [_typed(piece.strip(), part) for piece in text.strip("[] ").split(",")]
    kind = schema.get("type")
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
        if kind in ("object", "array", "boolean") or "$ref" in schema:
            return json.loads(text)
    except ValueError:
        pass
    return text
