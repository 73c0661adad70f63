"""Manifests in, a folder of shards out: `python -m asrcore.data.shards request.json`, a job that can be killed and resumed at any point.

    shards_<id>/index.json                 the ShardsResult
    shards_<id>/SHA256SUMS                 of every tar and manifest; `sha256sum -c` reads it too
    shards_<id>/<source>/audio_N.tar       and manifest_N.json beside it
    shards_<id>/<source>/shar/             the same utterances in Lhotse's Shar layout, where asked for

Work goes on in a hidden folder beside the final one, which appears by a single rename. Finished shards stay there with their digests, so a
later attempt writes only what is missing. Large sets are written by several processes or the workers of a Dask cluster, a shard each; the bytes are the
same. No row is lost: `_skipme` rows are counted, and a row with bad audio fails the job with all such rows listed. Memory: about 170 bytes a row while a manifest is read, 16
afterwards; for each process about 80 MB, the rows of one shard and the audio of one utterance.

What only some sets need (numpy, codecs, channels, a cluster, the job's side) is imported where it is needed: copies are written in less time than it loads.
"""

from __future__ import annotations

import math
import os
import random
import re
import shutil
from array import array
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from asrcore import io
from asrcore.audio_header import MODEL_RATE
from asrcore.data.pool import cores, in_processes
from asrcore.data.shard_files import Outcome, ShardRecord, Task, do
from asrcore.data.shard_member import Packing
from asrcore.data.shard_request import bytes_per_second
from asrcore.data_requests import OpusKbits, OpusLoss
from asrcore.errors import NotReadyError, Problem, ToolFault
from asrcore.fingerprint import SUMS, check_ref, require_unchanged
from asrcore.manifest import Row, refuse_errors, row_positions, scan_rows
from asrcore.requests import ShardedSource, ShardFile, ShardSource, ShardsRequest, ShardsResult

if TYPE_CHECKING:
    from asrcore.data.channel_sound import Channel

INDEX = "index.json"
SKIPPED = "_skipme"

MAX_PROBLEMS = 1_000
"""Bad rows listed in an error; its message has the full count."""
WAV_BYTES_PER_SECOND = 130_000
"""Upper bound for 64-bit WAV at 16 kHz mono."""
OPUS_SUFFIXES = frozenset({".ogg", ".oga", ".opus"})
BYTES_PER_ROW = 4_096
PARALLEL_FROM_S = 4.0
"""Seconds of a core from which several processes write shards: to start them takes half a second."""
COPIED, ENCODED, PLAYED, OPUS = 0.2 / 3600, 1.2 / 3600, 14 / 3600, 90 / 3600
"""Seconds of a core for a second of audio that is copied, made FLAC, sent through a telephone channel, made Opus (measured: docs/log.md, 2026-11-22)."""
WAV_HEADER_BYTES = 4_096


class Progress(Protocol):
    """What a build needs of a job's reporter."""

    def event(self, stage: str, step: int = 0, total: int = 0, message: str = "", **metrics: float) -> None: ...

    def stop_if_asked(self) -> None: ...


class _Source(NamedTuple):
    """One manifest, read once: the lines to pack in their seeded order, and where they stand in the file."""

    spec: ShardSource
    packing: Packing
    lines: array[int]
    positions: array[int]
    need_bytes: int
    work_s: float
    """Seconds of a core, about."""
    skipped: int


def run(request: ShardsRequest, reporter: Progress, workers: int | None = None) -> ShardsResult:
    """Builds the shards, or returns those that stand at `request.out` already after verifying them.

    `workers`: processes that write shards; None: one a core where the work is worth their start, else this one alone. With `request.scheduler` they are those of
    that cluster instead. The bytes do not depend on it.

    Raises `fingerprint_mismatch`, `manifest_invalid`, `source_empty`, `shards_bad_rows`, `shards_damaged`, `disk_full`; with a channel also
    `encoder_missing`, `encoder_failed`, `noise_unreadable`; with several workers `worker_died`; with a scheduler what `on_workers` raises.
    """
    out = Path(request.out)
    if out.exists():
        return _standing(out)
    require_unchanged(
        [p for source in request.sources for p in check_ref(source.manifest)], "call build_shards again: the manifests have changed."
    )
    sources = [_read(spec, request) for spec in request.sources]
    staging = out.with_name(f".{out.name}.staging")
    _clean(staging)
    # What is staged already is on the disk, so a resumed job needs that much less.
    io.require_disk(out.parent, max(0, sum(s.need_bytes for s in sources) - _size(staging)))
    try:
        records = _write_all(request, sources, staging, reporter, _workers(sources, request) if workers is None else workers)
    except NotReadyError:
        shutil.rmtree(staging, ignore_errors=True)  # these rows need other input, which has another id
        raise
    result = _result(request, sources, records)
    _finish(staging, out, result, records)
    return result


