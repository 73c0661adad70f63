"""check_replay refuses guards that the tuned run was trained on: what is the same recording, and how far back the training data is followed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asrcore import io
from asrcore.errors import AsrtuneError
from asrcore.jobs import Ledger
from asrcore.jobs.store import Spec, add_job
from asrcore.requests import (
    Candidate,
    CheckpointRef,
    Hypothesis,
    ManifestRef,
    ShardedSource,
    ShardFile,
    ShardsResult,
    TrainRequest,
    TrainResult,
)
from asrcore.results import Result
from asrcore.workspace import Workspace
from asrtune import registry
from tests.score.evals import BASE, TUNED, cell, hypotheses

REFERENCES = [f"Sentence number {n}, please." for n in range(40)]


def shards(folder: Path, rows: list[dict[str, Any]]) -> ShardsResult:
    """Shards of one replay source; only their manifest is written."""
    io.write_text(folder / "bg" / "manifest_0.json", "".join(json.dumps(row) + "\n" for row in rows))
    file = ShardFile(tar="bg/audio_0.tar", manifest="bg/manifest_0.json", sha256="0" * 64, utterances=len(rows), seconds=1.0)
    source = ShardedSource(
        name="bg", role="replay", share=1.0, weight=1.0, utterances=len(rows), seconds=1.0, seconds_by_locale={}, shards=(file,)
    )
    return ShardsResult(shards_id="shards_000000000000", root=str(folder), sources=(source,), skipped={})


def trained(ws: Workspace, number: int, base: CheckpointRef, best: CheckpointRef, data: ShardsResult) -> None:
    """A finished run in the ledger, with the job that made it."""
    run_id = f"run_{number:012d}"
    request = TrainRequest(
        run_id=run_id, base=base, shards=data, dev=ManifestRef(name="dev", path="/dev.json", sha256="0" * 64), max_steps=1, peak_lr=1e-4,
        warmup_steps=0, candidate_every=1, out="/runs/x",
    )  # fmt: skip
    result = TrainResult(
        run_id=run_id, best=best, best_step=1, candidates=(Candidate(step=1, path="/c", dev_wer=1.0, train_loss=1.0),), base_dev_wer=1.0,
        consumed=(), steps=1, trainable_parameters=1, seconds=1.0, audio_hours_per_hour=1.0,
    )  # fmt: skip
    with Ledger.open(ws) as ledger:
        ledger.put("run", run_id, result)
        with ledger.transaction() as connection:
            add_job(connection, Spec("train", "m", request.model_dump(mode="json"), run_id, 1.0, None, 1))


def guard_rows() -> list[Hypothesis]:
    return hypotheses(REFERENCES, REFERENCES, "en-US")


def check(ws: Workspace) -> Result[Any]:
    """The verdict on one guard that both checkpoints transcribed without an error."""
    cells = [cell(ws.home / "evals", checkpoint, guard_rows(), set_name="guard") for checkpoint in (BASE, TUNED)]
    with Ledger.open(ws) as ledger:
        for one in cells:
            ledger.put("eval", one.eval_id, one)
    return registry.call("check_replay", {"base_evals": [cells[0].eval_id], "tuned_evals": [cells[1].eval_id]}, ws)


def row(n: int, **changes: Any) -> dict[str, Any]:
    """The shard row of the guard's utterance `n`."""
    h = guard_rows()[n]
    return {"text": h.reference, "duration": h.duration, "speaker": h.speaker, "target_lang": "en-US", "id": f"other{n}"} | changes


@pytest.mark.parametrize(
    "changes",
    [
        {},  # sentence, speaker and duration
        {"text": "SENTENCE number 3 please", "duration": 2.009},
        {"id": "u3", "speaker": "renamed"},  # id and duration
        {"id": "u3", "speaker": None, "duration": 1.2},  # id and sentence
    ],
)
def test_a_guard_utterance_in_the_replay_data_is_refused_by_line(ws: Workspace, changes: dict[str, Any]) -> None:
    trained(ws, 1, BASE, TUNED, shards(ws.home / "shards", [row(3, **changes)]))
    with pytest.raises(AsrtuneError) as caught:
        check(ws)
    assert caught.value.code == "guard_overlaps_replay"
    assert "1 guard utterances (guard 1 of 40)" in caught.value.message
    assert [(p.code, p.line) for p in caught.value.problems] == [("guard_overlap", 4)]
    assert "replay source bg" in caught.value.problems[0].message


@pytest.mark.parametrize(
    "changes",
    [
        {"speaker": "another"},  # the same sentence from another mouth
        {"duration": 2.5},  # the same sentence spoken again
        {"id": "u3", "text": "something else", "duration": 3.0},  # an id that two corpora share
    ],
)
def test_the_same_sentence_or_the_same_id_alone_is_no_overlap(ws: Workspace, changes: dict[str, Any]) -> None:
    trained(ws, 1, BASE, TUNED, shards(ws.home / "shards", [row(3, **changes)]))
    assert "overlap_unchecked" not in [w.code for w in check(ws).warnings]


def test_the_data_of_a_run_that_the_tuned_one_started_from_counts_too(ws: Workspace) -> None:
    between = CheckpointRef(name="between", path="/b.nemo", sha256="d" * 64)
    trained(ws, 1, BASE, between, shards(ws.home / "first", [row(0), row(7)]))
    trained(ws, 2, between, TUNED, shards(ws.home / "second", [row(1, speaker="x")]))
    with pytest.raises(AsrtuneError, match="guard_overlaps_replay") as caught:
        check(ws)
    assert [p.line for p in caught.value.problems] == [1, 8]


def test_training_data_that_is_not_known_or_gone_is_said_and_refuses_nothing(ws: Workspace) -> None:
    assert "overlap_unchecked" in [w.code for w in check(ws).warnings]
    data = shards(ws.home / "shards", [row(3)])
    trained(ws, 1, BASE, TUNED, data)
    (ws.home / "shards" / "bg" / "manifest_0.json").unlink()
    assert "overlap_unchecked" in [w.code for w in check(ws).warnings]
