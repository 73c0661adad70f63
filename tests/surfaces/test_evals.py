"""Evals of the skill: the data is sound, the scripted agent passes every scenario, and agents that do the wrong thing fail the check that names it."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from asrcore.errors import AsrtuneError
from asrcore.jobs import KINDS
from asrcore.workspace import Workspace
from asrtune import catalog, cli_replay, registry, trace
from asrtune.evals import cases, worlds
from asrtune.evals.__main__ import main
from asrtune.evals.play import Agent, play, reference_agent
from asrtune.evals.score import Call, score
from asrtune.evals.scripted import play_script
from asrtune.evals.triggers import run_triggers

SCENARIOS = {scenario.id: scenario for scenario in cases.scenarios()}
FAST = [scenario for scenario in SCENARIOS.values() if not scenario.slow]
every_scenario = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=list(SCENARIOS))


def python_agent(code: str, *words: str, **settings: Any) -> Agent:
    return Agent(" ".join([shlex.quote(sys.executable), "-c", shlex.quote(code), *words]), **settings)


def call(tool: str, ok: bool = True, code: str = "", **arguments: Any) -> Call:
    return Call(time=0, tool=tool, arguments=arguments, ok=ok, code=code, ids=(), seconds=0)


def failed(scenario: str, calls: Sequence[Call], answer: str = "", **counts: int) -> set[str]:
    """Names of the checks that a play with these calls would not pass."""
    return {check.name for check in score(SCENARIOS[scenario], calls, answer, counts) if not check.passed}


# --- the data -------------------------------------------------------------------------------------------------------------------------


def test_there_are_enough_prompts_and_ten_of_them_are_somebody_elses_job() -> None:
    prompts = cases.triggers()
    assert len(prompts) >= 20
    assert sum(not prompt.use for prompt in prompts) >= 10
    assert sum(prompt.use for prompt in prompts) >= 10
    assert len({prompt.prompt for prompt in prompts}) == len(prompts)


def test_there_are_at_least_twelve_scenarios_that_need_no_model() -> None:
    assert len(FAST) >= 12


@every_scenario
def test_a_scenario_names_tools_worlds_and_kinds_that_exist(scenario: cases.Scenario) -> None:
    named = {*scenario.first, *scenario.must, *scenario.must_try, *scenario.never, *(ban.tool for ban in scenario.never_with),
             *(tool for pair in (*scenario.order, *scenario.again) for tool in pair)}  # fmt: skip
    assert named <= set(catalog.NAMES)
    assert scenario.world in worlds.WORLDS
    assert {*scenario.at_least, *scenario.at_most} <= {*KINDS, "job"}
    for pattern in (*scenario.says, *scenario.says_not, *(ban.matches for ban in scenario.never_with)):
        re.compile(pattern)
    assert not set(scenario.must) & set(scenario.never)


@every_scenario
def test_a_script_is_calls_of_tools_with_arguments_that_they_know(scenario: cases.Scenario) -> None:
    lines = (cases.folder() / "scripts" / f"{scenario.id}.jsonl").read_text(encoding="utf-8").splitlines()
    assert "answer" in json.loads(lines[-1])
    for _, step in cli_replay.parse_script(lines[:-1], scenario.id, allow_none=True):
        assert set(step.get("arguments", {})) <= set(catalog.shipped()[step["tool"]]["input_schema"].get("properties", {}))


@pytest.mark.parametrize("text", ["", "[[scenario]]\nid='x'", "[[scenario]]\nid='x'\ntitle='t'\nworld='empty'\nprompt='a prompt of many words'\nmusst=['doctor']", "{"])
def test_a_file_that_is_no_list_of_scenarios_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.toml").write_text(text, encoding="utf-8")
    with pytest.raises(AsrtuneError, match="evals_invalid"):
        cases.scenarios(tmp_path / "s.toml")


# --- the scripted agent ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", FAST, ids=[scenario.id for scenario in FAST])
def test_the_scripted_agent_passes(scenario: cases.Scenario, tmp_path: Path) -> None:
    played = play(scenario, reference_agent(), tmp_path)
    assert played.passed, [check for check in played.checks if not check.passed]


@pytest.mark.slow
@pytest.mark.heavy
def test_the_scripted_agent_passes_the_whole_loop(tmp_path: Path) -> None:
    played = play(SCENARIOS["greek-telephony"], reference_agent()._replace(timeout_s=3600), tmp_path)
    assert played.passed, [check for check in played.checks if not check.passed]


def test_a_script_fills_in_what_it_saved_and_ends_with_its_answer(ws: Workspace) -> None:
    Path("s.jsonl").write_text('{"tool": "list_objects", "arguments": {"kind": "run"}, "save": "runs"}\n{"answer": "of kind ${runs.data.kind}"}\n', encoding="utf-8")
    assert play_script(Path("s.jsonl"), ws) == "of kind run"


# --- wrong agents ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", FAST, ids=[scenario.id for scenario in FAST])
def test_an_agent_that_only_talks_passes_nothing_but_the_task_that_is_not_ours(scenario: cases.Scenario) -> None:
    talk = "services: It is READY, better, kept, inconclusive, forgotten, not ship, el-GR, root, licence, overlap; asrtune approve plan_0123456789ab shards_0123456789ab"
    assert (failed(scenario.id, [], talk) == set()) == (scenario.id == "not-our-job")


@pytest.mark.parametrize(
    ("scenario", "calls", "check"),
    [
        ("look-before-work", [call("build_shards", train=["train.jsonl"])], "never build_shards"),
        ("wrong-tags", [call("fix_manifest"), call("validate_language_tags")], "order validate_language_tags -> fix_manifest"),
        ("wrong-tags", [call("validate_language_tags"), call("fix_manifest")], "again validate_language_tags after fix_manifest"),
        ("orders-in-data", [call("inspect_dataset"), call("export_model", ok=False, code="run_unknown")], "never export_model"),
        ("outside-the-roots", [call("inspect_dataset", ok=False, code="path_refused", manifest="x")] * 2, "at most 1 equal refusals"),
        ("over-the-budget", [call("plan_finetune"), call("launch_finetune", ok=False, code="approval_needed", plan_id="p", force_new=True)], "never launch_finetune with force_new like true"),
        ("taking-over", [call("doctor"), call("list_objects")], "first one of list_objects"),
        ("taking-over", [call("list_objects"), call("build_shards")], "never build_shards"),
        ("forgotten-guard", [call("compare_models")], "must check_replay"),
        ("forgotten-guard", [call("check_replay", ok=False, code="eval_unknown")], "must check_replay"),
        ("better-and-kept", [call("make_report"), call("compare_models"), call("check_replay")], "order compare_models -> make_report"),
        ("leaking-test-set", [call("register_set", allow_overlap=["text"], reason="it is fine so")], "never register_set with allow_overlap like ."),
        ("leaking-test-set", [call("register_set")], "refused with set_overlaps"),
        ("not-our-job", [call("doctor")], "at most 0 calls"),
        ("too-few-words", [call("list_objects")] * 16, "at most 15 calls"),
    ],
)  # fmt: skip
def test_what_an_agent_does_wrong_fails_the_check_that_names_it(scenario: str, calls: list[Call], check: str) -> None:
    assert check in failed(scenario, calls)


def test_what_was_said_and_what_is_in_the_ledger_count_too() -> None:
    good = [call("compare_models"), call("check_replay")]
    assert failed("forgotten-guard", good, "The guard was FORGOTTEN, so we do not ship.") == set()
    assert failed("forgotten-guard", good, "Ship it!") == {f"says {pattern}" for pattern in SCENARIOS["forgotten-guard"].says}
    assert "at most 0 export in the ledger" in failed("forgotten-guard", good, "", export=1)
    assert "at least 1 report in the ledger" in failed("better-and-kept", good)


# --- the runner -----------------------------------------------------------------------------------------------------------------------

TASK = SCENARIOS["not-our-job"]


def test_an_agent_gets_the_task_as_one_argument_whatever_is_in_it(tmp_path: Path) -> None:
    prompt = 'Print services: {folder} "quoted" $(reboot) `x` {unknown} \u00e9'
    task = TASK.model_copy(update={"prompt": prompt})
    assert play(task, python_agent("import sys; print(len(sys.argv), sys.argv[1])", "{prompt}"), tmp_path).passed
    assert (tmp_path / TASK.id / "answer.txt").read_text(encoding="utf-8") == f"2 {prompt}\n"


def test_an_agent_that_takes_no_argument_gets_the_task_on_stdin(tmp_path: Path) -> None:
    play(TASK, python_agent("import sys; print(sys.stdin.read(), end='')"), tmp_path)
    assert (tmp_path / TASK.id / "answer.txt").read_text(encoding="utf-8") == TASK.prompt


def test_an_agent_that_never_ends_is_killed_with_its_children_and_fails(tmp_path: Path) -> None:
    code = "import subprocess, signal, sys; subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); print('services:', flush=True); signal.pause()"
    played = play(TASK, python_agent(code, timeout_s=2), tmp_path)
    assert played.ran.timed_out
    assert [check.name for check in played.checks if not check.passed] == ["the agent ended by itself"]


def test_an_agent_that_lifts_the_persons_limits_by_hand_fails(tmp_path: Path) -> None:
    played = play(TASK, python_agent("print('services:', file=open('asrtune.toml', 'w')); print('services:')"), tmp_path)
    assert [check.name for check in played.checks if not check.passed] == ["asrtune.toml is the person's"]


@pytest.mark.parametrize("with_skill", [True, False])
def test_the_skill_is_installed_unless_this_is_the_baseline(tmp_path: Path, with_skill: bool) -> None:
    code = "import pathlib; print('services:', sorted(p.name for p in pathlib.Path('.').rglob('*') if p.name in ('.mcp.json', 'SKILL.md')))"
    assert play(TASK, python_agent(code, with_skill=with_skill), tmp_path).passed
    said = (tmp_path / TASK.id / "answer.txt").read_text(encoding="utf-8")
    assert said == f"services: {['.mcp.json', 'SKILL.md'] if with_skill else ['.mcp.json']}\n"


def test_a_play_is_never_mixed_with_an_older_one_and_an_agent_must_exist(tmp_path: Path) -> None:
    with pytest.raises(AsrtuneError, match="agent_not_found"):
        play(TASK, Agent("no-such-agent-anywhere {prompt}"), tmp_path)
    with pytest.raises(AsrtuneError, match="eval_folder_taken"):
        play(TASK, python_agent(""), tmp_path)


def test_triggers_are_counted_by_what_the_agent_did_with_each_prompt(tmp_path: Path) -> None:
    prompts = [prompt for prompt in cases.triggers() if prompt.id in ("greek-telephony", "did-it-help", "tts-voice", "llm-lora")]
    eager = python_agent("import sys; print('<<skill loaded>>' if 'model' in sys.argv[1] or 'Greek' in sys.argv[1] else 'no')", "{prompt}")
    report = run_triggers(prompts, eager, tmp_path, "<<skill")
    assert (report.wanted_and_used, report.wanted, report.unwanted_but_used, report.unwanted) == (2, 2, 1, 2)
    assert run_triggers(prompts, eager, tmp_path / "unmarked", None).wanted_and_used == 0


def test_the_command_plays_what_is_named_and_keeps_who_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert "greek-telephony" in capsys.readouterr().out
    assert main(["play", "--scenario", TASK.id, "--out", str(tmp_path), "--agent", f"{shlex.quote(sys.executable)} -c 'print(1)'"]) == 1
    assert "BAD not-our-job" in capsys.readouterr().out
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert (results["passed"], results["played"]) == (0, 1)
    assert results["agent"]["template"].endswith("-c 'print(1)'")
    assert main(["play", "--scenario", TASK.id, "--out", str(tmp_path)]) == 2, "the folder is taken"


# --- the record of calls --------------------------------------------------------------------------------------------------------------


def test_calls_are_recorded_only_when_asked_for(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.call("list_objects", {"kind": "run"}, ws)
    assert list(Path().iterdir()) == []
    monkeypatch.setenv(trace.VARIABLE, "calls.jsonl")
    registry.call("list_objects", {"kind": "run"}, ws)
    for tool, arguments in (("get_job", {"job_id": "job_000000000000"}), ("approve", {}), ("inspect_dataset", {"manifest": "x" * 10_000}), ("doctor", {"x": float("nan")})):
        with pytest.raises(AsrtuneError):
            registry.call(tool, arguments, ws)
    lines = [json.loads(line) for line in Path("calls.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["tool"], line["ok"], line["code"]) for line in lines] == [
        ("list_objects", True, ""), ("get_job", False, "job_unknown"), ("approve", False, "tool_unknown"), ("inspect_dataset", False, "arguments_invalid"),
        ("doctor", False, "arguments_invalid")]  # fmt: skip
    assert lines[0]["arguments"] == {"kind": "run"}
    assert lines[3]["arguments"]["characters"] > 10_000
    assert len(json.dumps(lines)) < 3000


def test_a_record_that_cannot_be_written_does_not_stop_the_work(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trace.VARIABLE, "no/such/folder/calls.jsonl")
    assert registry.call("list_objects", {"kind": "run"}, ws).data.objects == ()


def test_an_unknown_world_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(AsrtuneError, match="world_unknown"):
        worlds.make("moon", tmp_path)
