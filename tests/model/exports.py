"""Export requests over the embedded sets, and ways in which an artefact can be broken."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from asrcore import io
from asrcore.checkpoint import embedded_base
from asrcore.embedded import shipped
from asrcore.errors import ToolFault
from asrcore.jobs.child import Reporter
from asrcore.manifest import manifest_ref
from asrcore.requests import CheckpointRef, ExportRequest

ALL_CONTEXTS = ((56, 0), (56, 1), (56, 3), (56, 6), (56, 13))


def unpacked(folder: Path) -> dict[str, Path]:
    """Short name -> manifest of three locales, Bulgarian first; none of them slot 0."""
    manifests = shipped.unpack(folder)
    return {"bg": manifests["bg-BG_guard_test"], "el": manifests["el-GR_clean_test"], "es": manifests["es-ES_guard_test"]}


def request_for(sets: Mapping[str, Path], out: Path, target: str, checkpoint: Path | None = None, **changes: Any) -> ExportRequest:
    source = checkpoint or embedded_base()
    smoke, *more = (manifest_ref(path) for path in sets.values())
    values = {
        "checkpoint": CheckpointRef(name="embedded", path=str(source), sha256=io.sha256_file(source)), "target": target, "smoke": smoke,
        "extra_smoke": tuple(more), "smoke_utterances": 4, "provenance": {"run": "run_test"}, "out": str(out),
    }  # fmt: skip
    return ExportRequest.model_validate(values | changes)


def exported(sets: Mapping[str, Path], folder: Path, target: str) -> tuple[Path, Any]:
    """The artefact of the embedded base at all contexts, and the export's result."""
    from asrcore.model import export

    return folder / "out", export.run(request_for(sets, folder / "out", target, att_contexts=ALL_CONTEXTS), Reporter(folder))


def no_prompt(model: Any) -> None:
    """The prompt layer is there, but hears no prompt."""
    import torch

    with torch.no_grad():
        model.prompt_kernel[0].weight[:, -model.num_prompts :] = 0


def one_weight(model: Any) -> None:
    """One number of one tensor, far from the output."""
    import torch

    with torch.no_grad():
        model.encoder.layers[0].feed_forward1.linear1.weight[0, 0] += 0.5


def left_70(model: Any) -> None:
    from omegaconf import open_dict

    with open_dict(model.cfg):
        model.cfg.encoder.att_context_size = [[70, right] for _, right in model.cfg.encoder.att_context_size]


def refused_when_damaged(
    target: str, sets: Mapping[str, Path], folder: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    """Asserts that an artefact that is damaged between writing and checking is refused as `export_not_identical` and leaves nothing."""
    from asrcore.model import export

    module = importlib.import_module(f"asrcore.model.export_{target}")
    write = module.write

    def broken(model: Any, part: Path, request: ExportRequest) -> None:
        write(model, part, request)
        damage(part)

    monkeypatch.setattr(module, "write", broken)
    with pytest.raises(ToolFault) as caught:
        export.run(request_for(sets, folder / "out", target, smoke_utterances=2, att_contexts=((56, 3),)), Reporter(folder))
    assert caught.value.code == "export_not_identical"
    assert list(folder.glob("*out*")) == []


def cut(name: str) -> Callable[[Path], None]:
    """The last third of a file of the artefact is missing, as after a copy that broke off."""

    def damage(folder: Path) -> None:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: 2 * len(whole) // 3])

    damage.__name__ = f"cut {name}"
    return damage


def damaged_nemo() -> list[Callable[[Any], None]]:
    return [no_prompt, one_weight, left_70]
