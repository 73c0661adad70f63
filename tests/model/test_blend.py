"""Blending checkpoints: the points between base and tuned, averages, what cannot be mixed, and the tool from call to ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrcore.checkpoint import checkpoint_ref, read_checkpoint
from asrcore.errors import NotReadyError, UsageError
from asrcore.jobs import Ledger
from asrcore.requests import (
    Blend,
    BlendGuards,
    BlendRequest,
    BlendResult,
    CheckpointRef,
    EvalCell,
    EvalRequest,
    EvalResult,
    Hypothesis,
    ManifestRef,
)
from asrcore.score.cell import score_hypotheses
from asrcore.score.hypotheses import write_hypotheses
from asrcore.workspace import Config, Workspace
from asrtune import registry
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
    from asrcore.jobs import get_job
    from asrcore.jobs.checkpoints import resolve_checkpoint

    ws = Workspace.open(bench.folder)
    view = registry.call("blend_checkpoints", {"base": "embedded", "tuned": [tuned[0].path], "alphas": [0.5]}, ws).data
    while view.state not in ("succeeded", "failed", "lost", "cancelled"):
        view = get_job(ws, view.job_id, 45)
    assert view.state == "succeeded", view.error
    (row,) = Ledger.open(ws).list("blend", 10)
    ref = resolve_checkpoint(ws, row.id)
    assert ref.name == row.id
    assert checkpoint_ref(read_checkpoint(Path(ref.path)), row.id) == ref


def said(cell_of: CheckpointRef, folder: Path, rows: list[tuple[str, str]]) -> EvalCell:
    """An eval of a guard set of 24 speakers whose hypotheses are given, as the decoder would have left it."""
    hypotheses = [
        Hypothesis(id=str(n), locale="en-US", reference=reference, text=text, raw_text=text, tag=None, duration=1.0, line=n + 1, speaker=f"s{n % 24}")
        for n, (reference, text) in enumerate(rows)
    ]
    file = folder / f"{cell_of.sha256}.jsonl"
    write_hypotheses(file, hypotheses)
    return EvalCell(
        **dict(score_hypotheses(hypotheses, "langID", (), ())), eval_id=f"eval_{cell_of.sha256[:12]}", checkpoint=cell_of,
        set=ManifestRef(name="guard", path="guard.json", sha256="1" * 64), att_context=(56, 3), latency_ms=320, prompt_mode="langID", rtfx=1.0,
        engine="exact/1", batch_size=4, hypotheses=str(file), versions={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("forgetting_from", "chosen", "tried"), [(0.9, 0.75, [1.0, 0.75]), (2.0, 1.0, [1.0]), (0.0, None, [1.0, 0.75, 0.5])],
)  # fmt: skip
def test_the_largest_alpha_that_keeps_every_guard_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetting_from: float, chosen: float | None, tried: list[float]
) -> None:
    """Blends from `forgetting_from` on lose a word in three; the search goes down and stops at the first that is kept."""
    from asrcore.model import blend_gate

    good = [(f"one two three {n}", f"one two three {n}") for n in range(480)]
    bad = [(reference, f"one two mistake {n}") for n, (reference, _) in enumerate(good)]
    base = CheckpointRef(name="base", path="base.nemo", sha256="b" * 64)
    blends = [Blend(alpha=alpha, base=base, tuned=(base,), checkpoint=CheckpointRef(name="", path="x", sha256=f"{n}" * 64)) for n, alpha in enumerate((0.5, 0.75, 1.0))]
    alphas = {blend.checkpoint.sha256: blend.alpha for blend in blends}
    asked: list[EvalRequest] = []

    def decode(request: EvalRequest, reporter: object) -> EvalResult:
        asked.append(request)
        return EvalResult(cells=(said(request.checkpoint, tmp_path, bad if alphas[request.checkpoint.sha256] >= forgetting_from else good),), seconds=0.0)

    monkeypatch.setattr(blend_gate.evaluate, "run", decode)
    guards = BlendGuards(base=(said(base, tmp_path, good),), margin_points=3.0, evals=str(tmp_path / "evals"))
    found, cells = blend_gate.choose(blends, guards, Watch(tmp_path / "job"))
    assert [one.alpha for one in found] == [alphas[request.checkpoint.sha256] for request in asked] == tried
    assert [one.alpha for one in found if one.verdict == "kept"] == ([chosen] if chosen else [])
    assert all(one.not_kept == ("en-US",) and one.worst_loss_points > 20 for one in found if one.verdict == "forgotten")
    assert len(cells) == len(tried)
    assert {(request.att_contexts, request.prompt_modes, request.batch_size) for request in asked} == {(((56, 3),), ("langID",), 4)}


def test_the_tool_lets_the_guards_of_the_base_choose_and_refuses_those_of_another_checkpoint(
    bench: Bench, tuned: tuple[CheckpointRef, CheckpointRef], tmp_path: Path
) -> None:
    ws = Workspace(tmp_path / "home", Config(data_roots=("/",)), tmp_path)
    with Ledger.open(ws) as ledger:
        for one in (bench.base, tuned[0]):
            cell = said(one, tmp_path, [("one two", "one two")] * 48)
            ledger.put("eval", cell.eval_id, cell)
    other = f"eval_{tuned[0].sha256[:12]}"
    with pytest.raises(UsageError, match=rf"evals_not_of_base.*{other}"):
        registry.call("blend_checkpoints", {"base": "embedded", "tuned": [tuned[0].path], "guard_evals": [other]}, ws)
