"""Is the skill used where it should be, and left alone where not? One agent process a prompt, in an empty project with the skill installed.

"Used" means that a tool was called, or that the agent's output matches `mark`: what a host prints when it loads a skill (for Claude Code with
`--output-format stream-json --verbose`: `"name":"Skill"`). A skill that is mentioned only is not used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from asrcore.results import Frozen
from asrtune.evals.cases import Scenario, Trigger
from asrtune.evals.play import Agent, Ran, play
from asrtune.evals.score import read_calls


class Triggered(Frozen):
    """One prompt: whether the skill was used, and whether it should have been."""

    id: str
    wanted: bool
    used: bool
    ran: Ran


class TriggerReport(Frozen):
    """Counts, never a rate alone: of so few prompts a rate says little."""

    wanted_and_used: int
    wanted: int
    unwanted_but_used: int
    unwanted: int
    prompts: tuple[Triggered, ...]


def run_triggers(prompts: Sequence[Trigger], agent: Agent, out: Path, mark: str | None) -> TriggerReport:
    """Plays every prompt. A process that failed counts as not used, which its `ran` shows."""
    found = [_one(prompt, agent, out, mark) for prompt in prompts]
    return TriggerReport(
        wanted_and_used=sum(one.wanted and one.used for one in found), wanted=sum(one.wanted for one in found),
        unwanted_but_used=sum(not one.wanted and one.used for one in found), unwanted=sum(not one.wanted for one in found), prompts=tuple(found),
    )  # fmt: skip


def _one(prompt: Trigger, agent: Agent, out: Path, mark: str | None) -> Triggered:
    task = Scenario(id=prompt.id, title=prompt.why, world="empty", prompt=prompt.prompt.ljust(20))
    ran = play(task, agent, out).ran
    home = out / prompt.id
    said = (home / "answer.txt").read_text(encoding="utf-8", errors="replace")
    return Triggered(id=prompt.id, wanted=prompt.use, used=bool(read_calls(home / "calls.jsonl")) or bool(mark and re.search(mark, said)), ran=ran)
