"""The same verdicts for CI: does a candidate pass against a baseline? One check a target and a guard, as Markdown for people and JUnit XML for machines."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Literal

from pydantic import Field

from asrcore.errors import clean_text
from asrcore.results import Frozen
from asrcore.score.compare import Comparison
from asrcore.score.replay import GuardResult, ReplayReport

Require = Literal["better", "not_worse"]
"""What a target must be. `not_worse` passes a candidate whose loss is merely not shown; `better` needs a gain that is shown."""


class Check(Frozen):
    """One set at one latency and mode."""

    role: Literal["target", "guard"]
    untrusted_text: str = Field(description="Name of the set.")
    conditions: str
    verdict: str
    passed: bool
    numbers: str
    evals: tuple[str, str]


class GateReport(Frozen):
    """`passed` only when every check is."""

    passed: bool
    require: Require
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]


def gate(targets: Sequence[Comparison], guards: ReplayReport | None, require: Require = "better") -> GateReport:
    """Targets must be `better` (or not `worse`), guards `kept`; inconclusive guards do not pass, since nothing was proven."""
    checks = (*(_target(one, require) for one in targets), *(_guard(one) for one in (guards.guards if guards else ())))
    spoken = [warning.message for one in (*targets, *(guards.guards if guards else ())) for warning in one.warnings]
    return GateReport(passed=bool(checks) and all(check.passed for check in checks), require=require, checks=checks, warnings=tuple(dict.fromkeys(spoken)))


def markdown(report: GateReport) -> str:
    """A table for a pull request."""
    lines = [f"### asrtune gate: {'passed' if report.passed else 'failed'}", "", f"Targets must be {report.require.replace('_', ' ')}, guards kept.", "",
             "| | set | conditions | verdict | numbers | evals |", "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    lines += [
        f"| {'pass' if c.passed else '**fail**'} | {c.role} {_cell(c.untrusted_text)} | {c.conditions} | {c.verdict} | {c.numbers} | {' '.join(c.evals)} |"
        for c in report.checks
    ]
    lines += ["", *(f"- {_cell(warning)}" for warning in report.warnings)] if report.warnings else []
    return "\n".join(lines) + "\n"


def junit(report: GateReport) -> str:
    """JUnit XML: one test case a check."""
    failed = sum(not check.passed for check in report.checks)
    cases = "".join(_case(check) for check in report.checks)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuite name="asrtune gate" tests="{len(report.checks)}" failures="{failed}" errors="0">\n{cases}</testsuite>\n'


def _case(check: Check) -> str:
    name = escape(f"{check.role} {check.untrusted_text} {check.conditions}")
    head = f'  <testcase classname="asrtune.gate.{check.role}" name="{name}"'
    if check.passed:
        return f"{head}/>\n"
    return f'{head}>\n    <failure message="{escape(check.verdict)}">{escape(check.numbers)} {" ".join(check.evals)}</failure>\n  </testcase>\n'


def _target(c: Comparison, require: Require) -> Check:
    more = f"; about {c.more_words:,} more {c.base.unit}s would decide" if c.more_words else ""
    return Check(
        role="target", untrusted_text=clean_text(c.set.name, 80), conditions=f"{c.latency_ms} ms, {c.prompt_mode}", verdict=c.verdict,
        passed=c.verdict == "better" or (require == "not_worse" and c.verdict != "worse"), evals=(c.base_eval, c.tuned_eval),
        numbers=f"{c.base.percent:.2f} % to {c.tuned.percent:.2f} %, {c.delta_points:+.2f} points (95 % {c.ci95[0]:+.2f} to {c.ci95[1]:+.2f}){more}",
    )  # fmt: skip


def _guard(g: GuardResult) -> Check:
    more = f"; about {g.more_words:,} more {g.base.unit}s would decide" if g.verdict == "inconclusive" and g.more_words else ""
    return Check(
        role="guard", untrusted_text=clean_text(g.set.name, 80), conditions=f"{g.latency_ms} ms, {g.prompt_mode}", verdict=g.verdict, passed=g.verdict == "kept",
        numbers=f"loss {g.loss_points:+.2f} points, 95 % upper bound {g.bounds95[1]:+.2f}, margin {g.margin_points:.2f}, power {100 * g.power:.0f} %{more}",
        evals=(g.base_eval, g.tuned_eval),
    )  # fmt: skip


def _cell(text: str) -> str:
    """Text of a Markdown table cell: no markup of its own."""
    return "".join(f"\\{c}" if c in "|*_`[]<>\\#!" else c for c in text)
