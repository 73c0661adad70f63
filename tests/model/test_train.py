"""A fine-tune from request to `best.nemo`, on the embedded base: what it writes, counts, moves and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asrcore.errors import NotReadyError, ToolFault
from asrcore.requests import TrainRequest, TrainResult
from tests.model.runs import Bench, Watch, weights

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("train"))


@pytest.fixture(scope="module")
def trained(bench: Bench) -> tuple[TrainRequest, TrainResult, Watch]:
    request = bench.request("whole")
    result, watch = bench.train(request)
    assert result is not None
    return request, result, watch


def test_candidates_come_at_whole_steps_and_at_the_end_and_the_best_is_the_result(trained: tuple[TrainRequest, TrainResult, Watch]) -> None:
    """Trap 3.5."""
    request, result, _ = trained
    assert [candidate.step for candidate in result.candidates] == [4, 6]
    best = min(result.candidates, key=lambda candidate: (candidate.dev_wer, candidate.step))
    assert result.best_step == best.step
    assert json.loads((Path(best.path) / "candidate.json").read_text(encoding="utf-8"))["dev_wer"] == best.dev_wer
    assert result.best.path == str(Path(request.out) / "best.nemo")


def test_the_checkpoint_restores_with_the_best_weights_and_the_bases_own_config(
    bench: Bench, trained: tuple[TrainRequest, TrainResult, Watch]
) -> None:
    import torch

    from asrcore.checkpoint import read_checkpoint
    from asrcore.model.restore import restore

    _, result, _ = trained
    tuned, base = read_checkpoint(Path(result.best.path)), read_checkpoint(Path(bench.base.path))
    assert tuned.sha256 == result.best.sha256
    assert tuned.model_copy(update={"path": "", "sha256": "", "size_bytes": 0}) == base.model_copy(
        update={"path": "", "sha256": "", "size_bytes": 0}
    )
    from asrcore.model.candidates import mean_tensors

    assert result.averaged is not None
    steps = result.averaged.steps if result.averaged.kept else (result.best_step,)
    saved = dict(
        mean_tensors(
            [Path(candidate.path) / "weights.safetensors" for step in steps for candidate in result.candidates if candidate.step == step]
        )
    )
    restored = restore(Path(result.best.path), threads=1)
    assert all(torch.equal(tensor, saved[name]) for name, tensor in restored.state_dict().items())
    assert restored.spec_augmentation is not None


def test_what_each_source_gave_to_steps_is_counted(trained: tuple[TrainRequest, TrainResult, Watch]) -> None:
    """Trap 3.13."""
    request, result, _ = trained
    assert sum(c.utterances for c in result.consumed) == request.max_steps * request.batch_size
    by_role = {c.role: c for c in result.consumed}
    assert by_role["train"].seconds_by_locale.keys() == {"el-GR"}
    assert by_role["replay"].seconds_by_locale.keys() == {"bg-BG"}
    for consumed in result.consumed:
        assert consumed.seconds == pytest.approx(sum(consumed.seconds_by_locale.values()), abs=0.02)


def test_a_run_by_seconds_counts_the_utterances_that_its_batches_really_held(bench: Bench) -> None:
    """Clips of 0.7 to 0.9 s: five or six fill 4.6 s, whatever `batch_size` says."""
    result, _ = bench.train(bench.request("seconds", batch_size=2, batch_seconds=4.6, max_steps=3, candidate_every=3))
    assert result is not None
    assert 3 * 5 <= sum(source.utterances for source in result.consumed) <= 3 * 6


def test_what_the_sources_gave_is_told_at_every_candidate(trained: tuple[TrainRequest, TrainResult, Watch]) -> None:
    """Trap 3.13: a replay source that gives nothing shows at the first candidate and not at the end of days."""
    request, result, watch = trained
    lines = [json.loads(line) for line in (Path(request.out) / "consumed.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [candidate.step for candidate in result.candidates]
    for line in lines:
        assert sum(source["utterances"] for source in line["sources"]) == line["step"] * request.batch_size
    assert lines[-1]["sources"] == [source.model_dump() for source in result.consumed]
    shares = [metrics["replay_share"] for _, _, metrics in watch.seen if "replay_share" in metrics]
    assert len(shares) == len(lines)
    assert all(0 < share < 1 for share in shares)


def test_the_smoke_writes_a_state_long_before_the_first_candidate(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 3.5: a disk that takes no state has to show in the first steps."""
    from asrcore.model import train

    saved: list[int] = []
    monkeypatch.setattr(train, "save_state", lambda out, request, counters, *rest: saved.append(counters.step))
    result, _ = bench.train(bench.request("smoke_state", max_steps=8, candidate_every=8))
    assert result is not None
    assert saved == [3, 8]


