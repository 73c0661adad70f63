"""`asrtune replay`: scripted calls with expectations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from asrcore.workspace import Workspace
from asrtune import cli_replay
from asrtune.cli import app


def replay(*steps: dict[str, Any] | str) -> Result:
    Path("script.jsonl").write_text("\n".join(step if isinstance(step, str) else json.dumps(step) for step in steps), encoding="utf-8")
    return CliRunner().invoke(app, ["replay", "script.jsonl"], catch_exceptions=False)


def test_a_script_whose_answers_are_as_expected_ends_with_0(ws: Workspace) -> None:
    done = replay(
        {"tool": "doctor", "save": "machine"},
        "",
        {"tool": "inspect_dataset", "arguments": {"manifest": "none.jsonl"}, "expect": {"ok": False, "code": "path_missing", "exit_code": 2}},
        {"tool": "nothing", "expect": {"ok": False, "code": "tool_unknown"}},
    )
    assert done.exit_code == 0, done.output
    assert "3 of 3 as expected" in done.stdout


def test_a_difference_is_shown_and_ends_with_1(ws: Workspace) -> None:
    done = replay({"tool": "doctor", "expect": {"data.cores": -1, "data.nothing.0": 1}}, {"tool": "nothing"})
    assert done.exit_code == 1
    assert "data.cores: expected -1, got " in done.stdout
    assert 'data.nothing.0: expected 1, got "<missing>"' in done.stdout
    assert "BAD 2 nothing" in done.stdout


def test_saved_answers_fill_later_arguments(ws: Workspace, plant: Any, note: Any) -> None:
    from asrcore.results import Frozen

    class Taken(Frozen):
        count: int
        text: str

    plant("doctor", lambda request, ws: note("first"))
    plant("list_objects", lambda request, ws: note(f"{request.count} {request.text}"), Taken)
    done = replay(
        {"tool": "doctor", "save": "a"},
        {"tool": "list_objects", "arguments": {"count": 7, "text": "x-${a.data.text}-${a.ok}"}, "expect": {"data.text": "7 x-first-True"}, "save": "b"},
        {"tool": "list_objects", "arguments": {"count": "${b.warnings.0}", "text": ""}, "expect": {"ok": False, "code": "arguments_invalid"}},
    )
    assert done.exit_code == 0, done.output


def test_a_whole_reference_keeps_its_type() -> None:
    saved = {"a": {"ids": ["x", "y"], "n": 3}}
    assert cli_replay.substitute({"ids": "${a.ids}", "n": "${a.n}", "one": "${a.ids.1}", "text": "n=${a.n}"}, saved) == {
        "ids": ["x", "y"], "n": 3, "one": "y", "text": "n=3"}  # fmt: skip


@pytest.mark.parametrize("bad", ["{", "[]", '{"arguments": {}}', '{"tool": "doctor", "expects": {}}'])
def test_a_line_that_is_no_step_is_a_usage_error_with_its_number(ws: Workspace, bad: str) -> None:
    done = replay({"tool": "doctor"}, bad)
    assert done.exit_code == 2
    assert "bad lines: 2" in done.stderr


def test_an_empty_script_proves_nothing_and_is_refused(ws: Workspace) -> None:
    assert replay("", "  ").exit_code == 2
