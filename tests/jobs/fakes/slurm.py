"""A Slurm small enough to read: `python slurm.py sbatch|scontrol|squeue|sacct|scancel|srun ...`, one JSON file a job in $ASRTUNE_FAKE_CLUSTER.

Words, exit codes and messages are those of Slurm 22.05 (compared with the real one by test_real_slurm.py). Beside the jobs, a test lays
files: `hold` keeps new jobs PENDING, `down` makes the controller unreachable, `reject` makes sbatch refuse, `no_accounting` silences sacct.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HOME = Path(os.environ["ASRTUNE_FAKE_CLUSTER"])
LIVE = ("PENDING", "RUNNING", "COMPLETING")


def read(job_id: str) -> dict[str, Any] | None:
    try:
        return json.loads((HOME / f"job_{job_id}.json").read_text())
    except FileNotFoundError:
        return None


def write(job: dict[str, Any]) -> None:
    part = HOME / f".{job['id']}.{os.getpid()}"
    part.write_text(json.dumps(job))
    os.replace(part, HOME / f"job_{job['id']}.json")


def end(job_id: str, state: str, exit_code: str) -> None:
    """The first end counts."""
    job = read(job_id)
    if job is not None and job["state"] in LIVE:
        write(job | {"state": state, "exit_code": exit_code})


def fail(message: str) -> int:
    sys.stderr.write(message + "\n")
    return 1


def down() -> int | None:
    return fail("slurm_load_jobs error: Unable to contact slurm controller (connect failure)") if (HOME / "down").exists() else None


def sbatch(arguments: list[str]) -> int:
    if (HOME / "reject").exists():
        return fail("sbatch: error: invalid partition specified: gpu\nsbatch: error: Batch job submission failed: Invalid partition name specified")
    if (HOME / "down").exists():
        return fail("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)")
    script = Path(arguments[-1]).resolve()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script.read_text(), re.MULTILINE))
    number = 1 + max((int(path.stem.split("_")[1]) for path in HOME.glob("job_*.json")), default=0)
    log = options["output"].strip('"').replace("%%", "%")
    write({"id": str(number), "name": options["job-name"], "state": "PENDING", "exit_code": "0:0", "script": str(script), "log": log,
           "limit": int(options["time"]) * 60, "start": time.time(), "pid": None})  # fmt: skip
    subprocess.Popen([sys.executable, __file__, "run", str(number)], start_new_session=True, stdin=subprocess.DEVNULL,
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    print(number)
    return 0


def run(arguments: list[str]) -> int:
    """The node: waits while jobs are held, then runs the script as slurmd does."""
    (job_id,) = arguments
    while (HOME / "hold").exists():
        time.sleep(0.05)
    job = read(job_id)
    if job is None or job["state"] != "PENDING":
        return 0
    with open(job["log"], "ab") as log:
        work = subprocess.Popen(["/bin/bash", job["script"]], cwd=Path(job["script"]).parent, stdout=log, stderr=log, start_new_session=True,
                                env=os.environ | {"SLURM_JOB_ID": job_id})  # fmt: skip
    write(job | {"state": "RUNNING", "pid": work.pid, "start": time.time()})
    code = work.wait()
    end(job_id, "COMPLETED" if code == 0 else "FAILED", f"{code}:0" if code >= 0 else f"0:{-code}")
    return 0


def srun(arguments: list[str]) -> int:
    while arguments[0].startswith("--"):
        arguments.pop(0)
    (HOME / f"step_{os.environ['SLURM_JOB_ID']}").touch()
    os.execvp(arguments[0], arguments)  # noqa: S606


def scontrol(arguments: list[str]) -> int:
    unreachable = down()
    if unreachable is not None:
        return unreachable
    job = read(arguments[-1])
    if job is None or job.get("forgotten"):
        return fail("slurm_load_jobs error: Invalid job id specified")

    def clock(seconds: float) -> str:
        hours, rest = divmod(int(seconds), 3600)
        days, hours = divmod(hours, 24)
        return (f"{days}-" if days else "") + f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"

    print(f"JobId={job['id']} JobName={job['name']} UserId=a(1) JobState={job['state']} Reason=None Requeue=0 ExitCode={job['exit_code']} "
          f"RunTime={clock(time.time() - job['start'])} TimeLimit={clock(job['limit'])} TimeMin=N/A StdOut={job['log']} ")  # fmt: skip
    return 0


def squeue(arguments: list[str]) -> int:
    unreachable = down()
    if unreachable is not None:
        return unreachable
    name = next(argument.removeprefix("--name=") for argument in arguments if argument.startswith("--name="))
    for path in sorted(HOME.glob("job_*.json")):
        job = json.loads(path.read_text())
        if job["name"] == name and not job.get("forgotten"):
            print(job["id"])
    return 0


def sacct(arguments: list[str]) -> int:
    if (HOME / "no_accounting").exists():
        return fail("Slurm accounting storage is disabled")
    job = read(arguments[arguments.index("--jobs") + 1])
    if job is not None:
        by = " by 0" if job["state"] == "CANCELLED" else ""
        print(f"{job['state']}{by}|{job['exit_code']}")
    return 0


def scancel(arguments: list[str]) -> int:
    job = read(arguments[-1])
    if job is None or job["state"] not in LIVE:
        return 0
    if "--signal=TERM" in arguments:
        if (HOME / f"step_{job['id']}").exists():
            os.kill(job["pid"], signal.SIGTERM)
        return 0
    end(job["id"], "CANCELLED", "0:15")
    if job["pid"]:
        os.killpg(job["pid"], signal.SIGTERM)
        time.sleep(0.1)
        try:
            os.killpg(job["pid"], signal.SIGKILL)
        except ProcessLookupError:
            return 0
    return 0


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    with open(HOME / "calls", "a") as calls:
        calls.write(" ".join([command, *rest]) + "\n")
    sys.exit({"sbatch": sbatch, "run": run, "srun": srun, "scontrol": scontrol, "squeue": squeue, "sacct": sacct, "scancel": scancel}[command](rest))
