"""The identity rules of the engines again, on a checkpoint that a fine-tune wrote: its weights went through trainer, optimiser and saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore.audio import decode
from asrcore.checkpoint import checkpoint_ref, embedded_base, read_checkpoint
from asrcore.embedded import shipped
from asrcore.manifest import load_rows, manifest_ref
from asrcore.requests import TrainRequest
from asrcore.workspace import Workspace
from tests.model.identity import (
    CONTEXTS,
    NEMO_CONTEXTS,
    check_another_slot_shows,
    check_batch_one_is_nemos_loop,
    check_every_end_is_the_exact_engines,
    check_languages_stay_apart,
    check_transformers_agrees,
    first_rows,
)
from tests.model.runs import Watch
from tests.recipe.corpora import build

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuned")


@pytest.fixture(scope="module")
def manifests(folder: Path) -> dict[str, Path]:
    return shipped.unpack(folder / "sets")


@pytest.fixture(scope="module")
def model(folder: Path, manifests: dict[str, Path]) -> Any:
    """The embedded base after four small steps on its telephone speech with English replay."""
    import torch

    from asrcore.model import train
    from asrcore.model.restore import restore

    ws = Workspace.open(folder)
    request = TrainRequest(
        run_id="run_0123456789ab", base=checkpoint_ref(read_checkpoint(embedded_base()), "embedded"),
        shards=build(ws, [first_rows(manifests[shipped.TELEPHONE_TRAIN], 16)], [first_rows(manifests[shipped.REPLAY[0]], 8)]),
        dev=manifest_ref(first_rows(manifests[shipped.TELEPHONE_DEV], 2)), max_steps=4, batch_size=4, peak_lr=3e-4, warmup_steps=1,
        candidate_every=4, out=str(folder / "run"),
    )  # fmt: skip
    tuned = restore(Path(train.run(request, Watch(folder / "job")).best.path))
    base = restore(embedded_base()).state_dict()
    moved = {name.split(".")[0] for name, tensor in tuned.state_dict().items() if not torch.equal(tensor, base[name])}
    assert {"encoder", "prompt_kernel", "decoder", "joint"} <= moved, "a base again would prove nothing new"
    return tuned


@pytest.mark.parametrize("context", NEMO_CONTEXTS)
def test_batch_one_is_nemos_own_loop_on_a_tuned_checkpoint(model: Any, manifests: dict[str, Path], context: tuple[int, int]) -> None:
    """Traps 3.10 and 3.23."""
    check_batch_one_is_nemos_loop(model, manifests, context, 4)


def test_several_languages_in_one_batch_say_what_each_says_alone_on_a_tuned_checkpoint(model: Any, manifests: dict[str, Path]) -> None:
    """Trap 3.10."""
    check_languages_stay_apart(model, manifests, 2)


def test_another_prompt_slot_still_changes_what_a_tuned_checkpoint_writes(model: Any, manifests: dict[str, Path]) -> None:
    check_another_slot_shows(model, manifests)


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_fast_engine_gives_the_exact_ones_tokens_and_frames_on_a_tuned_checkpoint(
    model: Any, manifests: dict[str, Path], context: tuple[int, int]
) -> None:
    """Trap 3.23."""
    check_every_end_is_the_exact_engines(model, manifests["es-ES_guard_test"], context)


@pytest.mark.parametrize("right", [0, 13])
def test_transformers_finds_the_same_frames_in_a_tuned_checkpoint(
    model: Any, manifests: dict[str, Path], right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traps 3.9, 3.10 and 3.23 seen by other code."""
    check_transformers_agrees(model, [decode(load_rows(manifests["bg-BG_guard_test"])[0].audio)], right, monkeypatch)
