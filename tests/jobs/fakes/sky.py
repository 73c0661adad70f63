"""SkyPilot's managed jobs, small: `python sky.py sky jobs launch|queue|cancel ...`, one JSON file a job in $ASRTUNE_FAKE_CLUSTER.

Options, states and the shape of `queue --output json` are those of SkyPilot 0.14.1. Beside the jobs, a test lays files: `hold`, `down`, `reject`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

HOME = Path(os.environ["ASRTUNE_FAKE_CLUSTER"])
LIVE = ("PENDING", "STARTING", "RUNNING", "RECOVERING", "CANCELLING")


def write(job: dict[str, Any]) -> None:
    part = HOME / f".{job['id']}.{os.getpid()}"
    part.write_text(json.dumps(job))
    os.replace(part, HOME / f"job_{job['id']}.json")


def read(job_id: str) -> dict[str, Any]:
    return json.loads((HOME / f"job_{job_id}.json").read_text())


def end(job_id: str, state: str) -> None:
    job = read(job_id)
    if job["state"] in LIVE:
        write(job | {"state": state})


def launch(arguments: list[str]) -> int:
    if (HOME / "reject").exists():
        sys.stderr.write("sky.exceptions.ResourcesUnavailableError: Catalog does not contain any instances satisfying the request\n")
        return 1
    task = yaml.safe_load(Path(arguments[-1]).read_text())
    assert {"--yes", "--detach-run"} <= set(arguments)
    number = 1 + len(list(HOME.glob("job_*.json")))
    write({"id": str(number), "name": arguments[arguments.index("--name") + 1], "state": "PENDING", "run": task["run"], "pid": None})
    subprocess.Popen([sys.executable, __file__, "sky", "node", str(number)], start_new_session=True, stdin=subprocess.DEVNULL,
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    print(f"📋 Useful Commands\nManaged Job ID: \x1b[1m{number}\x1b[0m")
    return 0


def node(arguments: list[str]) -> int:
    while (HOME / "hold").exists():
        time.sleep(0.05)
    job = read(arguments[0])
    if job["state"] != "PENDING":
        return 0
    work = subprocess.Popen(["/bin/bash", "-c", job["run"]], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    write(job | {"state": "RUNNING", "pid": work.pid})
    end(job["id"], "SUCCEEDED" if work.wait() == 0 else "FAILED")
    return 0


def queue(_arguments: list[str]) -> int:
    if (HOME / "down").exists():
        sys.stderr.write("Could not connect to SkyPilot API server\n")
        return 1
    jobs = sorted((json.loads(path.read_text()) for path in HOME.glob("job_*.json")), key=lambda job: -int(job["id"]))
    print(json.dumps([{"job_id": int(job["id"]), "task_id": 0, "job_name": job["name"], "status": job["state"], "failure_reason": None} for job in jobs]))
    return 0


def cancel(arguments: list[str]) -> int:
    job = read(arguments[-1])
    end(job["id"], "CANCELLED")
    if job["pid"] and job["state"] in LIVE:
        for process in [*psutil.Process(job["pid"]).children(recursive=True), psutil.Process(job["pid"])]:
            process.kill()
    return 0


if __name__ == "__main__":
    _, *rest = sys.argv[1:]
    with open(HOME / "calls", "a") as calls:
        calls.write(" ".join(["sky", *rest]) + "\n")
    if rest[0] == "node":
        sys.exit(node(rest[1:]))
    sys.exit({"launch": launch, "queue": queue, "cancel": cancel}[rest[1]](rest[2:]))
