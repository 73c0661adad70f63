"""Every target once more on a checkpoint that a fine-tune made: LoRA, merged when it was saved, then blended half way back to the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore.checkpoint import checkpoint_ref, embedded_base, read_checkpoint
from asrcore.embedded import shipped
from asrcore.jobs.child import Reporter
from asrcore.manifest import manifest_ref
from asrcore.requests import BlendRequest, TrainRequest
from asrcore.workspace import Workspace
from tests.model.exports import request_for, unpacked
from tests.model.identity import first_rows
from tests.model.runs import Watch
from tests.recipe.corpora import build

pytestmark = pytest.mark.heavy
CONTEXTS = ((56, 0), (56, 6))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return unpacked(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def blended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint; its attention, feed-forward and joint matrices are no longer the base's."""
    import torch

    from asrcore.model import blend, train
    from asrcore.model.blend import read_weights

    folder = tmp_path_factory.mktemp("tuned")
    manifests, base = shipped.unpack(folder / "sets"), checkpoint_ref(read_checkpoint(embedded_base()), "embedded")
    run = train.run(TrainRequest(
        run_id="run_0123456789ab", base=base, shards=build(Workspace.open(folder), [first_rows(manifests[shipped.TELEPHONE_TRAIN], 16)]), surface="lora:4",
        dev=manifest_ref(first_rows(manifests[shipped.TELEPHONE_DEV], 2)), max_steps=4, batch_size=4, peak_lr=2e-3, warmup_steps=1, candidate_every=4,
        out=str(folder / "run"),
    ), Watch(folder / "run.job"))  # fmt: skip
    (half,) = blend.run(BlendRequest(base=base, tuned=(run.best,), alphas=(0.5,), out=str(folder / "blend")), Watch(folder / "blend.job")).blends
    path = Path(half.checkpoint.path)
    before, tuned, after = (read_weights(one) for one in (embedded_base(), Path(run.best.path), path))
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert {"joint.enc.weight", "encoder.layers.0.self_attn.linear_q.weight"} <= moved, "a base again would prove nothing new"
    assert all(torch.allclose(after[name], (before[name] + tuned[name]) / 2, atol=1e-6) for name in moved)
    return path


@pytest.mark.parametrize("target", ["nemo", "transformers", "onnx"])
def test_a_blended_fine_tune_says_the_same_words_through_every_target(sets: dict[str, Path], blended: Path, tmp_path: Path, target: str) -> None:
    from asrcore.model import export

    if target == "onnx":
        pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    request = request_for(sets, tmp_path / "out", target, blended, smoke_utterances=3, att_contexts=CONTEXTS)
    result = export.run(request, Reporter(tmp_path))
    said: list[Any] = [check for check in result.checks if check.what.startswith("transcripts")]
    decodes = 7 * len(CONTEXTS)
    assert sum(check.compared for check in said) == sum(check.identical for check in said) == result.identical == decodes
    assert result.prompt_changes_output
    assert all(check.max_delta <= 1e-3 for check in result.checks if check.max_delta is not None)
    assert request.checkpoint.sha256[:16] in (tmp_path / "out/README.md").read_text(encoding="utf-8")
