"""The command line: the same tools, exit codes, JSON for machines, tables for people."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from asrcore.errors import ApprovalNeeded, AsrtuneError, EnvironmentFault, ErrorView, NotReadyError, Problem, ToolFault, UsageError
from asrcore.requests import Event
from asrcore.results import NextAction
from asrcore.results import Result as Envelope
from asrcore.workspace import Workspace
from asrtune import __version__, catalog, cli_verbs, registry
from asrtune.cli import app


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin, catch_exceptions=False, prog_name="asrtune")


def test_help_lists_every_tool_in_the_order_of_the_work() -> None:
    shown = run("--help").stdout
    places = [shown.index(f" {tool.command} ") for tool in catalog.TOOLS if tool.stage == "Data"]
    assert places == sorted(places)
    assert [tool.command for tool in catalog.TOOLS if tool.command not in shown] == []


@pytest.mark.parametrize("tool", catalog.TOOLS, ids=lambda tool: tool.name)
def test_a_tools_help_shows_its_description_and_every_argument(tool: catalog.Tool) -> None:
    shown = run(tool.command, "--help")
    assert shown.exit_code == 0
    assert tool.description.split()[0] in shown.stdout
    for field in cli_verbs.fields_of(tool):
        assert (field.name.upper() if field.positional else field.flag) in shown.stdout
    assert ("--wait" in shown.stdout) == tool.returns_job


@pytest.mark.parametrize("kind", [UsageError, NotReadyError, EnvironmentFault, ToolFault, ApprovalNeeded])
def test_each_kind_of_error_has_its_exit_code_and_machines_get_it_as_json_on_stderr(ws: Workspace, plant: Any, kind: type[AsrtuneError]) -> None:
    def fail(request: Any, ws: Workspace) -> Any:
        raise kind("some_code", "it is wrong.", next_step="mend it.", problems=[Problem(code="row", message="bad", file="a.jsonl", line=3, fix="x")])

    plant("doctor", fail)
    machine, person = run("doctor", "--json"), run("doctor")
    assert machine.exit_code == person.exit_code == kind.exit_code
    assert machine.stdout == person.stdout == ""
    error = ErrorView.model_validate_json(machine.stderr)
    assert (error.code, error.exit_code, error.problems[0].line) == ("some_code", kind.exit_code, 3)
    assert "[some_code] it is wrong." in person.stderr
    assert "a.jsonl:3" in person.stderr
    assert "Next: mend it." in person.stderr


def test_the_answer_for_machines_is_the_envelope_and_nothing_else(ws: Workspace) -> None:
    answer = run("doctor", "--json")
    assert answer.exit_code == 0
    assert set(json.loads(answer.stdout)) == {"summary", "data", "warnings", "next_actions", "artifacts", "truncated"}
    assert json.loads(run("call", "doctor").stdout)["data"]["verdict"] == json.loads(answer.stdout)["data"]["verdict"]


def test_people_see_the_summary_the_warnings_and_the_next_command(ws: Workspace, plant: Any, note: Any) -> None:
    def answer(request: Any, ws: Workspace) -> Any:
        action = NextAction(tool="run_streaming_eval", arguments={"checkpoint": "embedded", "manifests": ["a b.jsonl"], "att_context_sizes": [[56, 3]]}, why="measure")
        warning = Problem(code="few", message="few rows", severity="warning", fix="add rows")
        return note("[bold]not markup[/bold]").model_copy(update={"next_actions": (action,), "warnings": (warning,)})

    plant("doctor", answer)
    shown = run("doctor").stdout
    assert shown.startswith("A note.")
    assert "[bold]not markup[/bold]" in shown
    assert "fix: add rows" in shown
    assert "asrtune run-streaming-eval embedded 'a b.jsonl' --att-context-sizes 56,3" in shown


@pytest.mark.parametrize("tool", [tool for tool in catalog.TOOLS if tool.kind != "read"], ids=lambda tool: tool.name)
def test_a_dry_run_shows_the_whole_call_and_neither_writes_nor_starts_anything(ws: Workspace, monkeypatch: pytest.MonkeyPatch, tool: catalog.Tool) -> None:
    monkeypatch.setattr(registry, "call", lambda *arguments: pytest.fail("the tool was called"))
    [_, *words] = shlex.split(tool.examples[0])
    words = [word for word in words if word != "--wait"]
    shown = run(*words, "--dry-run", "--json")
    assert shown.exit_code == 0, shown.stderr
    said = json.loads(shown.stdout)
    assert (said["dry_run"], said["tool"], said["starts_job"]) == (True, tool.name, tool.kind == "job")
    assert set(said["arguments"]) == set(registry.input_schema(tool.name)["properties"])
    assert "nothing was done" in run(*words, "--dry-run").stdout
    assert list(ws.base_folder.iterdir()) == []


def test_a_dry_run_refuses_what_the_call_would_refuse(ws: Workspace) -> None:
    refused = run("split-dataset", "a.jsonl", "--dev-share", "2", "--dry-run", "--json")
    assert refused.exit_code == 2
    assert ErrorView.model_validate_json(refused.stderr).code == "arguments_invalid"
    assert run("doctor", "--dry-run").exit_code == 2


def test_a_value_the_tool_refuses_is_refused_with_all_other_problems(ws: Workspace) -> None:
    answer = run("run-streaming-eval", "embedded", "a.jsonl", "--att-context-sizes", "56", "--batch-size", "many", "--prompt-modes", "loud", "--json")
    assert answer.exit_code == 2
    places = {problem.message.split(":")[0] for problem in ErrorView.model_validate_json(answer.stderr).problems}
    assert places >= {"att_context_sizes.0.1", "batch_size", "prompt_modes.0"}


@pytest.mark.parametrize("words", [["doctor", "--no-such", "--json"], ["docter", "--json"], ["run-streaming-eval", "--json"]])
def test_a_usage_error_of_a_machines_call_is_json_too(words: list[str], ws: Workspace) -> None:
    answer = run(*words)
    assert answer.exit_code == 2
    assert answer.stdout == ""
    assert ErrorView.model_validate_json(answer.stderr).code == "arguments_invalid"


def test_a_mistyped_command_is_answered_with_the_near_one() -> None:
    answer = run("inspect-datasets")
    assert answer.exit_code == 2
    assert "inspect-dataset" in answer.stderr


@pytest.mark.parametrize("tool", catalog.TOOLS, ids=lambda tool: tool.name)
def test_a_suggested_command_is_the_call_it_suggests(tool: catalog.Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    import shlex

    calls: list[Any] = []
    monkeypatch.setattr(cli_verbs, "run_tool", lambda tool, arguments, **flags: calls.append(arguments) or 0)
    run(*shlex.split(tool.examples[0])[1:])
    line = cli_verbs.command_line(tool.name, calls[0])
    run(*shlex.split(line)[1:])
    assert calls[0] == calls[1]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"x"', "{'a': 1}", "[" * 5000])
def test_call_refuses_what_is_not_a_json_object(ws: Workspace, text: str) -> None:
    answer = run("call", "doctor", "--json", text)
    assert answer.exit_code == 2
    assert ErrorView.model_validate_json(answer.stderr).code == "arguments_invalid"


def test_call_reads_its_arguments_from_stdin(ws: Workspace) -> None:
    answer = run("call", "inspect_dataset", "--json", "-", stdin='{"manifest": "none.jsonl"}')
    assert answer.exit_code == 2
    assert ErrorView.model_validate_json(answer.stderr).code == "path_missing"


def test_schema_prints_what_the_server_lists() -> None:
    every = json.loads(run("schema").stdout)
    assert [tool["name"] for tool in every] == list(catalog.NAMES)
    assert json.loads(run("schema", "get_job").stdout)["input_schema"] == registry.input_schema("get_job")
    assert run("schema", "nothing").exit_code == 2


def test_version_is_that_of_the_package() -> None:
    assert run("version").stdout.strip() == __version__


@pytest.mark.parametrize(("typed", "wanted"), [("asrtune insp", "inspect-dataset"), ("asrtune call list", "list_objects"),
                                               ("asrtune list-objects --li", "--limit"), ("asrtune run-streaming-eval x y --prompt-modes la", "langID")])  # fmt: skip
def test_the_shell_completes_commands_tools_options_and_choices(typed: str, wanted: str) -> None:
    asked = {"_ASRTUNE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = CliRunner(env=asked).invoke(app, [], prog_name="asrtune")
    assert wanted in done.stdout.split()


# --- jobs -----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A job whose events and end are given; `asrcore.jobs` has its own tests."""

    def given(state: str, error: ErrorView | None = None, interrupt: bool = False) -> None:
        from asrcore import jobs
        from asrcore.jobs import Health, JobView

        def view(state: str, error: ErrorView | None) -> JobView:
            from datetime import UTC, datetime

            return JobView.model_validate({
                "job_id": "job_0123456789ab", "kind": "train", "state": state, "attempt": 1, "created": datetime.now(UTC), "error": error,
                "health": Health(status="ok", detail=""), "folder": "x", "poll_after_s": 0, "untrusted_text": "step\u202e 1\nstep 2"})  # fmt: skip

        def follow(ws: Workspace, job_id: str) -> Any:
            yield Event(time=0.0, stage="fit", step=1, total=2, metrics={"loss": 2.5})
            if interrupt:
                raise KeyboardInterrupt
            yield Event(time=1.0, stage="fit", step=2, total=2)

        def call(name: str, arguments: Any, ws: Any = None) -> Any:
            ended = name == "get_job"
            return Envelope[JobView](summary=f"Job is {state if ended else 'queued'}.", data=view(state if ended else "queued", error if ended else None))

        monkeypatch.setattr(jobs, "follow", follow)
        monkeypatch.setattr(registry, "call", call)

    return given


