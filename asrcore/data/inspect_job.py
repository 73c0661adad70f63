"""A full inspection as a job, for sets that take longer than a caller waits: `python -m asrcore.data.inspect_job request.json`."""

from __future__ import annotations

from pathlib import Path

from asrcore.checkpoint import read_checkpoint
from asrcore.data.inspect import InspectReport, count_lines, inspect
from asrcore.data_requests import InspectRequest
from asrcore.jobs import child

EVENT_ROWS = 1_000
"""Rows between two lines of progress."""


def run(request: InspectRequest, reporter: child.Reporter) -> InspectReport:
    """The report of all rows (or of a sample, where one was asked for). It holds nothing to go on from: a stopped inspection begins again."""
    manifest = Path(request.manifest)
    total = count_lines(manifest)

    def tick(rows: int) -> None:
        reporter.stop_if_asked()
        if rows % EVENT_ROWS == 0:
            reporter.event("inspect", rows, min(total, request.sample or total))

    return inspect(manifest, read_checkpoint(Path(request.base)), request.base_name, sample=request.sample, roots=[Path(root) for root in request.roots],
                   heard=Path(request.heard) if request.heard else None, tick=tick)  # fmt: skip


if __name__ == "__main__":
    child.main(InspectRequest, run)
