"""A local copy of one FLEURS language: train.tsv, dev.tsv, test.tsv without header, and the unpacked audio below the same folder.

Columns: sentence id, file name, raw transcription, transcription, characters, samples, gender (google/fleurs). Only the raw transcription has the
base model's style (case and punctuation); `style="spoken"` takes the other one. Sentence ids repeat, since several people read a sentence: ids come
from file names (a project that keyed by id kept 347 of 834 clips), and the sentence id stays as `sentence_id`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asrcore.data.importers.lines import read_records
from asrcore.data.importers.rows import AudioFinder, BadRow, Item, RawRow, ReadRequest
from asrcore.data.importers.tables import only

SPLITS = ("train", "dev", "test")
COLUMNS = 7


def read(request: ReadRequest) -> Iterator[Item]:
    """Rows of one split. Raises `split_needed`, `split_unknown`."""
    folder = request.folder
    table = request.source if request.source.is_file() else only([p for s in SPLITS if (p := folder / f"{s}.tsv").is_file()], request, "splits")
    return _rows(request, table)


def _rows(request: ReadRequest, table: Path) -> Iterator[Item]:
    beside = table.parent / table.stem
    finder = AudioFinder(request.audio_root or (beside if beside.is_dir() else table.parent))
    for record in read_records(table, request.roots, "\t"):
        if isinstance(record, BadRow):
            yield record
        elif len(record.fields) != COLUMNS:
            yield BadRow(record.place, "columns_short" if len(record.fields) < COLUMNS else "line_invalid")
        else:
            sentence, name, raw, plain, _, _, gender = record.fields
            audio = finder.find(name.strip())
            if audio is None:
                yield BadRow(record.place, "audio_ambiguous")
                continue
            text = raw if request.style == "written" else plain
            yield RawRow(record.place, audio, text, id=Path(name).stem, extra={"sentence_id": sentence, "gender": gender})
    yield from finder.bad
