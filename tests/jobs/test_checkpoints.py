"""One name for every checkpoint: what an export id stands for."""

from __future__ import annotations

import pytest

from asrcore.errors import UsageError
from asrcore.jobs import Ledger
from asrcore.jobs.checkpoints import resolve_checkpoint
from asrcore.requests import ExportResult
from asrcore.workspace import Workspace


def exported(ws: Workspace, target: str) -> str:
    name = f"export_{target}"
    result = ExportResult(target=target, path=f"/out/{target}", sha256="0" * 64, compared_utterances=1, compared_tokens=9, identical=1,
                          prompt_changes_output=True)  # fmt: skip
    Ledger.open(ws).put("export", name, result)
    return name


def test_a_nemo_export_stands_for_its_file(ws: Workspace) -> None:
    ref = resolve_checkpoint(ws, exported(ws, "nemo"))
    assert (ref.name, ref.path, ref.sha256) == ("export_nemo", "/out/nemo", "0" * 64)


@pytest.mark.parametrize("target", ["transformers", "onnx"])
def test_an_export_for_another_runtime_is_refused_by_name(ws: Workspace, target: str) -> None:
    with pytest.raises(UsageError, match=rf"export_not_nemo.*export_{target} is an export for {target}"):
        resolve_checkpoint(ws, exported(ws, target))
