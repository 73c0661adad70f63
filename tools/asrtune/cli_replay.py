"""`asrtune replay`: a script of tool calls with expectations, one JSON object a line, for CI and for trajectories of agents.

    {"tool": "inspect_dataset", "arguments": {"manifest": "train.jsonl"}, "expect": {"data.verdict": "READY"}, "save": "train"}
    {"tool": "build_shards", "arguments": {"train": ["train.jsonl"]}, "wait": true, "save": "shards"}
    {"tool": "plan_finetune", "arguments": {"shards_id": "${shards.data.result.shards_id}", "dev_manifest": "none.jsonl"},
     "expect": {"ok": false, "code": "path_missing"}}

The answer that expectations and `${name.path}` look into is the envelope plus `"ok": true`, or the error plus `"ok": false`. A line that
expects nothing expects `ok`. `wait` follows a job to its end and takes its last state as the answer.

A recipe (`recipes/*.toml`) is such a script with comments and values: `[[step]]` tables with the same keys, and `[values]` that a caller may set
(`--set base=embedded`), filled in where a step says `${values.base}`. It ends at its first answer that is not as expected, since later steps rest on it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import typer

from asrcore.errors import AsrtuneError, UsageError, clean_text
from asrcore.workspace import Workspace
from asrtune import registry
from asrtune.cli_verbs import await_job, show_error

_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_.]+)\}")
_KEYS = {"tool", "arguments", "expect", "save", "wait"}
_RECIPE_KEYS = {"title", "about", "expected", "values", "step"}
_MISSING = "<missing>"


def run_script(path: Path, changes: Sequence[str] = (), until: str | None = None) -> int:
    """Exit code 0 when every answer is as expected, 1 when one is not, 2 when the script is no script.

    `changes` are `name=value` of the recipe's values; `until` names the tool after whose first call the script ends.
    """
    try:
        steps, values = read_recipe(path) if path.suffix == ".toml" else (read_script(path), {})
        steps = up_to(steps, until)
        saved: dict[str, Any] = {"values": changed(values, changes)}
        ws = Workspace.open()
    except AsrtuneError as error:
        return show_error(error, as_json=False)
    wrong = played = 0
    for number, step in steps:
        answer = run_step(step, saved, ws)
        if "save" in step:
            saved[step["save"]] = answer
        differences = compare(answer, step.get("expect") or {"ok": True})
        played += 1
        wrong += bool(differences)
        typer.echo(f"{'BAD' if differences else 'ok '} {number} {clean_text(str(step['tool']), 64)}")
        for difference in differences:
            typer.echo(f"      {difference}")
        if differences and "code" in answer:
            typer.echo(f"      [{answer['code']}] {clean_text(str(answer.get('message', '')), 300)} Next: {clean_text(str(answer.get('next_step', '')), 300)}")
        if differences and path.suffix == ".toml":
            break
    typer.echo(f"{played - wrong} of {len(steps)} as expected")
    return 1 if wrong else 0


def read_script(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Line number and step. Raises `script_invalid` with all bad lines, and for a script without a step: it would prove nothing."""
    return parse_script(path.read_text(encoding="utf-8", errors="replace").splitlines(), path.name)


