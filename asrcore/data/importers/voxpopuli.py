"""VoxPopuli transcripts (asr_train.tsv …) and MOSEL's automatic transcripts of VoxPopuli audio, with the audio below the folder or `audio_root`.

VoxPopuli (facebookresearch/voxpopuli): columns id, raw_text, normalized_text, speaker_id, split, gender, is_gold_transcript, accent; audio is
`<id>.ogg` or `.wav` in folders by year. `raw_text` is as written but missing for part of the rows; `normalized_text` is lower case without
punctuation, another style than the base model's, so it is taken only with `style="spoken"`.
MOSEL (FBK-MT/mosel): columns id, language, text, hall_repeated_ngrams, hall_long_word, hall_frequent_single_word; Whisper's text. A row with one
of the three flags set is marked `_skipme`, not dropped. Its `language` is a name such as `english`, never taken as a locale.
"""

from __future__ import annotations

from collections.abc import Iterator

from asrcore.data.importers.rows import AudioFinder, BadRow, Item, RawRow, ReadRequest
from asrcore.data.importers.tables import only, read_table

_VOXPOPULI = {"audio": ("id",), "speaker": ("speaker_id",)}
_MOSEL = {"audio": ("id",), "text": ("text",)}


def read(request: ReadRequest) -> Iterator[Item]:
    """VoxPopuli rows of one split. Raises `split_needed`, `split_unknown` and what `read_table` raises."""
    table = request.source if request.source.is_file() else only(sorted(request.source.glob("asr_*.tsv")), request, "splits")
    wanted = "raw_text" if request.style == "written" else "normalized_text"
    rows = read_table(request, table, AudioFinder(request.audio_root or table.parent), known={**_VOXPOPULI, "text": (wanted,)})
    return _named(rows, not_transcribed=request.style == "written")


def read_mosel(request: ReadRequest) -> Iterator[Item]:
    """MOSEL rows of one file. Raises as `read` does."""
    table = request.source if request.source.is_file() else only(sorted(request.source.glob("*.tsv")), request, "tables")
    return _named(read_table(request, table, AudioFinder(request.audio_root or table.parent), known=_MOSEL, row_marks=True))


def _named(rows: Iterator[Item], *, not_transcribed: bool = False) -> Iterator[Item]:
    """The corpus's id is the audio's name. An empty raw_text is no fault of the file: those rows have the normalised text only."""
    for row in rows:
        if isinstance(row, RawRow) and not row.text and not_transcribed:
            yield BadRow(row.place, "row_not_transcribed")
        else:
            yield row._replace(id=row.audio.stem) if isinstance(row, RawRow) else row
