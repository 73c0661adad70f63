"""Runs tools: loads the verb module, validates arguments, turns every failure into a coded error. All surfaces go through `call`.

    python -m asrtune.registry --write      writes schemas.json and, in a checkout, the golden files
"""

from __future__ import annotations

import difflib
import errno
import importlib
import inspect
import json
import logging
import math
import re
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from asrcore import io
from asrcore.errors import AsrtuneError, EnvironmentFault, ErrorView, Problem, ToolFault, UsageError, clean_text
from asrcore.results import Result
from asrcore.workspace import Workspace
from asrtune import catalog, trace

MAX_ARGUMENT_BYTES = 256_000
MAX_DEPTH = 16
MAX_PROBLEMS = 50
"""Problems shown of one error on any surface; the message says how many more there are."""

_log = logging.getLogger("asrtune")
_ID_PATTERN = re.compile(r"\^([a-z]+)_\[0-9a-f\]\{12\}\$")
"""The pattern of an id, as pydantic's messages quote it."""
_loading = threading.Lock()
"""One first import at a time: two threads that meet in a package whose `__init__` imports its own modules (asrcore.score) wait for each other, until
Python gives one of them half a module."""


@dataclass(frozen=True)
class Verb:
    """A loaded verb module."""

    name: str
    description: str
    input: type[BaseModel]
    output: type[BaseModel]
    run: Callable[[Any, Workspace], Result[Any]]


def load(name: str) -> Verb:
    """The verb of one tool. Raises `tool_unknown` for a name that is not in the catalog."""
    if name not in catalog.NAMES:
        near = difflib.get_close_matches(name[:64], catalog.NAMES, n=3)
        raise UsageError(
            "tool_unknown", f"there is no tool {clean_text(name, 64)!r}.",
            next_step=f"call one of {', '.join(near or catalog.NAMES)}.")  # fmt: skip
    with _loading:
        module = importlib.import_module(f"asrtune.verbs.{name}")
    return Verb(name, _unwrapped(module.__doc__ or ""), module.Input, module.Output, module.run)


def call(name: str, arguments: Mapping[str, Any], ws: Workspace | None = None) -> Result[Any]:
    """Runs one tool. Raises `AsrtuneError` and nothing else; a traceback of the unexpected goes to a log file, never into a message."""
    with trace.recorded(name, arguments) as answered:
        try:
            ws = ws or Workspace.open()
            verb = load(name)
            return answered(verb.run(validate(verb, arguments), ws))
        except AsrtuneError:
            raise
        except Exception as error:
            raise translate(error, name, ws) from error


def validate(verb: Verb, arguments: Mapping[str, Any]) -> Any:
    """The typed request. Types are those of the JSON schema: no "5" for 5. Raises `arguments_invalid` with every problem at once."""
    if problems := list(_not_json(arguments)):
        raise _arguments_invalid(verb.name, problems)
    text = json.dumps(arguments, default=_plain, allow_nan=False)
    if len(text) > MAX_ARGUMENT_BYTES:
        raise _arguments_invalid(verb.name, [Problem(code="arguments_too_large", message=f"the arguments are over {MAX_ARGUMENT_BYTES:,} bytes",
                                                     fix="pass paths of files, not their content")])  # fmt: skip
    try:
        return verb.input.model_validate_json(text, strict=True)
    except ValidationError as error:
        every = error.errors(include_url=False, include_context=False)
        # A list that lost its only, bad entry is "too short" on top: that says nothing more.
        found = [e for e in every if e["type"] != "too_short" or not any(o is not e and o["loc"][: len(e["loc"])] == e["loc"] for o in every)]
        raise _arguments_invalid(verb.name, [_problem(cast("Mapping[str, Any]", e), verb.input) for e in found[:MAX_PROBLEMS]], len(found)) from None


def _unwrapped(docstring: str) -> str:
    """Paragraphs of a docstring as one line each."""
    return "\n".join(" ".join(paragraph.split()) for paragraph in inspect.cleandoc(docstring).split("\n\n"))


