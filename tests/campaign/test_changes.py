"""One lever a round: what a training changed against the one before is read from both requests and told when it is more than one thing."""

from __future__ import annotations

from typing import Any

import pytest

from asrcore.campaign.changes import changes
from asrcore.campaign.observe import points_of
from asrcore.campaign.state import decisions_of
from asrcore.jobs import Ledger
from asrcore.jobs.store import Spec, add_job
from asrcore.requests import CheckpointRef, ManifestRef, ShardsResult, TrainRequest, TrainResult
from asrcore.workspace import Workspace
from asrtune import registry
from tests.campaign.script import STEPS, Step, checkpoint, measured
from tests.campaign.test_observe import source
from tests.score.evals import BASE

GREEK, KEPT = source("greek", "train", el_GR=3600), source("keep", "replay", en_US=3600)


def request(number: int, *sources: Any, **changed: Any) -> TrainRequest:
    shards = ShardsResult(shards_id=f"shards_{number:012x}", root="/shards", sources=sources or (GREEK, KEPT), skipped={})
    values = {"run_id": f"run_{number:012x}", "base": BASE, "shards": shards, "dev": ManifestRef(name="dev", path="/data/dev.json", sha256="d" * 64), "max_steps": 10 * number,
              "peak_lr": 1e-4, "warmup_steps": 1, "candidate_every": 5, "out": f"/runs/{number}"}  # fmt: skip
    return TrainRequest.model_validate(values | changed)


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (request(2), ()),
        (request(2, source("greek", "train", el_GR=7200), KEPT), ("target_data",)),
        (request(2, source("greek", "train", bg_BG=3600), KEPT), ("target_data",)),
        (request(2, GREEK), ("replay",)),
        (request(2, GREEK, KEPT.model_copy(update={"share": 0.7})), ("replay",)),
        (request(2, GREEK, KEPT.model_copy(update={"share": 0.51, "name": "other_name"})), ()),
        (request(2, peak_lr=5e-5), ("rate",)),
        (request(2, rates={"encoder": 1e-5}), ("rate",)),
        (request(2, surface="lora:8"), ("surface",)),
        (request(2, prompt_mode="langID"), ("prompt_mode",)),
        (request(2, base=CheckpointRef(name="other", path="/o.nemo", sha256="e" * 64)), ("base",)),
        (request(2, source("greek", "train", el_GR=7200), peak_lr=5e-4), ("target_data", "replay", "rate")),
    ],
)
def test_each_thing_that_a_lever_stands_for_is_seen_and_steps_and_names_are_none(after: TrainRequest, found: tuple[str, ...]) -> None:
    assert changes(request(1), after) == found


def recorded(ws: Workspace, asked: TrainRequest, made: CheckpointRef) -> None:
    result = TrainResult(run_id=asked.run_id, best=made, best_step=10, candidates=(), base_dev_wer=40.0, consumed=(), steps=10, trainable_parameters=1, seconds=60,
                         audio_hours_per_hour=1.0)  # fmt: skip
    with Ledger.open(ws) as ledger:
        ledger.put("run", asked.run_id, result)
        with ledger.transaction() as connection:
            add_job(connection, Spec("train", "asrcore.model.train", asked.model_dump(mode="json"), asked.run_id, 10.0, None, 1))


def test_a_round_that_changed_two_things_at_once_is_told_and_one_that_changed_one_is_not(ws: Workspace) -> None:
    def judged(step: Step, asked: TrainRequest) -> Any:
        recorded(ws, asked, checkpoint(step))
        return registry.call("decide_next_step", {"campaign_id": campaign, "candidate_evals": [measured(ws, step)["phone"]]}, ws)

    campaign = registry.call("start_campaign", {"title": "T", "target_evals": [measured(ws, STEPS[0])["phone"]]}, ws).data.campaign_id
    first = judged(STEPS[1], request(1))
    second = judged(STEPS[4], request(2, source("greek", "train", el_GR=7200), KEPT))
    third = judged(STEPS[6], request(3, source("greek", "train", el_GR=14400), KEPT, peak_lr=5e-5))
    assert [one.data.round.changed for one in (first, second, third)] == [(), ("target_data",), ("target_data", "rate")]
    told = [[w.message for w in one.warnings if w.code == "round_changed_more"] for one in (first, second, third)]
    assert told == [[], [], ["against the trained round before, this one changed target_data, rate at once, so nobody can say which of them did it"]]


@pytest.mark.parametrize(("kept", "hours"), [((KEPT,), [1.0, 2.0]), ((), [1.0])])
def test_a_gain_that_was_bought_by_leaving_out_the_replay_is_no_point_of_the_curve(ws: Workspace, kept: tuple[Any, ...], hours: list[float]) -> None:
    base = measured(ws, STEPS[0])
    call = {"title": "T", "target_evals": [base["phone"]], "guard_evals": [base["guard_bg"]]}
    campaign = registry.call("start_campaign", call, ws).data.campaign_id
    for step, asked in ((STEPS[1], request(1)), (STEPS[2], request(2, source("greek", "train", el_GR=7200), *kept))):
        recorded(ws, asked, checkpoint(step))
        made = measured(ws, step)
        registry.call("decide_next_step", {"campaign_id": campaign, "candidate_evals": [made["phone"], made["guard_bg"]]}, ws)
    assert registry.call("decide_next_step", {"campaign_id": campaign}, ws).data.judgement_rule == "forgotten"
    with Ledger.open(ws) as ledger:
        assert [point.hours for point in points_of(ledger, decisions_of(ledger, campaign))[0]] == hours
