"""Trap 3.6: in-training `val_wer` (raw text, offline at 320 ms, two batches) ranks checkpoints by something nobody deploys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore.requests import Candidate, Hypothesis
from tests.model.runs import Bench
from tests.traps.stock import trap
from tests.traps.test_trap_3_02_dev_prompts_are_fixed import Model

pytestmark = pytest.mark.heavy


def test_the_score_is_the_normalised_rate_of_the_whole_dev_set_at_the_serving_latency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asrcore.model import candidates

    bench, seen = Bench(tmp_path), list[tuple[Path, tuple[int, int]]]()

    def decode(model: Any, manifest: Path, context: tuple[int, int], *rest: Any) -> list[Hypothesis]:
        seen.append((manifest, context))
        return [Hypothesis(id="a", locale="el-GR", reference="Ένα, δύο.", text="ένα δύο", raw_text="", tag=None, duration=1.0, line=1)]

    monkeypatch.setattr(candidates, "decode_manifest", decode)
    request = bench.request("run", att_context_size=(56, 3))
    assert candidates.dev_error_rate(Model(), request, lambda done: None) == 0.0
    assert seen == [(Path(request.dev.path), (56, 3))]


def test_the_best_candidate_is_the_one_with_the_lowest_dev_rate_and_of_equals_the_earlier(tmp_path: Path) -> None:
    from asrcore.model.candidates import CandidateStore

    store = CandidateStore(tmp_path)
    for step, rate, loss in ((10, 30.0, 5.0), (20, 20.0, 9.0), (30, 20.0, 0.1)):
        store.path(step).mkdir(parents=True)
        record = Candidate(step=step, path=str(store.path(step)), dev_wer=rate, train_loss=loss)
        (store.path(step) / "candidate.json").write_text(record.model_dump_json(), encoding="utf-8")
    assert store.best().step == 20


def test_the_weights_of_the_three_best_and_of_the_newest_are_kept_and_the_scores_of_all(tmp_path: Path) -> None:
    """Trap 3.14: the last checkpoint may be the worst, and the best an early one."""
    import torch

    from asrcore.model.candidates import WEIGHTS, CandidateStore

    store = CandidateStore(tmp_path)
    for step, rate in enumerate((20.0, 60.0, 30.0, 40.0, 50.0, 90.0), 1):
        store.add(torch.nn.Linear(2, 2), step, rate, train_loss=1.0)
    assert [candidate.step for candidate in store.all()] == [1, 2, 3, 4, 5, 6]
    assert [c.step for c in store.all() if (store.path(c.step) / WEIGHTS).exists()] == [1, 3, 4, 6]


@trap("3.6", "NeMo's metric counts case, punctuation and language tags as errors")
def test_the_stock_metric_finds_no_error_where_the_words_are_right() -> None:
    from nemo.collections.asr.metrics.wer import word_error_rate

    assert word_error_rate(["ένα δύο <el-GR>"], ["Ένα, δύο."]) == 0.0
