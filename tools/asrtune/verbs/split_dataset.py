"""Splits a manifest into train, dev and test that share no speaker, no sentence and no source recording.

Use it once per corpus, after inspect_dataset is READY and before register_set and build_shards; not where a corpus ships splits of its own.
Rows that share a recording or a sentence with a registered dev, target, guard or blind set are refused, or marked _skipme with conflicts="mark", which
also serves corpora whose speakers all read the same sentences. It returns the three manifests with rows, hours and speakers, and what was marked; rows
and seed alone decide, in whatever order. Cost: seconds for 100,000 rows; no audio read.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from asrcore.data.roles import held_sets
from asrcore.data.split import Conflicts, Part, SplitReport, split
from asrcore.errors import Problem, UsageError
from asrcore.jobs import Ledger
from asrcore.manifest import manifest_ref
from asrcore.results import Artifact, Frozen, NextAction, Result
from asrcore.workspace import Workspace

_ALL = 1_000_000
"""Rows asked of the ledger: all of them."""


class Input(Frozen):
    manifest: str = Field(min_length=1, max_length=4096, description="JSON-lines manifest.")
    dev_share: float = Field(0.1, ge=0, le=0.5, allow_inf_nan=False, description="Share of the seconds for dev; 0 makes none.")
    test_share: float = Field(0.1, ge=0, le=0.5, allow_inf_nan=False, description="Share of the seconds for test; 0 makes none.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Another seed, another split.")
    conflicts: Conflicts = Field("refuse", description='Overlaps: "refuse", or "mark" rows _skipme.')


Output = SplitReport


def run(request: Input, ws: Workspace) -> Result[Output]:
    manifest = ws.resolve_data(request.manifest)
    if request.dev_share + request.test_share == 0:
        raise UsageError("shares_zero", "dev_share and test_share are both 0.", next_step="pass a share for at least one of them.")
    if request.dev_share + request.test_share > 0.8:
        raise UsageError("shares_too_large", "dev and test would leave under 20 % for training.", next_step="pass smaller shares.")
    with Ledger.open(ws) as ledger:
        report = _done(ledger, request, manifest_ref(manifest).sha256)
        if report is None:
            held = held_sets(ledger, manifest)
            report = split(manifest, _shares(request), request.seed, request.conflicts, held, ws.home / "datasets")
            ledger.put("dataset", report.dataset_id, report)
    roles = {"train": "train", "dev": "dev", "test": "target"}
    parts = ", ".join(f"{p.part} {p.rows - p.rows_marked} rows {p.hours:.2f} h {p.speakers} speakers" for p in report.parts)
    return Result(
        summary=f"{report.dataset_id}: {parts}; {sum(report.marked.values())} rows marked; {report.groups} groups kept together.",
        data=report,
        warnings=tuple(_warnings(report)),
        next_actions=tuple(
            NextAction(tool="register_set", arguments={"manifest": p.manifest, "role": roles[p.part]}, why=f"so that no other set may overlap with {p.part}")
            for p in report.parts if p.part != "train"
        ),
        artifacts=tuple(Artifact(name=p.part, path=p.manifest, kind="manifest") for p in report.parts),
    )  # fmt: skip


def _shares(request: Input) -> dict[Part, float]:
    return {"dev": request.dev_share, "test": request.test_share}


def _done(ledger: Ledger, request: Input, sha256: str) -> SplitReport | None:
    """The same split of the same rows, made before: its parts may be registered by now, which is no reason to refuse it."""
    asked = (sha256, request.seed, request.conflicts, _shares(request))
    for row in ledger.list("dataset", _ALL):
        if tuple(row.data.get(name) for name in ("source_sha256", "seed", "conflicts", "shares")) == asked:
            report = SplitReport.model_validate(row.data)
            if all(Path(part.manifest).is_file() for part in report.parts):
                return report
    return None


def _warnings(report: SplitReport) -> list[Problem]:
    found: list[Problem] = []
    if report.rows_without_speaker:
        found.append(Problem(code="speakers_unknown", severity="warning", message=f"{report.rows_without_speaker} rows name no speaker: the parts may share "
                             "voices, so a result says nothing about new speakers", fix="import the speaker column, or add speaker to the rows"))  # fmt: skip
    if report.marked:
        reasons = ", ".join(f"{rows} {reason}" for reason, rows in report.marked.items())
        found.append(Problem(code="rows_marked", severity="info", message=f"rows marked _skipme: {reasons}"))
    return found
