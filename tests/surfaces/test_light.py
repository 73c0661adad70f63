"""What is fast stays fast because it loads little: help, handshake and read-only tools never load what training needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEAVY = {"torch", "nemo", "lhotse", "lightning", "pytorch_lightning", "omegaconf", "transformers"}
LIBRARIES = HEAVY | {"numpy", "scipy", "soundfile", "soxr", "sentencepiece", "jiwer", "yaml"}


def imported(importtime: str) -> set[str]:
    """Modules of a `-X importtime` log."""
    return {line.rsplit("|", 1)[1].strip() for line in importtime.splitlines() if line.startswith("import time:")}


def tops(modules: set[str]) -> set[str]:
    return {module.split(".")[0] for module in modules}


def test_help_loads_neither_pydantic_nor_a_verb_nor_a_numeric_library(tmp_path: Path) -> None:
    shown = subprocess.run([sys.executable, "-X", "importtime", "-m", "asrtune", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "inspect-dataset" in shown.stdout
    modules = imported(shown.stderr)
    assert "asrtune.catalog" in modules
    assert tops(modules) & (LIBRARIES | {"pydantic", "mcp", "asrcore"}) == set()
    assert {m for m in modules if m.startswith("asrtune.verbs")} == set()


def test_a_handshake_and_a_tool_list_load_neither_a_verb_nor_a_numeric_library(stdio_server: Callable[..., Any]) -> None:
    server = stdio_server("-X", "importtime", "-m", "asrtune", "mcp")
    server.handshake()
    assert len(server.ask("tools/list", {})["tools"]) > 10
    rest, errors = server.close()
    assert rest == ""
    modules = imported(errors)
    assert "mcp.server.lowlevel" in modules
    assert tops(modules) & LIBRARIES == set()
    assert {m for m in modules if m.startswith("asrtune.verbs.")} == set()


READ_ALL = """
import json, sys
from asrcore.errors import AsrtuneError
from asrtune import catalog, registry
arguments = json.loads(sys.argv[1])
for tool in catalog.TOOLS:
    if tool.kind == "read":
        try:
            registry.call(tool.name, arguments.get(tool.name, {}))
        except AsrtuneError as error:
            assert error.code != "internal_error", error
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_no_read_only_tool_loads_what_training_needs(manifest: str, ws: Any) -> None:
    import json

    arguments = {
        "inspect_dataset": {"manifest": manifest}, "validate_language_tags": {"manifest": manifest}, "list_objects": {"kind": "run"},
        "plan_finetune": {"shards_id": "shards_0", "dev_manifest": manifest}, "get_job": {"job_id": "job_0"},
        "compare_models": {"base_eval": "eval_0", "tuned_eval": "eval_1"}, "check_replay": {"base_evals": ["eval_0"], "tuned_evals": ["eval_1"]},
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", READ_ALL, json.dumps(arguments)], cwd=ws.base_folder, capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) & HEAVY == set()
