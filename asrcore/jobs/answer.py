"""The envelope of every tool that answers with a job: one sentence, the view, what to do next. Big results are cut to a size a model can read."""

from __future__ import annotations

from typing import Any, cast

from asrcore.errors import Problem
from asrcore.jobs.backends import CLUSTERS
from asrcore.jobs.health import ALARMS
from asrcore.jobs.store import ENDED
from asrcore.jobs.view import JobView
from asrcore.results import Artifact, NextAction, Result

_MADE = {"build_shards": "shards", "train": "run", "blend": "blend", "add_locale": "base", "eval": "eval", "export": "export"}
_LONGEST = 3
_MOST_CHARACTERS = 500
_MOST_PROBLEMS = 20
_DEEPEST = 3


def answer(view: JobView) -> Result[JobView]:
    """`result` keeps the first entries of long lists; the whole value is `result.json` in the artifact folder and the rows in the ledger.

    An error keeps its first 20 problems; all are in `error.json` there.
    """
    result, cut = _shorten(view.result, 0) if view.result is not None else (None, False)
    error = view.error
    if error is not None and len(error.problems) > _MOST_PROBLEMS:
        error, cut = error.model_copy(update={"problems": error.problems[:_MOST_PROBLEMS]}), True
    return Result(
        summary=summary(view),
        data=view.model_copy(update={"result": result, "error": error}),
        warnings=_left_behind(view),
        next_actions=next_actions(view),
        artifacts=_artifacts(view),
        truncated=cut,
    )


def summary(view: JobView) -> str:
    """`Job job_1 (train) is running: fit 120 of 900, about 340 s left.`"""
    text = f"Job {view.job_id} ({view.kind}) is {view.state}"
    if view.remote_id is not None:
        text += f" as {view.remote_id} on {view.backend}"
    if view.attempt > 1:
        text += f", attempt {view.attempt}"
    if view.error is not None:
        return f"{text}: [{view.error.code}] {view.error.message} Next: {view.error.next_step}"
    if view.state in ENDED:
        return f"{text}: {view.reason}."
    if view.progress is not None and view.progress.total:
        text += f": {view.progress.stage} {view.progress.step} of {view.progress.total}"
    if view.eta_s is not None:
        text += f", about {view.eta_s:.0f} s left"
    if view.health.status not in ("ok", "unknown"):
        text += f"; health {view.health.status} ({view.health.detail})"
    if view.reason == "cancel requested":
        text += "; a cancel was requested"
    return f"{text}."


def next_actions(view: JobView) -> tuple[NextAction, ...]:
    """What makes sense now, the likeliest first; after SkyPilot's last job, that a person cleans up."""
    if view.backend != "sky" or view.state not in ENDED:
        return _next_actions(view)
    why = "when none of them runs on sky any more, a person looks at `sky status` and `sky storage ls` and takes down what still costs"
    return (*_next_actions(view), NextAction(tool="list_objects", arguments={"kind": "job", "limit": 20}, why=why))


def _next_actions(view: JobView) -> tuple[NextAction, ...]:
    wait = NextAction(tool="get_job", arguments={"job_id": view.job_id, "wait_s": 45}, why="waits until the state changes, at most 45 s")
    if view.state not in ENDED:
        stop = NextAction(tool="cancel_job", arguments={"job_id": view.job_id}, why=f"health is {view.health.status}")
        return (wait, stop) if view.health.status in ALARMS else (wait,)
    if view.state == "succeeded":
        kind = _MADE.get(view.kind, "job")
        return (NextAction(tool="list_objects", arguments={"kind": kind, "limit": 5}, why=f"shows the new {kind} and its id for the next step"),)
    resume = NextAction(tool="resume_job", arguments={"job_id": view.job_id}, why="a new attempt goes on from what was saved")
    if view.state == "lost" and view.backend in CLUSTERS:
        clean = NextAction(tool="cancel_job", arguments={"job_id": view.job_id}, why=f"takes out of {CLUSTERS[view.backend].title} what may be left of it there")
        return (clean, resume)
    if view.error is not None and view.error.code in ("walltime_exceeded", "gpu_hours_exceeded") and not view.error.retryable:
        return (NextAction(tool="list_objects", arguments={"kind": "plan", "limit": 5}, why="once a person raised the limit, the same plan is launched again"),)
    if view.error is not None and not view.error.retryable:
        doctor = NextAction(tool="doctor", arguments={}, why="shows what this machine lacks")
        mended = resume.model_copy(update={"why": "only once the cause in `error` is mended: a new attempt goes on from what was saved"})
        return (doctor, mended) if view.error.exit_code == 4 else (mended,)
    return (resume,)


def _artifacts(view: JobView) -> tuple[Artifact, ...]:
    folder = Artifact(name=f"attempt {view.attempt}", path=view.folder, kind="job folder")
    if view.backend not in CLUSTERS:
        return (folder,)
    return (folder, Artifact(name="what was submitted", path=f"{view.folder}/{CLUSTERS[view.backend].file}", kind="script"))


def _left_behind(view: JobView) -> tuple[Problem, ...]:
    """SkyPilot ends a job's machine by itself, not what it keeps to look after jobs."""
    if view.backend != "sky" or view.state not in ENDED:
        return ()
    return (Problem(code="cluster_cleanup", severity="info", message="SkyPilot's jobs controller, volumes and buckets stay, and may cost",
                    fix="when no more jobs are to come, a person looks at `sky status` and `sky storage ls` and takes down what is not needed"),)  # fmt: skip


def _shorten(value: Any, depth: int) -> tuple[Any, bool]:
    """Lists keep their first 3 entries, texts their first 500 characters; what lies over 3 levels deep is left out."""
    if isinstance(value, str):
        return value[:_MOST_CHARACTERS], len(value) > _MOST_CHARACTERS
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        if depth >= _DEEPEST:
            return {}, bool(entries)
        pairs = {name: _shorten(entry, depth + 1) for name, entry in entries.items()}
        return {name: entry for name, (entry, _) in pairs.items()}, any(cut for _, cut in pairs.values())
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if depth >= _DEEPEST and items and isinstance(items[0], dict | list):
            return [], True
        kept = [_shorten(item, depth + 1) for item in items[:_LONGEST]]
        return [item for item, _ in kept], len(items) > _LONGEST or any(cut for _, cut in kept)
    return value, False
