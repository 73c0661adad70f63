"""A manifest once more as it sounds behind a simulated channel: what a telephone slice of an eval set is made of.

    datasets/dataset_<id>/manifest.jsonl     the same rows in the same order, with the same ids; audio_filepath relative to the folder
    datasets/dataset_<id>/audio/             16 kHz mono FLAC, one file a row: the very bytes that build_shards packs with the same channel and seed
    datasets/dataset_<id>/SHA256SUMS         of the audio; `sha256sum -c` reads it
    datasets/dataset_<id>/dataset.json       the ChannelSetReport

Equal ids make wideband and telephone results of a model a paired comparison. `source_audio` and `audio_digest` name the original recording, so that
leakage checks still see it. Rows marked `_skipme` come along as they are. Memory: one utterance.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import Field

from asrcore import audio, io
from asrcore.data.channel_sound import Channel
from asrcore.data.datasets import NewDataset, new_dataset
from asrcore.data.leakage import ORIGIN_FIELD
from asrcore.data.shard_audio import decode_row, flac
from asrcore.data.shard_member import member_name
from asrcore.data.shard_request import FLAC_BYTES_PER_SECOND
from asrcore.data.signal import DIGEST_FIELD, pcm_digest
from asrcore.data_requests import ChannelPlan
from asrcore.errors import NotReadyError, Problem, UsageError
from asrcore.fingerprint import SUMS
from asrcore.manifest import Below, Row, Utterance, refuse_errors, scan_rows, write_manifest
from asrcore.results import Frozen

MANIFEST, AUDIO = "manifest.jsonl", "audio"
TOOL = "apply_channel"
MOST_HOURS = 3.0
"""More than this is training data, which build_shards takes through a channel as a job."""
_MOST_PROBLEMS = 1_000


class ChannelSetReport(Frozen):
    """Hours are without rows marked `_skipme`. The channel is simulated: real calls differ."""

    dataset_id: str
    manifest: str
    source: str
    source_sha256: str
    rows: int
    rows_marked: int
    hours: float
    seed: int
    chains: dict[str, str] = Field(description="Name of each chain -> its steps, presets written out.")
    rows_by_chain: dict[str, int] = Field(description="Rows that drew each chain.")
    noise_files: int = Field(description="Recordings that noise steps drew from; 0: pink noise.")


def apply_channel(manifest: Path, plan: ChannelPlan, seed: int, roots: tuple[Path, ...], datasets: Path) -> ChannelSetReport:
    """Writes the dataset folder.

    Raises `manifest_invalid`, `source_empty`, `set_too_long`, `channel_bad_rows` with every row whose audio cannot be used, `disk_full` and what
    `Channel` raises.
    """
    channel = Channel(plan, seed)
    _check(manifest, roots, datasets)
    with new_dataset(datasets) as made:
        work = _Work(manifest, channel, roots, made)
        with io.atomic_file(made.path(SUMS)) as sums:
            write_manifest(made.path(MANIFEST), work.utterances(sums))
        if work.problems:
            raise NotReadyError("channel_bad_rows", f"the audio of {len(work.problems)} rows cannot be used (first: {work.problems[0].where}).",
                                next_step="correct the rows, or mark them with fix_manifest, then call apply_channel again.",
                                problems=work.problems[:_MOST_PROBLEMS])  # fmt: skip
        made.name_it(TOOL)
        report = ChannelSetReport(
            dataset_id=made.dataset_id, manifest=str(made.folder / MANIFEST), source=str(manifest), source_sha256=io.sha256_file(manifest),
            rows=work.rows, rows_marked=work.marked, hours=round(work.seconds / 3600, 4), seed=seed,
            chains={chain.name: chain.steps for chain in plan.chains}, rows_by_chain=dict(work.drawn), noise_files=len(plan.noise),
        )  # fmt: skip
        made.finish(report)
    return report


def _check(manifest: Path, roots: tuple[Path, ...], datasets: Path) -> None:
    """Reads all rows before any audio: nothing is done for a manifest that cannot be finished."""
    allowed, problems = Below(roots), list[Problem]()
    rows, seconds = 0, 0.0
    for row in scan_rows(manifest, problems):
        if row.utterance.skipped:
            continue
        rows += 1
        seconds += row.utterance.duration
        if not allowed(row.audio):
            problems.append(Problem(code="audio_refused", message="the audio lies outside the data roots", file=str(manifest), line=row.line,
                                    fix="move it below a data root, or ask the person to add one"))  # fmt: skip
    refuse_errors(manifest, problems)
    if rows == 0:
        raise NotReadyError("source_empty", f"{manifest} holds no row that is not marked _skipme.", next_step="pass a manifest with rows.")
    if seconds > MOST_HOURS * 3600:
        raise UsageError("set_too_long", f"{seconds / 3600:.1f} h are more than the {MOST_HOURS:g} h of one call.",
                         next_step="pass an eval set; training data goes through a channel with build_shards and its channel argument.")  # fmt: skip
    io.require_disk(datasets, round(seconds * FLAC_BYTES_PER_SECOND))


class _Work:
    def __init__(self, manifest: Path, channel: Channel, roots: tuple[Path, ...], made: NewDataset) -> None:
        self.manifest, self.channel, self.roots, self.made = manifest, channel, roots, made
        self.rows = self.marked = 0
        self.seconds = 0.0
        self.drawn: Counter[str] = Counter()
        self.problems: list[Problem] = []

    def utterances(self, sums: BinaryIO) -> Iterator[Utterance]:
        for row in scan_rows(self.manifest, list[Problem]()):
            self.rows += 1
            if row.utterance.skipped:
                self.marked += 1
                yield row.utterance.model_copy(update={"audio_filepath": os.path.normpath(row.audio)})
                continue
            try:
                yield self._heard(row, sums)
            except NotReadyError as error:
                self.problems.append(Problem(code=error.code, message=error.message, file=str(self.manifest), line=row.line, fix=error.next_step))

    def _heard(self, row: Row, sums: BinaryIO) -> Utterance:
        _, whole, samples = decode_row(row)
        drawn = self.channel.draw(row)
        name = f"{AUDIO}/{member_name('', row.line, row.utterance.id).strip('_')}.flac"
        data = flac(self.channel.play(samples, drawn))
        io.write_bytes(self.made.path(name), data)
        sums.write(f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode())
        fields = row.utterance.to_row()
        fields.pop("offset", None)
        seconds = len(samples) / audio.MODEL_RATE
        self.seconds += seconds
        self.drawn[drawn.name] += 1
        own = {"audio_filepath": name, "duration": round(seconds, 6), "sampling_rate": audio.MODEL_RATE}
        origin = {ORIGIN_FIELD: os.path.normpath(row.audio), DIGEST_FIELD: fields.get(DIGEST_FIELD) or _digest(row, whole=whole)}
        return Utterance.model_validate({**fields, **own, **origin, **drawn.fields})


def _digest(row: Row, *, whole: bool) -> str:
    """Identity of the original's samples at their own rate, as import_dataset and leakage checks compute it."""
    rate = audio.probe(row.audio).rate
    duration = None if whole else row.utterance.duration
    return pcm_digest(audio.decode(row.audio, rate=rate, offset=row.utterance.offset, duration=duration), rate).hex()
