"""Writes a corrected copy of a manifest, and a diff: chosen fixes only, the original stays as it is.

Use it for what inspect_dataset and validate_language_tags report: wrong tags, field aliases, decomposed characters, white space, tags in the text,
characters the tokenizer lacks. Rows that cannot be mended are marked _skipme with a reason by filter, duration or line and stay in the manifest, where
training leaves them out; audio and sentences are not rewritten. It returns the new manifest, the diff, rows changed
by fix, hours marked, and what the reader still finds. Cost: seconds for 100,000 rows; audio headers only with audio_unusable.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asrcore.checkpoint import EMBEDDED, resolve_base
from asrcore.data.findings import has_errors
from asrcore.data.fix import Filter, Fixes, FixReport, fix
from asrcore.errors import Problem, UsageError
from asrcore.jobs import Ledger
from asrcore.locales import AUTO
from asrcore.results import Artifact, Frozen, NextAction, Result
from asrcore.workspace import Workspace

Tag = Annotated[str, Field(min_length=1, max_length=40)]
Reason = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")]
Character = Annotated[str, Field(min_length=1, max_length=1)]
Written = Annotated[str, Field(max_length=20)]


class Input(Frozen):
    manifest: str = Field(min_length=1, max_length=4096, description="JSON-lines manifest.")
    tags: dict[Tag, Tag] = Field(default_factory=dict, description='Locale tag -> right tag, as {"es": "es-ES"}.')
    base: str = Field(EMBEDDED, min_length=1, max_length=4096, description="Checkpoint that must know the new tags.")
    names: bool = Field(False, description="Aliases (sentence, language …) to our names, and lang equal to target_lang.")
    unicode_nfc: bool = Field(False, description="Compose characters (Unicode NFC).")
    strip_tags: bool = Field(False, description="Take locale tags such as <el-GR> out of the text.")
    characters: dict[Character, Written] = Field(default_factory=dict, description='Character -> what to write, as {"’": "\'"}.')
    whitespace: bool = Field(False, description="Runs of white space to one space.")
    mark: tuple[Filter, ...] = Field((), max_length=9, description="Mark rows that have this fault.")
    min_duration: float | None = Field(None, gt=0, allow_inf_nan=False, description="Mark shorter rows, in seconds.")
    max_duration: float | None = Field(None, gt=0, allow_inf_nan=False, description="Mark longer rows, in seconds.")
    mark_lines: dict[Reason, tuple[Annotated[int, Field(ge=1)], ...]] = Field(
        default_factory=dict, description='Reason -> lines to mark, from 1, as {"wrong_text": [3, 17]}.'
    )


Output = FixReport


def run(request: Input, ws: Workspace) -> Result[Output]:
    manifest = ws.resolve_data(request.manifest)
    fixes = Fixes.model_validate(request.model_dump(exclude={"manifest", "base"}))
    if fixes == Fixes():
        raise UsageError("fixes_missing", "no fix was chosen.", next_step='choose at least one, for example whitespace=true or tags={"es": "es-ES"}.')
    _refuse_tags(request, ws)
    report = fix(manifest, fixes, ws.data_roots, ws.home / "datasets")
    with Ledger.open(ws) as ledger:
        ledger.put("dataset", report.dataset_id, report)
    done = ", ".join(f"{rows} {name}" for name, rows in report.changes.items()) or "nothing to change"
    return Result(
        summary=f"{report.dataset_id}: {report.rows_changed} of {report.rows} rows changed ({done}); {report.rows_marked} marked, "
                f"{report.hours_marked:.2f} h.",
        data=report,
        warnings=tuple(_warnings(report)),
        next_actions=(NextAction(tool="inspect_dataset", arguments={"manifest": report.manifest}, why="checks the corrected manifest"),),
        artifacts=(Artifact(name="manifest", path=report.manifest, kind="manifest"), Artifact(name="diff", path=report.diff, kind="diff")),
    )  # fmt: skip


def _refuse_tags(request: Input, ws: Workspace) -> None:
    if not request.tags:
        return
    known = resolve_base(ws, request.base).prompt_dictionary
    wrong = sorted({tag for tag in request.tags.values() if tag not in known or tag == AUTO})
    if wrong:
        raise UsageError("tags_unknown", f"{len(wrong)} of the new tags are not in the checkpoint's prompt dictionary, or are auto.",
                         next_step="call validate_language_tags on the manifest: it names the nearest valid tags.")  # fmt: skip


def _warnings(report: FixReport) -> list[Problem]:
    if not has_errors(report.findings):
        return []
    return [Problem(code="manifest_still_invalid", severity="warning", message="the new manifest still has errors: findings lists them",
                    fix="call fix_manifest on the new manifest with the fixes for them, or correct the lines by hand")]  # fmt: skip
