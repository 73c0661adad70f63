"""Small trainings of the embedded base on noise, in this process, for the tests of the training room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asrcore.checkpoint import checkpoint_ref, embedded_base, read_checkpoint
from asrcore.errors import Stopped
from asrcore.jobs.child import Reporter
from asrcore.manifest import manifest_ref
from asrcore.requests import TrainRequest, TrainResult
from asrcore.workspace import Workspace
from tests.recipe.corpora import build, corpus


class Watch(Reporter):
    """Keeps the events and can ask for a stop once a step is reached, as SIGTERM would."""

    def __init__(self, folder: Path, stop_at: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self.stop_at = stop_at
        self.seen: list[tuple[int, str, dict[str, float]]] = []

    def event(self, stage: str, step: int = 0, total: int = 0, message: str = "", **metrics: float) -> None:
        super().event(stage, step, total, message, **metrics)
        self.seen.append((step, message, metrics))
        if self.stop_at is not None and step >= self.stop_at:
            self.stop()


class Bench:
    """Shards, dev set and folders of one test module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ws = Workspace.open(folder)
        self.shards = build(ws, [corpus(folder, "greek", "el-GR", 12)], [corpus(folder, "bulgarian", "bg-BG", 6)], share=0.4)
        self.dev = manifest_ref(corpus(folder, "dev", "el-GR", 2, seed=1))
        self.base = checkpoint_ref(read_checkpoint(embedded_base()), "embedded")

    def request(self, name: str, **changes: Any) -> TrainRequest:
        values = {
            "run_id": "run_0123456789ab", "base": self.base, "shards": self.shards, "dev": self.dev, "max_steps": 6, "batch_size": 4,
            "peak_lr": 1e-3, "warmup_steps": 1, "candidate_every": 4, "out": str(self.folder / "runs" / name),
        }  # fmt: skip
        return TrainRequest.model_validate(values | changes)

    def train(self, request: TrainRequest, *, stop_at: int | None = None) -> tuple[TrainResult | None, Watch]:
        """The result, or None when the run was stopped; and what it reported. Every step reports."""
        from asrcore.model import train

        train.EVENT_SECONDS = 0.0
        watch = Watch(Path(request.out).with_suffix(".job"), stop_at)
        try:
            return train.run(request, watch), watch
        except Stopped:
            return None, watch


def weights(path: Path) -> dict[str, Any]:
    """Tensors of a candidate."""
    from safetensors.torch import load_file

    return load_file(path / "weights.safetensors")
