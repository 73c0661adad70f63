"""What was called: with ASRTUNE_TRACE set to a file, every tool call of every surface is one JSON line there. Off by default, never sent anywhere.

A line is a `Call`. It is how evals of agents see what an agent did (`asrtune.evals`), and how a person sees it afterwards.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

VARIABLE = "ASRTUNE_TRACE"
LONGEST = 4_000
"""Characters of the arguments that a line keeps; longer ones are replaced by their length."""
_ID = re.compile(r"\b(?:dataset|set|shards|plan|job|run|blend|base|eval|comparison|replay|export|report|campaign|decision)_[0-9a-f]{12}\b")


@contextlib.contextmanager
def recorded(tool: str, arguments: Mapping[str, Any]) -> Generator[Callable[[Any], Any]]:
    """Gives a function that the answer is passed through; an error that leaves the block is recorded by its code."""
    path = os.environ.get(VARIABLE)
    if not path:
        yield lambda answer: answer
        return
    line: dict[str, Any] = {"time": round(time.time(), 3), "tool": tool[:64], "arguments": _kept(arguments), "ok": False, "code": "", "ids": []}

    def note(answer: Any) -> Any:
        line.update(ok=True, ids=sorted(set(_ID.findall(answer.data.model_dump_json()))))
        return answer

    try:
        yield note
    except BaseException as error:
        line["code"] = getattr(error, "code", type(error).__name__)
        raise
    finally:
        _append(Path(path), {**line, "seconds": round(time.time() - line["time"], 3)})


def _kept(arguments: Mapping[str, Any]) -> Any:
    try:
        text = json.dumps(arguments, default=str, ensure_ascii=True, allow_nan=False)
    except (ValueError, RecursionError):
        return {"json": False}
    return json.loads(text) if len(text) <= LONGEST else {"characters": len(text)}


def _append(path: Path, line: dict[str, Any]) -> None:
    """A call is not to fail because its record cannot be written; whoever reads the record checks that it is whole."""
    from asrcore import io
    from asrcore.errors import AsrtuneError

    try:
        io.append_line(path, json.dumps(line))
    except (OSError, AsrtuneError) as error:
        logging.getLogger("asrtune").warning("%s cannot be written (%s)", VARIABLE, type(error).__name__)
