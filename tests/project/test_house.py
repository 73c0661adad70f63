"""The rules of the house (docs/architecture.md) that a machine can see in the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "torchaudio", "nemo", "lhotse", "lightning", "pytorch_lightning", "omegaconf", "hydra", "peft", "transformers"}
SURFACES = {"asrtune", "mcp", "typer", "click", "rich"}
ROOMS = {"campaign", "data", "recipe", "jobs", "model", "score", "serve", "export", "report"}
MAX_LINES = 500


class Import(NamedTuple):
    """One imported dotted name, wherever it stands in the module, also inside functions."""

    path: Path
    line: int
    name: str

    @property
    def where(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.name}"

    @property
    def room(self) -> str:
        """The room of `asrcore.<room>...` that is imported, or an empty string."""
        return room_of(self.name)


def room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "asrcore" and len(parts) > 1 and parts[1] in ROOMS else ""


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path: Path) -> Iterator[Import]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (Import(path, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield Import(path, node.lineno, node.module)
            yield from (Import(path, node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def home_room(path: Path) -> str:
    """The room a file lives in; an empty string for shared ground and surfaces."""
    parts = path.relative_to(ROOT).parts
    return parts[1] if parts[0] == "asrcore" and len(parts) > 2 else ""


LIBRARY = [found for path in sources("asrcore") for found in imports(path)]
EVERYTHING = LIBRARY + [found for path in sources("tools") for found in imports(path)]


def test_there_is_a_library_and_a_surface_to_judge() -> None:
    assert len(LIBRARY) > 50
    assert len(EVERYTHING) > len(LIBRARY)


def test_torch_nemo_and_their_kin_are_imported_in_the_model_room_only() -> None:
    assert [found.where for found in EVERYTHING if found.name.split(".")[0] in HEAVY and home_room(found.path) != "model"] == []


def test_the_library_knows_no_surface() -> None:
    assert [found.where for found in LIBRARY if found.name.split(".")[0] in SURFACES] == []


def test_only_a_job_starts_the_model_room() -> None:
    assert [found.where for found in EVERYTHING if found.room == "model" and home_room(found.path) != "model"] == []


def test_shared_ground_imports_no_room() -> None:
    assert [found.where for found in LIBRARY if found.path.parent == ROOT / "asrcore" and found.room] == []


def test_the_model_room_uses_scoring_and_the_protocols_of_its_child_processes_and_no_other_room() -> None:
    allowed = {"", "model", "score", "jobs", "serve"}
    assert [found.where for found in LIBRARY if home_room(found.path) == "model" and found.room not in allowed] == []


def test_rooms_do_not_import_each_other_in_a_circle() -> None:
    arrows = {(home_room(found.path), found.room) for found in LIBRARY if found.room and home_room(found.path) in ROOMS}
    arrows = {(start, end) for start, end in arrows if start != end}
    reachable = set(arrows)
    while more := {(a, d) for a, b in reachable for c, d in arrows if b == c} - reachable:
        reachable |= more
    assert [room for room in sorted(ROOMS) if (room, room) in reachable] == []


@pytest.mark.parametrize("path", sources("asrcore", "tools", "tests", "docs", "bench"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_fits_in_one_reading(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


UPSTREAM_CALLS = {
    "transcribe": "3.1: ignores or breaks the language",
    "set_inference_prompt": "3.10: one prompt for the whole model, none when forgotten",
    "conformer_stream_step": "3.10: decodes without a prompt and says nothing",
    "change_vocabulary": "3.15: resets decoder, joint and loss",
    "add_adapter": "3.26: cannot stream or cannot be restored",
    "replace_adapter_compatible_modules": "3.26: the saved .nemo cannot be restored",
    "setup_training_data": "3.20: asks an endless loader for its length",
    "setup_validation_data": "3.2: validates with random prompts",
    "exp_manager": "3.5: may never save, 3.14: saves the last weights",
}
UPSTREAM_ALLOWED = {("asrcore/model/linear_adapters.py", "add_adapter")}
"""The one kind of adapter that can stream and be restored, behind a test that shows both (tests/model/test_linear_adapters.py)."""
UPSTREAM_NAMES = {
    "PipelineBuilder": "3.8: the pipeline drops the prompt",
    "CacheAwareStreamingAudioBuffer": "3.24: features of small appends are wrong",
}


def test_upstream_calls_that_fail_silently_are_not_used() -> None:
    """Traps 3.1, 3.2, 3.5, 3.8, 3.10, 3.11, 3.15, 3.20, 3.24, 3.26: the library has its own way for each (docs/traps.md)."""
    found: list[str] = []
    for path in sources("asrcore"):
        for node in nodes(path):
            called = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            named = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            why = UPSTREAM_CALLS.get(called) or UPSTREAM_NAMES.get(named)
            if why and (str(path.relative_to(ROOT)), called) not in UPSTREAM_ALLOWED:
                found.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)} trap {why}")
    assert found == []
