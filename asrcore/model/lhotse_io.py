"""Child process `python -m asrcore.model.lhotse_io request.json`: Lhotse reads cuts, or recordings and supervisions, and writes plain rows.

Each row says which piece of which file it is; samples are never touched. Only what is exactly that becomes a row: one file, all of its (one) channel,
no transforms. A cut with several supervisions gives a row for each, cut as Lhotse's `trim_to_supervisions` cuts. Started by
`asrcore.data.importers.lhotse_cuts`, which checks the audio.

Memory: cuts are read line by line; recordings and supervisions are held whole, as Lhotse does (about 2 kB each).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lhotse import CutSet, MonoCut, RecordingSet, SupervisionSet
from lhotse.serialization import decode_json_line, deserialize_item, open_best

from asrcore import io
from asrcore.data_requests import LhotseCutsRequest, LhotseCutsResult
from asrcore.errors import NotReadyError, UsageError
from asrcore.jobs.child import Reporter, main

COMPUTED, NO_TEXT, NO_AUDIO, INVALID = "cut_computed", "text_missing", "audio_missing", "line_invalid"
"""Reasons of `asrcore.data.importers.rows.REASONS` that can be told here."""


class Read(NamedTuple):
    """A cut with its line from 1 (None where cuts are made of two manifests), or the reason why there is none."""

    line: int | None
    cut: Any
    reason: str = ""


def run(request: LhotseCutsRequest, reporter: Reporter) -> LhotseCutsResult:
    """Raises `lhotse_unreadable` for a file that is no manifest of the kind asked for."""
    rows = refused = 0
    with io.atomic_file(Path(request.out)) as out:
        for read in _cuts(request):
            reporter.stop_if_asked()
            for fields in _rows(read):
                refused += "reason" in fields
                rows += "reason" not in fields
                out.write(json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return LhotseCutsResult(rows=rows, refused=refused)


def _cuts(request: LhotseCutsRequest) -> Iterator[Read]:
    if request.cuts is not None:
        yield from _lines(request.cuts)
        return
    if request.recordings is None or request.supervisions is None:
        raise UsageError("request_invalid", "the request names neither cuts nor recordings with supervisions.", next_step="call import_dataset again.")
    try:
        recordings, supervisions = RecordingSet.from_file(request.recordings), SupervisionSet.from_file(request.supervisions)
        cuts: Any = CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    except Exception as error:
        raise NotReadyError("lhotse_unreadable", f"Lhotse cannot read the recordings and supervisions ({type(error).__name__}).",
                            next_step="make the manifests again with Lhotse's recipe, or import another format of the corpus.") from error  # fmt: skip
    yield from (Read(None, cut) for cut in cuts)


def _lines(path: str) -> Iterator[Read]:
    """Every line by itself, so that one that cannot be read does not stop the rest."""
    try:
        opened: Any = open_best(path, "r")
        with opened as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _line(number, line)
    except (OSError, EOFError, UnicodeDecodeError) as error:  # no gzip, or one that breaks off
        raise NotReadyError("lhotse_unreadable", f"the cuts cannot be read to their end ({type(error).__name__}).",
                            next_step="make the file of cuts again with Lhotse, then call import_dataset again.") from error  # fmt: skip


def _line(number: int, line: str) -> Read:
    try:
        cut = deserialize_item(decode_json_line(line))
    except Exception:  # noqa: BLE001 - a line may fail in any of Lhotse's constructors
        return Read(number, None, INVALID)
    return Read(number, cut) if hasattr(cut, "supervisions") else Read(number, None, INVALID)


def _rows(read: Read) -> Iterator[dict[str, Any]]:
    reason = read.reason or _refused(read.cut)
    if reason:
        yield {"line": read.line, "reason": reason}
        return
    pieces = [read.cut] if len(read.cut.supervisions) == 1 else read.cut.trim_to_supervisions(keep_overlapping=False)
    own_name = read.line is not None and len(read.cut.supervisions) == 1  # else Lhotse made the cut's name up, from that of the recording
    for piece in pieces:
        supervision = piece.supervisions[0]
        if supervision.text is None:
            yield {"line": read.line, "reason": NO_TEXT}
            continue
        yield {
            "line": read.line, "audio": str(piece.recording.sources[0].source), "offset": piece.start, "duration": piece.duration,
            "text": supervision.text, "id": piece.id if own_name else supervision.id, "speaker": supervision.speaker,
            "language": supervision.language, "extra": _extra(piece.custom, supervision),
        }  # fmt: skip


def _refused(cut: Any) -> str:
    if not isinstance(cut, MonoCut):
        return COMPUTED  # MultiCut, MixedCut, PaddingCut
    if not cut.has_recording:
        return NO_AUDIO
    recording: Any = cut.recording
    plain = len(recording.sources) == 1 and recording.sources[0].type == "file" and not recording.transforms and recording.num_channels == 1
    if not plain:
        return COMPUTED
    return "" if cut.supervisions else NO_TEXT


def _extra(custom: Any, supervision: Any) -> dict[str, Any]:
    """Plain fields of the cut and its supervision that a manifest row can hold."""
    fields = {**(custom or {}), **(supervision.custom or {}), **({"gender": supervision.gender} if supervision.gender else {})}
    return {str(name): value for name, value in fields.items() if isinstance(value, str | int | float | bool)}


if __name__ == "__main__":
    main(LhotseCutsRequest, run)
