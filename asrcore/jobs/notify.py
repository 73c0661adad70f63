"""Tells somebody that a job has ended: a webhook (one JSON POST) and a command (the same JSON on its stdin), both set by a person in `asrtune.toml`.

A notice holds ids, states and codes, no text from data. What goes wrong here is logged and changes nothing about the job. A job whose supervisor
was killed ends without a notice: whoever reads the ledger next records its end, but is no messenger.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime

from asrcore.jobs import process
from asrcore.jobs.outcome import Outcome
from asrcore.jobs.store import Job
from asrcore.results import Frozen
from asrcore.workspace import Notify

TRIES = 3
PAUSE_S = 2.0
WEBHOOK_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 30.0


class Notice(Frozen):
    """What is sent. `code` is the stable error code of a failed job."""

    event: str
    job_id: str
    kind: str
    attempt: int
    state: str
    code: str | None
    time: datetime


def notice_of(job: Job, outcome: Outcome) -> Notice:
    return Notice(event="job_ended", job_id=job.id, kind=job.kind, attempt=job.attempt, state=outcome.state,
                  code=outcome.error.code if outcome.error else None, time=datetime.now(UTC))  # fmt: skip


def notify(settings: Notify, notice: Notice, pause: Callable[[float], None]) -> list[str]:
    """Sends by every way that is set; returns what went wrong, for a log. Takes about a minute at worst."""
    if notice.state not in settings.on:
        return []
    body = notice.model_dump_json()
    problems: list[str] = []
    if settings.webhook:
        problems += _post(settings.webhook, body, pause)
    if settings.command:
        problems += _run(settings.command, body)
    return problems


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
