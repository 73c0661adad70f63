"""`asrtune ledger export`: everything of one moment, as values, and nothing that could act on a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from asrcore.jobs import Ledger, migrations, resume_job, submit
from asrcore.jobs.dump import LedgerDump, dump
from asrcore.workspace import Workspace
from asrtune.cli import app


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["ledger", "export", *words], catch_exceptions=False)


@pytest.fixture(autouse=True)
def here(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ws.base_folder)


def test_every_object_job_attempt_and_change_of_state_is_exported(jobs: Any) -> None:
    job_id = submit(jobs.ws, "probe", jobs.request("error")).job_id
    jobs.ended(job_id)
    resume_job(jobs.ws, job_id)
    jobs.ended(job_id)
    Ledger.open(jobs.ws).put("decision", "decision_1", {"lever": "stop\u202e\x1b[31m", "n": [1, 2]})
    shown = run("--json").stdout
    assert shown.isascii()
    assert "\x1b" not in shown
    found = LedgerDump.model_validate(json.loads(shown))
    assert found.schema_version == migrations.VERSION
    assert [(one.kind, one.id, one.data["n"]) for one in found.objects] == [("decision", "decision_1", [1, 2])]
    assert [(job["id"], job["kind"], job["request"]["do"]) for job in found.jobs] == [(job_id, "probe", "error")]
    assert [(one["number"], one["state"], one["error"]["code"]) for one in found.attempts] == [(n, "failed", "manifest_invalid") for n in (1, 2)]
    assert isinstance(found.attempts[0]["supervisor"], list)
    assert [one["state"] for one in found.events] == ["queued", "starting", "running", "failed"] * 2


def test_people_see_counts_and_a_file_is_written_where_they_say(ws: Workspace, tmp_path: Path) -> None:
    Ledger.open(ws).put("set", "set_1", {"n": 1})
    assert run().stdout == f"{ws.ledger_path}: set 1\n"
    target = tmp_path / "copy.json"
    assert f"Wrote {target}" in run("--out", str(target)).stdout
    assert LedgerDump.model_validate_json(target.read_bytes()).objects[0].id == "set_1"


def test_a_workspace_without_a_ledger_exports_nothing_and_makes_nothing(ws: Workspace) -> None:
    assert LedgerDump.model_validate_json(run("--json").stdout).objects == ()
    assert not ws.home.exists()


def test_a_damaged_ledger_is_the_coded_error_on_stderr(ws: Workspace) -> None:
    ws.home.mkdir()
    ws.ledger_path.write_bytes(b"no database" * 500)
    done = run("--json")
    assert (done.exit_code, done.stdout, json.loads(done.stderr)["code"]) == (5, "", "ledger_damaged")


def test_what_is_written_meanwhile_is_in_all_tables_or_in_none(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger.open(ws) as ledger, Ledger.open(ws) as other:
        ledger.put("set", "set_1", {})
        rows = ledger.rows

        def racing(sql: str, *values: object) -> Any:
            found = rows(sql, *values)
            other.put("set", f"set_{len(sql)}", {})
            return found

        monkeypatch.setattr(ledger, "rows", racing)
        before = [one.id for one in dump(ledger).objects]
        assert before == ["set_1"]
        with ledger.one_moment():
            assert racing("SELECT count(*) FROM objects")[0][0] == racing("SELECT count(*) FROM objects")[0][0]
