"""What a tool's answer is on the wire: structured, and never longer than a model can read in one go, whatever the data.

Only MCP shortens. `asrtune <tool> --json` and Python give the whole answer, so a shortened one names that command.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import mcp_types as types

if TYPE_CHECKING:
    from asrcore.errors import AsrtuneError
    from asrcore.workspace import Workspace

ANSWER_LIMIT = 32_000
"""Characters of the structured content (about 8,000 tokens at 4 characters each); many hosts give it to the model whole."""
TEXT_LIMIT = 6000
"""Characters of the text block (about 1,500 tokens)."""
_LENGTHS = (200, 100, 50, 20, 10, 5, 3)
"""How many entries of a list are kept, tried in turn. Never under 3: pairs and triples of numbers are one value."""
_FIELDS = 32
"""A mapping with more entries is a table of names, not a record; the largest record of any tool has 29 fields (tests)."""
_LONG_ACTION = 2_000
"""Characters of a next action that makes way before lists become very short: it repeats ids that the caller has."""


def call_result(name: str, arguments: Mapping[str, Any], workspace: Callable[[], Workspace]) -> types.CallToolResult:
    """Runs one tool. Raises nothing: every failure is an error that the model can read."""
    from asrcore.errors import AsrtuneError
    from asrtune import registry

    try:
        envelope = within_limit(registry.envelope(registry.call(name, arguments, workspace())), name, arguments)
    except AsrtuneError as error:
        return error_result(error)
    except Exception as error:  # noqa: BLE001  # opening the workspace, or a result that cannot be written as JSON
        return error_result(registry.translate(error, name, None))
    return types.CallToolResult(content=[types.TextContent(type="text", text=result_text(envelope))], structured_content=envelope)


def error_result(error: AsrtuneError) -> types.CallToolResult:
    """The error with its first problems as text, and with as many as fit ANSWER_LIMIT as structured content."""
    from asrtune import registry

    most = registry.MAX_PROBLEMS
    view = registry.error_view(error)
    while len(view.model_dump_json()) > ANSWER_LIMIT and most > 1:
        most //= 2
        view = registry.error_view(error, most)
    lines = [f"[{view.code}] {view.message} Next: {view.next_step}"]
    lines += [f"- {p.where + ' ' if p.where else ''}[{p.code}] {p.message}{'. Fix: ' + p.fix if p.fix else ''}" for p in view.problems[:20]]
    if len(view.problems) > 20:
        lines.append(f"- … {len(view.problems) - 20} more in the structured content")
    return types.CallToolResult(is_error=True, content=[types.TextContent(type="text", text="\n".join(lines)[:TEXT_LIMIT])],
                                structured_content=view.model_dump(mode="json"))  # fmt: skip


def within_limit(envelope: dict[str, Any], name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The envelope, or where that is over ANSWER_LIMIT one with shorter lists, `truncated`, and the warning `answer_shortened`, valid against the same schema.

    Raises `answer_too_long` where no list is to blame.
    """
    if _size(envelope) <= ANSWER_LIMIT:
        return envelope
    from asrcore.errors import Problem, ToolFault, clean_text
    from asrtune.cli_verbs import command_line

    whole = f"read the whole answer with `{clean_text(command_line(name, dict(arguments)), 300)} --json`, or ask for less at a time"
    for longest in _LENGTHS:
        left_out: dict[str, int] = {}
        kept = {key: _cut(envelope[key], longest, key, left_out) for key in ("data", "warnings", "artifacts")}
        actions: list[Any] = [action for action in envelope["next_actions"] if longest > 20 or _size(action) <= _LONG_ACTION]
        left_out["next_actions"] = len(envelope["next_actions"]) - len(actions)
        told = ", ".join(f"{count} of {clean_text(place, 100)}" for place, count in left_out.items() if count)
        warning = Problem(code="answer_shortened", severity="warning", message=f"the answer was too long, so it lacks: {told}.", fix=whole)
        made = {**envelope, **kept, "next_actions": actions, "warnings": [*kept["warnings"], warning.model_dump(mode="json")], "truncated": True}
        if _size(made) <= ANSWER_LIMIT:
            return made
    raise ToolFault("answer_too_long", f"{name} worked, but its answer is over {ANSWER_LIMIT:,} characters.", next_step=f"{whole}.")


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _cut(value: Any, longest: int, place: str, left_out: dict[str, int]) -> Any:
    """The value with at most `longest` entries in each list and each table of names; what is missing is counted by place."""
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        if len(entries) > max(longest, _FIELDS):
            left_out[place] = left_out.get(place, 0) + len(entries) - longest
            entries = dict(list(entries.items())[:longest])
        return {key: _cut(item, longest, f"{place}.{key}", left_out) for key, item in entries.items()}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if len(items) > longest:
            left_out[place] = left_out.get(place, 0) + len(items) - longest
        return [_cut(item, longest, place, left_out) for item in items[:longest]]
    return value


def result_text(envelope: dict[str, Any]) -> str:
    """The summary, then the rest as compact JSON: first without what is empty, then with ever shorter lists, until it fits TEXT_LIMIT."""
    rest = {key: value for key, value in envelope.items() if key != "summary"}
    for longest in (1_000_000, 20, 8, 3, 1, 0):
        text = f"{envelope['summary']}\n{json.dumps(_short(rest, longest), ensure_ascii=False, separators=(',', ':'))}"
        if len(text) <= TEXT_LIMIT:
            return text
    return f"{envelope['summary'][:TEXT_LIMIT - 60]}\nThe structured content holds the answer."


def _short(value: Any, longest: int) -> Any:
    """For reading only: without empty values, lists with a note of what they lack, long texts cut."""
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        return {k: _short(v, longest) for k, v in entries.items() if v not in (None, [], {}, "")}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        more = [f"… {len(items) - longest} more in the structured content"] if len(items) > longest else []
        return [*(_short(item, longest) for item in items[:longest]), *more]
    if isinstance(value, str) and len(value) > 100 * (longest + 1):
        return value[: 100 * (longest + 1)] + "…"
    return value
