"""Blending checkpoints: the points between base and tuned, averages, what cannot be mixed, and the tool from call to ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrcore.checkpoint import checkpoint_ref, read_checkpoint
from asrcore.errors import NotReadyError
from asrcore.requests import BlendRequest, BlendResult, CheckpointRef
from tests.model.runs import Bench, Watch

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("blend"))


def changed(bench: Bench, name: str, change: Callable[[Any], None]) -> CheckpointRef:
    """The embedded base with something done to it, saved as a checkpoint of its own."""
    from asrcore.model.candidates import write_nemo
    from asrcore.model.restore import restore

    model = restore(Path(bench.base.path), threads=1)
    change(model)
    return write_nemo(model, bench.folder / f"{name}.nemo", name)


def shift(amount: float) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        import torch

        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(amount)

    return change


@pytest.fixture(scope="module")
def tuned(bench: Bench) -> tuple[CheckpointRef, CheckpointRef]:
    return changed(bench, "one", shift(0.5)), changed(bench, "two", shift(1.5))


def blend(bench: Bench, tuned: tuple[CheckpointRef, ...], alphas: tuple[float, ...], name: str) -> BlendResult:
    from asrcore.model import blend

    request = BlendRequest(base=bench.base, tuned=tuned, alphas=alphas, out=str(bench.folder / "blends" / name))
    return blend.run(request, Watch(bench.folder / f"{name}.job"))


def tensors(checkpoint: CheckpointRef) -> dict[str, Any]:
    from asrcore.model.blend import read_weights

    return read_weights(Path(checkpoint.path))


def test_alpha_is_the_share_of_the_way_from_the_base_to_the_mean_of_the_tuned(
    bench: Bench, tuned: tuple[CheckpointRef, CheckpointRef]
) -> None:
    import torch

    result = blend(bench, tuned, (0.5, 1.0, 0.25), "mean")
    assert [one.alpha for one in result.blends] == [0.25, 0.5, 1.0]
    base = tensors(bench.base)
    for one in result.blends:
        assert one.checkpoint.sha256 == read_checkpoint(Path(one.checkpoint.path)).sha256
        found = tensors(one.checkpoint)
        for name in ("encoder.layers.0.conv.pointwise_conv1.weight", "joint.enc.weight"):
            assert torch.allclose(found[name] - base[name], torch.full_like(base[name], one.alpha), atol=1e-6)


def test_alpha_one_of_one_checkpoint_is_that_checkpoint(bench: Bench, tuned: tuple[CheckpointRef, CheckpointRef]) -> None:
    import torch

    result = blend(bench, tuned[:1], (1.0,), "copy")
    found, expected = tensors(result.blends[0].checkpoint), tensors(tuned[0])
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_blending_again_after_a_death_finds_the_files_that_stand(bench: Bench, tuned: tuple[CheckpointRef, CheckpointRef]) -> None:
    first, second = (blend(bench, tuned, (0.5,), "again") for _ in range(2))
    assert first.blends == second.blends


def test_checkpoints_of_another_family_are_refused_with_every_difference(bench: Bench, tuned: tuple[CheckpointRef, CheckpointRef]) -> None:
    from omegaconf import open_dict

    def other_prompts(model: Any) -> None:
        with open_dict(model.cfg):
            model.cfg.model_defaults.prompt_dictionary["el-GR"] = 99

    foreign = changed(bench, "foreign", other_prompts)
    with pytest.raises(NotReadyError, match="blend_mismatch") as caught:
        blend(bench, (tuned[0], foreign), (0.5,), "foreign")
    assert [(problem.file, problem.message) for problem in caught.value.problems] == [
        (foreign.path, "its prompt dictionary is not the base's")
    ]
    assert not (bench.folder / "blends" / "foreign").exists()


def test_a_blend_from_the_tool_can_be_named_wherever_a_checkpoint_is_wanted(
    bench: Bench, tuned: tuple[CheckpointRef, CheckpointRef]
) -> None:
    from asrcore.jobs import Ledger, get_job
    from asrcore.jobs.checkpoints import resolve_checkpoint
    from asrcore.workspace import Workspace
    from asrtune import registry

    ws = Workspace.open(bench.folder)
    view = registry.call("blend_checkpoints", {"base": "embedded", "tuned": [tuned[0].path], "alphas": [0.5]}, ws).data
    while view.state not in ("succeeded", "failed", "lost", "cancelled"):
        view = get_job(ws, view.job_id, 45)
    assert view.state == "succeeded", view.error
    (row,) = Ledger.open(ws).list("blend", 10)
    ref = resolve_checkpoint(ws, row.id)
    assert ref.name == row.id
    assert checkpoint_ref(read_checkpoint(Path(ref.path)), row.id) == ref
