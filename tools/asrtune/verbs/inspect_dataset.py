"""Checks whether a manifest and its audio are fit for fine-tuning, in one pass over all rows.

Use it before build_shards on every new data set, and again after corrections; not on shards (they verify themselves), and for the meaning of
language tags use validate_language_tags. It finds missing, broken, silent, clipped or upsampled audio, wrong durations, text in another style
than the base model's, characters its tokenizer lacks, duplicates and text that does not fit its audio. It returns the verdict READY, NEEDS FIX
or UNUSABLE, hours by locale and rate, what duration filters would drop, and findings with complete counts and the first lines of each.
Cost: all audio is decoded, an hour of audio in a few seconds of a core; sample=500 looks at every k-th row instead.
"""

from __future__ import annotations

from pydantic import Field

from asrcore.checkpoint import EMBEDDED, resolve_base
from asrcore.data.findings import has_errors
from asrcore.data.inspect import InspectReport, inspect
from asrcore.results import Frozen, NextAction, Result
from asrcore.workspace import Workspace


class Input(Frozen):
    manifest: str = Field(min_length=1, max_length=4096, description="JSON-lines manifest below a data root.")
    base: str = Field(
        EMBEDDED, min_length=1, max_length=4096, description='Checkpoint whose style and tokenizer count: "embedded", a .nemo, or a hub id.'
    )
    sample: int = Field(0, ge=0, le=10_000_000, description="0 inspects all rows; N about N rows, evenly spaced.")


Output = InspectReport


def run(request: Input, ws: Workspace) -> Result[Output]:
    manifest = ws.resolve_data(request.manifest)
    report = inspect(manifest, resolve_base(ws, request.base), request.base, sample=request.sample, roots=ws.data_roots)
    errors = sum(f.count for f in report.findings if f.severity == "error")
    warnings = sum(f.count for f in report.findings if f.severity == "warning")
    part = "" if report.rows_inspected + report.rows_skipped == report.rows else f" ({report.rows_inspected} inspected)"
    return Result(
        summary=f"{report.verdict}: {report.rows} rows{part}, {report.hours:.2f} h, {report.narrow_band_hours:.2f} h of it telephone band; "
                f"{errors} errors in {report.rows_with_errors} rows, {warnings} warnings.",
        data=report,
        next_actions=tuple(_next(request, report)),
        truncated=any(f.cut for f in report.findings),
    )  # fmt: skip


def _next(request: Input, report: InspectReport) -> list[NextAction]:
    same = {"manifest": request.manifest, "base": request.base}
    if any(f.code.startswith(("tag_", "script_")) and f.severity != "info" for f in report.findings):
        return [NextAction(tool="validate_language_tags", arguments=same, why="lists every tag with its slot and the nearest valid ones")]
    if has_errors(report.findings):
        return [NextAction(tool="inspect_dataset", arguments=same, why="checks again, once the lines in findings are corrected")]
    if report.rows_inspected + report.rows_skipped < report.rows:
        return [NextAction(tool="inspect_dataset", arguments=same, why="the sample is clean; this looks at all rows")]
    if report.verdict == "READY":
        return [
            NextAction(
                tool="build_shards",
                arguments={"train": [request.manifest]},
                why="packs the rows for training; add replay manifests of other languages",
            )
        ]
    return []
