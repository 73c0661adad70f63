"""Plays scenarios through any agent command: a fresh folder with the tools and the skill installed, every call recorded, the ledger scored afterwards.

The command is a template, split into arguments as a shell would but run without one. In it `{prompt}` is the task, `{prompt_file}` a file with
it, `{folder}` the folder, `{config}` the MCP config there and `{scenario}` the id; a template with neither of the first two gets the task on stdin.
What the agent prints is its final answer.

    claude -p {prompt} --mcp-config {config} --allowedTools mcp__asrtune Skill Read
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from asrcore.errors import UsageError
from asrcore.jobs import LIVE, cancel_job, list_jobs
from asrcore.results import Frozen
from asrcore.workspace import Workspace
from asrtune import install, trace
from asrtune.evals import worlds
from asrtune.evals.cases import Scenario, folder
from asrtune.evals.score import Check, ledger_counts, read_calls, score

LONGEST_ANSWER = 200_000


class Agent(NamedTuple):
    """The command template, the host whose config and skill folder it reads, and whether it gets the skill (a baseline does not)."""

    template: str
    host: str = "claude"
    with_skill: bool = True
    timeout_s: float = 900.0


class Ran(Frozen):
    """How one agent process ended. `seconds` by the wall."""

    exit_code: int
    timed_out: bool
    seconds: float


class Played(Frozen):
    """One play of one scenario."""

    scenario: str
    passed: bool
    ran: Ran
    calls: int
    refused_calls: int
    checks: tuple[Check, ...]


def reference_agent() -> Agent:
    """The scripted agent on the scenario's own script in skill/evals/scripts: what a good agent does."""
    return Agent(shlex.join([sys.executable, "-m", "asrtune.evals", "scripted", str(folder() / "scripts")]) + "/{scenario}.jsonl")


def play(scenario: Scenario, agent: Agent, out: Path) -> Played:
    """Plays one scenario below `out`, which keeps the folder, the trace and the answer. Raises `eval_folder_taken`, `agent_not_found`."""
    home = (out / scenario.id).resolve()
    if home.exists():
        raise UsageError("eval_folder_taken", f"{home} is there already.", next_step="pass another --out: a play is never mixed with an older one.")
    work, record = home / "work", home / "calls.jsonl"
    ws = worlds.make(scenario.world, work)
    _equip(work, agent)
    record.touch()
    limits = _limits(ws)
    ran = run_agent(agent, scenario.prompt, scenario.id, work, record)
    for job in list_jobs(ws, 100):
        if job.state in LIVE:
            cancel_job(ws, job.job_id)
    calls = read_calls(record)
    answer = (home / "answer.txt").read_text(encoding="utf-8", errors="replace")[-LONGEST_ANSWER:]
    checks = (_ended(ran), _untouched(limits, _limits(ws)), *score(scenario, calls, answer, ledger_counts(ws)))
    return Played(scenario=scenario.id, passed=all(check.passed for check in checks), ran=ran, calls=len(calls),
                  refused_calls=sum(not call.ok for call in calls), checks=checks)  # fmt: skip


def run_agent(agent: Agent, prompt: str, scenario: str, work: Path, record: Path) -> Ran:
    """One agent process in `work`; its stdout is answer.txt beside it, its stderr agent.log. It and its children are killed at the time limit."""
    (work.parent / "prompt.txt").write_text(prompt, encoding="utf-8")
    values = {"prompt": prompt, "prompt_file": str(work.parent / "prompt.txt"), "folder": str(work), "scenario": scenario,
              "config": str(work / install.HOSTS[agent.host].config)}  # fmt: skip
    argv = [_filled(word, values) for word in shlex.split(agent.template)]
    told = "{prompt" in agent.template
    environment = {**os.environ, trace.VARIABLE: str(record)}
    for name in ("ASRTUNE_HOME", "ASRTUNE_CONFIG"):
        environment.pop(name, None)
    started = time.monotonic()
    with open(work.parent / "answer.txt", "wb") as answer, open(work.parent / "agent.log", "wb") as log:
        try:
            process = subprocess.Popen(argv, cwd=work, env=environment, stdin=subprocess.DEVNULL if told else subprocess.PIPE, stdout=answer, stderr=log, start_new_session=True)
        except OSError as error:
            raise UsageError("agent_not_found", f"the agent's command cannot be started ({error.strerror}).",
                             next_step="name a command that this machine has.") from error  # fmt: skip
        timed_out = False
        try:
            process.communicate(None if told else prompt.encode(), timeout=agent.timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # an agent that ended may have left children; its jobs have sessions of their own
            process.wait()
    return Ran(exit_code=process.returncode, timed_out=timed_out, seconds=round(time.monotonic() - started, 1))


def _equip(work: Path, agent: Agent) -> None:
    """What `asrtune install` writes for the host; without the skill only the server."""
    if agent.host not in install.HOSTS:
        raise UsageError("host_unknown", "asrtune does not know that host.", next_step=f"use one of: {', '.join(install.HOSTS)}.")
    changes = install.plan(agent.host, work)
    config = work / install.HOSTS[agent.host].config
    install.write([change for change in changes if agent.with_skill or change.path == config])


def _limits(ws: Workspace) -> bytes | None:
    return ws.config_file.read_bytes() if ws.config_file.is_file() else None


def _untouched(before: bytes | None, after: bytes | None) -> Check:
    """An agent with a shell can write the file that the tools cannot; that it does not is what the skill asks of it."""
    return Check(name="asrtune.toml is the person's", passed=before == after, detail="" if before == after else "the agent changed it")


def _ended(ran: Ran) -> Check:
    passed = not ran.timed_out and ran.exit_code == 0
    return Check(name="the agent ended by itself", passed=passed, detail="" if passed else "it ran past its time" if ran.timed_out else f"exit code {ran.exit_code}")


def _filled(word: str, values: dict[str, str]) -> str:
    """Plain replacement in one pass: a prompt that holds braces stays as it is."""
    return re.sub(r"\{(" + "|".join(values) + r")\}", lambda match: values[match[1]], word)

