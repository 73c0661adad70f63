"""Child process `python -m asrcore.model.lhotse_recipe request.json`: a recipe of Lhotse writes recordings and supervisions of a corpus as it was published.

Started by `asrcore.data.importers.lhotse_cuts`, which then reads the manifests like any others. A recipe is code for a corpus that somebody trusts; here the
corpus is what a caller points at, and some recipes and audio readers of Lhotse hand file names to a shell. So this process starts no program and opens no connection.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from asrcore.data_requests import LhotseRecipeRequest, LhotseRecipeResult
from asrcore.errors import NotReadyError, UsageError, clean_text
from asrcore.jobs.child import Reporter, main

_PREFIX = "prepare_"
_FORBIDDEN = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.getaddrinfo", "socket.connect"})
"""Audit events (Python docs, "Audit events table"). Forks may go on: recipes parse in several processes."""


def recipes() -> Mapping[str, Callable[..., Any]]:
    """By name, those that need one corpus folder and an output folder, and nothing else."""
    found: dict[str, Callable[..., Any]] = {}
    for name, prepare in vars(importlib.import_module("lhotse.recipes")).items():
        if not name.startswith(_PREFIX) or not callable(prepare):
            continue
        parameters = inspect.signature(prepare).parameters
        needed = [p.name for p in parameters.values() if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if "output_dir" in parameters and len(needed) - ("output_dir" in needed) == 1 and needed[0] != "output_dir":
            found[name.removeprefix(_PREFIX)] = prepare
    return found


def run(request: LhotseRecipeRequest, reporter: Reporter) -> LhotseRecipeResult:
    """Raises `recipe_unknown`, and `recipe_failed` where the folder is not what the recipe reads."""
    found, out = recipes(), Path(request.out)
    if request.recipe not in found:
        raise UsageError("recipe_unknown", f"Lhotse has no recipe of that name for one folder, but: {', '.join(sorted(found))}.",
                         next_step="pass one of these as recipe, or leave it out where import_dataset knows the layout itself.")  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(out)
    alone()
    try:
        found[request.recipe](Path(request.corpus), output_dir=out)
    except Exception as error:
        why = clean_text(f"{type(error).__name__}: {error}", 300)
        raise NotReadyError("recipe_failed", f"Lhotse's recipe {request.recipe} cannot read this folder ({why}).",
                            next_step="point source at the folder that the recipe's page names, or import without recipe.") from error  # fmt: skip
    return LhotseRecipeResult(files=sum(path.is_file() for path in out.rglob("*")))


def alone() -> None:
    """From now on this process starts no program and opens no connection; nothing can take that back (PEP 578)."""

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        between_processes = event == "socket.connect" and isinstance(arguments[1], str | bytes)
        if event in _FORBIDDEN and not between_processes:
            raise PermissionError(f"a recipe may not do {event}")

    sys.addaudithook(refuse)


if __name__ == "__main__":
    main(LhotseRecipeRequest, run)
