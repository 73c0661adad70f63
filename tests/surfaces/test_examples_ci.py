"""The CI recipes of examples/ci: their commands are real, the data job runs, the gate runs, and the quickstart's calls survive a killed server."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from asrcore.workspace import Workspace
from asrtune import catalog, cli_replay, cli_verbs, quickstart, registry
from asrtune.cli import app
from asrtune.evals import worlds
from tests.campaign.script import STEPS, measured
from tests.conftest import ROOT

EXAMPLES = ROOT / "examples" / "ci"
VALUES = {"BASELINE": "embedded", "CANDIDATE": "run_0123456789ab", "GITHUB_STEP_SUMMARY": "summary.md"}
CELLS = {"baseline 0": "eval_0123456789a0", "candidate 0": "eval_0123456789a1", "baseline 1": "eval_0123456789b0", "candidate 1": "eval_0123456789b1"}


def scripts(file: str) -> dict[str, list[str]]:
    """Job -> its script lines, continuations joined."""
    held = yaml.safe_load((EXAMPLES / file).read_text(encoding="utf-8"))
    if file == "github.yml":
        runs = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in held["jobs"].items()}
    else:
        runs = {name: [*job.get("before_script", []), *job["script"]] for name, job in held.items() if isinstance(job, dict) and "script" in job}
    return {name: [line for run in lines for line in run.replace("\\\n", " ").splitlines() if line.strip()] for name, lines in runs.items()}


def commands(file: str) -> Iterator[list[str]]:
    """Every asrtune command of a file as arguments, variables and substitutions filled in, redirections left out."""
    for lines in scripts(file).values():
        for line in lines:
            if not line.startswith("asrtune "):
                continue
            filled = re.sub(r'"\$\(cell ([a-z]+ \d)\)"', lambda match: CELLS[match[1]], line.split(" > ")[0])
            yield shlex.split(re.sub(r"\$(\w+)", lambda match: VALUES[match[1]], filled))[1:]


both = pytest.mark.parametrize("file", ["github.yml", "gitlab.yml"])


@both
def test_every_command_of_a_recipe_is_one_that_the_command_line_takes(file: str, monkeypatch: pytest.MonkeyPatch, ws: Workspace) -> None:
    """Tools are stopped just before they run, with arguments that the tool accepts; the others answer with a result or an error of their own."""
    calls: list[tuple[str, Any]] = []
    monkeypatch.setattr(cli_verbs, "run_tool", lambda tool, arguments, **flags: calls.append((tool.name, arguments)) or 0)
    found = list(commands(file))
    for words in found:
        script = EXAMPLES / Path(words[1]).name
        assert words[0] != "replay" or script.is_file()
        done = CliRunner().invoke(app, ["replay", str(script), "--help"] if words[0] == "replay" else words)
        unknown_evals = words[0] == "gate" and done.exit_code == 3 and "eval_unknown" in done.output
        assert done.exit_code == 0 or unknown_evals, (words, done.output)
    for name, arguments in calls:
        registry.validate(registry.load(name), arguments)
    assert {words[0] for words in found} == {"inspect-dataset", "validate-language-tags", "replay", "run-streaming-eval", "gate"}


def test_both_recipes_run_the_same_commands() -> None:
    def plain(file: str) -> list[list[str]]:
        return [[word.replace("gate.md", "summary.md") for word in words] for words in commands(file)]

    assert plain("github.yml") == plain("gitlab.yml")


@both
def test_a_recipe_is_shell_that_bash_can_read(file: str) -> None:
    for lines in scripts(file).values():
        done = subprocess.run(["bash", "-n"], input="\n".join(lines), text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_a_recipe_names_no_secret_and_gives_no_rights() -> None:
    text = "".join((EXAMPLES / file).read_text(encoding="utf-8") for file in ("github.yml", "gitlab.yml"))
    assert "permissions:\n  contents: read\n" in text
    assert not re.search(r"secrets\.|pull_request_target|TOKEN|PASSWORD", text)
    # What a person types reaches the shell as a variable: an input in a `run` line would be pasted into the script.
    assert not [line for lines in scripts("github.yml").values() for line in lines if "${{" in line]


def shell(script: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """The lines in bash, stopping at the first that fails, with `asrtune` on the path."""
    shim = folder / "bin" / "asrtune"
    shim.parent.mkdir()
    shim.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -m asrtune \"$@\"\n", encoding="utf-8")
    shim.chmod(0o755)
    environment = {**os.environ, "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["bash", "-e"], input="\n".join(script), text=True, capture_output=True, cwd=folder, env=environment)


@pytest.mark.parametrize(("world", "passes"), [("clean", True), ("wrong_tags", False), ("leaking", False)])
def test_the_data_job_passes_clean_data_and_stops_bad_data(world: str, passes: bool, tmp_path: Path) -> None:
    worlds.make(world, tmp_path / "data")
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci" / "data.jsonl").write_bytes((EXAMPLES / "data.jsonl").read_bytes())
    lines = [line for line in scripts("gitlab.yml")["speech-data"] if line.startswith("asrtune replay")]
    done = shell(lines, tmp_path)
    assert (done.returncode == 0) == passes, done.stdout + done.stderr
    assert ("BAD" in done.stdout) != passes


def test_the_gate_of_a_recipe_says_no_to_a_candidate_that_forgot_a_guard(ws: Workspace) -> None:
    """The real command line on measured evals: `cell` finds their ids in answers as `--json` writes them."""
    base, tuned = (measured(ws, STEPS[number]) for number in (0, 2))
    for name, side in (("baseline", base), ("candidate", tuned)):
        cells = [{"eval_id": side["phone"]}, {"eval_id": side["guard_bg"]}]
        (ws.base_folder / f"{name}.json").write_text(json.dumps({"data": {"result": {"cells": cells}}}), encoding="utf-8")
    ids = {f"{name} {number}": json.loads((ws.base_folder / f"{name}.json").read_text(encoding="utf-8"))["data"]["result"]["cells"][number]["eval_id"]
           for name in ("baseline", "candidate") for number in (0, 1)}  # fmt: skip
    [words] = [words for words in commands("gitlab.yml") if words[0] == "gate"]
    back = {fake: real for key, fake in CELLS.items() for real in [ids[key]]}
    done = CliRunner().invoke(app, [back.get(word, word) for word in words], catch_exceptions=False)
    assert done.exit_code == 3
    assert "guard\\_bg" in (ws.base_folder / "gate.md").read_text(encoding="utf-8")
    assert (ws.base_folder / "gate.xml").is_file()


# --- scripts of calls -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data.jsonl", "quickstart.jsonl"])
def test_a_script_holds_calls_of_tools_and_every_reference_is_to_a_step_before_it(name: str) -> None:
    saved: set[str] = set()
    for number, step in cli_replay.read_script(EXAMPLES / name):
        properties = catalog.shipped()[step["tool"]]["input_schema"].get("properties", {})
        assert set(step.get("arguments", {})) <= set(properties), number
        assert set(re.findall(r"\$\{(\w+)\.", json.dumps(step))) <= saved, number
        assert bool(step.get("wait")) == catalog.tool(step["tool"]).returns_job, number
        saved |= {step["save"]} if "save" in step else set()


def test_the_quickstart_script_makes_the_calls_of_the_quickstart_in_its_order() -> None:
    """Every tool that `asrtune.quickstart` calls, first calls in the order in which they stand there."""
    source = (ROOT / "tools" / "asrtune" / "quickstart.py").read_text(encoding="utf-8")
    body = source[source.index("def run(") : source.index("def show(")].replace("loop.evaluate(", 'loop.job("run_streaming_eval"')
    wanted = list(dict.fromkeys(re.findall(r'loop\.(?:call|job)\(\s*"(\w+)"', body)))
    called = list(dict.fromkeys(step["tool"] for _, step in cli_replay.read_script(EXAMPLES / "quickstart.jsonl")))
    assert [tool for tool in called if tool in wanted] == wanted
    assert len(wanted) >= 10
    told = {step["tool"]: step.get("arguments", {}) for _, step in cli_replay.read_script(EXAMPLES / "quickstart.jsonl")}
    assert told["build_shards"]["replay_share"] == quickstart.REPLAY_SHARE
    assert told["plan_finetune"]["peak_lr"] == quickstart.PEAK_LR
    assert told["blend_checkpoints"]["alphas"] == [quickstart.ALPHA]
    assert told["check_replay"]["margin_points"] == quickstart.MARGIN_POINTS


def play_over_mcp(steps: list[tuple[int, dict[str, Any]]], start: Callable[..., Any], kill_after: str) -> dict[str, Any]:
    """Plays a script over stdio; the server that started the job of `kill_after` is killed, and another one polls it. Gives what was saved."""

    def fresh() -> Any:
        server = start("-m", "asrtune", "mcp")
        server.handshake()
        return server

    server, killed = fresh(), 0
    saved: dict[str, Any] = {}
    for number, step in steps:
        arguments = cli_replay.substitute(step.get("arguments", {}), saved)
        said = server.ask("tools/call", {"name": step["tool"], "arguments": arguments})
        answer: dict[str, Any] = {"ok": not said.get("isError"), **said["structuredContent"]}
        if step.get("wait") and answer["ok"]:
            if step["tool"] == kill_after:
                server.process.kill()
                server.process.wait(30)
                server, killed = fresh(), killed + 1
            answer["data"] = server.job_at_its_end(answer["data"]["job_id"], polls=40)
        if "save" in step:
            saved[step["save"]] = answer
        assert cli_replay.compare(answer, step.get("expect") or {"ok": True}) == [], (number, step["tool"], answer)
    assert killed == 1
    return saved


def test_a_script_over_mcp_survives_a_server_that_is_killed_between_launch_and_poll(stdio_server: Callable[..., Any], ws: Workspace) -> None:
    worlds.make("clean", ws.base_folder / "data")
    steps = [*cli_replay.read_script(EXAMPLES / "data.jsonl"), (99, {"tool": "build_shards", "arguments": {"train": ["data/train.jsonl"]}, "wait": True,
                                                                     "expect": {"ok": True, "data.state": "succeeded"}, "save": "shards"})]  # fmt: skip
    saved = play_over_mcp(steps, stdio_server, "build_shards")
    assert saved["shards"]["data"]["result"]["shards_id"].startswith("shards_")


@pytest.mark.slow
@pytest.mark.heavy
def test_the_whole_quickstart_path_survives_a_server_that_is_killed_between_launch_and_poll(stdio_server: Callable[..., Any], ws: Workspace) -> None:
    worlds.make("quickstart", ws.base_folder)
    saved = play_over_mcp(cli_replay.read_script(EXAMPLES / "quickstart.jsonl"), stdio_server, "launch_finetune")
    assert saved["run"]["data"]["result"]["run_id"].startswith("run_")