def _workers(sources: list[_Source], request: ShardsRequest) -> int:
    """A small set is sooner done without others."""
    if sum(s.work_s for s in sources) < PARALLEL_FROM_S:
        return 1
    return min(cores(), sum(-(-len(s.lines) // request.utterances_per_shard) for s in sources))


def verify_shards(root: Path) -> list[Problem]:
    """Every file against SHA256SUMS, and every row against its tar. Empty when all is well."""
    try:
        index = ShardsResult.model_validate_json((root / INDEX).read_bytes())
        sums = dict(_sum_line(line) for line in (root / SUMS).read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        return [_damage(root, f"{INDEX} or {SUMS} is missing or unreadable ({type(error).__name__})")]
    listed = {name: shard for source in index.sources for shard in source.shards for name in _names(shard)}
    problems = [_damage(root / name, f"stands in only one of {INDEX} and {SUMS}") for name in sorted(set(listed) ^ set(sums))]
    for name in sorted(set(listed) & set(sums)):
        if not (root / name).is_file():
            problems.append(_damage(root / name, "is missing"))
        elif (found := io.sha256_file(root / name)) != sums[name]:
            problems.append(_damage(root / name, f"has sha256 {found[:12]}, expected {sums[name][:12]}"))
        elif name == listed[name].tar and found != listed[name].sha256:
            problems.append(_damage(root / name, f"has another sha256 than {INDEX} says"))
    return problems


def _read(spec: ShardSource, request: ShardsRequest) -> _Source:
    path = Path(spec.manifest.path)
    packing = Packing(spec.name, str(path), _channel(spec, request.seed), request.shar, request.opus)
    problems: list[Problem] = []
    lines = array("Q")
    need = skipped = 0
    work = 0.0
    for row in scan_rows(path, problems):
        if row.utterance.skipped:
            skipped += 1
            continue
        lines.append(row.line)
        size = _file_size(row, request.opus)
        need += _need(row, size, request.opus) * (2 if request.shar else 1)
        work += row.utterance.duration * _cost(row, size, packing)
    refuse_errors(path, problems)
    if not lines:
        raise NotReadyError("source_empty", f"{path} holds no row to train on ({skipped} are marked {SKIPPED}).",
                            next_step="pass a manifest with rows, or leave this one out.")  # fmt: skip
    random.Random(f"{request.seed}:{spec.name}").shuffle(lines)
    return _Source(spec, packing, lines, row_positions(path), need, work, skipped)


def _channel(spec: ShardSource, seed: int) -> Channel | None:
    if spec.channel is None:
        return None
    from asrcore.data.channel_sound import Channel

    return Channel(spec.channel, seed)


def _file_size(row: Row, opus: OpusKbits) -> int:
    """Bytes of a file that may be copied; 0 for one that is encoded anew, and for one that is not there, which is found and listed when the row is packed."""
    if opus and row.audio.suffix.lower() not in OPUS_SUFFIXES:
        return 0
    with suppress(OSError):
        return row.audio.stat().st_size
    return 0


def _cost(row: Row, size: int, packing: Packing) -> float:
    """Of a second, by the file's name and size alone: 16-bit WAV of that size is all of the row at 16 kHz mono. A wrong guess costs time only."""
    if packing.opus:
        return COPIED if size and packing.channel is None else OPUS
    if packing.channel is not None:
        return PLAYED
    copied = row.audio.suffix.lower() == ".wav" and 0 < size <= row.utterance.duration * 2 * MODEL_RATE + WAV_HEADER_BYTES
    return COPIED if copied else ENCODED


def _need(row: Row, size: int, opus: OpusKbits) -> int:
    """Upper bound of a row's bytes in a tar: 16-bit FLAC or Opus, or a copy of the file unless it is too large for that, so a longer recording."""
    seconds = row.utterance.duration
    return max(round(seconds * bytes_per_second(opus)), size if size <= seconds * WAV_BYTES_PER_SECOND else 0) + BYTES_PER_ROW


def _write_all(request: ShardsRequest, sources: list[_Source], staging: Path, reporter: Progress, workers: int) -> dict[str, list[ShardRecord]]:
    problems: list[Problem] = []
    records: dict[str, list[ShardRecord]] = defaultdict(list)
    total, done = sum(len(s.lines) for s in sources), 0
    reporter.event("shards", 0, total)
    tasks = (task._replace(check_only=bool(problems)) for source in sources for task in _tasks(source, request, staging))
    with closing(_done(request, tasks, staging, workers, reporter.stop_if_asked)) as finished:
        for task, outcome in finished:
            if outcome.record is not None:
                records[task.packing.source].append(outcome.record)
            problems += outcome.problems
            done += len(task.positions)
            reporter.event("shards", done, total, f"{task.packing.source} shard {task.number}", bad_rows=len(problems))
    if problems:
        shown = problems[:MAX_PROBLEMS]
        raise NotReadyError("shards_bad_rows", f"the audio of {len(problems)} rows cannot be used (first: {problems[0].where}).",
                            next_step="correct the rows, or mark them with \"_skipme\": true, then call build_shards again.", problems=shown)  # fmt: skip
    return records


def _tasks(source: _Source, request: ShardsRequest, staging: Path) -> Iterator[Task]:
    for number, start in enumerate(range(0, len(source.lines), request.utterances_per_shard)):
        places = {line - 1: source.positions[line - 1] for line in source.lines[start : start + request.utterances_per_shard]}
        yield Task(source.packing, staging / source.spec.name, staging, number, places)


def _done(request: ShardsRequest, tasks: Iterator[Task], staging: Path, workers: int, tick: Callable[[], None]) -> Generator[tuple[Task, Outcome]]:
    if request.scheduler:
        from asrcore.data.cluster import on_workers

        yield from on_workers(do, tasks, request.scheduler, staging, tick)
    elif workers > 1:
        yield from in_processes(do, tasks, workers, tick)
    else:
        yield from ((task, do(task, tick)) for task in tasks)


def _result(request: ShardsRequest, sources: list[_Source], records: dict[str, list[ShardRecord]]) -> ShardsResult:
    out = Path(request.out)
    made: list[ShardedSource] = []
    for source in sources:
        own = records[source.spec.name]
        by_locale: dict[str, float] = defaultdict(float)
        for record in own:
            for locale, seconds in record.seconds_by_locale.items():
                by_locale[locale] += seconds
        made.append(ShardedSource(
            name=source.spec.name, role=source.spec.role, share=source.spec.share, weight=source.spec.share,
            utterances=sum(r.file.utterances for r in own), seconds=round(sum(r.file.seconds for r in own), 6),
            seconds_by_locale={k: round(v, 6) for k, v in sorted(by_locale.items())}, shards=tuple(r.file for r in own),
            channels=() if source.spec.channel is None else tuple(chain.name for chain in source.spec.channel.chains),
        ))  # fmt: skip
    weights = loader_weights([(s.share, s.seconds / s.utterances) for s in made])
    weighted = tuple(s.model_copy(update={"weight": w}) for s, w in zip(made, weights, strict=True))
    return ShardsResult(shards_id=out.name, root=str(out), sources=weighted, skipped={SKIPPED: sum(s.skipped for s in sources)},
                        opus=_loss(request, [r for own in records.values() for r in own]) if request.opus else None)  # fmt: skip


def _loss(request: ShardsRequest, records: list[ShardRecord]) -> OpusLoss:
    energy, error = (math.fsum(r.opus[part] for r in records if r.opus is not None) for part in (0, 1))
    snr = round(10 * math.log10(energy / error), 1) if energy > 0 and error > 0 else None
    return OpusLoss(kbits=request.opus, bytes=sum(r.tar_bytes for r in records), snr_db=snr)


def loader_weights(shares: list[tuple[float, float]]) -> list[float]:
    """(share of seconds, mean duration in seconds) of each source -> its chance of giving the next utterance.

    The loader draws utterances, not seconds: with equal weights a source of long utterances would take more than its share.
    """
    raw = [share / mean for share, mean in shares]
    return [weight / sum(raw) for weight in raw]


def _finish(staging: Path, out: Path, result: ShardsResult, records: dict[str, list[ShardRecord]]) -> None:
    pairs = sorted((name, digest) for own in records.values() for record in own for name, digest in record.digests.items())
    io.write_text(staging / SUMS, "".join(f"{digest}  {name}\n" for name, digest in pairs))
    io.write_json(staging / INDEX, result)
    kept = {staging / name for name, _ in pairs} | {staging / SUMS, staging / INDEX}
    for file in [f for f in staging.rglob("*") if f.is_file() and f not in kept]:
        file.unlink()
    for folder in {(staging / name).parent for name, _ in pairs}:
        io.fsync_folder(folder)
    os.replace(staging, out)
    io.fsync_folder(out.parent)


def _standing(out: Path) -> ShardsResult:
    problems = verify_shards(out)
    if problems:
        raise ToolFault("shards_damaged", f"{out} is not what was built ({len(problems)} files).",
                        next_step=f"remove {out} and call build_shards again.", problems=problems)  # fmt: skip
    return ShardsResult.model_validate_json((out / INDEX).read_bytes()).model_copy(update={"root": str(out)})


def _clean(staging: Path) -> None:
    """Drops what a killed attempt left half-written."""
    for part in staging.rglob("*.part"):
        part.unlink()


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def _names(shard: ShardFile) -> tuple[str, ...]:
    return (shard.tar, shard.manifest, *(() if shard.shar is None else (shard.shar.cuts, shard.shar.recording)))


def _sum_line(line: str) -> tuple[str, str]:
    found = re.fullmatch(r"([0-9a-f]{64})  (\S.*)", line)
    if found is None:
        raise ValueError("not a line of sha256sum")
    return found[2], found[1]


def _damage(path: Path, what: str) -> Problem:
    return Problem(code="shard_damaged", message=f"{path.name} {what}", file=str(path), fix="build the shards again")


if __name__ == "__main__":
    from asrcore.jobs import child

    child.main(ShardsRequest, run)
