"""The tools as Python functions. Same validation, same results and same errors as over MCP and on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from asrtune import catalog

if TYPE_CHECKING:
    from asrcore.results import Result
    from asrcore.workspace import Workspace


def call(tool: str, arguments: Mapping[str, Any] | None = None, *, ws: Workspace | None = None) -> Result[Any]:
    """Runs one tool. `ws` defaults to the workspace of the current folder. Raises `asrcore.errors.AsrtuneError` only."""
    from asrtune import registry

    return registry.call(tool, arguments or {}, ws)


@cache
def function_of(name: str) -> Callable[..., Result[Any]]:
    """The function of one tool; AttributeError for other names, as module attribute access needs."""
    if name not in catalog.NAMES:
        raise AttributeError(f"module 'asrtune' has no attribute {name!r}")

    def tool(*, ws: Workspace | None = None, **arguments: Any) -> Result[Any]:
        return call(name, arguments, ws=ws)

    tool.__name__ = tool.__qualname__ = name
    tool.__doc__ = catalog.tool(name).description
    return tool
