"""One shard: a tar of audio members and a manifest with one row per member, in the layout that NeMo's `nemo_tarred` reader takes.

The reader finds a shard's manifest by its position, so files are `audio_0.tar … audio_n.tar` and `manifest_0.json … manifest_n.json` in one
folder. It takes names with `-sub<digits>` for pieces of a longer file and pairs them wrongly, so member names hold no hyphen at all
(NeMo 3.0, common/data/lhotse/cutset.py). Equal input gives equal bytes: fixed times, owners and modes.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from asrcore import io
from asrcore.data import shar
from asrcore.data.pool import stop_if_asked
from asrcore.data.shard_member import Member, Packing, copied, shard_row
from asrcore.data.tar import TarWriter
from asrcore.data_requests import SharFiles
from asrcore.errors import NotReadyError, Problem
from asrcore.manifest import Row, rows_at
from asrcore.requests import ShardFile
from asrcore.results import Frozen


class ShardRecord(Frozen):
    """A finished shard, kept beside it until the whole set is done, so that a resumed job can trust it."""

    file: ShardFile
    manifest_sha256: str
    seconds_by_locale: dict[str, float]
    tar_bytes: int
    shar_sha256: tuple[str, str] | None = None
    """Of the cuts and the recordings, where the shard has a Shar twin."""
    opus: tuple[float, float] | None = None
    """Energy of the audio that was made Opus, and of its change by that; None in lossless shards."""

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of every file of the shard, by its path relative to the shards folder."""
        found = {self.file.tar: self.file.sha256, self.file.manifest: self.manifest_sha256}
        if self.file.shar is not None and self.shar_sha256 is not None:
            found |= dict(zip((self.file.shar.cuts, self.file.shar.recording), self.shar_sha256, strict=True))
        return found


class Task(NamedTuple):
    """One shard to write, with all that a worker process needs: the rows by their lines and byte positions in the manifest."""

    packing: Packing
    folder: Path
    root: Path
    number: int
    positions: dict[int, int]
    """Index of each line (from 0) -> its byte position, in the order to pack."""
    check_only: bool = False
    """Nothing is written: only the list of all bad rows is of use once one is bad."""


class Outcome(NamedTuple):
    """`record` is None where nothing was written, for bad rows here or elsewhere."""

    record: ShardRecord | None
    problems: list[Problem]


class _NotWritten(Exception):
    """The shard has bad rows; drops the half-written tar."""


def do(task: Task, tick: Callable[[], None] = stop_if_asked) -> Outcome:
    """Writes the shard of the task, or finds it finished, or only checks its rows. `tick` as for `write_shard`."""
    problems: list[Problem] = []
    if not task.check_only and (record := finished_shard(task.folder, task.root, task.number)):
        tick()
        return Outcome(record, problems)
    rows = rows_at(Path(task.packing.manifest), [place + 1 for place in task.positions], task.positions)
    if task.check_only:
        check_rows(task.packing, rows, problems, tick)
        return Outcome(None, problems)
    return Outcome(write_shard(task.folder, task.root, task.number, task.packing, rows, problems, tick), problems)


def write_shard(folder: Path, root: Path, number: int, packing: Packing, rows: Iterable[Row], problems: list[Problem],
                tick: Callable[[], None]) -> ShardRecord | None:  # fmt: skip
    """Writes `audio_N.tar` and `manifest_N.json` into `folder` (and the Shar twin into `folder/shar`), or nothing and None when a row's audio is bad (all of them are appended to `problems`).

    `tick` is called before every row; what it raises ends the work and leaves nothing half-written.
    """
    tar, lines = folder / f"audio_{number}.tar", list[dict[str, Any]]()
    seconds: dict[str, float] = defaultdict(float)
    energy = error = 0.0
    bad = len(problems)
    try:
        with io.atomic_file(tar) as file:
            archive = TarWriter(file)
            for row, member in _members(packing, rows, problems, tick):
                if len(problems) == bad:
                    archive.add(member.name, member.data)
                lines.append(shard_row(row, member, number))
                seconds[row.utterance.target_lang] += member.seconds
                energy, error = energy + member.energy, error + member.error
            if len(problems) > bad:
                raise _NotWritten
            digest = archive.close()
    except _NotWritten:
        return None
    text = b"".join(io.json_line(line) for line in lines)
    listing = folder / f"manifest_{number}.json"
    io.write_bytes(listing, text)
    twin = shar.write(folder / "shar", number, tar, lines) if packing.shar else None
    done = ShardFile(tar=str(tar.relative_to(root)), manifest=str(listing.relative_to(root)), sha256=digest, utterances=len(lines),
                     seconds=round(sum(seconds.values()), 6),
                     shar=SharFiles(cuts=str(twin.files[0].relative_to(root)), recording=str(twin.files[1].relative_to(root))) if twin else None)  # fmt: skip
    record = ShardRecord(file=done, manifest_sha256=hashlib.sha256(text).hexdigest(), seconds_by_locale={k: round(v, 6) for k, v in seconds.items()},
                         tar_bytes=archive.size, shar_sha256=twin.sha256 if twin else None, opus=(energy, error) if packing.opus else None)  # fmt: skip
    io.write_json(record_path(folder, number), record)
    return record


def check_rows(packing: Packing, rows: Iterable[Row], problems: list[Problem], tick: Callable[[], None]) -> None:
    """Decodes rows without writing: once one row is bad, only the list of all bad rows is of use."""
    for _ in _members(packing._replace(channel=None), rows, problems, tick):
        pass


def finished_shard(folder: Path, root: Path, number: int) -> ShardRecord | None:
    """The record of a shard that an earlier attempt finished, after checking its bytes; None when it has to be written again."""
    try:
        record = ShardRecord.model_validate_json(record_path(folder, number).read_bytes())
        same = all(io.sha256_file(root / name) == digest for name, digest in record.digests.items())
    except (OSError, ValueError):
        return None
    return record if same else None


def record_path(folder: Path, number: int) -> Path:
    return folder / f"record_{number}.json"


def member(packing: Packing, row: Row) -> Member:
    """The row as a member of the tar. Raises what `shard_audio.made` raises."""
    plain = copied(packing, row)
    if plain is not None:
        return plain
    from asrcore.data.shard_audio import made

    return made(packing, row)


def _members(packing: Packing, rows: Iterable[Row], problems: list[Problem], tick: Callable[[], None]) -> Iterator[tuple[Row, Member]]:
    for row in rows:
        tick()
        try:
            yield row, member(packing, row)
        except NotReadyError as error:
            problems.append(Problem(code=error.code, message=error.message, file=packing.manifest, line=row.line, fix=error.next_step))
