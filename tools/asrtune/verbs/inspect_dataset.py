"""Checks whether a manifest and its audio are fit for fine-tuning, in one pass over all rows.

Use it before build_shards on every new data set, and again after corrections; not on shards (they verify themselves); for language tags use
validate_language_tags. It finds missing, broken, silent, clipped or upsampled audio, wrong durations, text in another style
than the base model's, characters its tokenizer lacks, duplicates and text that does not fit its audio. It returns the verdict READY, NEEDS FIX
or UNUSABLE, hours by locale, rate, length and group of speakers, what duration filters would drop, and findings with complete counts and first lines.
Cost: all audio is decoded, an hour in a few seconds of a core; what takes over 20 s becomes a job (job_id), and the answer is of a sample.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from asrcore.checkpoint import EMBEDDED, CheckpointInfo, resolve_base
from asrcore.data.findings import has_errors
from asrcore.data.inspect import InspectReport, count_lines, expected_row_s, inspect
from asrcore.data_requests import InspectRequest
from asrcore.io import sha256_file
from asrcore.jobs import JobView, submit
from asrcore.results import Frozen, NextAction, Result
from asrcore.workspace import Workspace

LONGEST_S = 20.0
"""Expected seconds from which a job does the work, and the caller gets a sample of it at once."""
SAMPLE_S = 5.0
MARKS = {
    "text_empty": {"text_empty"}, "text_markup": {"text_markup"},
    "audio_unusable": {"audio_missing", "audio_unreadable", "audio_empty", "audio_refused"},
}  # fmt: skip
"""Filter of fix_manifest -> the errors whose rows it marks."""
NAMES = {"lang_mismatch", "manifest_bom", "manifest_blank_line"}
"""Errors that are gone once fix_manifest has written the manifest anew with our field names."""


class Input(Frozen):
    manifest: str = Field(min_length=1, max_length=4096, description="JSON-lines manifest.")
    base: str = Field(
        EMBEDDED, min_length=1, max_length=4096, description='Checkpoint whose style and tokenizer count: "embedded", a .nemo, or a hub id.'
    )
    sample: int = Field(0, ge=0, le=10_000_000, description="0: all rows; N: about N, evenly spaced.")
    heard: str = Field("", max_length=4096, description="Another recogniser's transcripts (as in score_hypotheses): finds texts it did not hear.")


Output = InspectReport


def run(request: Input, ws: Workspace) -> Result[Output]:
    manifest, base = ws.resolve_data(request.manifest), resolve_base(ws, request.base)
    heard = ws.resolve_data(request.heard) if request.heard else None
    row_s = expected_row_s(manifest)
    rows = min(count_lines(manifest), request.sample or sys.maxsize)
    job = _submit(request, ws, manifest, base, heard) if rows * row_s > LONGEST_S else None
    report = inspect(manifest, base, request.base, sample=request.sample if job is None else round(SAMPLE_S / row_s), roots=ws.data_roots, heard=heard)
    report = report.model_copy(update={"job_id": job and job.job_id})
    errors = sum(f.count for f in report.findings if f.severity == "error")
    warnings = sum(f.count for f in report.findings if f.severity == "warning")
    part = f" (a sample of {report.rows_inspected}; {job.job_id} inspects all)" if job else "" if report.rows_inspected + report.rows_skipped == report.rows else f" ({report.rows_inspected} inspected)"
    return Result(
        summary=f"{report.verdict}: {report.rows} rows{part}, {report.hours:.2f} h, {report.narrow_band_hours:.2f} h of it telephone band; "
                f"{errors} errors in {report.rows_with_errors} rows, {warnings} warnings.",
        data=report,
        next_actions=tuple(_next(request, report)) if job is None else (
            NextAction(tool="get_job", arguments={"job_id": job.job_id, "wait_s": 45}, why="waits for the report of all rows"),
        ),
        truncated=any(f.cut for f in report.findings),
    )  # fmt: skip


def _submit(request: Input, ws: Workspace, manifest: Path, base: CheckpointInfo, heard: Path | None) -> JobView:
    wanted = InspectRequest(manifest=str(manifest), sha256=sha256_file(manifest), base=base.path, base_name=request.base, sample=request.sample,
                            heard=str(heard or ""), roots=tuple(map(str, ws.data_roots)))  # fmt: skip
    job = submit(ws, "inspect", wanted)
    # The audio may have changed since: an inspection that has ended is no answer to a new call, one that goes on is.
    return submit(ws, "inspect", wanted, force_new=True) if job.deduplicated and job.state == "succeeded" else job


def _fixes(report: InspectReport) -> dict[str, Any]:
    """Arguments of fix_manifest for what it can mend or mark without a decision of a person."""
    codes = {f.code for f in report.findings if f.severity == "error"}
    mark = [name for name, found in MARKS.items() if codes & found]
    return {**({"names": True} if codes & NAMES else {}), **({"strip_tags": True} if "text_tag" in codes else {}), **({"mark": mark} if mark else {})}


def _next(request: Input, report: InspectReport) -> list[NextAction]:
    same = {"manifest": request.manifest, "base": request.base}
    if not report.rows and any(f.code == "manifest_not_json" for f in report.findings):
        return [NextAction(tool="import_dataset", arguments={"source": request.manifest}, why="no line is JSON; this makes a manifest of other layouts")]
    if any(f.code.startswith(("tag_", "script_", "text_language")) and f.severity != "info" for f in report.findings):
        return [NextAction(tool="validate_language_tags", arguments=same, why="lists every tag with its slot and the nearest valid ones")]
    if fixes := _fixes(report):
        return [NextAction(tool="fix_manifest", arguments={"manifest": request.manifest, **fixes},
                           why="a copy without what can be mended, and with the rows marked that cannot; inspect that copy again")]  # fmt: skip
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
