"""SkyPilot's own judgement of the task files that are handed to it. Needs an environment of its own, named by ASRTUNE_SKY_PYTHON."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.jobs.test_render import CASES, GOLDEN

PYTHON = os.environ.get("ASRTUNE_SKY_PYTHON")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PYTHON is None, reason="no SkyPilot: name a Python that has it by ASRTUNE_SKY_PYTHON")]

CODE = """
import sys
import sky
from sky.jobs.state import ManagedJobStatus
task = sky.Task.from_yaml(sys.argv[1])
print(task.name, task.num_nodes, len(task.resources), ",".join(sorted(status.value for status in ManagedJobStatus)))
"""


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith(".yaml")])
def test_skypilot_takes_the_task_as_it_is(name: str) -> None:
    assert PYTHON is not None
    done = subprocess.run([PYTHON, "-c", CODE, str(GOLDEN / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[:3] == ["asrtune-job_0123456789ab-1", "1", "1"]


def test_every_state_that_skypilot_has_is_known() -> None:
    from asrcore.jobs.backends.sky import STATES

    assert PYTHON is not None
    done = subprocess.run([PYTHON, "-c", CODE, str(GOLDEN / "sky_cloud.yaml")], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()[3].split(",")) == set(STATES)


@pytest.mark.parametrize(("command", "options"), [("launch", ["--yes", "--detach-run", "--name"]), ("queue", ["--all", "--output"]), ("cancel", ["--yes", "--graceful", "--graceful-timeout"])])
def test_the_commands_have_the_options_that_we_use(command: str, options: list[str]) -> None:
    assert PYTHON is not None
    code = f"from sky.client.cli.command import jobs; print(' '.join(o for p in jobs.commands[{command!r}].params for o in p.opts))"
    known = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(options) <= set(known)