def read_recipe(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], dict[str, str]]:
    """Steps with their numbers from 1, and the values with their defaults. Raises `script_invalid`."""
    try:
        held = tomllib.loads(path.read_text(encoding="utf-8", errors="replace"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError("script_invalid", f"{path.name} is no TOML ({clean_text(str(error), 100)}).", next_step="mend the line, then replay it again.") from error
    steps, values = cast("list[Any]", held.get("step", [])), cast("dict[str, Any]", held.get("values", {}))
    good = bool(steps) and all(isinstance(step, dict) and "tool" in step and not set(cast("dict[str, Any]", step)) - _KEYS for step in steps)
    if not good or set(held) - _RECIPE_KEYS or not all(isinstance(value, str) for value in values.values()):
        raise UsageError("script_invalid", f"{path.name} is not a recipe.",
                         next_step=f"give it {', '.join(sorted(_RECIPE_KEYS))}: texts, texts under [values], and [[step]] tables with the keys {', '.join(sorted(_KEYS))}.")  # fmt: skip
    return list(enumerate(steps, 1)), dict(values)


def changed(values: dict[str, str], changes: Sequence[str]) -> dict[str, str]:
    """The values with `name=value` put in. Raises `value_unknown`, so that a slip of the pen does not train something else."""
    given = {name: value for name, _, value in (change.partition("=") for change in changes)}
    if unknown := sorted(set(given) - set(values)):
        raise UsageError("value_unknown", f"the script has no value {clean_text(unknown[0], 64)}.", next_step=f"set one of: {', '.join(values) or 'none, it has no values'}.")
    return values | given


def up_to(steps: list[tuple[int, dict[str, Any]]], tool: str | None) -> list[tuple[int, dict[str, Any]]]:
    """Steps up to the first call of a tool. Raises `step_unknown`."""
    if tool is None:
        return steps
    last = next((place for place, (_, step) in enumerate(steps) if step["tool"] == tool), None)
    if last is None:
        raise UsageError("step_unknown", f"the script never calls {clean_text(tool, 64)}.", next_step="name a tool that it calls, such as plan_finetune.")
    return steps[: last + 1]


def parse_script(lines: Sequence[str], name: str, *, allow_none: bool = False) -> list[tuple[int, dict[str, Any]]]:
    """As `read_script`, of lines that were read already."""
    steps: list[tuple[int, dict[str, Any]]] = []
    bad: list[int] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            step: object = json.loads(line)
        except ValueError:
            step = None
        if isinstance(step, dict) and "tool" in step and not set(cast("dict[str, Any]", step)) - _KEYS:
            steps.append((number, cast("dict[str, Any]", step)))
        else:
            bad.append(number)
    if bad or (not steps and not allow_none):
        which = ", ".join(map(str, bad[:10])) or "none: it is empty"
        raise UsageError("script_invalid", f"{name} is not a replay script; bad lines: {which}.",
                         next_step=f"write one JSON object a line with the keys {', '.join(sorted(_KEYS))}.")  # fmt: skip
    return steps


def compare(answer: dict[str, Any], expect: dict[str, Any]) -> list[str]:
    """What differs, one line each; keys are dotted paths into the answer."""
    found = {path: lookup(answer, path) for path in expect}
    return [f"{path}: expected {json.dumps(want, ensure_ascii=False)}, got {_shown(found[path])}" for path, want in expect.items() if found[path] != want]


def lookup(value: Any, path: str) -> Any:
    """`data.cells.0.eval_id` in nested maps and lists; `<missing>` where there is nothing."""
    for part in path.split("."):
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(part, _MISSING)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(part)]
        else:
            return _MISSING
    return value


def substitute(value: Any, saved: dict[str, Any]) -> Any:
    """Fills in `${name.path}`; a text that is nothing else takes the value's own type."""
    if isinstance(value, dict):
        return {key: substitute(item, saved) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [substitute(item, saved) for item in cast("list[Any]", value)]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    return lookup(saved, whole[1]) if whole else _REFERENCE.sub(lambda match: str(lookup(saved, match[1])), value)


def run_step(step: dict[str, Any], saved: dict[str, Any], ws: Workspace) -> dict[str, Any]:
    """One call with its references filled in; what expectations look into."""
    try:
        result = registry.call(str(step["tool"]), substitute(step.get("arguments", {}), saved), ws)
        if step.get("wait"):
            result = await_job(result, ws)
        return {"ok": True, **registry.envelope(result)}
    except AsrtuneError as error:
        return {"ok": False, **registry.error_view(error).model_dump(mode="json")}


def _shown(value: Any) -> str:
    return clean_text(json.dumps(value, ensure_ascii=False), 300)
