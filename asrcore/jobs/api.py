"""Start, watch, stop and resume jobs. Every call answers at once, except for the waiting that its caller asks for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from asrcore import io, requests
from asrcore.errors import AsrtuneError, EnvironmentFault, ErrorView, NotReadyError, UsageError
from asrcore.jobs import child, process, remote, store
from asrcore.jobs.backends import CLUSTERS, require_backend, slots_of
from asrcore.jobs.ledger import Ledger
from asrcore.jobs.notify import messenger, waiting_for_yes
from asrcore.jobs.outcome import attempt_folder
from asrcore.jobs.progress import parse_events
from asrcore.jobs.reconcile import reconcile, supervised
from asrcore.jobs.start import start_supervisor
from asrcore.jobs.store import ENDED, UNLIMITED, Job, Limits, Spec
from asrcore.jobs.view import JobView, view_of
from asrcore.requests import Event
from asrcore.workspace import BackendName, Loggers, Workspace

MAX_WAIT_S = 45.0
"""Hosts give up on a call after about a minute; longer waits are several calls."""
_POLL_S = 0.2
GRACE_S = 30.0
"""Between SIGTERM and SIGKILL of a cancelled job: time to save a checkpoint."""


def submit(ws: Workspace, kind: str, request: BaseModel | Mapping[str, Any], *, key: str | None = None, force_new: bool = False,
           grace_s: float = GRACE_S, limits: Limits = UNLIMITED, backend: BackendName = "local") -> JobView:  # fmt: skip
    """Starts a job, or finds the one that does the same: `deduplicated` is then True.

    The key (default: digest of kind and request) says what is the same. A live job, and a succeeded one whose `out` still stands, are
    returned as they are; a failed, cancelled or lost one gets a new attempt. `force_new` makes another job, but never beside a live one with
    the same request: both would write into one folder; the same work on another backend is the same job. A new attempt keeps what earlier ones
    used of `limits`.
    Raises `job_kind_unknown`, `job_running`, `disk_full`, `supervisor_not_started`, and what `require_backend` raises.
    """
    module = requests.MODULES.get(kind)
    if module is None:
        raise UsageError("job_kind_unknown", "no such job kind.", next_step=f"use one of: {', '.join(requests.MODULES)}.")
    body = request.model_dump(mode="json") if isinstance(request, BaseModel) else dict(request)
    require_backend(ws, backend, body)
    spec = Spec(kind, module, body, key or io.sha256_json({"kind": kind, "request": body}), grace_s, limits.walltime_s, slots_of(ws.config, backend), backend,
                limits.gpu_hours, limits.memory_gb, limits.disk_gb)  # fmt: skip
    with Ledger.open(ws) as ledger:
        known = store.by_key(ledger, spec.key)
        if known is not None:
            _now(ws, ledger, known)
        job_id, started = _choose(ledger, spec, force_new=force_new)
        if started:
            _start(ws, ledger, store.load(ledger, job_id))
        return view_of(ws, store.load(ledger, job_id), deduplicated=not started)


def get_job(ws: Workspace, job_id: str, wait_s: float = 0.0, *, wake_on_event: bool = True) -> JobView:
    """The job now, or after up to `wait_s` <= 45 seconds: as soon as its state changes or (`wake_on_event`) a new event arrives.

    Raises `job_unknown`, `wait_too_long`.
    """
    if not 0 <= wait_s <= MAX_WAIT_S:
        raise UsageError("wait_too_long", f"wait_s is {wait_s:g}, allowed is 0 to {MAX_WAIT_S:g}.", next_step="call again with wait_s=45 as often as needed.")
    deadline = time.monotonic() + wait_s
    with Ledger.open(ws) as ledger:
        job = _now(ws, ledger, store.load(ledger, job_id))
        before = (job.attempt, job.state, _event_bytes(ws, job) if wake_on_event else 0)
        while job.state not in ENDED and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(_POLL_S, left))
            job = _now(ws, ledger, store.load(ledger, job_id))
            if (job.attempt, job.state, _event_bytes(ws, job) if wake_on_event else 0) != before:
                break
        return view_of(ws, job)


def list_jobs(ws: Workspace, limit: int = 20) -> tuple[JobView, ...]:
    """Newest attempt first, in brief: results and logs are for `get_job`."""
    with Ledger.open(ws) as ledger:
        return tuple(view_of(ws, _now(ws, ledger, job), brief=True) for job in store.newest(ledger, limit))


def ask_for_yes(ws: Workspace, ledger: Ledger, plan_id: str, digest: str) -> None:
    """Tells whoever is to be told that a plan waits for a person; once per plan as it is."""
    if store.first_time(ledger, f"approval_needed {plan_id} {digest}"):
        messenger(ws.config_file, ws.home)(waiting_for_yes(plan_id))


def cancel_job(ws: Workspace, job_id: str, *, grace_s: float | None = None) -> JobView:
    """Asks a live job to stop: SIGTERM, then SIGKILL to its whole group after the grace period. A job that has ended stays as it is; what a lost
    one may have left in a cluster is taken out.

    Returns at once; `get_job` shows the end. Raises `job_unknown`, and for a lost job of a cluster `backend_missing`, `cluster_silent`.
    """
    with Ledger.open(ws) as ledger:
        job = _now(ws, ledger, store.load(ledger, job_id))
        if job.state not in ENDED:
            store.ask_cancel(ledger, job, grace_s)
            job = _now(ws, ledger, store.load(ledger, job_id))
        if job.state not in ENDED:
            # Who adopted an orphan looks for a cancel by itself: the signal might come before its handler, or the work get two.
            told = supervised(ledger, job) if job.state == "orphaned" else job.supervisor is not None and job.supervisor.send(signal.SIGTERM)
            if not told and job.child is not None:
                job.child.send(signal.SIGTERM)
        elif job.state == "lost" and job.remote is not None:
            remote.sweep(job.remote)
        return view_of(ws, job)


def resume_job(ws: Workspace, job_id: str) -> JobView:
    """A new attempt of a failed, cancelled or lost job; the work goes on from what its `out` folder holds. A succeeded job is returned as it is.

    Raises `job_unknown`, `job_running`, `disk_full`, `supervisor_not_started`, and what `require_backend` raises: the config may have changed.
    """
    with Ledger.open(ws) as ledger:
        job = _now(ws, ledger, store.load(ledger, job_id))
        if job.state == "succeeded":
            return view_of(ws, job, deduplicated=True)
        require_backend(ws, job.backend, job.request)
        with ledger.transaction() as connection:
            attempt, state = store.current_state(connection, job_id)
            if state not in ENDED:
                raise _running(job_id, f"attempt {attempt} is {state}")
            store.add_attempt(connection, job_id)
        _start(ws, ledger, store.load(ledger, job_id))
        return view_of(ws, store.load(ledger, job_id))


def follow(ws: Workspace, job_id: str) -> Iterator[Event]:
    """Every event of the current attempt, from its first, until the attempt ends. Ctrl-C leaves the job running.

    How the job ended is for `get_job` to say.
    """
    with Ledger.open(ws) as ledger:
        attempt = store.load(ledger, job_id).attempt
        path = attempt_folder(ws.home, job_id, attempt) / child.EVENTS
        offset = 0
        while True:
            job = _now(ws, ledger, store.load(ledger, job_id))
            over = job.state in ENDED or job.attempt != attempt  # asked before reading: events written before the end are still seen
            text, offset = _new_lines(path, offset)
            yield from parse_events(text)
            if over:
                return
            time.sleep(_POLL_S)


def _choose(ledger: Ledger, spec: Spec, *, force_new: bool) -> tuple[str, bool]:
    """The job that this submit means, and whether an attempt was queued for it. One transaction, so two submits at once agree."""
    with ledger.transaction() as connection:
        known = store.by_key(ledger, spec.key)
        if known is None:
            return store.add_job(connection, spec), True
        if known.state not in ENDED:
            if force_new and known.request == spec.request:
                raise _running(known.id, f"it is {known.state} and does the same")
            if not force_new:
                return known.id, False
        elif known.state == "succeeded" and not force_new and _out_stands(known.request):
            return known.id, False
        elif not force_new:
            store.update_spec(connection, known.id, spec)
            store.add_attempt(connection, known.id)
            return known.id, True
        return store.add_job(connection, spec), True


def _out_stands(request: Mapping[str, Any]) -> bool:
    """Whether what a succeeded job made is still there; a request without `out` made nothing but its result."""
    out = request.get("out")
    return not isinstance(out, str) or Path(out).exists()


def _start(ws: Workspace, ledger: Ledger, job: Job) -> None:
    """Folder, request and supervisor of a queued attempt. If that fails, the attempt says so and the error goes to the caller."""
    folder = attempt_folder(ws.home, job.id, job.attempt)
    try:
        io.write_json(folder / child.REQUEST, job.request)
        if job.kind == "train" and ws.config.loggers != Loggers():
            io.write_json(folder / child.LOGGERS, ws.config.loggers)  # beside the request: where metrics go makes no other run of it
        if job.backend in CLUSTERS:
            cluster = CLUSTERS[job.backend]
            io.write_text(folder / cluster.file, cluster.render(remote.task_of(job, folder, ws.config), ws.config))
        running = start_supervisor(ws.home, job, ws.config_file)
    except (AsrtuneError, OSError) as error:
        coded = error if isinstance(error, AsrtuneError) else EnvironmentFault(
            "supervisor_not_started", f"the job's process could not be started ({error.strerror}).",
            next_step="call doctor {}, then the same tool again.", retryable=True)  # fmt: skip
        with ledger.transaction() as connection:
            store.advance(connection, job, "failed", reason=coded.code, error=ErrorView.of(coded))
        raise coded from error
    identity = process.identify(running.pid)
    process.reap_in_background(running)
    if identity is not None:
        store.register_supervisor(ledger, job.id, job.attempt, identity)


def _now(ws: Workspace, ledger: Ledger, job: Job) -> Job:
    return reconcile(ledger, ws.home, job, ws.config_file)


def _running(job_id: str, what: str) -> NotReadyError:
    return NotReadyError("job_running", f"job {job_id} has not ended: {what}.",
                         next_step=f'call get_job with {{"job_id": "{job_id}", "wait_s": 45}}, or cancel_job first.')  # fmt: skip


def _event_bytes(ws: Workspace, job: Job) -> int:
    try:
        return os.stat(attempt_folder(ws.home, job.id, job.attempt) / child.EVENTS).st_size
    except FileNotFoundError:
        return 0


def _new_lines(path: Path, offset: int) -> tuple[str, int]:
    """Whole lines after `offset`, and where they end."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return "", offset
    whole = data[: data.rfind(b"\n") + 1]
    return whole.decode("utf-8", errors="replace"), offset + len(whole)
