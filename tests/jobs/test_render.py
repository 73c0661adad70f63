"""What is handed to a cluster, as text: compared with golden files, read by bash, and safe with any path and name."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from asrcore.errors import UsageError
from asrcore.jobs.backends import CLUSTERS, command_here
from asrcore.jobs.backends.base import Task
from asrcore.workspace import Config, Slurm

GOLDEN = Path(__file__).parents[1] / "golden" / "jobs"
TASK = Task("asrtune-job_0123456789ab-1", Path("/shared/my asr/100%/jobs/job_0123456789ab/attempt_1"), "asrcore.model.train", 45.2, float("inf"))
SLURM: dict[str, Any] = {"python": "/shared/venv/bin/python"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "slurm_plain.sh": ("slurm", {"slurm": SLURM}),
    "slurm_site.sh": ("slurm", {"slurm": SLURM | {
        "partition": "gpu", "account": "asr", "qos": "long", "gpu_type": "h100", "memory_gb": 64, "cpus": 16, "time_hours": 72,
        "setup": ["module load cuda/13", "source /shared/venv/bin/activate"], "options": ["--constraint=ib", "--exclusive"]}}),
    "slurm_pyxis.sh": ("slurm", {"slurm": {"python": "python3", "gpus": 0, "container_image": "nvcr.io#nvidia/nemo:26.06"}}),
    "sky_kubernetes.yaml": ("sky", {"sky": {"infra": "k8s", "image_id": "docker:registry/asr:1", "volumes": {"/shared": "asr"}}}),
    "sky_cloud.yaml": ("sky", {"sky": {"use_spot": True, "memory_gb": 64, "buckets": {"/shared": "s3://asr/work"}, "setup": ["pip install asrtune"], "time_hours": 2}}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_rendered_text_is_the_golden_one(name: str) -> None:
    backend, settings = CASES[name]
    rendered = CLUSTERS[backend].render(TASK, Config.model_validate(settings))
    assert rendered == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith(".sh")])
def test_bash_finds_no_fault_in_a_batch_script(name: str) -> None:
    subprocess.run(["bash", "-n", GOLDEN / name], check=True)


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith(".yaml")])
def test_a_task_is_yaml_whose_commands_are_bash(name: str) -> None:
    task = yaml.safe_load((GOLDEN / name).read_text(encoding="utf-8"))
    assert {"name", "resources", "run"} <= set(task)
    subprocess.run(["bash", "-n", "-c", task["run"]], check=True)


names = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/\\\"'#"), min_size=1, max_size=20).filter(lambda text: text.strip(". "))


@given(names)
def test_no_folder_name_breaks_out_of_the_script(name: str) -> None:
    task = TASK._replace(folder=Path("/shared") / name / "jobs" / "job_1" / "attempt_1")
    script = CLUSTERS["slurm"].render(task, Config.model_validate({"slurm": SLURM}))
    work = [line for line in script.splitlines() if line.startswith("exec ")]
    assert shlex.split(work[0])[-1] == str(task.folder / "request.json")
    run = yaml.safe_load(CLUSTERS["sky"].render(task, Config()))["run"]
    assert str(task.folder / "request.json") in [word for line in run.splitlines() if line.startswith("timeout") for word in shlex.split(line)]


@pytest.mark.parametrize("bad", ['a"b', "a\nb", "a\\b", "a#b", "a'b"])
def test_a_folder_that_no_batch_script_can_name_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="path_not_for_slurm"):
        CLUSTERS["slurm"].render(TASK._replace(folder=Path("/shared") / bad / "jobs"), Config())


@pytest.mark.parametrize("bad", [{"options": ["-p gpu"]}, {"options": ["--wrap='x'"]}, {"options": ["--x=a\nrm"]}, {"partition": "a b"}, {"partition": "gpu\n#SBATCH"}])
def test_a_setting_that_would_be_another_line_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Slurm.model_validate(bad)


def test_the_time_limit_is_the_shorter_of_site_and_job() -> None:
    config = Config.model_validate({"slurm": {"time_hours": 2}, "sky": {"time_hours": 2}})
    short = TASK._replace(limit_s=1800.0)
    assert "#SBATCH --time=30\n" in CLUSTERS["slurm"].render(short, config)
    assert "#SBATCH --time=120\n" in CLUSTERS["slurm"].render(TASK, config)
    assert " 1800 python3 " in CLUSTERS["sky"].render(short, config)
    assert " 7200 python3 " in CLUSTERS["sky"].render(TASK, config)


def test_torchrun_starts_the_same_module_behind_the_gate() -> None:
    task = TASK._replace(folder=Path("/w"), processes=2)
    argv = command_here("torchrun", task)
    assert argv[1:4] == ("-P", "-m", "asrcore.jobs.gated")
    assert argv[5:] == (
        "-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--shutdown-timeout=40", "-m", "asrcore.model.train", "/w/request.json",
    )  # fmt: skip
    assert command_here("local", task)[1:] == ("-P", "-m", "asrcore.model.train", "/w/request.json")


@pytest.mark.parametrize("backend", ["slurm", "sky"])
def test_several_gpus_are_one_process_each_behind_torchrun_that_waits_for_them_to_save(backend: str) -> None:
    config = Config.model_validate({"slurm": SLURM | {"gpus": 4}, "sky": {"gpus": 4}})
    rendered = CLUSTERS[backend].render(TASK._replace(processes=4), config)
    script = rendered if backend == "slurm" else yaml.safe_load(rendered)["run"]
    subprocess.run(["bash", "-n", "-c", script], check=True)
    words = shlex.split(next(line for line in script.splitlines() if "torch.distributed.run" in line))
    start = words.index("env")
    assert words[start + 1] == "PYTHONSAFEPATH=1"
    assert {"--standalone", "--nproc-per-node=4", "--shutdown-timeout=40"} <= set(words)
    assert words[words.index("--shutdown-timeout=40") + 1 :][:3] == ["-m", "asrcore.model.train", str(TASK.folder / "request.json")]
