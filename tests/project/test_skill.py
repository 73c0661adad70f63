"""The skill is what an agent reads first: it must fit the format, be short, and name only what exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from asrtune import catalog
from asrtune.cli import app

ROOT = Path(__file__).resolve().parents[2]
SKILL = ROOT / "SKILL.md"
ERRORS = ROOT / "docs/reference/errors.md"
REFERENCES = sorted((ROOT / "skill/references").glob("*.md"))
FRONTMATTER_KEYS = {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
"""The keys of the agent-skill format; any other top-level key fails its validators."""


def parts() -> tuple[dict[str, Any], str]:
    _, head, body = SKILL.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), body


def called(page: Path) -> set[str]:
    """Tool names that a page calls: `name` or `name{...}` in code spans that look like a verb with an underscore, and CLI commands."""
    text = page.read_text(encoding="utf-8")
    calls = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)(?=[`{( ])", text))
    commands = {name.replace("-", "_") for name in re.findall(r"asrtune ([a-z]+(?:-[a-z]+)+)", text)}
    verbs = {tool.split("_")[0] for tool in catalog.NAMES}
    codes = set(re.findall(r"^\| `(\w+)`", ERRORS.read_text(encoding="utf-8"), re.MULTILINE))
    return {name for name in calls | commands if name.split("_")[0] in verbs and not name.endswith("_id")} - codes


def test_the_frontmatter_follows_the_skill_format() -> None:
    head, _ = parts()
    assert set(head) <= FRONTMATTER_KEYS
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", head["name"])
    assert head["name"] == "finetune-asr"
    assert 1 <= len(head["description"]) <= 1024
    assert "Use when" in head["description"]
    assert len(head.get("compatibility", "")) <= 500
    assert all(isinstance(value, str) for value in head.get("metadata", {}).values())


def test_the_skill_is_read_in_one_go() -> None:
    assert len(SKILL.read_text(encoding="utf-8").splitlines()) < 150


def test_the_skill_names_every_tool_and_no_other() -> None:
    single = {name for name in catalog.NAMES if "_" not in name and f"`{name}`" in SKILL.read_text(encoding="utf-8")}
    assert called(SKILL) | single == set(catalog.NAMES)
    assert "`doctor`" in SKILL.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", REFERENCES, ids=lambda page: page.stem)
def test_a_reference_names_only_tools_that_exist(page: Path) -> None:
    in_a_shell = {(command.name or "").replace("-", "_") for command in app.registered_commands}
    assert called(page) <= {*catalog.NAMES, *in_a_shell}


def test_the_skill_points_to_every_reference_and_to_nothing_missing() -> None:
    linked = set(re.findall(r"skill/references/([a-z]+\.md)", SKILL.read_text(encoding="utf-8")))
    assert linked == {page.name for page in REFERENCES}


@pytest.mark.parametrize("page", [SKILL, *REFERENCES], ids=lambda page: page.stem)
def test_every_page_that_shows_data_warns_about_untrusted_text(page: Path) -> None:
    assert "untrusted_text" in page.read_text(encoding="utf-8")
