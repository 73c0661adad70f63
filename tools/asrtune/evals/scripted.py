"""An agent without a mind: it plays a script of calls and gives the answer at the script's end. Deterministic, so it tests scenarios and runner.

A script is that of `asrtune replay` (asrtune.cli_replay), whose last line may be {"answer": "text"}. Nothing is expected of the calls here: what
they were worth is for the scenario to judge. `${name.path}` is filled in from saved answers, in the final answer too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asrcore.workspace import Workspace
from asrtune import cli_replay


def play_script(path: Path, ws: Workspace | None = None) -> str:
    """Plays the script in the current folder and returns the final answer. Raises `script_invalid`."""
    *lines, last = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()] or [""]
    ending: Any = json.loads(last or "{}")
    answer = str(ending.get("answer", "")) if "answer" in ending else ""
    steps = cli_replay.parse_script(lines if "answer" in ending else [*lines, last], path.name, allow_none=True)
    saved: dict[str, Any] = {}
    ws = ws or Workspace.open()
    for _, step in steps:
        said = cli_replay.run_step(step, saved, ws)
        if "save" in step:
            saved[step["save"]] = said
    return str(cli_replay.substitute(answer, saved))
