"""Train, dev and test from one manifest, disjoint in speakers and sentences, the same for the same rows and seed in any order.

Rows that share a speaker, a telling sentence or a source recording form a group (connected components); a group goes into one part as a whole.
Groups are taken in the order of a hash of their names with the seed: first until test has its share of seconds, then dev; train is the rest.

Where many speakers read the same sentences everything hangs together. Then `conflicts="mark"` groups by speaker (and recording) only and marks
rows of train and dev whose sentence is in a part measured later (`_skipme: "sentence_in_test:split_dataset"`): nothing is deleted, training leaves
them out. Memory: about 60 bytes a row, and 150 bytes a distinct speaker, sentence or recording.
"""

from __future__ import annotations

import hashlib
import math
import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from pydantic import Field

from asrcore import io
from asrcore.data.datasets import NewDataset, new_dataset
from asrcore.data.leakage import BLOCKING, Keys, KeySet, OverlapKind, keys_of
from asrcore.data.sentences import sentence
from asrcore.errors import NotReadyError, Problem
from asrcore.manifest import SKIP_MARK, refuse_errors, scan_rows
from asrcore.results import Frozen

Part = Literal["train", "dev", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
Conflicts = Literal["refuse", "mark"]

MOST_OVER = 1.1
"""A group is taken as long as a part stays under this multiple of its share."""
LEAST = 0.5
"""A part under this multiple of its share is too far from what was asked for."""
TOOL = "split_dataset"


class PartReport(Frozen):
    """One manifest. `rows_marked` are in it with `_skipme`; hours and speakers are without them."""

    part: Part
    manifest: str
    rows: int
    rows_marked: int
    hours: float
    speakers: int


class SplitReport(Frozen):
    dataset_id: str
    source: str
    source_sha256: str
    seed: int
    shares: dict[Part, float] = Field(description="As asked for, of the seconds.")
    conflicts: Conflicts
    parts: tuple[PartReport, ...]
    groups: int = Field(description="Groups of rows that must stay together.")
    largest_group_share: float = Field(description="Share of all seconds in the largest group, 0 to 1.")
    rows_without_speaker: int
    marked: dict[str, int] = Field(description="Rows marked by this split, by reason.")


class Held(NamedTuple):
    """A registered set that the split must not touch: its role, and the keys of its rows."""

    role: str
    keys: KeySet


class _Read(NamedTuple):
    """One pass over the manifest: by row, its line, seconds, group, hash order, sentence and the reason to mark it (0: none)."""

    lines: array[int]
    seconds: array[float]
    group: list[int]
    order: array[int]
    sentences: array[int]
    held: bytearray
    without_speaker: int


def split(
    manifest: Path, shares: Mapping[Part, float], seed: int, conflicts: Conflicts, held: Sequence[Held], datasets: Path
) -> SplitReport:
    """Writes train.jsonl, dev.jsonl and test.jsonl into a dataset folder. `shares` are of seconds, for dev and test; 0 leaves a part out.

    Raises `manifest_invalid`, `split_overlaps` (rows of a registered set, with conflicts="refuse"), `split_too_coarse`, `split_nothing_left`.
    """
    read = _read(manifest, seed, conflicts, held)
    if conflicts == "refuse":
        _refuse_held(manifest, read, held)
    totals = _totals(read)
    part_of = assign(totals, shares)
    _refuse_coarse(read, totals, part_of, shares)
    marks = _marks(read, part_of, conflicts, held)
    with new_dataset(datasets) as made:
        parts = _write(manifest, made, read, part_of, marks, [p for p in PARTS if p == "train" or shares.get(p, 0) > 0])
        _refuse_empty(parts)
        made.name_it(TOOL)
        sizes = [seconds for seconds, _ in totals.values()]
        report = SplitReport(
            dataset_id=made.dataset_id, source=str(manifest), source_sha256=io.sha256_file(manifest), seed=seed, shares=dict(shares), conflicts=conflicts,
            parts=tuple(p.model_copy(update={"manifest": str(made.folder / p.manifest)}) for p in parts), groups=len(sizes),
            largest_group_share=round(max(sizes) / sum(sizes), 4), rows_without_speaker=read.without_speaker, marked=dict(Counter(marks.values())),
        )  # fmt: skip
        made.finish(report)
    return report


def assign(groups: Mapping[int, tuple[float, int]], shares: Mapping[Part, float]) -> dict[int, Part]:
    """Group -> part. `groups` holds seconds and hash order; the same groups in any order give the same parts."""
    total = math.fsum(seconds for seconds, _ in groups.values())
    part_of: dict[int, Part] = {}
    for part in ("test", "dev"):
        wanted, taken = shares.get(part, 0.0) * total, 0.0
        for group, (seconds, _) in sorted(groups.items(), key=lambda item: item[1][1]):
            if group not in part_of and taken < wanted and taken + seconds <= wanted * MOST_OVER:
                part_of[group] = part
                taken += seconds
    return {group: part_of.get(group, "train") for group in groups}


class _Groups:
    """Union-find over rows, path-halving; the root of a group is its first row."""

    def __init__(self) -> None:
        self.parent = array("q")
        self._first: dict[tuple[str, int | str], int] = {}

    def add(self, names: Sequence[tuple[str, int | str]]) -> None:
        """A new row that belongs together with all earlier rows of any of these names."""
        row = len(self.parent)
        self.parent.append(row)
        for name in names:
            first = self.root(self._first.setdefault(name, row))
            own = self.root(row)
            self.parent[max(first, own)] = min(first, own)

    def root(self, row: int) -> int:
        parent = self.parent
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row


def _read(manifest: Path, seed: int, conflicts: Conflicts, held: Sequence[Held]) -> _Read:
    groups, problems, without_speaker = _Groups(), list[Problem](), 0
    read = _Read(array("Q"), array("d"), [], array("Q"), array("q"), bytearray(), 0)
    for row in scan_rows(manifest, problems):
        keys = keys_of(row)
        read.lines.append(row.line)
        read.seconds.append(row.utterance.duration)
        read.sentences.append(keys.sentence or 0)
        read.held.append(_held_by(keys, held) if not row.utterance.skipped else 0)
        without_speaker += keys.speaker is None
        names = _names(keys, by_sentence=conflicts == "refuse" or keys.speaker is None)
        groups.add(names)
        # Hashes of what the row is, not of where it stands: the order of the groups outlives a shuffled manifest.
        label = f"{keys.speaker}" if keys.speaker is not None else sentence(row.utterance.text)
        read.order.append(_hash(seed, label))
    refuse_errors(manifest, problems)
    if not read.lines:
        raise NotReadyError("manifest_invalid", f"{manifest} holds no row.", next_step="pass a manifest with rows.")
    return read._replace(group=[groups.root(row) for row in range(len(read.lines))], without_speaker=without_speaker)


def _names(keys: Keys, *, by_sentence: bool) -> list[tuple[str, int | str]]:
    names: list[tuple[str, int | str]] = [("recording", recording) for recording in keys.recordings]
    if keys.digest is not None:
        names.append(("audio", keys.digest))
    if keys.speaker is not None:
        names.append(("speaker", f"{keys.speaker[0]}\0{keys.speaker[1] or ''}"))
    if by_sentence and keys.sentence is not None:
        names.append(("sentence", keys.sentence))
    return names


def _held_by(keys: Keys, held: Sequence[Held]) -> int:
    """1 + index of the first registered set that holds this row, or 0."""
    blocking: set[OverlapKind] = set(BLOCKING)
    return next((index for index, one in enumerate(held, 1) if blocking.intersection(one.keys.shared(keys))), 0)


def _hash(seed: int, label: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{label}".encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _totals(read: _Read) -> dict[int, tuple[float, int]]:
    """Group -> its seconds and the smallest hash of its rows. Summed in whole milliseconds, so that the order of rows cannot show in a last bit."""
    milliseconds: defaultdict[int, int] = defaultdict(int)
    order: dict[int, int] = {}
    for row, group in enumerate(read.group):
        milliseconds[group] += max(1, round(1000 * read.seconds[row]))
        order[group] = min(order.get(group, read.order[row]), read.order[row])
    return {group: (total / 1000, order[group]) for group, total in milliseconds.items()}


def _refuse_held(manifest: Path, read: _Read, held: Sequence[Held]) -> None:
    problems = [
        Problem(code="set_overlap", message=f"the row shares a recording or a sentence with a registered {held[index - 1].role} set",
                file=str(manifest), line=read.lines[row], fix="leave it out, or mark it with conflicts=mark")
        for row, index in enumerate(read.held) if index
    ]  # fmt: skip
    if problems:
        raise NotReadyError("split_overlaps", f"{len(problems)} rows overlap with registered sets.",
                            next_step='call split_dataset with conflicts="mark": it marks these rows _skipme.', problems=problems[:1000])  # fmt: skip


def _refuse_coarse(read: _Read, totals: Mapping[int, tuple[float, int]], part_of: Mapping[int, Part], shares: Mapping[Part, float]) -> None:
    total = sum(seconds for seconds, _ in totals.values())
    got: defaultdict[str, float] = defaultdict(float)
    for group, (seconds, _) in totals.items():
        got[part_of[group]] += seconds
    short = [p for p in PARTS[1:] if shares.get(p, 0) > 0 and got[p] < LEAST * shares[p] * total]
    if short or got["train"] <= 0:
        largest = max(seconds for seconds, _ in totals.values()) / total
        raise NotReadyError("split_too_coarse", f"{len(totals)} group(s) of rows that share speakers, sentences or recordings, the largest with "
                            f"{100 * largest:.0f} % of the seconds, cannot fill {' and '.join(short) or 'train'} as asked.",
                            next_step='call split_dataset with conflicts="mark" (groups by speaker only), with another share, or with more speakers.')  # fmt: skip


def _refuse_empty(parts: Sequence[PartReport]) -> None:
    empty = [p.part for p in parts if p.rows_marked == p.rows]
    if empty:
        raise NotReadyError("split_nothing_left", f"every row of {' and '.join(empty)} shares its sentence or its recording with a part or a set that "
                            "is measured on.", next_step="record other sentences for dev and test, or import a test set of other sentences.")  # fmt: skip


def _marks(read: _Read, part_of: Mapping[int, Part], conflicts: Conflicts, held: Sequence[Held]) -> dict[int, str]:
    """Row -> reason. Only with conflicts="mark"."""
    if conflicts == "refuse":
        return {}
    sentences: dict[Part, set[int]] = {part: set() for part in PARTS}
    parts: list[Part] = [part_of[group] for group in read.group]
    for row, part in enumerate(parts):
        sentences[part].add(read.sentences[row])
    marks: dict[int, str] = {}
    for row, part in enumerate(parts):
        key = read.sentences[row]
        if index := read.held[row]:
            marks[row] = f"in_{held[index - 1].role}_set:{TOOL}"
        elif key and part != "test" and key in sentences["test"]:
            marks[row] = f"sentence_in_test:{TOOL}"
        elif key and part == "train" and key in sentences["dev"]:
            marks[row] = f"sentence_in_dev:{TOOL}"
    return marks


def _write(
    manifest: Path, made: NewDataset, read: _Read, part_of: Mapping[int, Part], marks: Mapping[int, str], wanted: Sequence[Part]
) -> list[PartReport]:
    rows, marked = Counter[Part](), Counter[Part]()
    seconds: defaultdict[Part, float] = defaultdict(float)
    speakers: dict[Part, set[str]] = {part: set() for part in PARTS}
    with ExitStack() as stack:
        files = {part: stack.enter_context(io.atomic_file(made.path(f"{part}.jsonl"))) for part in wanted}
        for index, row in enumerate(scan_rows(manifest, list[Problem]())):
            part, utterance = part_of[read.group[index]], row.utterance
            fields = utterance.to_row() | {"audio_filepath": os.path.normpath(row.audio)}
            if index in marks and not utterance.skipped:
                fields[SKIP_MARK] = marks[index]
            files[part].write(io.json_line(fields))
            rows[part] += 1
            if fields.get(SKIP_MARK):
                marked[part] += 1
                continue
            seconds[part] += utterance.duration
            if utterance.speaker is not None:
                speakers[part].add(utterance.speaker)
    return [PartReport(part=part, manifest=f"{part}.jsonl", rows=rows[part], rows_marked=marked[part], hours=round(seconds[part] / 3600, 4),
                       speakers=len(speakers[part])) for part in wanted]  # fmt: skip
