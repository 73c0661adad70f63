"""Makes a manifest from a corpus as people have it: audio with transcripts, a table, or a layout that format names.

Use it first for data that is no NeMo manifest; inspect_dataset and validate_language_tags come next. Audio stays where it lies; the layout is
recognised unless format is given; the locale never is: pass target_lang, or map a column to it. It returns the manifest's path, rows, hours by locale
and rate, and every row left out, by reason (a file lists each).
Cost: one file header a row, about 5,000 rows a second; decode=true reads all samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from asrcore import hub_datasets
from asrcore.data.importers import hugging_face
from asrcore.data.importers.detect import detect
from asrcore.data.importers.formats import READERS, WITH_COLUMNS, WITH_PARTS, WITH_STYLES, Format
from asrcore.data.importers.rows import ReadRequest
from asrcore.data.importing import NOT_IMPORTED, ImportReport, ImportRules, import_rows, is_locale
from asrcore.errors import Problem, UsageError
from asrcore.io import require_disk
from asrcore.jobs import Ledger
from asrcore.results import Artifact, Frozen, NextAction, Result
from asrcore.workspace import Workspace

Column = Literal["audio", "text", "target_lang", "speaker", "id", "offset", "duration"]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Input(Frozen):
    source: str = Field(min_length=1, max_length=4096, description="Folder, table or transcripts below a data root, or hf://datasets/OWNER/NAME[@REVISION]/CONFIG.")
    target_lang: str | None = Field(
        None, max_length=16, description="Locale of all rows, unless they name theirs."
    )
    format: Literal[Format, "detect"] = Field("detect", description="Layout; detect names it or refuses.")
    columns: dict[Column, Name] = Field(
        default_factory=dict[Column, Name],
        description='For tables: field -> column name, or number from 1, as {"audio": "path"}.',
    )
    split: str | None = Field(
        None, min_length=1, max_length=100, description="Which part of several: train, dev, validated."
    )
    audio_root: str | None = Field(
        None, min_length=1, max_length=4096, description="Audio folder, if not beside the texts."
    )
    style: Literal["written", "spoken"] = Field(
        "written", description="Of two transcripts: cased and punctuated as the base writes, or normalised."
    )
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="Corpus name, written into every row as source.")
    agree_with: str = Field(
        "", max_length=4096, description="For pseudo: a second checkpoint's transcribe job folder; source is the first's."
    )
    recipe: str = Field("", pattern="^[a-z0-9_]{0,64}$", description="Lhotse recipe for the folder, as librispeech.")
    decode: bool = Field(False, description="Decode all audio: finds truncation and NaN, writes audio_digest.")


Output = ImportReport


def run(request: Input, ws: Workspace) -> Result[Output]:
    audio_root = ws.resolve_data(request.audio_root) if request.audio_root else None
    if request.target_lang is not None and not is_locale(request.target_lang):
        raise UsageError("locale_invalid", "target_lang is no locale tag.", next_step="pass the tag of the spoken language, such as el-GR.")
    if request.target_lang is not None and "target_lang" in request.columns:
        raise UsageError(
            "locale_twice", "the locale is given for all rows and as a column.", next_step="pass target_lang or the column, not both."
        )
    copy = hub_datasets.find(request.source, ws.home / "hub") if request.source.startswith(hub_datasets.SCHEME) else None
    source = Path(copy.folder) if copy is not None else ws.resolve_data(request.source)
    chosen = _format(request, source, on_hub=copy is not None, roots=ws.data_roots)
    _refuse_unused(request, chosen, several=copy is not None or source.is_dir(), on_hub=copy is not None)
    wanted = ReadRequest(
        source, ws.data_roots, request.split, dict[str, str](request.columns.items()), audio_root, request.style, request.target_lang, ws.home / "audio",
        ws.resolve_data(request.agree_with) if request.agree_with else None, request.recipe, copy,
    )  # fmt: skip
    if chosen == "hugging_face":
        _require_room(hugging_face.total_bytes(wanted), ws)
    rules = ImportRules(chosen, request.target_lang, request.name, ws.data_roots, request.decode, copy.place if copy is not None else "")
    report = import_rows(READERS[chosen](wanted), rules, ws.home / "datasets")
    with Ledger.open(ws) as ledger:
        ledger.put("dataset", report.dataset_id, report)
    locales = ", ".join(f"{tag} {hours:.2f} h" for tag, hours in report.hours_by_locale.items())
    return Result(
        summary=f"{report.dataset_id}: {report.rows_kept} of {report.rows_read} rows of a {chosen} corpus imported ({locales}){f' from {report.hub}' if report.hub else ''}; "
                f"{report.rows_refused} left out, {report.rows_marked} marked.",
        data=report,
        warnings=tuple(_warnings(report, request.recipe)),
        next_actions=(
            NextAction(tool="validate_language_tags", arguments={"manifest": report.manifest}, why="checks the tags against the base's dictionary"),
            NextAction(tool="inspect_dataset", arguments={"manifest": report.manifest}, why="checks audio and text style"),
        ),
        artifacts=(
            Artifact(name="manifest", path=report.manifest, kind="manifest"),
            Artifact(name="not imported", path=str(Path(report.manifest).with_name(NOT_IMPORTED)), kind="log"),
        ),
    )  # fmt: skip


def _format(request: Input, source: Path, *, on_hub: bool, roots: tuple[Path, ...]) -> Format:
    if request.format != "detect":
        return request.format
    return "hugging_face" if on_hub else "lhotse" if request.recipe else detect(source, roots)


def _require_room(need_bytes: int, ws: Workspace) -> None:
    """For audio that has to be written out of the files that hold it."""
    if need_bytes > ws.config.budgets.max_disk_gb * 1e9:
        raise UsageError("disk_budget_exceeded", f"the audio inside may take {need_bytes / 1e9:.1f} GB, the budget max_disk_gb is {ws.config.budgets.max_disk_gb:g} GB.",
                         next_step="import a split at a time, or ask the person to raise max_disk_gb in asrtune.toml.")  # fmt: skip
    require_disk(ws.home, need_bytes)


def _refuse_unused(request: Input, chosen: Format, *, several: bool, on_hub: bool) -> None:
    """An argument that the format has no use for is a misunderstanding, not to be passed over. `several`: the source may have several parts."""
    unused = [
        name for name, given, used in (
            ("columns", bool(request.columns), chosen in WITH_COLUMNS),
            ("format", on_hub, chosen == "hugging_face"),
            ("split", request.split is not None, chosen in WITH_PARTS and several),
            ("style", request.style != "written", chosen in WITH_STYLES),
            ("audio_root", request.audio_root is not None, chosen not in ("sidecar", "pseudo") and not on_hub),
            ("agree_with", request.agree_with != "", chosen == "pseudo"),
            ("recipe", request.recipe != "", chosen == "lhotse" and several and not on_hub),
        ) if given and not used
    ]  # fmt: skip
    if unused:
        raise UsageError("arguments_unused", f"{' and '.join(unused)} mean nothing for the format {chosen} of this source.",
                         next_step="leave them out, or pass the format that they are for.")  # fmt: skip


def _warnings(report: ImportReport, recipe: str) -> list[Problem]:
    warnings = list[Problem]()
    if report.not_imported:
        reasons = ", ".join(f"{one.rows} {one.reason}" for one in report.not_imported[:5])
        warnings.append(Problem(code="rows_not_imported", severity="warning", message=f"{report.rows_refused} rows or files were left out: {reasons}",
                                fix=f"look at {NOT_IMPORTED} beside the manifest; correct the source and import again"))  # fmt: skip
    if recipe:
        warnings.append(Problem(code="rows_by_recipe", severity="warning", message="Lhotse's recipe passes over what it cannot read, uncounted",
                                fix="compare rows and hours with what the corpus promises"))  # fmt: skip
    return warnings
