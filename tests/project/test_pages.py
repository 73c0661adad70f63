"""Pages that promise something are held to it: error codes, traps, links."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAPS = ROOT / "docs/traps.md"
STATES = {"guarded", "partly", "planned", "advice"}
PAGES = sorted(path for pattern in ("*.md", "docs/**/*.md", "skill/**/*.md") for path in ROOT.glob(pattern))
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)")


@cache
def builder(name: str) -> ModuleType:
    """A generator of docs/reference as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/reference/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def scan() -> Any:
    """Uses of codes in all sources; takes a second, so once."""
    return builder("build_errors").scan_sources()


def trap_rows() -> list[list[str]]:
    """Cells of every trap row: id, symptom, state, guard, test, source."""
    lines = TRAPS.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| 3\.\d", line)]


def test_the_page_of_error_codes_is_up_to_date() -> None:
    assert (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8") == builder("build_errors").render(scan().uses), "run: make docs"


def test_every_code_can_be_read_from_the_source() -> None:
    assert scan().unreadable == []


def test_codes_are_snake_case_and_keep_one_exit_code() -> None:
    assert [use.code for use in scan().uses if not re.fullmatch(r"(<\w+>_)?[a-z][a-z0-9_]*", use.code)] == []
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for use in scan().uses:
        if use.kind != builder("build_errors").FINDING:
            kinds[use.code].add(use.kind)
    assert {code: sorted(found) for code, found in kinds.items() if len(found) > 1} == {}


def test_the_trap_page_lists_every_trap_once() -> None:
    ids = [row[0] for row in trap_rows()]
    assert len(ids) == len(set(ids))
    assert {f"3.{number}" for number in range(1, 27)} <= set(ids)
    assert len([name for name in ids if re.fullmatch(r"3\.27[a-z]", name)]) == 18


@pytest.mark.parametrize("row", trap_rows(), ids=lambda row: row[0])
def test_a_trap_row_says_truthfully_how_far_it_is_guarded(row: list[str]) -> None:
    _, symptom, state, guard, tests, source = row
    assert all((symptom, guard, source))
    assert state in STATES
    named = re.findall(r"`([^`]+)`", tests)
    assert bool(named) == (state in {"guarded", "partly"}), "a guard names its test; a plan or an advice names none"
    assert [name for name in named if not builder("build_traps").exists(name)] == []


def test_every_test_that_cites_a_trap_stands_in_its_row() -> None:
    page = TRAPS.read_text(encoding="utf-8")
    assert builder("build_traps").render(page) == page, "run: make docs"


@pytest.mark.parametrize("row", trap_rows(), ids=lambda row: row[0])
def test_a_file_that_a_trap_row_names_as_its_guard_exists(row: list[str]) -> None:
    modules = re.findall(r"`((?:asrcore|asrtune)/[\w/]+\.py)`", row[3])
    assert [name for name in modules if not (ROOT / name.replace("asrtune/", "tools/asrtune/", 1)).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets: list[str] = LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
