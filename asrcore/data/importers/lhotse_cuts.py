"""Lhotse manifests: a file of cuts, or the recordings and supervisions that a Lhotse recipe leaves (`<corpus>_recordings_<part>.jsonl.gz` …).

Lhotse itself reads them, in a child process (`asrcore.model.lhotse_io`, seconds to start), and where a recipe is named it makes them first, in another
(`asrcore.model.lhotse_recipe`); here its answer becomes rows. A cut that is a plain piece of
a mono file is taken where it lies, sample for sample. One that Lhotse would have to compute (transformed, mixed, one channel of several, in a
Shar archive) is reported: audio is never copied here.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from asrcore import io
from asrcore.data.importers.rows import AudioFinder, BadRow, Item, Place, RawRow, ReadRequest
from asrcore.data_requests import LhotseCutsRequest, LhotseRecipeRequest
from asrcore.errors import ErrorView, ToolFault, UsageError, clean_text
from asrcore.jobs import child, process
from asrcore.manifest import below

READ, PREPARE = "asrcore.model.lhotse_io", "asrcore.model.lhotse_recipe"
_SUFFIX = re.compile(r"\.jsonl(\.gz)?$")
_NAME = re.compile(r"(?P<corpus>.*?)(?P<kind>cuts|recordings)(?P<part>.*)")
_FULL_TAG = re.compile(r"[a-z]{2,3}-[A-Z]{2}")
_TIMEOUT_S = 3_600


class Manifests(NamedTuple):
    """One part of a corpus: a file of cuts, or recordings with their supervisions."""

    part: str
    cuts: Path | None = None
    recordings: Path | None = None
    supervisions: Path | None = None

    @property
    def texts(self) -> Path:
        """The file that rows are reported by."""
        found = self.cuts or self.supervisions
        assert found is not None
        return found


def manifests(folder: Path) -> list[Manifests]:
    """The parts that lie in a folder, by name. A Shar archive (`cuts.000000.jsonl` beside tars) is none: its audio lies in the tars."""
    found: list[Manifests] = []
    for path in sorted(p for p in folder.glob("*.jsonl*") if _SUFFIX.search(p.name) and p.is_file()):
        named = _NAME.fullmatch(_SUFFIX.sub("", path.name))
        if named is None or (named["kind"] == "cuts" and re.fullmatch(r"\.\d{6}", named["part"])):
            continue
        part = named["part"].strip("_-.") or named["corpus"].strip("_-.") or path.name
        if named["kind"] == "cuts":
            found.append(Manifests(part, cuts=path))
            continue
        texts = path.with_name(f"{named['corpus']}supervisions{path.name[named.start('part') :]}")
        if texts.is_file():
            found.append(Manifests(part, recordings=path, supervisions=texts))
    return found


def is_cut(fields: Mapping[str, Any]) -> bool:
    """Whether the JSON object of a line is a Lhotse cut."""
    return "start" in fields and "supervisions" in fields and "audio_filepath" not in fields


def read(request: ReadRequest) -> Iterator[Item]:
    """Rows of one part. Raises `split_needed`, `split_unknown`, `lhotse_missing`, `path_refused`, and while reading `lhotse_unreadable`, `lhotse_failed`;
    with a recipe all of them while reading, and `recipe_unknown` and `recipe_failed`."""
    return _prepared_rows(request) if request.recipe else _rows(request, _chosen(request))


def _prepared_rows(request: ReadRequest) -> Iterator[Item]:
    """What the recipe writes is of no use to anybody else, and goes when the rows are read. Audio that it would write goes too, so its rows are left out.
    Manifests of a language may lie in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="asrtune-recipe-") as name:
        out = Path(name) / "manifests"
        _ask(PREPARE, LhotseRecipeRequest(recipe=request.recipe, corpus=str(request.source), out=str(out)), Path(name))
        folders = (out, *sorted(path for path in out.iterdir() if path.is_dir()))
        yield from _rows(request, _one([found for folder in folders for found in manifests(folder)], request.split))


def _chosen(request: ReadRequest) -> Manifests:
    if request.source.is_file():
        chosen = Manifests(request.source.name, cuts=request.source)
    else:
        chosen = _one(manifests(request.source), request.split)
    for path in (chosen.cuts, chosen.recordings, chosen.supervisions):
        if path is not None and not below(path, request.roots):
            raise UsageError("path_refused", "a manifest of the folder is a link out of the data roots.",
                             next_step="move the data below a root, or ask the person to add a data root.")  # fmt: skip
    return chosen


def _one(parts: Sequence[Manifests], split: str | None) -> Manifests:
    if not parts:
        raise UsageError("lhotse_missing", "the folder has no file of cuts, and no recordings with supervisions; the audio of a Shar archive lies in its tars.",
                         next_step="pass cuts whose audio lies in files; a Shar archive is written out by Lhotse's save_audios.")  # fmt: skip
    fitting = [part for part in parts if split in (None, part.part, part.texts.name)]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(clean_text(part.part, 40) for part in parts[:20])
    if split is None:
        raise UsageError("split_needed", f"the folder has {len(parts)} parts: {names}.", next_step="pass split= with one of these names.")
    raise UsageError("split_unknown", f"the folder has no part of that name, only: {names}.", next_step="pass split= with one of these names.")


def _rows(request: ReadRequest, chosen: Manifests) -> Iterator[Item]:
    finder = AudioFinder(request.audio_root or (request.source if request.recipe else chosen.texts.parent))
    with tempfile.TemporaryDirectory(prefix="asrtune-lhotse-") as name:
        out = Path(name) / "rows.jsonl"
        paths = {kind: str(path) for kind, path in chosen._asdict().items() if kind != "part" and path is not None}
        _ask(READ, LhotseCutsRequest(**paths, out=str(out)), Path(name))
        with open(out, encoding="utf-8") as lines:
            for fields in map(json.loads, lines):
                # What a recipe wrote is gone when somebody reads where a row is from.
                place = Place(Path(fields.get("audio", request.source))) if request.recipe else Place(chosen.texts, fields.get("line"))
                yield _item(fields, place, finder)
    yield from finder.bad


def _ask(module: str, request: LhotseCutsRequest | LhotseRecipeRequest, folder: Path) -> None:
    """Lets a child process do what is requested; `folder` is for its own files."""
    io.write_json(folder / child.REQUEST, request)
    command = process.python_module(module, str(folder / child.REQUEST))
    with open(folder / "log.txt", "wb") as log:
        done = subprocess.run(command, cwd=folder, env=process.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
                              timeout=_TIMEOUT_S)  # fmt: skip
    if done.returncode == 0:
        return
    try:
        raise ErrorView.model_validate_json((folder / child.ERROR).read_bytes()).to_error()
    except (FileNotFoundError, ValidationError):
        raise ToolFault("lhotse_failed", f"the process that reads Lhotse's manifests ended with code {done.returncode}.",
                        next_step="call doctor {}: it says whether Lhotse can be imported; then call import_dataset again.") from None  # fmt: skip


def _item(fields: Mapping[str, Any], place: Place, finder: AudioFinder) -> Item:
    if "reason" in fields:
        return BadRow(place, fields["reason"])
    audio = finder.find(fields["audio"])
    if audio is None:
        return BadRow(place, "audio_ambiguous")
    language = fields.get("language")
    tag = language if isinstance(language, str) and _FULL_TAG.fullmatch(language) else None
    extra = dict(fields.get("extra", {})) | ({"lhotse_language": language} if language is not None and tag is None else {})
    return RawRow(place, audio, fields["text"], tag, fields["id"], fields.get("speaker"), fields["offset"], fields["duration"], extra=extra)