def test_wait_follows_a_job_and_prints_its_end(ws: Workspace, job: Any) -> None:
    job("succeeded")
    answer = run("launch-finetune", "plan_0123456789ab", "--wait", "--json")
    assert answer.exit_code == 0
    assert json.loads(answer.stdout)["data"]["state"] == "succeeded"
    person = run("launch-finetune", "plan_0123456789ab", "--wait")
    assert "Job is succeeded." in person.stdout
    assert "step 2" in person.stdout
    assert "\u202e" not in person.stdout


def test_wait_ends_with_the_exit_code_of_the_jobs_error(ws: Workspace, job: Any) -> None:
    job("failed", ErrorView(code="disk_full", message="m", next_step="n", exit_code=4))
    assert run("launch-finetune", "plan_0123456789ab", "--wait").exit_code == 4
    job("lost")
    assert run("launch-finetune", "plan_0123456789ab", "--wait").exit_code == 5


def test_without_wait_a_started_job_is_a_success(ws: Workspace, job: Any) -> None:
    job("failed")
    answer = run("launch-finetune", "plan_0123456789ab", "--json")
    assert answer.exit_code == 0
    assert json.loads(answer.stdout)["data"]["state"] == "queued"


def test_leaving_a_wait_leaves_the_job_and_says_so(ws: Workspace, job: Any) -> None:
    job("succeeded", interrupt=True)
    answer = run("launch-finetune", "plan_0123456789ab", "--wait")
    assert answer.exit_code == 130
    assert "the job goes on" in answer.stderr
