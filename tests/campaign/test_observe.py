"""What the ledger knows about a candidate's data, and the signs of wrong labels."""

from __future__ import annotations

import pytest

from asrcore.campaign.observe import behind
from asrcore.jobs import Ledger
from asrcore.jobs.store import Spec, add_job
from asrcore.requests import Blend, CheckpointRef, ManifestRef, ShardedSource, ShardsResult, TrainRequest, TrainResult
from asrcore.workspace import Workspace
from asrtune import registry
from tests.campaign.script import STEPS, checkpoint, measured
from tests.score.evals import BASE

RUN = "run_0123456789ab"


def source(name: str, role: str, **seconds: float) -> ShardedSource:
    by_locale = {locale.replace("_", "-"): value for locale, value in seconds.items()}
    return ShardedSource(name=name, role=role, share=0.5, weight=0.5, utterances=10, seconds=sum(seconds.values()), seconds_by_locale=by_locale, shards=())


def record_run(ws: Workspace, made: CheckpointRef, *sources: ShardedSource) -> None:
    """A finished training in the ledger: the job with its request, and the run."""
    shards = ShardsResult(shards_id="shards_0123456789ab", root=str(ws.home), sources=sources, skipped={})
    request = TrainRequest(run_id=RUN, base=BASE, shards=shards, dev=ManifestRef(name="dev", path="/data/dev.json", sha256="d" * 64), max_steps=10,
                           peak_lr=1e-4, warmup_steps=1, candidate_every=5, out=str(ws.home / "runs" / RUN))  # fmt: skip
    result = TrainResult(run_id=RUN, best=made, best_step=10, candidates=(), base_dev_wer=40.0, consumed=(), steps=10, trainable_parameters=1,
                         seconds=5400, audio_hours_per_hour=1.0)  # fmt: skip
    with Ledger.open(ws) as ledger:
        ledger.put("run", RUN, result)
        with ledger.transaction() as connection:
            add_job(connection, Spec("train", "asrcore.model.train", request.model_dump(mode="json"), "key", 10.0, None, 1))


def test_hours_are_those_of_the_target_locale_in_what_was_learned_not_replayed(ws: Workspace) -> None:
    record_run(ws, checkpoint(STEPS[1]), source("greek", "train", el_GR=7200, bg_BG=100), source("keep", "replay", el_GR=3600))
    with Ledger.open(ws) as ledger:
        found = behind(ledger, checkpoint(STEPS[1]).sha256, ("el-GR",))
        assert (found.run_id, found.shards_id, found.target_hours, found.gpu_hours) == (RUN, "shards_0123456789ab", 2.0, 1.5)
        assert behind(ledger, "0" * 64, ("el-GR",)).target_hours is None


def test_a_blend_has_the_data_of_what_was_blended_and_costs_no_training(ws: Workspace) -> None:
    record_run(ws, checkpoint(STEPS[1]), source("greek", "train", el_GR=7200))
    mixed = CheckpointRef(name="mixed", path="/models/mixed.nemo", sha256="a" * 64)
    with Ledger.open(ws) as ledger:
        ledger.put("blend", "blend_1", Blend(alpha=0.5, checkpoint=mixed, base=BASE, tuned=(checkpoint(STEPS[1]),)))
        found = behind(ledger, mixed.sha256, ("el-GR",))
    assert (found.target_hours, found.gpu_hours) == (2.0, 0.0)


@pytest.mark.parametrize(("locale", "rule"), [("bg_BG", "poisoned"), ("el_GR", "more_data")])
def test_training_data_that_holds_nothing_under_the_targets_tag_is_wrong_data_whatever_the_rates(ws: Workspace, locale: str, rule: str) -> None:
    base, first = measured(ws, STEPS[0]), measured(ws, STEPS[1])
    record_run(ws, checkpoint(STEPS[1]), source("greek", "train", **{locale: 7200.0}))
    campaign = registry.call("start_campaign", {"title": "T", "target_evals": [base["phone"]], "guard_evals": [base["guard_bg"]]}, ws).data.campaign_id
    call = {"campaign_id": campaign, "candidate_evals": [first["phone"], first["guard_bg"]]}
    decision = registry.call("decide_next_step", call, ws).data
    assert decision.lever_rule == rule
    assert decision.round.gpu_hours == 1.5


@pytest.mark.parametrize(("instead", "rule"), [("bg-BG", "poisoned"), (None, "more_data")])
def test_tags_of_another_locale_show_wrong_rows_and_missing_tags_do_not(ws: Workspace, instead: str | None, rule: str) -> None:
    before, after = measured(ws, STEPS[0]), measured(ws, STEPS[1]._replace(wrong_tags=0.35, instead=instead))
    campaign = registry.call("start_campaign", {"title": "T", "target_evals": [before["phone"], before["phone_auto"]], "guard_evals": [before["guard_bg"]]}, ws)
    call = {"campaign_id": campaign.data.campaign_id, "candidate_evals": [after["phone"], after["phone_auto"], after["guard_bg"]]}
    assert registry.call("decide_next_step", call, ws).data.lever_rule == rule
