"""Stands for a training: takes a real TrainRequest, leaves a mark at each step in `out`, and a result that the ledger accepts."""

from __future__ import annotations

import os
from pathlib import Path

from asrcore import io
from asrcore.jobs.child import Reporter, main
from asrcore.requests import CheckpointRef, TrainRequest, TrainResult


def run(request: TrainRequest, reporter: Reporter) -> TrainResult:
    out = Path(request.out)
    out.mkdir(parents=True, exist_ok=True)
    for mark in ("start", *"abc", "end"):
        reporter.stop_if_asked()
        io.append_line(out / "marks", f"{mark} {os.getpid()}")
        reporter.event(mark, 1, 1)
    best = CheckpointRef(name="best", path=str(out / "best.nemo"), sha256="0" * 64)
    return TrainResult(run_id=request.run_id, best=best, best_step=1, candidates=(), base_dev_wer=20.0, consumed=(), steps=1,
                       trainable_parameters=1, seconds=1.0, audio_hours_per_hour=1.0)  # fmt: skip


if __name__ == "__main__":
    main(TrainRequest, run)
