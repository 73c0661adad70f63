"""Slurm through its own commands: sbatch takes the rendered script, scontrol (and sacct, where there is accounting) say how it fares.

States: https://slurm.schedmd.com/job_state_codes.html. The work is one `srun` step, so that `scancel --signal` and `--signal=TERM@s` reach
it and not the shell around it: a training then saves before its limit, as it does before a cancel.
"""

from __future__ import annotations

import math
import re
import shlex
import shutil
import sys
from pathlib import Path

from asrcore.errors import UsageError
from asrcore.jobs.backends.base import Answer, Phase, Seen, Task, ask, prologue, refused, silent, work_of
from asrcore.jobs.child import LOG
from asrcore.workspace import Config

_PHASES: dict[str, Phase] = {
    **dict.fromkeys(("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT", "POWER_UP_NODE"), "waiting"),
    **dict.fromkeys(("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING", "EXPEDITING"), "running"),
    "COMPLETED": "succeeded", "FAILED": "failed", "LAUNCH_FAILED": "unstarted", "RECONFIG_FAIL": "unstarted",
    "CANCELLED": "cancelled", "REVOKED": "cancelled", "TIMEOUT": "timeout", "DEADLINE": "timeout", "OUT_OF_MEMORY": "memory",
    "NODE_FAIL": "node", "BOOT_FAIL": "node", "PREEMPTED": "preempted",
}  # fmt: skip
_MOST_LEAD_S = 65_535
"""Largest time that `--signal` takes."""


class SlurmCluster:
    title: str = "Slurm"
    file: str = "submit.sh"
    commands: tuple[str, ...] = ("sbatch", "scontrol", "squeue", "scancel")

    def render(self, task: Task, config: Config) -> str:
        """The batch script. Raises `path_not_for_slurm` for a folder whose name no #SBATCH line can hold."""
        slurm = config.slurm
        minutes = max(1, math.ceil(min(task.limit_s, slurm.time_hours * 3600) / 60))
        lead = max(1, min(math.ceil(task.grace_s), minutes * 30, _MOST_LEAD_S))
        options = [
            f"--job-name={task.name}", f'--output="{_log_pattern(task.folder)}"', "--open-mode=append", "--no-requeue", "--nodes=1", "--ntasks=1",
            f"--cpus-per-task={slurm.cpus}", f"--time={minutes}", f"--signal=TERM@{lead}",
        ]  # fmt: skip
        if slurm.gpus:
            options.append(f"--gres=gpu:{f'{slurm.gpu_type}:' if slurm.gpu_type else ''}{slurm.gpus}")
        if slurm.memory_gb is not None:
            options.append(f"--mem={math.ceil(slurm.memory_gb * 1024)}M")
        options += [f"--{name}={value}" for name, value in (("partition", slurm.partition), ("account", slurm.account), ("qos", slurm.qos)) if value]
        # srun no longer takes --cpus-per-task from the job (Slurm 22.05), and would run the work on one core.
        step = ["srun", "--ntasks=1", f"--cpus-per-task={slurm.cpus}"]
        if slurm.container_image:
            step += [f"--container-image={slurm.container_image}", f"--container-mounts={','.join((str(task.folder.parents[2]), *slurm.container_mounts))}", f"--container-workdir={task.folder}"]
        work = [*step, *work_of(slurm.python or sys.executable, task)]
        lines = [
            "#!/bin/bash", *(f"#SBATCH {option}" for option in (*options, *slurm.options)), "", "set -e",
            *prologue(task, shlex.quote(str(task.folder))), *slurm.setup, f"exec {shlex.join(work)}",
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def submit(self, folder: Path, name: str) -> str:
        answer = ask(self.title, ("sbatch", "--parsable", self.file), cwd=folder)
        found = re.match(r"\d+", answer.out.strip()) if answer is not None and answer.code == 0 else None
        if found is None:
            raise refused(self.title, answer)
        return found.group()

    def find(self, name: str) -> str | None:
        answer = ask(self.title, ("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%i"))
        if answer is None or answer.code:
            raise silent(self.title)
        ids = re.findall(r"^\s*(\d+)", answer.out, re.MULTILINE)
        return ids[-1] if ids else None

    def look(self, remote_id: str, folder: Path) -> Seen | None:
        answer = ask(self.title, ("scontrol", "show", "job", "--oneliner", remote_id))
        if answer is None:
            return None
        if answer.code == 0 and "JobState=" in answer.out:
            return _from_scontrol(answer.out)
        return self._from_accounting(remote_id) if "Invalid job id" in answer.err else None

    def _from_accounting(self, remote_id: str) -> Seen | None:
        """For jobs that the controller has forgotten (MinJobAge, five minutes by default)."""
        answer = _sacct("--jobs", remote_id, "--format=State,ExitCode")
        rows = [line.split("|") for line in answer.out.splitlines()] if answer is not None and answer.code == 0 else []
        if not rows or len(rows[0]) < 2:
            return Seen("gone", "unknown to the controller")
        return _seen(rows[0][0], rows[0][1], None)

    def stop(self, remote_id: str, grace_s: float) -> None:
        """A step that has not begun gets no signal; what waits in the queue is simply taken out."""
        seen = self.look(remote_id, Path())
        if seen is not None and seen.phase == "waiting":
            self.kill(remote_id)
        else:
            ask(self.title, ("scancel", "--quiet", "--signal=TERM", remote_id))

    def kill(self, remote_id: str) -> None:
        ask(self.title, ("scancel", "--quiet", remote_id))


def _sacct(*arguments: str) -> Answer | None:
    if shutil.which("sacct") is None:
        return None
    return ask("Slurm", ("sacct", "--allocations", "--noheader", "--parsable2", *arguments))


def _from_scontrol(text: str) -> Seen | None:
    def field(name: str) -> str:
        found = re.search(rf"(?:^|\s){name}=(\S*)", text)
        return found.group(1) if found else ""

    limit, run = _seconds(field("TimeLimit")), _seconds(field("RunTime"))
    return _seen(field("JobState"), field("ExitCode"), None if limit is None or run is None else limit - run)


def _seen(state: str, exit_code: str, left_s: float | None) -> Seen | None:
    """`CANCELLED by 0` and `CANCELLED+` are CANCELLED; a word that this table does not know says nothing."""
    word = re.match(r"[A-Z_]*", state.strip())
    phase = _PHASES.get(word.group() if word else "")
    if phase is None:
        return None
    code, _, signal = exit_code.partition(":")
    number = -int(signal) if signal.isdigit() and int(signal) else int(code) if code.isdigit() else None
    return Seen(phase, word.group() if word else "", number if phase not in ("waiting", "running") else None, left_s)


def _seconds(text: str) -> float | None:
    """`1-02:03:04` and `02:03:04`; None for UNLIMITED."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60.0 + seconds


def _log_pattern(folder: Path) -> str:
    """The log's path in a #SBATCH line, where % begins a pattern and a backslash turns patterns off."""
    path = str(folder / LOG)
    if re.search(r"[\\\"'#\x00-\x1f\x7f]", path):
        raise UsageError("path_not_for_slurm", "the workspace's path holds a quote, a backslash, a # or a control character, which a batch script cannot name.",
                         next_step="set ASRTUNE_HOME to a folder with a plain name, then launch again.")  # fmt: skip
    return path.replace("%", "%%")
