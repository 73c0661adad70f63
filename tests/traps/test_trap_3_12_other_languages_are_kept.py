"""Trap 3.12: a fine-tune on one language alone forgets the others; with replay in the mix the same run keeps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore.checkpoint import checkpoint_ref, embedded_base, read_checkpoint
from asrcore.embedded import shipped
from asrcore.manifest import manifest_ref
from asrcore.requests import TrainRequest
from asrcore.workspace import Workspace
from tests.model.runs import Watch
from tests.recipe.corpora import build
from tests.traps.stock import trap

pytestmark = [pytest.mark.heavy, pytest.mark.slow]

POINTS = 10.0
"""Loss of the English guard, synthetic speech, in points of WER that counts as kept here: a check of minutes, far coarser than check_replay's margin."""


def english_after_greek(folder: Path, replay: float) -> tuple[float, float]:
    """Streamed error rate of English in percent, before and after 60 steps on Greek telephone speech with this share of replay.

    The trainer is ours in both; what the stock recipe lacks is the data, and its script has no place for it but a hand-made `input_cfg`.
    """
    from asrcore.model import train
    from asrcore.model.candidates import dev_error_rate
    from asrcore.model.restore import restore

    sets, ws = shipped.unpack(folder), Workspace.open(folder)
    others = [sets[name] for name in shipped.REPLAY] if replay else []
    request = TrainRequest.model_validate({
        "run_id": "run_0123456789ab", "base": checkpoint_ref(read_checkpoint(embedded_base()), "embedded"), "prompt_mode": "langID",
        "shards": build(ws, [sets[shipped.TELEPHONE_TRAIN]], others, share=replay or 0.5, per_shard=64), "dev": manifest_ref(few(sets[shipped.TELEPHONE_DEV], 4)),
        "max_steps": 60, "batch_size": 16, "peak_lr": 1e-3, "warmup_steps": 6, "candidate_every": 60, "att_context_size": (56, 3), "out": str(folder / "run"),
    })  # fmt: skip
    best = Path(train.run(request, Watch(folder / "job")).best.path)
    guard = request.model_copy(update={"dev": manifest_ref(few(sets["en-US_guard_test"], 48))})

    def rate(model: Any) -> float:
        return dev_error_rate(model, guard, lambda _: None)

    return rate(restore(embedded_base())), rate(restore(best))


def few(manifest: Path, rows: int) -> Path:
    """The first rows of a manifest, beside it."""
    target = manifest.with_name(f"first_{rows}.json")
    target.write_text("".join(manifest.read_text(encoding="utf-8").splitlines(keepends=True)[:rows]), encoding="utf-8")
    return target


@trap("3.12", "nothing in the data holds the other languages")
def test_a_run_on_one_language_alone_keeps_the_others(tmp_path: Path) -> None:
    before, after = english_after_greek(tmp_path, 0.0)
    assert after <= before + POINTS


def test_the_same_run_with_half_of_its_seconds_in_other_languages_keeps_them(tmp_path: Path) -> None:
    before, after = english_after_greek(tmp_path, 0.5)
    assert after <= before + POINTS