def error_view(error: AsrtuneError, most: int = MAX_PROBLEMS) -> ErrorView:
    """The error as all surfaces show it, with at most `most` problems."""
    view = ErrorView.of(error)
    more = len(view.problems) - most
    if more <= 0:
        return view
    return view.model_copy(update={"problems": view.problems[:most], "message": f"{view.message} ({more} more problems are not shown.)"})


def envelope(result: Result[Any]) -> dict[str, Any]:
    """The result as plain JSON data; NaN and infinity become null."""
    return json.loads(result.model_dump_json())


def input_schema(name: str) -> dict[str, Any]:
    """JSON schema of the arguments, from the verb's `Input`."""
    return tidy(load(name).input.model_json_schema())


def output_schema(name: str) -> dict[str, Any]:
    """JSON schema of the whole envelope, from the verb's `Output`."""
    result = cast("type[BaseModel]", Result[load(name).output])  # pyright: ignore[reportInvalidTypeArguments]
    return tidy(result.model_json_schema(mode="serialization"))


def tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the `title`s that pydantic makes up from names; they cost tokens and say nothing."""

    def walk(node: Any, *, names: bool = False) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in cast("list[Any]", node)]
        if not isinstance(node, dict):
            return node
        entries = cast("dict[str, Any]", node)
        kept = {k: v for k, v in entries.items() if names or k != "title" or not isinstance(v, str)}
        return {k: v if k in ("const", "default", "enum", "required") and not names else walk(v, names=not names and k in ("properties", "$defs"))
                for k, v in kept.items()}  # fmt: skip

    return walk(schema)


# --- failures -------------------------------------------------------------------------------------------------------------------------


def translate(error: Exception, name: str, ws: Workspace | None) -> AsrtuneError:
    """A coded error for an exception that no room translated."""
    again = f"run {name} again with the same arguments."
    if isinstance(error, ImportError) and (error.name or "").split(".")[0] not in ("asrtune", "asrcore"):
        module = clean_text(error.name or "a package", 60)
        return EnvironmentFault("package_missing", f"{module} cannot be imported.",
                                next_step=f"install the package that holds {module} (asrtune doctor lists versions), then {again}")  # fmt: skip
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return io.disk_full(Path(error.filename or (ws.home if ws else ".")))
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EnvironmentFault("not_permitted", f"{clean_text(str(error.filename or 'a file'))}: {error.strerror}.",
                                next_step=f"give this user access to it, then {again}")  # fmt: skip
    where = _write_traceback(error, name, ws)
    return ToolFault("internal_error", f"{name} failed in a way it does not understand ({type(error).__name__}); {where}.",
                     next_step="call doctor; if it finds nothing, report the log file.")  # fmt: skip


def _write_traceback(error: Exception, name: str, ws: Workspace | None) -> str:
    _log.error("unexpected %s in %s", type(error).__name__, name, exc_info=error)
    if ws is None:
        return "the traceback is on stderr"
    path = ws.home / "logs" / f"internal_{name}_{uuid.uuid4().hex[:12]}.log"
    try:
        io.write_text(path, "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace").decode("utf-8"))
    except (OSError, AsrtuneError):
        return "the traceback is on stderr, the workspace could not be written"
    return f"the traceback is in {path}"


def _arguments_invalid(name: str, problems: list[Problem], count: int = 1) -> UsageError:
    count = max(count, len(problems))
    shown = "; ".join(p.message for p in problems[:5]) + (f"; … {count} problems in all" if count > 5 else "")
    return UsageError("arguments_invalid", f"{name} cannot take these arguments: {shown}.",
                      next_step=f"correct them (`asrtune schema {name}` shows what is allowed) and call {name} again.", problems=problems)  # fmt: skip


def _problem(error: Mapping[str, Any], taken: type[BaseModel]) -> Problem:
    """One pydantic finding in our words; never the input's value. The fix is a near word, where an id comes from, or what the argument is for."""
    where = clean_text(".".join(str(part) for part in error["loc"]), 80) or "arguments"
    known = list(taken.model_fields)
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, known, n=1, cutoff=0.5)
        return Problem(code="argument_unknown", message=f"{where}: there is no such argument", fix=f"did you mean {near[0]}?" if near else f"known arguments: {', '.join(known) or 'none'}")
    argument = str(error["loc"][0]) if error["loc"] else ""
    about = taken.model_fields[argument].description if argument in known else None
    fix = f"{argument}: {about}" if about else f"pass another value for {where}"
    if error["type"] == "missing":
        return Problem(code="argument_missing", message=f"{where}: a value is required", fix=fix)
    message = clean_text(error["msg"])
    if error["type"] == "string_pattern_mismatch" and (kind := _ID_PATTERN.search(error["msg"])):
        message = f"not an id of the kind {kind[1]}, which is {kind[1]}_ and 12 of 0-9 and a-f"
        fix = f'call list_objects with {{"kind": "{kind[1]}"}} and use an id from there'
    elif error["type"] == "literal_error" and isinstance(error["input"], str):
        near = difflib.get_close_matches(error["input"][:64], re.findall(r"'([^']+)'", error["msg"]), n=1)
        fix = f"did you mean {near[0]}?" if near else fix
    return Problem(code="argument_invalid", message=f"{where}: {message}", fix=clean_text(fix, 300))


