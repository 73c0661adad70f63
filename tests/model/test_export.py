"""The export gate: an artefact appears only when it says the same words, and a check that could not fail is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asrcore import io
from asrcore.checkpoint import embedded_base, read_checkpoint
from asrcore.embedded import shipped
from asrcore.errors import ToolFault
from asrcore.jobs.child import Reporter
from asrcore.manifest import manifest_ref
from asrcore.requests import CheckpointRef, ExportRequest

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shipped.unpack(tmp_path_factory.mktemp("sets"))["bg-BG_guard_test"]


def request_for(smoke: Path, out: Path) -> ExportRequest:
    base = embedded_base()
    checkpoint = CheckpointRef(name="embedded", path=str(base), sha256=io.sha256_file(base))
    return ExportRequest(checkpoint=checkpoint, smoke=manifest_ref(smoke), smoke_utterances=3, provenance={"run": "run_test"}, out=str(out))


def test_an_export_reloads_with_identical_transcripts_and_its_provenance_inside(smoke: Path, tmp_path: Path) -> None:
    from asrcore.model import export

    result = export.run(request_for(smoke, tmp_path / "out"), Reporter(tmp_path))
    assert (result.identical, result.compared_utterances) == (3, 3)
    assert result.prompt_changes_output
    assert io.sha256_file(Path(result.path)) == result.sha256
    assert read_checkpoint(Path(result.path)).prompt_dictionary == read_checkpoint(embedded_base()).prompt_dictionary
    assert json.loads((tmp_path / "out/export.json").read_text(encoding="utf-8"))["provenance"] == {"run": "run_test"}


def test_an_export_whose_prompt_layer_was_lost_is_refused_and_leaves_nothing(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NeMo's own `model.export()` drops `prompt_kernel` without a word."""
    from asrcore.model import export

    restore = export.restore

    def broken(path: Path) -> Any:
        model = restore(path)
        if path != embedded_base():
            model.prompt_kernel[2].weight.data.zero_()
        return model

    monkeypatch.setattr(export, "restore", broken)
    with pytest.raises(ToolFault) as caught:
        export.run(request_for(smoke, tmp_path / "out"), Reporter(tmp_path))
    assert caught.value.code == "export_not_identical"
    assert list((tmp_path).glob("*out*")) == []


def test_a_model_that_says_too_little_on_the_smoke_set_proves_nothing(smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is raised above what the base says, since no checkpoint at hand is silent for certain."""
    from asrcore.model import export

    monkeypatch.setattr(export, "MIN_TOKENS_PER_CLIP", 1000)
    with pytest.raises(ToolFault) as caught:
        export.run(request_for(smoke, tmp_path / "out"), Reporter(tmp_path))
    assert caught.value.code == "export_unprovable"
    assert not (tmp_path / "out").exists()
