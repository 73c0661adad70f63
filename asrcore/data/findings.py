"""What a check found, counted per code: complete counts, only the first lines, so that an answer stays small on any data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from asrcore.errors import Problem, Severity
from asrcore.results import Frozen

Verdict = Literal["READY", "NEEDS FIX", "UNUSABLE"]

SHOWN_LINES = 5
_ORDER: dict[Severity, int] = {"error": 0, "warning": 1, "info": 2}


class Finding(Frozen):
    """All occurrences of one code, or of one code about one thing."""

    code: str
    about: str = Field("", description="What the code is about where it needs a name: a language tag of the checkpoint, a sample rate.")
    severity: Severity
    count: int = Field(description="Rows or places concerned, complete.")
    lines: tuple[int, ...] = Field(description=f"First lines of the manifest, at most {SHOWN_LINES}.")
    message: str
    fix: str

    @property
    def cut(self) -> bool:
        """True when there are more places than lines shown."""
        return self.count > max(1, len(self.lines))


@dataclass
class _Entry:
    severity: Severity
    message: str
    fix: str
    count: int = 0
    lines: list[int] = field(default_factory=list[int])


class Findings:
    """Collects findings during one pass. The first message and fix of a code stand for all of it."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], _Entry] = {}
        self.bad_lines: set[int] = set()
        """Lines with at least one error."""

    def add(self, code: str, severity: Severity, line: int | None, message: str, fix: str, about: str = "") -> None:
        entry = self._entries.setdefault((code, about), _Entry(severity, message, fix))
        entry.count += 1
        if line is not None:
            if len(entry.lines) < SHOWN_LINES:
                entry.lines.append(line)
            if severity == "error":
                self.bad_lines.add(line)

    def drain(self, problems: list[Problem]) -> None:
        """Takes over the problems that the manifest reader appended, and empties the list."""
        for problem in problems:
            self.add(problem.code, problem.severity, problem.line, problem.message, problem.fix)
        problems.clear()

    def regrade(self, code: str, severity: Severity, about: str | None = None) -> None:
        """Changes the severity of a code (about one thing, or all of it) where only the share of rows tells how bad it is."""
        for (held, subject), entry in self._entries.items():
            if held == code and about in (None, subject):
                entry.severity = severity

    def count(self, code: str) -> int:
        return sum(entry.count for (held, _), entry in self._entries.items() if held == code)

    def result(self) -> tuple[Finding, ...]:
        """Errors first, then by count."""
        found = (
            Finding(code=code, about=about, severity=e.severity, count=e.count, lines=tuple(e.lines), message=e.message, fix=e.fix)
            for (code, about), e in self._entries.items()
        )
        return tuple(sorted(found, key=lambda f: (_ORDER[f.severity], -f.count, f.code, f.about)))

    def verdict(self, rows: int) -> Verdict:
        """UNUSABLE when no row is left or at least half of them have errors; NEEDS FIX with any error."""
        if rows == 0 or 2 * len(self.bad_lines) >= rows:
            return "UNUSABLE"
        return "NEEDS FIX" if has_errors(self.result()) else "READY"


def has_errors(findings: Iterable[Finding]) -> bool:
    return any(f.severity == "error" for f in findings)
