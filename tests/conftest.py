"""What all rooms' tests share: a fresh workspace, a clean environment, and a check of every next action that any tool emits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# A slow machine is no failed property.
hypothesis.settings.register_profile("asrtune", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("asrtune")

ROOT = Path(__file__).parents[1]

# Children (jobs, servers) find the packages of this checkout, and do not fight for the cores.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tools"), *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_outer_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workspace of whoever runs the tests never leaks in."""
    monkeypatch.delenv("ASRTUNE_HOME", raising=False)
    monkeypatch.delenv("ASRTUNE_CONFIG", raising=False)


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The workspace of an empty folder, which is also the current folder."""
    from asrcore.workspace import Workspace

    monkeypatch.chdir(tmp_path)
    return Workspace.open(tmp_path)


@pytest.fixture(autouse=True)
def next_actions_are_callable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every next action of every answer in the suite validates against its tool's input schema."""
    from asrtune import registry

    original = registry.call

    def checked(name: str, arguments: Mapping[str, Any], ws: Any = None) -> Any:
        result = original(name, arguments, ws)
        for action in result.next_actions:
            registry.validate(registry.load(action.tool), action.arguments)
        return result

    monkeypatch.setattr(registry, "call", checked)
