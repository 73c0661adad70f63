"""The one error tree of asrtune.

    AsrtuneError
    ├── UsageError         exit 2   the call is wrong: unknown argument, bad value, path outside the roots
    ├── NotReadyError      exit 3   the input is not fit for this step yet (data problems, unfinished job, failed gate)
    ├── EnvironmentFault   exit 4   this machine cannot do it: no disk, package missing, no permission, no network
    ├── ToolFault          exit 5   the step ran and failed
    └── ApprovalNeeded     exit 6   a person has to approve first

`Stopped` stands beside it.

Every error has a stable code, says what was wrong and names the next call. All problems of one input are collected as `Problem`s and
raised once. Text that came from data (transcripts, file content) never enters a message; use `clean_text` for names that must be shown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["error", "warning", "info"]


class Problem(BaseModel):
    """One finding about one place of an input. `line` counts from 1; `fix` is what a person or agent does about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    message: str
    file: str | None = None
    line: int | None = None
    fix: str = ""
    severity: Severity = "error"

    @property
    def where(self) -> str:
        """`file:line`, `file`, or an empty string."""
        return "" if self.file is None else self.file if self.line is None else f"{self.file}:{self.line}"


class AsrtuneError(Exception):
    """Base of all expected failures. `str(error)` is `[code] what. Next: exact call.`"""

    exit_code = 5

    def __init__(self, code: str, message: str, *, next_step: str, problems: Iterable[Problem] = (), retryable: bool = False) -> None:
        self.code = code
        self.message = message
        self.next_step = next_step
        self.problems = tuple(problems)
        self.retryable = retryable
        super().__init__(str(self))

    def __str__(self) -> str:
        return f"[{self.code}] {self.message} Next: {self.next_step}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.code, self.message, self.next_step, self.problems, self.retryable))


class UsageError(AsrtuneError):
    exit_code = 2


class NotReadyError(AsrtuneError):
    exit_code = 3


class EnvironmentFault(AsrtuneError):
    exit_code = 4


class ToolFault(AsrtuneError):
    exit_code = 5


class ApprovalNeeded(AsrtuneError):
    exit_code = 6


class Stopped(Exception):
    """The work was stopped on request; not a failure. Raised by `Reporter.stop_if_asked`, caught by `asrcore.jobs.child.main`."""


def _rebuild(kind: type[AsrtuneError], code: str, message: str, next_step: str, problems: tuple[Problem, ...], retryable: bool) -> AsrtuneError:
    return kind(code, message, next_step=next_step, problems=problems, retryable=retryable)


class ErrorView(BaseModel):
    """An error as every surface shows it: JSON of the CLI, structured content over MCP, `error.json` of a child process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    message: str
    next_step: str
    exit_code: int
    retryable: bool = False
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, error: AsrtuneError) -> ErrorView:
        return cls(code=error.code, message=error.message, next_step=error.next_step, exit_code=error.exit_code,
                   retryable=error.retryable, problems=error.problems)  # fmt: skip

    def to_error(self) -> AsrtuneError:
        """The exception again, of the class that belongs to the exit code."""
        kinds: dict[int, type[AsrtuneError]] = {k.exit_code: k for k in (UsageError, NotReadyError, EnvironmentFault, ToolFault, ApprovalNeeded)}
        return kinds.get(self.exit_code, ToolFault)(
            self.code, self.message, next_step=self.next_step, problems=self.problems, retryable=self.retryable
        )


def identifier(name: str, limit: int = 60) -> str:
    """The name of a file that a caller gave, as it may stand in a sentence: letters, digits, `.`, `+`, `-` and `_`, so that it is no sentence itself."""
    return re.sub(r"[^\w.+-]+", "_", name)[:limit]


def clean_text(text: str, limit: int = 200) -> str:
    """Untrusted text made safe to show: one line, no control, format or bidi characters (Unicode categories Cc, Cf, Co, Cs, Zl, Zp), capped."""
    kept = "".join(" " if c in "\r\n\t" else c for c in text if c in "\r\n\t" or unicodedata.category(c) not in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"
