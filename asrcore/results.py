"""The result envelope that every tool answers with, the same over MCP, `--json` and Python."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from asrcore.errors import Problem


class Frozen(BaseModel):
    """Base of all typed values that cross a room's door: immutable, unknown fields refused, NaN and infinity refused in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class NextAction(Frozen):
    """A call that makes sense now. `arguments` validates against that tool's input schema (tested for every one ever emitted)."""

    tool: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    why: str


class Artifact(Frozen):
    """A file or folder that the tool made, by absolute path."""

    name: str
    path: str
    kind: str = Field(description="What it is: manifest, shards, checkpoint, report, hypotheses, log …")


DataT = TypeVar("DataT", bound=BaseModel)


class Result(Frozen, Generic[DataT]):
    """One sentence for people, typed data for programs, and what to do next."""

    summary: str
    data: DataT
    warnings: tuple[Problem, ...] = ()
    next_actions: tuple[NextAction, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    truncated: bool = False
