"""What is asked of an agent and what is expected of it, as data: `skill/evals/triggers.toml` and `skill/evals/scenarios.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from asrcore.errors import UsageError, clean_text
from asrcore.results import Frozen

ID = r"^[a-z0-9]+(-[a-z0-9]+)*$"


class Trigger(Frozen):
    """One prompt, and whether the skill is the right one for it."""

    id: str = Field(pattern=ID)
    prompt: str = Field(min_length=10)
    use: bool
    why: str = Field(min_length=5, description="What makes it so, for whoever mends the description.")


class Forbidden(Frozen):
    """A call that must not be made: of this tool, with an argument (or any, for `*`) whose JSON matches."""

    tool: str
    argument: str = "*"
    matches: str = ".*"


class Scenario(Frozen):
    """One task in one world. Tools are named as in the catalog; "answered" means without an error."""

    id: str = Field(pattern=ID)
    title: str
    world: str
    prompt: str = Field(min_length=20)
    slow: bool = Field(default=False, description="It trains: minutes, and it needs torch.")
    first: tuple[str, ...] = Field(default=(), description="The first call is one of these.")
    must: tuple[str, ...] = Field(default=(), description="Each is answered at least once.")
    must_try: tuple[str, ...] = Field(default=(), description="Each is called at least once, even if it is refused.")
    order: tuple[tuple[str, str], ...] = Field(default=(), description="The first is answered before the second is first called, where the second is called.")
    again: tuple[tuple[str, str], ...] = Field(default=(), description="The second is answered after the first was: what was changed is checked.")
    never: tuple[str, ...] = Field(default=(), description="None of these is called at all.")
    never_with: tuple[Forbidden, ...] = ()
    refused: tuple[str, ...] = Field(default=(), description="Error codes that must be met: the gate was really there.")
    max_same_refusal: int = Field(default=2, ge=1, description="How often one call may be refused with the same code.")
    max_calls: int = Field(default=40, ge=0)
    says: tuple[str, ...] = Field(default=(), description="Patterns that the final answer matches, upper and lower case alike.")
    says_not: tuple[str, ...] = ()
    at_least: dict[str, int] = Field(default_factory=dict[str, int], description="Ledger objects of a kind, afterwards.")
    at_most: dict[str, int] = Field(default_factory=dict[str, int])


def folder() -> Path:
    """`skill/evals`, in a checkout or beside the package in a wheel. Raises `evals_missing`."""
    here = Path(__file__).resolve()
    for root in (here.parents[1] / "skill_files", here.parents[3]):
        if (root / "skill" / "evals" / "scenarios.toml").is_file():
            return root / "skill" / "evals"
    raise UsageError("evals_missing", "there is no skill/evals beside this package.", next_step="run it from a checkout or an installed wheel.")


def triggers(path: Path | None = None) -> tuple[Trigger, ...]:
    """Raises `evals_invalid`."""
    return _read(path or folder() / "triggers.toml", "trigger", Trigger)


def scenarios(path: Path | None = None) -> tuple[Scenario, ...]:
    """Raises `evals_invalid`."""
    return _read(path or folder() / "scenarios.toml", "scenario", Scenario)


def _read(path: Path, key: str, kind: Any) -> tuple[Any, ...]:
    try:
        held = tomllib.loads(path.read_text(encoding="utf-8"))
        found = tuple(kind.model_validate(entry) for entry in held[key])
    except (OSError, ValueError, KeyError, ValidationError) as error:
        raise UsageError("evals_invalid", f"{path.name} cannot be read: {clean_text(str(error), 400)}.", next_step="correct the file.") from error
    ids = [one.id for one in found]
    if twice := sorted({one for one in ids if ids.count(one) > 1}):
        raise UsageError("evals_invalid", f"{path.name} uses an id twice: {', '.join(twice)}.", next_step="give each its own id.")
    return found
