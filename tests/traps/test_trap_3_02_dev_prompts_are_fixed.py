"""Trap 3.2: NeMo's validation draws the prompt of a row at random, or crashes on a row without `lang`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.model.runs import Bench
from tests.traps.stock import embedded, prompt_dataset, trap

pytestmark = pytest.mark.heavy


class Model:
    """As much of a model as scoring touches before it decodes."""

    training = True

    def eval(self) -> None:
        self.training = False

    def train(self, mode: bool = True) -> None:
        self.training = mode


@pytest.mark.parametrize(("trained", "scored"), [("unified", "langID"), ("langID", "langID"), ("auto", "auto")])
def test_candidates_are_scored_under_one_fixed_prompt_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: str, scored: str
) -> None:
    from asrcore.model import candidates

    bench, model, modes = Bench(tmp_path), Model(), list[str]()

    def decode(model: Any, manifest: Path, context: tuple[int, int], mode: str, *rest: Any) -> list[Any]:
        assert not model.training, "dropout would make the score random"
        modes.append(mode)
        return [candidates_hypothesis()]

    monkeypatch.setattr(candidates, "decode_manifest", decode)
    assert candidates.dev_error_rate(model, bench.request("run", prompt_mode=trained), lambda done: None) == 50.0
    assert modes == [scored]
    assert model.training


def candidates_hypothesis() -> Any:
    from asrcore.requests import Hypothesis

    return Hypothesis(id="a", locale="el-GR", reference="ένα δύο", text="ένα", raw_text="ένα", tag=None, duration=1.0, line=1)


@trap("3.2", "NeMo's dataset draws half of the prompts at random unless its config names a mode, which no validation section does")
def test_stock_validation_gives_a_row_the_same_prompt_every_time() -> None:
    dataset = prompt_dataset(embedded())
    row = SimpleNamespace(custom=None, supervisions=[SimpleNamespace(language="el-GR")])
    assert len({dataset._get_prompt_index_for_cut(row) for _ in range(64)}) == 1
