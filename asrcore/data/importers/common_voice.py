"""A Common Voice release folder of one language: `clips/` beside train.tsv, dev.tsv, test.tsv, validated.tsv, other.tsv, invalidated.tsv.

Columns (client_id, path, sentence, up_votes, …): common-voice/cv-dataset. `client_id` is the speaker. The release's splits are by speaker and
sentence; `other` has clips that nobody has voted on. The `locale` column holds Common Voice's own codes (`el`, `sv-SE`), so it is not taken as the
locale tag unless the caller maps it.
"""

from __future__ import annotations

from collections.abc import Iterator

from asrcore.data.importers.rows import AudioFinder, Item, ReadRequest
from asrcore.data.importers.tables import only, read_table

_KNOWN = {"audio": ("path",), "text": ("sentence",), "speaker": ("client_id",)}
SPLITS = ("train", "dev", "test", "validated", "other", "invalidated")


def read(request: ReadRequest) -> Iterator[Item]:
    """Rows of one split. Raises `split_needed`, `split_unknown` and what `read_table` raises."""
    folder = request.folder
    table = request.source if request.source.is_file() else only([p for s in SPLITS if (p := folder / f"{s}.tsv").is_file()], request, "splits")
    return read_table(request, table, AudioFinder(request.audio_root or folder / "clips"), known=_KNOWN)
