"""The doctor: what this machine has, and a fix for everything it lacks."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import asrtune
from asrcore import checkpoint
from asrcore.errors import EnvironmentFault
from asrcore.workspace import Config, Workspace
from asrtune.verbs import doctor


def codes(ws: Workspace) -> dict[str, str]:
    """Code -> fix of what the doctor finds."""
    return {problem.code: problem.fix for problem in asrtune.doctor(ws=ws).warnings}


def test_a_machine_that_can_run_this_suite_is_ready(ws: Workspace) -> None:
    report = asrtune.doctor(ws=ws).data
    assert report.verdict == "READY"
    assert report.cores >= 1
    assert report.memory_gb >= report.memory_free_gb > 0
    assert report.packages["torch"]
    assert report.base.readable
    assert report.base.locales > 100


def test_it_changes_nothing(ws: Workspace) -> None:
    asrtune.doctor(ws=ws)
    assert list(ws.base_folder.iterdir()) == []


def test_a_missing_and_an_old_package_are_named_with_the_command_that_mends_them(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"lhotse": None, "nemo_toolkit": "2.6.0"}
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, "3.0"))
    result = asrtune.doctor(ws=ws)
    assert result.data.verdict == "NEEDS FIX"
    assert {p.fix for p in result.warnings} >= {"pip install lhotse", "pip install 'nemo_toolkit==3.*'"}


def test_a_data_root_that_is_not_there_needs_a_fix(tmp_path: Path) -> None:
    ws = Workspace(tmp_path / "home", Config(data_roots=("nowhere",)), tmp_path)
    assert "asrtune.toml" in codes(ws)["data_root_unreadable"]


def test_an_unreadable_base_is_told_with_its_own_code(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise EnvironmentFault("embedded_base_missing", "not here.", next_step="make base")

    monkeypatch.setattr(checkpoint, "embedded_base", missing)
    assert codes(ws)["embedded_base_missing"] == "make base"


def test_little_disk_is_told(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    assert "ASRTUNE_HOME" in codes(ws)["disk_low"]


def test_gpus_are_read_from_the_driver_and_a_cpu_build_of_torch_beside_one_is_told(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '0, GPU-a, NVIDIA H100, 81559, 80000, 580.1, 3'\necho '1, GPU-b, Shared, [N/A], [N/A], 580.1, [N/A]'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(doctor, "_version", lambda name: "2.13.0+cpu" if name == "torch" else "3.0")
    result = asrtune.doctor(ws=ws)
    assert [(gpu.name, gpu.memory_gb) for gpu in result.data.gpus] == [("NVIDIA H100", 85.5), ("Shared", 0.0)]
    assert "torch_without_cuda" in {p.code for p in result.warnings}
    program.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    assert "gpu_unreadable" in codes(ws)
