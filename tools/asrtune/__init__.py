"""asrtune: typed tools to fine-tune, measure and export streaming speech recognition models.

Every tool is a function here, with the arguments of its MCP twin:

    import asrtune
    result = asrtune.inspect_dataset(manifest="train.jsonl")     # -> asrcore.results.Result, or an asrcore.errors.AsrtuneError
    result = asrtune.call("inspect_dataset", {"manifest": "train.jsonl"})
"""

from __future__ import annotations

from typing import Any

from asrtune.python_api import call as call
from asrtune.python_api import function_of

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Tools by name; each loads on first use, so `import asrtune` stays light."""
    return function_of(name)


def __dir__() -> list[str]:
    from asrtune.catalog import NAMES

    return sorted([*globals(), *NAMES])
