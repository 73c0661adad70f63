"""What a fresh checkout needs: pins that fit, one version, entry points that resolve, no path of anybody's machine."""

from __future__ import annotations

import importlib
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import asrtune

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [Requirement(text) for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()) for text in group]
MACHINE_PATH = re.compile(r"(?<![\w.<>{}*~-])/(?:root|work|home|Users|opt|mnt)/\w")
TEXT = {".py", ".md", ".toml", ".txt", ".json", ".jsonl", ".yaml", ".yml", ".cfg", ""}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def tracked_files() -> list[Path]:
    """Files that git has or would add; all files below the root where there is no git."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        return [path for path in ROOT.rglob("*") if path.is_file() and not {".venv", ".git", "__pycache__"} & set(path.parts)]
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_every_dependency_has_a_tested_pin_that_it_admits(requirement: Requirement) -> None:
    tested = {canonicalize_name(name): pin for name, pin in pins().items()}
    assert requirement.specifier.contains(tested[canonicalize_name(requirement.name)])


def test_constraints_are_exact_public_versions_without_paths_or_hosts() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#") and not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line)] == []


def test_every_dependency_is_explained_in_its_decision() -> None:
    page = (ROOT / "docs/decisions/0001-dependencies.md").read_text(encoding="utf-8")
    assert [requirement.name for requirement in REQUIREMENTS if f"`{requirement.name}`" not in page] == []


def test_the_version_is_the_same_everywhere_and_has_a_changelog_section() -> None:
    assert asrtune.__version__ == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_command_line_entry_point_resolves() -> None:
    module, _, name = PROJECT["scripts"]["asrtune"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("name", ["base.nemo", "grammar/en-US.toml", "sets/sets.json"])
def test_the_embedded_data_stands_inside_the_package(name: str) -> None:
    assert (ROOT / "asrcore/embedded" / name).stat().st_size > 0


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_make_target_has_a_line_in_the_help() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    helped = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert set(phony[1].split()) == helped


def test_no_text_file_names_a_path_of_somebodys_machine() -> None:
    """Tests may make up paths (`/home/ann`); nothing may name the folder this checkout stands in."""
    found: list[str] = []
    for path in tracked_files():
        if path.suffix in TEXT:
            name = path.relative_to(ROOT)
            lines = path.read_text(encoding="utf-8").splitlines()
            made_up = name.parts[0] == "tests"
            found += [f"{name}:{n}" for n, line in enumerate(lines, 1) if str(ROOT) in line or (not made_up and MACHINE_PATH.search(line))]
    assert found == []
