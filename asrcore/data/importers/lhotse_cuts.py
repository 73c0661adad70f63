"""Lhotse manifests: a file of cuts, or the recordings and supervisions that a Lhotse recipe leaves (`<corpus>_recordings_<part>.jsonl.gz` …).

Lhotse itself reads them, in a child process (`asrcore.model.lhotse_io`, seconds to start); here its answer becomes rows. A cut that is a plain piece of
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
from asrcore.data_requests import LhotseCutsRequest
from asrcore.errors import ErrorView, ToolFault, UsageError, clean_text
from asrcore.jobs import child, process
from asrcore.manifest import below

MODULE = "asrcore.model.lhotse_io"
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
    """Rows of one part. Raises `split_needed`, `split_unknown`, `lhotse_missing`, `path_refused`, and while reading `lhotse_unreadable`, `lhotse_failed`."""
    return _rows(request, _chosen(request))


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
    finder = AudioFinder(request.audio_root or chosen.texts.parent)
    with tempfile.TemporaryDirectory(prefix="asrtune-lhotse-") as name:
        out = Path(name) / "rows.jsonl"
        _ask(chosen, out)
        with open(out, encoding="utf-8") as lines:
            for line in lines:
                yield _item(json.loads(line), chosen.texts, finder)
    yield from finder.bad


def _ask(chosen: Manifests, out: Path) -> None:
    """Lets the child write its rows to `out`."""
    folder = out.parent
    request = LhotseCutsRequest(**{k: str(v) for k, v in chosen._asdict().items() if k != "part" and v is not None}, out=str(out))
    io.write_json(folder / child.REQUEST, request)
    command = process.python_module(MODULE, str(folder / child.REQUEST))
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


def _item(fields: Mapping[str, Any], file: Path, finder: AudioFinder) -> Item:
    place = Place(file, fields.get("line"))
    if "reason" in fields:
        return BadRow(place, fields["reason"])
    audio = finder.find(fields["audio"])
    if audio is None:
        return BadRow(place, "audio_ambiguous")
    language = fields.get("language")
    tag = language if isinstance(language, str) and _FULL_TAG.fullmatch(language) else None
    extra = dict(fields.get("extra", {})) | ({"lhotse_language": language} if language is not None and tag is None else {})
    return RawRow(place, audio, fields["text"], tag, fields["id"], fields.get("speaker"), fields["offset"], fields["duration"], extra=extra)