def test_progress_names_loss_rate_and_speed_and_the_dev_rates_of_base_and_candidates(
    trained: tuple[TrainRequest, TrainResult, Watch],
) -> None:
    request, result, watch = trained
    steps = {step: metrics for step, _, metrics in watch.seen if "loss" in metrics}
    assert sorted(steps) == list(range(1, request.max_steps + 1))
    assert all({"loss", "lr", "utterances_per_s", "audio_hours_per_hour"} <= set(metrics) for metrics in steps.values())
    assert steps[1]["lr"] == pytest.approx(request.peak_lr)
    assert steps[request.max_steps]["lr"] == pytest.approx(request.min_lr)
    rates = [metrics["dev_wer"] for _, _, metrics in watch.seen if "dev_wer" in metrics]
    assert result.averaged is not None
    assert rates == [result.base_dev_wer, *(candidate.dev_wer for candidate in result.candidates), result.averaged.dev_wer]


@pytest.mark.parametrize("stop_at", [2, 4], ids=["between candidates", "while a candidate is scored"])
def test_a_stopped_and_resumed_run_ends_with_the_very_weights_of_one_that_was_not(
    bench: Bench, trained: tuple[TrainRequest, TrainResult, Watch], stop_at: int
) -> None:
    """Trap 3.21: nothing is repeated or skipped, wherever the stop falls."""
    import torch

    _, whole, _ = trained
    request = bench.request(f"stopped_{stop_at}")
    assert bench.train(request, stop_at=stop_at)[0] is None
    assert not (Path(request.out) / "candidates").exists()
    resumed, watch = bench.train(request)
    assert resumed is not None
    assert resumed.resumed_from == stop_at
    assert min(step for step, _, metrics in watch.seen if "loss" in metrics) == stop_at + 1
    assert resumed.consumed == whole.consumed
    assert resumed.base_dev_wer == whole.base_dev_wer
    assert [c.dev_wer for c in resumed.candidates] == [c.dev_wer for c in whole.candidates]
    expected, found = weights(Path(whole.candidates[-1].path)), weights(Path(resumed.candidates[-1].path))
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_a_state_of_another_request_is_refused(bench: Bench) -> None:
    request = bench.request("other")
    assert bench.train(request, stop_at=1)[0] is None
    with pytest.raises(NotReadyError, match="resume_mismatch") as caught:
        bench.train(request.model_copy(update={"peak_lr": 2e-3}))
    assert [problem.message for problem in caught.value.problems] == ["request differs"]


def test_a_tensor_that_should_move_and_does_not_fails_the_smoke(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.model import train_loop

    monkeypatch.setattr(train_loop, "learning_rate", lambda step, request: 0.0)
    request = bench.request("stuck", weight_decay=0.0)
    with pytest.raises(ToolFault, match="surface_not_moved"):
        bench.train(request)
    assert not (Path(request.out) / "candidates").exists()


def test_changed_inputs_are_refused_before_the_model_is_opened(bench: Bench) -> None:
    request = bench.request("changed")
    changed = request.model_copy(update={"dev": request.dev.model_copy(update={"sha256": "0" * 64})})
    with pytest.raises(NotReadyError, match="fingerprint_mismatch"):
        bench.train(changed)
    assert not Path(request.out).exists()
