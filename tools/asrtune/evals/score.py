"""Recorded calls, the ledger and the final answer against what a scenario expects. Every expectation is one check that passed or did not."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from asrcore.errors import UsageError
from asrcore.jobs import KINDS, Ledger, list_jobs
from asrcore.results import Frozen
from asrcore.workspace import Workspace
from asrtune.evals.cases import Scenario


class Call(Frozen):
    """One line of the trace (asrtune.trace)."""

    time: float
    tool: str
    arguments: Any
    ok: bool
    code: str
    ids: tuple[str, ...]
    seconds: float


class Check(Frozen):
    """`name` is the expectation as the scenario has it; `detail` says what was found instead."""

    name: str
    passed: bool
    detail: str = ""


def read_calls(path: Path) -> tuple[Call, ...]:
    """Raises `trace_invalid`: a trace that cannot be read proves nothing."""
    try:
        return tuple(Call.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise UsageError("trace_invalid", "the record of the agent's calls is missing or broken.", next_step="play the scenario again.") from error


def ledger_counts(ws: Workspace) -> dict[str, int]:
    """Objects of each kind, and jobs."""
    with Ledger.open(ws) as ledger:
        counts = {str(kind): len(ledger.list(kind, 1000)) for kind in KINDS}
    return {**counts, "job": len(list_jobs(ws, 1000))}


def score(scenario: Scenario, calls: Sequence[Call], answer: str, counts: Mapping[str, int]) -> tuple[Check, ...]:
    """All checks of a scenario, in the order of its fields."""
    return (*_of_calls(scenario, calls), *_of_refusals(scenario, calls), *_of_the_end(scenario, answer, counts))


def _check(name: str, passed: bool, detail: str) -> Check:
    return Check(name=name, passed=passed, detail="" if passed else detail)


def _of_calls(scenario: Scenario, calls: Sequence[Call]) -> Iterator[Check]:
    """What was called, and in which order."""
    called, answered = [call.tool for call in calls], [call.tool for call in calls if call.ok]
    if scenario.first:
        yield _check(f"first one of {', '.join(scenario.first)}", bool(called) and called[0] in scenario.first, f"first was {called[0] if called else 'nothing'}")
    for tool in scenario.must:
        yield _check(f"must {tool}", tool in answered, "called, and refused each time" if tool in called else "never called")
    for tool in scenario.must_try:
        yield _check(f"must_try {tool}", tool in called, "never called")
    for before, after in scenario.order:
        start = called.index(after) if after in called else len(calls)
        done = any(call.ok and call.tool == before for call in calls[:start])
        yield _check(f"order {before} -> {after}", after not in called or done, f"{after} was call {start + 1}, before any answered {before}")
    for change, after in scenario.again:
        last = max((at for at, call in enumerate(calls) if call.ok and call.tool == change), default=-1)
        done = any(call.ok and call.tool == after for call in calls[last + 1 :])
        yield _check(f"again {after} after {change}", last < 0 or done, f"nothing answered {after} after the last {change}")
    for tool in scenario.never:
        yield _check(f"never {tool}", tool not in called, f"called {called.count(tool)} time(s)")
    for ban in scenario.never_with:
        hits = sum(_is_banned(call, ban.tool, ban.argument, ban.matches) for call in calls)
        yield _check(f"never {ban.tool} with {ban.argument} like {ban.matches}", not hits, f"called {hits} time(s)")


def _of_refusals(scenario: Scenario, calls: Sequence[Call]) -> Iterator[Check]:
    """How the agent met the gates, and whether it knocked on without end."""
    for code in scenario.refused:
        yield _check(f"refused with {code}", any(call.code == code for call in calls), "no call met it")
    same = Counter((call.tool, json.dumps(call.arguments, sort_keys=True), call.code) for call in calls if not call.ok)
    worst = max(same.values(), default=0)
    yield _check(f"at most {scenario.max_same_refusal} equal refusals", worst <= scenario.max_same_refusal, f"the same call was refused {worst} times")
    yield _check(f"at most {scenario.max_calls} calls", len(calls) <= scenario.max_calls, f"{len(calls)} calls")


def _of_the_end(scenario: Scenario, answer: str, counts: Mapping[str, int]) -> Iterator[Check]:
    """What the agent said, and what is there now."""
    for pattern in scenario.says:
        yield _check(f"says {pattern}", re.search(pattern, answer, re.IGNORECASE) is not None, "the answer does not")
    for pattern in scenario.says_not:
        yield _check(f"does not say {pattern}", re.search(pattern, answer, re.IGNORECASE) is None, "the answer does")
    for kind, least in scenario.at_least.items():
        yield _check(f"at least {least} {kind} in the ledger", counts.get(kind, 0) >= least, f"{counts.get(kind, 0)}")
    for kind, most in scenario.at_most.items():
        yield _check(f"at most {most} {kind} in the ledger", counts.get(kind, 0) <= most, f"{counts.get(kind, 0)}")


def _is_banned(call: Call, tool: str, argument: str, pattern: str) -> bool:
    held: object = call.arguments
    if tool not in ("*", call.tool) or not isinstance(held, dict):
        return False
    arguments = cast("dict[str, Any]", held)
    value: Any = arguments if argument == "*" else arguments.get(argument)
    return value is not None and re.search(pattern, json.dumps(value, ensure_ascii=False)) is not None
