"""Every tool answers a good call over MCP in both protocol eras, and the client holds each answer against the tool's output schema.

Nothing is trained or decoded: jobs are submitted for real and stay queued, evals are made by hand. Whole runs: test_whole_loop.py, test_examples_ci.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from asrcore.checkpoint import embedded_base
from asrcore.workspace import Workspace
from asrtune import catalog, mcp_server
from asrtune.evals import worlds
from tests.campaign.script import STEPS, measured
from tests.recipe.corpora import build, corpus

ENVELOPE = {"summary", "data", "warnings", "next_actions", "artifacts", "truncated"}


@pytest.fixture
def world(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Manifests, shards, a base and evals of two checkpoints; gives the ids that calls name."""
    monkeypatch.setattr("asrcore.jobs.api._start", lambda ws, ledger, job: None)
    worlds.make("clean", ws.base_folder / "data")
    shutil.copyfile(embedded_base(), "base.nemo")
    shards = build(ws, [corpus(tmp_path, "greek", "el-GR", 6)])
    corpus(tmp_path, "held_out", "el-GR", 2, seed=1)
    heard = [{"id": row["id"], "pred_text": row["text"]} for row in map(json.loads, Path("data/test.jsonl").read_text(encoding="utf-8").splitlines())]
    Path("peer.jsonl").write_text("".join(json.dumps(row) + "\n" for row in heard), encoding="utf-8")
    before, after = (measured(ws, step) for step in STEPS[:2])
    return {"shards": shards.shards_id, "target before": before["phone"], "target after": after["phone"], "guard before": before["guard_bg"], "guard after": after["guard_bg"]}


@pytest.mark.anyio
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_every_tool_answers_a_good_call_as_its_schema_promises(ws: Workspace, world: dict[str, str], era: str) -> None:
    called: set[str] = set()
    guards = {"base_evals": [world["guard before"]], "tuned_evals": [world["guard after"]]}

    async with Client(mcp_server.build_server(ws), mode=era, raise_exceptions=True) as session:
        await session.list_tools()

        async def good(tool: str, **arguments: Any) -> dict[str, Any]:
            answer = await session.call_tool(tool, arguments)
            assert not answer.is_error, (tool, answer.content[0].text)
            assert set(answer.structured_content) == ENVELOPE
            assert answer.content[0].text.startswith(answer.structured_content["summary"])
            called.add(tool)
            return answer.structured_content["data"]

        await good("doctor")
        await good("find_corpora", locale="el-GR")
        await good("import_dataset", source="data/train.jsonl")
        await good("inspect_dataset", manifest="data/train.jsonl")
        await good("validate_language_tags", manifest="data/train.jsonl")
        await good("fix_manifest", manifest="data/train.jsonl", whitespace=True)
        await good("split_dataset", manifest="data/train.jsonl")
        await good("register_set", manifest="data/test.jsonl", role="target")
        await good("apply_channel", manifest="data/test.jsonl", channel=["telephone"])
        await good("build_shards", train=["data/train.jsonl"])
        plan = await good("plan_finetune", shards_id=world["shards"], dev_manifest="held_out/manifest.json", max_steps=4)
        job = await good("launch_finetune", plan_id=plan["plan_id"])
        assert (await good("get_job", job_id=job["job_id"]))["state"] == "queued"
        assert (await good("cancel_job", job_id=job["job_id"]))["state"] == "cancelled"
        assert (await good("resume_job", job_id=job["job_id"]))["attempt"] == 2
        await good("list_objects", kind="job")
        await good("run_streaming_eval", checkpoint="embedded", manifests=["data/test.jsonl"])
        await good("score_hypotheses", manifest="data/test.jsonl", hypotheses="peer.jsonl", system="peer")
        assert (await good("compare_models", base_eval=world["target before"], tuned_eval=world["target after"]))["verdict"] == "better"
        assert (await good("check_replay", **guards))["verdict"] == "kept"
        campaign = await good("start_campaign", title="T", target_evals=[world["target before"]], guard_evals=[world["guard before"]])
        candidate = [world["target after"], world["guard after"]]
        assert (await good("decide_next_step", campaign_id=campaign["campaign_id"], candidate_evals=candidate, target_hours=10))["judgement"] == "promote"
        await good("make_report", title="T", **guards)
        await good("add_locale", locale="se-NO", neighbour="fi-FI", manifest="data/train.jsonl")
        await good("blend_checkpoints", base="embedded", tuned=["base.nemo"])
        await good("export_model", checkpoint="embedded", smoke_manifest="data/test.jsonl")
        await good("transcribe", checkpoint="embedded", audio=["data/test/0.wav"], language="el-GR")
    assert called == set(catalog.NAMES)