def _not_json(value: object, where: str = "", depth: int = 0) -> Iterator[Problem]:
    """What JSON text cannot carry faithfully: NaN and infinity, lone surrogates, NUL, too deep nesting."""
    place = clean_text(where, 80) or "arguments"
    if depth > MAX_DEPTH:
        yield Problem(code="argument_invalid", message=f"{clean_text(where, 40)}: nested more than {MAX_DEPTH} deep", fix="pass a flat value")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(code="argument_invalid", message=f"{place}: not a finite number", fix="pass a finite number")
    elif isinstance(value, str) and not _is_text(value):
        yield Problem(code="argument_invalid", message=f"{place}: holds a NUL or half a UTF-16 pair", fix="pass plain text")
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            if not isinstance(key, str) or not _is_text(key):
                yield Problem(code="argument_unknown", message=f"{place}: a name that is not plain text", fix="pass text names")
            else:
                yield from _not_json(item, f"{where}.{key}" if where else key, depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(cast("list[object]", value)):
            yield from _not_json(item, f"{where}.{index}", depth + 1)
    elif not isinstance(value, (str, int, float, bool, PurePath, BaseModel, type(None))):
        yield Problem(code="argument_invalid", message=f"{place}: {type(value).__name__} is not a JSON value", fix="pass text, numbers, lists or maps")


def _is_text(value: str) -> bool:
    try:
        return b"\0" not in value.encode("utf-8")
    except UnicodeEncodeError:
        return False


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


# --- shipped schemas and golden files -------------------------------------------------------------------------------------------------


def shipped_schemas() -> dict[str, dict[str, Any]]:
    """What `schemas.json` must hold, from the verb modules."""
    return {name: {"description": load(name).description, "input_schema": input_schema(name), "output_schema": output_schema(name)}
            for name in catalog.NAMES}  # fmt: skip


def golden_files() -> dict[str, str]:
    """File below tests/golden -> its text: one per tool, the envelope, the error. A reviewer sees every change of a contract as a diff."""
    files = {f"tools/{t.name}.json": {"name": t.name, "kind": t.kind, "title": t.title, "summary": t.summary,
                                      "annotations": t.annotations._asdict(), **schemas}
             for t, schemas in zip(catalog.TOOLS, shipped_schemas().values(), strict=True)}  # fmt: skip
    files["envelope.json"] = tidy(Result[BaseModel].model_json_schema(mode="serialization"))
    files["error.json"] = tidy(ErrorView.model_json_schema(mode="serialization"))
    return {name: json.dumps(value, ensure_ascii=False, indent=1) + "\n" for name, value in files.items()}


def shipped_text() -> str:
    return json.dumps(shipped_schemas(), ensure_ascii=False, separators=(",", ":")) + "\n"


def _write() -> None:
    io.write_text(catalog.SCHEMAS_FILE, shipped_text())
    golden = Path(__file__).parents[2] / "tests" / "golden"
    if golden.is_dir():
        for name, text in golden_files().items():
            io.write_text(golden / name, text)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m asrtune.registry --write")
    _write()
