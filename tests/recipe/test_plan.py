"""Planning, through `make_plan` and the tool: what is decided and why, what is refused, what is promised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asrcore.errors import NotReadyError, Problem
from asrcore.jobs import Ledger
from asrcore.recipe import Estimates, FinetuneSpec, make_plan
from asrcore.recipe.estimates import cost
from asrcore.requests import Candidate, CheckpointRef, ShardsResult, TrainResult
from asrcore.workspace import Workspace
from asrtune import registry
from tests.recipe.corpora import build, corpus


@pytest.fixture
def shards(ws: Workspace, tmp_path: Path) -> ShardsResult:
    return build(ws, [corpus(tmp_path, "greek", "el-GR", 20)], [corpus(tmp_path, "bulgarian", "bg-BG", 10)])


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    return corpus(tmp_path, "dev", "el-GR", 4, seed=1)


def rewrite(manifest: Path, line: int, **fields: object) -> None:
    """Changes fields of one row; lines count from 1."""
    rows = [json.loads(row) for row in manifest.read_text(encoding="utf-8").splitlines()]
    rows[line - 1] |= fields
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def blocked(ws: Workspace, **spec: object) -> tuple[Problem, ...]:
    """The problems of a plan that must not come about."""
    with pytest.raises(NotReadyError) as caught:
        make_plan(FinetuneSpec.model_validate(spec), ws)
    assert caught.value.code == "plan_blocked"
    return caught.value.problems


def test_a_plan_resolves_the_whole_request_and_gives_a_reason_for_every_decision(ws: Workspace, shards: ShardsResult, dev: Path) -> None:
    plan = make_plan(FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(dev), max_steps=50), ws).plan
    values = {decision.name: decision for decision in plan.summary.decisions}
    assert plan.request.max_steps == 50
    assert values["max_steps"].asked
    assert not values["peak_lr"].asked
    assert float(values["peak_lr"].value) == plan.request.peak_lr == 5e-4
    assert all(decision.reason for decision in plan.summary.decisions)
    assert plan.request.out == str(ws.home / "runs" / plan.summary.run_id)
    assert plan.request.shards == shards


@pytest.mark.parametrize(("batching", "bucketing", "by_seconds"), [("buckets", True, False), ("mixed", False, False), ("seconds", True, True)])
def test_the_way_to_make_batches_is_in_the_request(
    ws: Workspace, shards: ShardsResult, dev: Path, batching: str, bucketing: bool, by_seconds: bool
) -> None:
    spec = FinetuneSpec.model_validate({"shards_id": shards.shards_id, "dev_manifest": str(dev), "batching": batching})
    request = make_plan(spec, ws).plan.request
    assert (request.bucketing, request.batch_seconds is not None) == (bucketing, by_seconds)
    if request.batch_seconds is not None:
        assert request.batch_seconds == pytest.approx(16 * 0.9, rel=0.1), "16 utterances of about 0.9 s"


def test_the_same_inputs_give_the_same_plan_and_another_seed_gives_another(ws: Workspace, shards: ShardsResult, dev: Path) -> None:
    spec = FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(dev))
    first = make_plan(spec, ws).plan.summary.plan_id
    assert make_plan(spec, ws).plan.summary.plan_id == first
    assert make_plan(spec.model_copy(update={"seed": 1}), ws).plan.summary.plan_id != first
    assert len(Ledger.open(ws).list("plan")) == 2


def test_everything_that_stands_in_the_way_is_reported_at_once(ws: Workspace, shards: ShardsResult, dev: Path) -> None:
    rewrite(dev, 1, target_lang="xx-XX")
    rewrite(dev, 2, id="greek-3")
    rewrite(dev, 4, audio_filepath="gone.wav")
    Path(shards.root, shards.sources[0].shards[0].tar).write_bytes(b"other bytes")
    problems = blocked(ws, shards_id=shards.shards_id, dev_manifest=str(dev), att_context_size=(56, 2), max_steps=1, batch_size=1)
    errors = {(problem.code, problem.line) for problem in problems if problem.severity == "error"}
    assert errors == {
        ("unknown_tag", 1), ("dev_overlap", 2), ("audio_missing", 4), ("file_changed", None), ("context_not_trained", None), ("source_too_thin", None),
    }  # fmt: skip
    assert all(problem.fix for problem in problems)


def test_a_dev_recording_that_is_trained_on_under_another_id_is_found(ws: Workspace, dev: Path, tmp_path: Path) -> None:
    texts = [json.loads(row)["text"] for row in dev.read_text(encoding="utf-8").splitlines()]
    known = build(ws, [corpus(tmp_path, "copies", "el-GR", 12, texts=[texts[0], *(f"another sentence {n}" for n in range(11))])])
    problems = blocked(ws, shards_id=known.shards_id, dev_manifest=str(dev))
    assert [(p.code, p.line) for p in problems if p.severity == "error"] == [("dev_overlap", 1)]


def test_known_sentences_in_other_voices_warn_and_a_dev_set_of_them_is_refused(ws: Workspace, dev: Path, tmp_path: Path) -> None:
    texts = [json.loads(row)["text"] for row in dev.read_text(encoding="utf-8").splitlines()]
    fresh = [f"another sentence {n}" for n in range(12)]
    one = build(ws, [corpus(tmp_path, "one", "el-GR", 12, first=2.0, texts=[texts[0].upper() + "!", *fresh[1:]])])
    warnings = make_plan(FinetuneSpec(shards_id=one.shards_id, dev_manifest=str(dev)), ws).warnings
    assert "dev_sentences_known" in {warning.code for warning in warnings}
    most = build(ws, [corpus(tmp_path, "most", "el-GR", 12, first=2.0, texts=[*texts[:3], *fresh[3:]])])
    assert "dev_sentences_known" in {p.code for p in blocked(ws, shards_id=most.shards_id, dev_manifest=str(dev)) if p.severity == "error"}


def test_a_plan_without_replay_warns_of_forgetting(ws: Workspace, dev: Path, tmp_path: Path) -> None:
    """Trap 3.12."""
    alone = build(ws, [corpus(tmp_path, "alone", "el-GR", 8)])
    planned = make_plan(FinetuneSpec(shards_id=alone.shards_id, dev_manifest=str(dev)), ws)
    assert "no_replay" in {warning.code for warning in planned.warnings}


def test_a_locale_whose_slot_was_never_trained_is_planned_with_a_warning(ws: Workspace, dev: Path, tmp_path: Path) -> None:
    """Trap 3.3: a known tag of an untrained slot is silent garbage."""
    khmer = build(ws, [corpus(tmp_path, "khmer", "km-KH", 8)])
    planned = make_plan(FinetuneSpec(shards_id=khmer.shards_id, dev_manifest=str(dev), prompt_mode="langID"), ws)
    assert "untrained_slot" in {warning.code for warning in planned.warnings}


def test_a_workspace_path_that_nemo_would_expand_is_refused(tmp_path: Path, dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASRTUNE_HOME", str(tmp_path / "work [1]"))
    ws = Workspace.open(tmp_path)
    found = build(ws, [corpus(tmp_path, "greek", "el-GR", 8)])
    problems = blocked(ws, shards_id=found.shards_id, dev_manifest=str(dev))
    assert "path_not_loadable" in {problem.code for problem in problems}


def test_a_disk_budget_that_is_too_small_blocks(tmp_path: Path, dev: Path) -> None:
    (tmp_path / "asrtune.toml").write_text("[budgets]\nmax_disk_gb = 0.01\n", encoding="utf-8")
    ws = Workspace.open(tmp_path)
    found = build(ws, [corpus(tmp_path, "greek", "el-GR", 8)])
    assert "disk_budget" in {problem.code for problem in blocked(ws, shards_id=found.shards_id, dev_manifest=str(dev))}


def test_the_expected_gain_is_unknown_until_a_run_on_this_dev_set_gives_evidence(ws: Workspace, shards: ShardsResult, dev: Path) -> None:
    spec = FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(dev))
    plan = make_plan(spec, ws).plan
    assert plan.summary.expected_gain.expected == "unknown"
    assert plan.summary.expected_gain.evidence == ()
    run = plan.request.run_id
    Ledger.open(ws).put("run", run, TrainResult(
        run_id=run, best=CheckpointRef(name=run, path="best.nemo", sha256="0" * 64), best_step=2,
        candidates=(Candidate(step=2, path="step_2", dev_wer=28.0, train_loss=1.0),), base_dev_wer=77.0, consumed=(), steps=2,
        trainable_parameters=1, seconds=10.0, audio_hours_per_hour=5.0,
    ))  # fmt: skip
    later = make_plan(spec, ws).plan.summary
    assert later.expected_gain.expected == "evidence"
    assert run in later.expected_gain.evidence[0]
    assert "77.0 -> 28.0" in later.expected_gain.evidence[0]
    assert run in later.estimates.basis


def test_the_tool_answers_briefly_and_names_the_launch(ws: Workspace, shards: ShardsResult, dev: Path) -> None:
    result = registry.call("plan_finetune", {"shards_id": shards.shards_id, "dev_manifest": str(dev)}, ws)
    assert [action.tool for action in result.next_actions] == ["launch_finetune"]
    assert result.next_actions[0].arguments == {"plan_id": result.data.plan_id}
    assert len(result.model_dump_json()) < 6000, "over 1,500 tokens"


def test_shards_that_the_ledger_does_not_know_are_refused_with_the_next_call(ws: Workspace, dev: Path) -> None:
    with pytest.raises(NotReadyError, match="shards_unknown"):
        make_plan(FinetuneSpec(shards_id="shards_000000000000", dev_manifest=str(dev)), ws)


@pytest.mark.parametrize(("gpus", "price", "seconds", "expected"), [(0, 2.0, 3600.0, None), (2, 0.0, 3600.0, None), (2, 2.5, None, None), (2, 2.5, 1800.0, 2.5)])
def test_a_run_has_a_cost_where_gpus_are_paid_for_and_its_time_is_known(gpus: int, price: float, seconds: float | None, expected: float | None) -> None:
    estimates = Estimates(steps=1, seconds=seconds, basis="", memory_gb=1.0, disk_gb=1.0, gpus=gpus)
    assert cost(estimates, price) == expected
