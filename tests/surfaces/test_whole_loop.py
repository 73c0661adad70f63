"""The whole loop through its surfaces: a fine-tune that changes hands over MCP, and the quickstart killed and run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrcore.jobs import Ledger, list_jobs
from asrcore.workspace import Config, Workspace
from tests.recipe.corpora import build, corpus

pytestmark = [pytest.mark.heavy, pytest.mark.slow]


def test_a_fine_tune_started_by_one_client_is_polled_to_its_end_by_another_after_the_server_was_killed(
    stdio_server: Callable[..., Any], ws: Workspace, tmp_path: Path
) -> None:
    shards = build(ws, [corpus(tmp_path, "greek", "el-GR", 12)], [corpus(tmp_path, "bulgarian", "bg-BG", 8)], share=0.4)
    dev = corpus(tmp_path, "dev", "el-GR", 2, seed=1)
    first = stdio_server("-m", "asrtune", "mcp")
    first.handshake()
    plan = first.call("plan_finetune", shards_id=shards.shards_id, dev_manifest=str(dev), max_steps=8, batch_size=4)
    job_id = first.call("launch_finetune", plan_id=plan["plan_id"])["job_id"]
    first.process.kill()
    first.process.wait(30)

    second = stdio_server("-m", "asrtune", "mcp")
    second.handshake()
    seen = second.job_at_its_end(job_id, polls=8)
    assert seen["state"] == "succeeded", seen["error"]
    assert Ledger.open(ws).get("run", seen["result"]["run_id"]) is not None


def quickstart(home: Path, *, stop_after: str | None = None) -> int:
    """Runs `asrtune quickstart` with few steps; sends Ctrl-C when a job of kind `stop_after` is running. Exit code."""
    command = [sys.executable, "-m", "asrtune", "quickstart", "--home", str(home), "--steps", "30", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stderr is not None
    workspace = Workspace(home / "workspace", Config(), home)
    for _ in process.stderr:  # one event a line
        if stop_after and any(job.kind == stop_after and job.state == "running" for job in list_jobs(workspace)):
            process.send_signal(signal.SIGINT)
            stop_after = None
    return process.wait()


def test_the_quickstart_goes_on_after_ctrl_c_and_ends_with_a_summary_and_a_report(tmp_path: Path) -> None:
    home = tmp_path / "quickstart"
    assert quickstart(home, stop_after="train") != 0
    assert not (home / "summary.json").exists()
    finished = {job.job_id for job in list_jobs(Workspace(home / "workspace", Config(), home)) if job.state == "succeeded"}
    assert finished, "shards and base evals were finished before the training was stopped"

    assert quickstart(home) == 0
    summary = json.loads((home / "summary.json").read_text(encoding="utf-8"))
    assert set(summary["target"]["wer"]) == {"80", "320", "1120"}
    assert {guard["locale"] for guard in summary["guards"]} == {"en-US", "es-ES", "bg-BG"}
    assert all(guard["words"] >= 1500 for guard in summary["guards"])
    assert Path(summary["artifacts"]["checkpoint"]).is_file()
    assert "<html" in (home / "report.html").read_text(encoding="utf-8")
    jobs = list_jobs(Workspace(home / "workspace", Config(), home), limit=50)
    assert finished <= {job.job_id for job in jobs if job.attempt == 1}, "finished work was not done again"
    assert [job.attempt for job in jobs if job.kind == "train"] == [2]
