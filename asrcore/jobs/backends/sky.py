"""Clouds and Kubernetes through SkyPilot's managed jobs: `sky jobs launch` takes the rendered task, `sky jobs queue` says how it fares.

Checked against SkyPilot 0.14 (task schema, command options, states of `sky.jobs.state.ManagedJobStatus`). The id is asked for by name, not
read from what the launch prints for people. SkyPilot tells no exit code, so the task writes it beside the result.
"""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any, cast

from asrcore.jobs.backends.base import TIMEOUT_EXIT, Phase, Seen, Task, ask, prologue, refused, silent, work_of
from asrcore.jobs.child import LOG
from asrcore.workspace import Config, Sky

EXIT_CODE = "exit_code"
_LAUNCH_S = 1800.0
"""A launch uploads and may start the jobs controller first."""
STATES: dict[str, Phase] = {
    "PENDING": "waiting", "SUBMITTED": "waiting", "STARTING": "waiting", "RECOVERING": "waiting",
    "RUNNING": "running", "WINDING_DOWN": "running", "CANCELLING": "running",
    "SUCCEEDED": "succeeded", "CANCELLED": "cancelled", "FAILED": "failed",
    "FAILED_SETUP": "unstarted", "FAILED_PRECHECKS": "unstarted", "FAILED_NO_RESOURCE": "unstarted", "FAILED_CONTROLLER": "node",
}  # fmt: skip
"""`sky.jobs.state.ManagedJobStatus`, whole."""


class SkyCluster:
    title: str = "SkyPilot"
    file: str = "task.yaml"
    commands: tuple[str, ...] = ("sky",)

    def render(self, task: Task, config: Config) -> str:
        """The task file."""
        sky = config.sky
        body: dict[str, Any] = {"name": task.name, "num_nodes": 1, "resources": _resources(sky)}
        if sky.buckets:
            body["file_mounts"] = {path: {"source": source, "mode": "MOUNT_CACHED"} for path, source in sorted(sky.buckets.items())}
        if sky.volumes:
            body["volumes"] = dict(sorted(sky.volumes.items()))
        if sky.setup:
            body["setup"] = "\n".join(sky.setup) + "\n"
        body["run"] = _run(task, sky)
        return _yaml(body)

    def submit(self, folder: Path, name: str) -> str:
        answer = ask(self.title, ("sky", "jobs", "launch", "--yes", "--detach-run", "--name", name, self.file), cwd=folder, timeout_s=_LAUNCH_S)
        if answer is None or answer.code:
            raise refused(self.title, answer)
        found = self.find(name)
        if found is None:
            raise refused(self.title, answer)
        return found

    def find(self, name: str) -> str | None:
        rows = self._queue()
        if rows is None:
            raise silent(self.title)
        return next((str(row["job_id"]) for row in rows if row.get("job_name") == name), None)

    def look(self, remote_id: str, folder: Path) -> Seen | None:
        rows = self._queue()
        if rows is None:
            return None
        row = next((row for row in rows if str(row.get("job_id")) == remote_id), None)
        if row is None:
            return Seen("gone", "not in the queue")
        phase = STATES.get(str(row.get("status")))
        if phase is None:
            return None
        code = _exit_code(folder) if phase in ("succeeded", "failed") else None
        return Seen("timeout" if code == TIMEOUT_EXIT else phase, str(row["status"]), code)

    def stop(self, remote_id: str, grace_s: float) -> None:
        """SkyPilot ends the work at once; only what it had written to a bucket is still carried over."""
        ask(self.title, ("sky", "jobs", "cancel", "--yes", "--graceful", "--graceful-timeout", str(math.ceil(grace_s)), remote_id))

    def kill(self, remote_id: str) -> None:
        ask(self.title, ("sky", "jobs", "cancel", "--yes", remote_id))

    def _queue(self) -> list[dict[str, Any]] | None:
        """Rows of all managed jobs of this user, newest first; None when SkyPilot does not answer with them."""
        answer = ask(self.title, ("sky", "jobs", "queue", "--all", "--output", "json"))
        if answer is None or answer.code:
            return None
        try:
            rows = json.loads(answer.out)
        except ValueError:
            return None
        return [cast("dict[str, Any]", row) for row in cast("list[Any]", rows) if isinstance(row, dict)] if isinstance(rows, list) else None


def _yaml(body: dict[str, Any]) -> str:
    """Texts of several lines stay as they are, for people who read the task before it is launched."""
    import yaml  # only a launch pays for it

    class Dumper(yaml.SafeDumper):
        pass

    def block(dumper: Any, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, block)
    return yaml.dump(body, Dumper=Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def _resources(sky: Sky) -> dict[str, Any]:
    wanted: dict[str, Any] = {"infra": sky.infra} if sky.infra else {}
    if sky.gpus:
        wanted["accelerators"] = f"{sky.gpu_type}:{sky.gpus}"
    wanted["cpus"] = f"{sky.cpus}+"
    if sky.memory_gb is not None:
        wanted["memory"] = f"{math.ceil(sky.memory_gb)}+"
    if sky.image_id:
        wanted["image_id"] = sky.image_id
    # A failed program is not started again behind the ledger's back: that is what resume_job is for. Lost machines are replaced.
    return wanted | {"use_spot": sky.use_spot, "job_recovery": {"max_restarts_on_errors": 0}}


def _run(task: Task, sky: Sky) -> str:
    """The cap on time is in the task itself: it holds, and with it the bill, when nobody is left to watch."""
    limit = math.ceil(min(task.limit_s, sky.time_hours * 3600))
    work = shlex.join(
        ["timeout", "--signal=TERM", f"--kill-after={math.ceil(task.grace_s)}", str(limit), *work_of(sky.python, task)]
    )
    lines = [
        "set -e", *prologue(task, shlex.quote(str(task.folder))), f"exec >>{LOG} 2>&1", f"rm -f {EXIT_CODE}", "code=0", "SECONDS=0", f"{work} || code=$?",
        f'if [ "$code" -ne 0 ] && [ "$SECONDS" -ge {limit} ]; then code={TIMEOUT_EXIT}; fi',
        f"echo \"$code\" > {EXIT_CODE}.part && mv {EXIT_CODE}.part {EXIT_CODE}", 'exit "$code"',
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _exit_code(folder: Path) -> int | None:
    try:
        return int((folder / EXIT_CODE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
