"""make_report as an agent calls it: the page repeats the verdicts that were given before, and finds the training behind a run."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from asrcore import io
from asrcore.errors import AsrtuneError
from asrcore.jobs import Ledger
from asrcore.requests import Candidate, CheckpointRef, Consumed, Event, TrainResult
from asrcore.workspace import Workspace
from asrtune import registry
from tests.score.evals import BASE, TUNED, cell, hypotheses

REFS = [" ".join(random.Random(n).choices("the line is busy please call back".split(), k=8)) for n in range(120)]


def stored_pair(ws: Workspace, tuned_share: float, name: str) -> list[str]:
    rng = random.Random(name)
    worse = [" ".join("x" if rng.random() < tuned_share else w for w in ref.split()) for ref in REFS]
    cells = [
        cell(ws.home / "evals", BASE, hypotheses(REFS, REFS), set_name=name),
        cell(ws.home / "evals", TUNED, hypotheses(REFS, worse), set_name=name),
    ]
    with Ledger.open(ws) as ledger:
        for one in cells:
            ledger.put("eval", one.eval_id, one)
    return [one.eval_id for one in cells]


def test_the_page_repeats_the_margin_and_verdict_of_the_check_that_was_made(ws: Workspace) -> None:
    target, guard = stored_pair(ws, 0.1, "target"), stored_pair(ws, 0.02, "guard")
    checked = registry.call("check_replay", {"base_evals": guard[:1], "tuned_evals": guard[1:], "margin_points": 9.0}, ws)
    compared = registry.call("compare_models", {"base_eval": target[0], "tuned_eval": target[1], "seed": 5}, ws)
    arguments = {
        "title": "T",
        "base_evals": target[:1],
        "tuned_evals": target[1:],
        "guard_base_evals": guard[:1],
        "guard_tuned_evals": guard[1:],
    }
    result = registry.call("make_report", arguments, ws)
    assert result.data.sources == (compared.data.comparison_id, checked.data.replay_id)
    assert (result.data.targets, result.data.replay) == (("worse",), "kept")
    page = Path(result.artifacts[0].path)
    assert page == ws.folder("reports", result.data.report_id) / "report.html"
    assert "margin 9 points" in page.read_text(encoding="utf-8")
    with Ledger.open(ws) as ledger:
        assert ledger.get("report", result.data.report_id) == result.data.model_dump(mode="json")
    assert registry.call("make_report", arguments, ws).data.report_id == result.data.report_id


def test_without_earlier_verdicts_the_report_makes_and_stores_them(ws: Workspace) -> None:
    target, guard = stored_pair(ws, 0.1, "target"), stored_pair(ws, 0.0, "guard")
    result = registry.call(
        "make_report",
        {"title": "T", "base_evals": target[:1], "tuned_evals": target[1:], "guard_base_evals": guard[:1], "guard_tuned_evals": guard[1:]}, ws,
    )  # fmt: skip
    with Ledger.open(ws) as ledger:
        assert [row.id for kind in ("comparison", "replay") for row in ledger.list(kind)] == list(result.data.sources)
    assert "No players: the manifest is not below a data root." in Path(result.data.path).read_text(encoding="utf-8")


def test_a_run_brings_its_curves_from_the_events_of_all_attempts(ws: Workspace) -> None:
    target = stored_pair(ws, 0.1, "target")
    run = TrainResult(
        run_id="run_0123456789ab", best=CheckpointRef(name="run", path="/m.nemo", sha256="c" * 64), best_step=20,
        candidates=(Candidate(step=20, path="c", dev_wer=12.0, train_loss=3.0),), base_dev_wer=30.0,
        consumed=(Consumed(source="phone", role="train", utterances=90, seconds=360, seconds_by_locale={"el-GR": 360.0}),),
        steps=20, trainable_parameters=10, seconds=60, audio_hours_per_hour=60,
    )  # fmt: skip
    job = "job_0123456789ab"
    with Ledger.open(ws) as ledger:
        ledger.put("run", run.run_id, run)
        with ledger.transaction() as connection:
            connection.execute("INSERT INTO jobs (id, key, generation, kind, module, request, attempt, created, grace_s, slots) VALUES (?, 'k', 1, 'train', 'm', ?, 2, 0, 30, 1)",
                               (job, '{"run_id": "run_0123456789ab"}'))  # fmt: skip
            for number, state in ((1, "failed"), (2, "succeeded")):
                connection.execute("INSERT INTO attempts (job_id, number, state, queued) VALUES (?, ?, ?, ?)", (job, number, state, number))
    for number in (1, 2):
        lines = [
            Event(time=step, stage="train", step=step, total=20, metrics={"loss": 50.0 - step}).model_dump_json()
            for step in range(10 * number - 10, 10 * number)
        ]
        io.write_text(ws.home / "jobs" / job / f"attempt_{number}" / "events.jsonl", "\n".join(lines) + '\n{"torn')
    result = registry.call("make_report", {"title": "T", "base_evals": target[:1], "tuned_evals": target[1:], "run_id": run.run_id}, ws)
    page = Path(result.data.path).read_text(encoding="utf-8")
    assert "from 50.00 at step 0 to 31.00 at step 19" in page
    assert "from 30.00 at step 0 to 12.00 at step 20" in page


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ({"guard_base_evals": ["eval_0123456789ab"]}, "guards_one_sided"),
        ({"run_id": "run_0123456789ab"}, "run_unknown"),
        ({"tuned_evals": ["eval_0123456789ab"]}, "eval_unknown"),
        ({"title": ""}, "arguments_invalid"),
    ],
)
def test_calls_that_cannot_work_answer_with_a_code_and_write_no_page(ws: Workspace, extra: dict[str, object], code: str) -> None:
    target = stored_pair(ws, 0.1, "target")
    with pytest.raises(AsrtuneError) as caught:
        registry.call("make_report", {"title": "T", "base_evals": target[:1], "tuned_evals": target[1:], **extra}, ws)
    assert caught.value.code == code
    assert not (ws.home / "reports").exists()
