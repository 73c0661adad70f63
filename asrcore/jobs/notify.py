"""Tells somebody that a job has ended, lost its supervisor, looks ill, or that a plan waits for a yes.

Two ways, both set by a person in `asrtune.toml`: a webhook (one JSON POST) and a command (the same JSON on its stdin). A notice holds ids,
states and codes, no text from data. It is sent at most once, and what goes wrong with it is logged and changes nothing about the job.
A supervisor tells of its own job's end itself; whoever else notices something starts `python -m asrcore.jobs.notify` and does not wait for it.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from asrcore.errors import AsrtuneError
from asrcore.jobs import process
from asrcore.jobs.outcome import Outcome
from asrcore.jobs.store import Job
from asrcore.results import Frozen
from asrcore.workspace import Notify, load_config

TRIES = 3
PAUSE_S = 2.0
WEBHOOK_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 30.0


class Notice(Frozen):
    """What is sent. `code` is the stable error code of a failed job, or the health that raised the alarm; `plan_id` is set where no job exists yet."""

    event: Literal["job_ended", "job_orphaned", "job_unhealthy", "approval_needed"]
    job_id: str | None
    kind: str
    attempt: int
    state: str
    code: str | None
    time: datetime
    plan_id: str | None = None

    @property
    def topic(self) -> str:
        """The word of `[notify] on` that asks for it: the end's state, or what happened."""
        return self.state if self.event == "job_ended" else self.event.removeprefix("job_")


Tell = Callable[[Notice], None]


def keep_quiet(notice: Notice) -> None:
    """For who has nobody to tell."""


def notice_of(job: Job, outcome: Outcome) -> Notice:
    return Notice(event="job_ended", job_id=job.id, kind=job.kind, attempt=job.attempt, state=outcome.state,
                  code=outcome.error.code if outcome.error else None, time=datetime.now(UTC))  # fmt: skip


def orphaned(job: Job) -> Notice:
    return Notice(event="job_orphaned", job_id=job.id, kind=job.kind, attempt=job.attempt, state="orphaned", code=None, time=datetime.now(UTC))


def unhealthy(job: Job, status: str) -> Notice:
    return Notice(event="job_unhealthy", job_id=job.id, kind=job.kind, attempt=job.attempt, state=job.state, code=status, time=datetime.now(UTC))


def waiting_for_yes(plan_id: str) -> Notice:
    return Notice(event="approval_needed", job_id=None, kind="train", attempt=0, state="planned", code="approval_needed", time=datetime.now(UTC), plan_id=plan_id)


def messenger(config: Path, home: Path) -> Tell:
    """Sends by the config as it is when there is something to tell, in a process of its own that nobody waits for."""

    def tell(notice: Notice) -> None:
        with contextlib.suppress(AsrtuneError, OSError):
            if not config.is_file() or not _wanted(load_config(config).notify, notice):
                return
            command = process.python_module("asrcore.jobs.notify", str(config), notice.model_dump_json())
            process.reap_in_background(process.start_detached(command, home, home / "notices.log"))

    return tell


def notify(settings: Notify, notice: Notice, pause: Callable[[float], None]) -> list[str]:
    """Sends by every way that is set; returns what went wrong, for a log. Takes about a minute at worst."""
    if not _wanted(settings, notice):
        return []
    body = notice.model_dump_json()
    problems: list[str] = []
    if settings.webhook:
        problems += _post(settings.webhook, body, pause)
    if settings.command:
        problems += _run(settings.command, body)
    return problems


def _wanted(settings: Notify, notice: Notice) -> bool:
    return notice.topic in settings.on and bool(settings.webhook or settings.command)


def _post(url: str, body: str, pause: Callable[[float], None]) -> list[str]:
    import httpx  # only a job that has somebody to tell pays for it

    last = ""
    for attempt in range(TRIES):
        if attempt:
            pause(PAUSE_S * attempt)
        try:
            answer = httpx.post(url, content=body, headers={"content-type": "application/json"}, timeout=WEBHOOK_TIMEOUT_S)
        except httpx.HTTPError as error:
            last = type(error).__name__
            continue
        if answer.is_success:
            return []
        last = f"HTTP {answer.status_code}"
        if answer.is_client_error:  # the same request again would be refused again
            break
    return [f"the webhook did not take the notice ({last})"]


def _run(command: tuple[str, ...], body: str) -> list[str]:
    try:
        done = subprocess.run(command, input=body.encode(), env=process.environment(), timeout=COMMAND_TIMEOUT_S, check=False,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"the notify command failed ({type(error).__name__})"]
    return [] if done.returncode == 0 else [f"the notify command exited {done.returncode}"]


def main() -> int:
    """`python -m asrcore.jobs.notify CONFIG NOTICE`."""
    config, notice = sys.argv[1:]
    problems = notify(load_config(Path(config)).notify, Notice.model_validate_json(notice), time.sleep)
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 0


if __name__ == "__main__":
    sys.exit(main())
