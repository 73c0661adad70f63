"""Do two sets share what one of them is measured by? Five kinds of overlap, told apart because they mean different things.

    audio      the same recording: equal digest of decoded samples, or overlapping pieces of one file
    text       the same sentence after normalisation, four words and longer
    recording  pieces of one source recording (`recording` or `source_audio` of the row, or the file itself)
    ngram      eight words in a row in common
    speaker    the same speaker, where the sources do not differ

The smaller set's keys are in memory (about 2 kB a row), the larger one is streamed, then the smaller once more: 100,000 x 10,000 rows take seconds.
Digests are compared where both rows have `audio_digest` (import_dataset with decode=true writes it), or all audio is decoded on request.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pydantic import Field

from asrcore import audio
from asrcore.data.findings import SHOWN_LINES
from asrcore.data.sentences import grams, sentence, telling
from asrcore.data.signal import DIGEST_FIELD, pcm_digest
from asrcore.errors import NotReadyError, Problem
from asrcore.manifest import Row, below, refuse_errors, scan_rows
from asrcore.results import Frozen

OverlapKind = Literal["audio", "text", "recording", "ngram", "speaker"]
KINDS: tuple[OverlapKind, ...] = get_args(OverlapKind)
BLOCKING: tuple[OverlapKind, ...] = ("audio", "text", "recording")
"""Kinds that make a measured gain recitation. The others weaken a claim (new speakers, new phrases) and are warnings."""

ORIGIN_FIELD = "source_audio"
"""Extra field of a manifest row: the recording that this audio was made from, an absolute path or the corpus's own name for it."""
_RECORDING_FIELDS = ("recording", ORIGIN_FIELD)


class Overlap(Frozen):
    """One kind of overlap between two sets; counts are complete."""

    kind: OverlapKind
    rows_first: int
    rows_second: int
    lines_first: tuple[int, ...] = Field(description=f"First lines of the first manifest, at most {SHOWN_LINES}.")
    lines_second: tuple[int, ...]


class LeakReport(Frozen):
    """Two sets compared. `digests_*`: rows whose decoded audio was compared; the others were compared by file only."""

    rows_first: int
    rows_second: int
    digests_first: int
    digests_second: int
    overlaps: tuple[Overlap, ...]

    def blocking(self, allowed: Iterable[str] = ()) -> tuple[Overlap, ...]:
        """The overlaps that forbid the use of both sets together."""
        return tuple(o for o in self.overlaps if o.kind in BLOCKING and o.kind not in tuple(allowed))


class Keys(NamedTuple):
    """What identifies one row."""

    path: str
    start: float
    end: float
    digest: str | None
    sentence: int | None
    grams: list[int]
    recordings: tuple[str, ...]
    speaker: tuple[str, str | None] | None


class KeySet:
    """The keys of many rows, ready to be asked for."""

    def __init__(self) -> None:
        self._digests: set[str] = set()
        self._pieces: dict[str, list[tuple[float, float]]] = {}
        self._sentences: set[int] = set()
        self._grams: set[int] = set()
        self._recordings: set[str] = set()
        self._speakers: set[tuple[str, str | None]] = set()
        self._names: set[str] = set()

    def add(self, keys: Keys, kinds: Iterable[OverlapKind] = KINDS) -> None:
        """Takes in the keys of one row, of these kinds only."""
        for kind in kinds:
            if kind == "audio":
                self._pieces.setdefault(keys.path, []).append((keys.start, keys.end))
                if keys.digest is not None:
                    self._digests.add(keys.digest)
            elif kind == "text" and keys.sentence is not None:
                self._sentences.add(keys.sentence)
            elif kind == "ngram":
                self._grams.update(keys.grams)
            elif kind == "recording":
                self._recordings.update(keys.recordings)
            elif kind == "speaker" and keys.speaker is not None:
                self._speakers.add(keys.speaker)
                self._names.add(keys.speaker[0])

    def shared(self, keys: Keys) -> list[OverlapKind]:
        """The kinds in which a row overlaps with any row taken in."""
        found: list[OverlapKind] = []
        if keys.digest in self._digests or any(start < keys.end and keys.start < end for start, end in self._pieces.get(keys.path, ())):
            found.append("audio")
        if keys.sentence in self._sentences:
            found.append("text")
        if not self._recordings.isdisjoint(keys.recordings):
            found.append("recording")
        if not self._grams.isdisjoint(keys.grams):
            found.append("ngram")
        if keys.speaker is not None and self._knows(*keys.speaker):
            found.append("speaker")
        return found

    def _knows(self, name: str, source: str | None) -> bool:
        if source is None:
            return name in self._names
        return (name, source) in self._speakers or (name, None) in self._speakers


class Decoding(NamedTuple):
    """Audio is decoded where a row has no digest, if it lies below these roots."""

    roots: tuple[Path, ...]


def keys_of(row: Row, decoding: Decoding | None = None) -> Keys:
    """The keys of one row. Audio that cannot be decoded has no digest; inspect_dataset reports it."""
    utterance = row.utterance
    extra: Mapping[str, Any] = utterance.model_extra or {}
    plain = sentence(utterance.text)
    path = os.path.normpath(row.audio)
    source = utterance.source
    named = tuple(f"{source or ''}\0{extra[name]}" for name in _RECORDING_FIELDS if isinstance(extra.get(name), str | int))
    digest = extra.get(DIGEST_FIELD)
    if not isinstance(digest, str):
        digest = _decoded(row, decoding) if decoding else None
    return Keys(
        path=path, start=utterance.offset, end=utterance.offset + utterance.duration, digest=digest,
        sentence=hash(plain) if telling(plain, utterance.target_lang) else None, grams=grams(plain, utterance.target_lang),
        recordings=(path, *named, *_copied_from(extra)), speaker=None if utterance.speaker is None else (utterance.speaker, source),
    )  # fmt: skip


def _copied_from(extra: Mapping[str, Any]) -> tuple[str, ...]:
    """The file that a slice of apply_channel was made from, by its path: the original stands under that path in its own manifest."""
    origin = extra.get(ORIGIN_FIELD)
    return (os.path.normpath(origin),) if isinstance(origin, str) and os.path.isabs(origin) else ()


def read_keys(manifest: Path, decoding: Decoding | None = None) -> Iterator[tuple[int, Keys]]:
    """Line and keys of every row that is not marked `_skipme`. Raises `manifest_invalid` at the end with every bad line."""
    problems: list[Problem] = []
    for row in scan_rows(manifest, problems):
        if not row.utterance.skipped:
            yield row.line, keys_of(row, decoding)
    refuse_errors(manifest, problems)


def compare_sets(first: Path, second: Path, decoding: Decoding | None = None) -> LeakReport:
    """What two manifests share. Raises `manifest_invalid`, `manifest_unreadable`."""
    if _size(first) > _size(second):
        return _swapped(compare_sets(second, first, decoding))
    small = KeySet()
    for _, keys in read_keys(first, decoding):
        small.add(keys)
    touched, seen_second = KeySet(), _Tally()
    for line, keys in read_keys(second, decoding):
        kinds = small.shared(keys)
        touched.add(keys, kinds)
        seen_second.count(line, keys, kinds)
    seen_first = _Tally()
    for line, keys in read_keys(first, decoding):
        seen_first.count(line, keys, touched.shared(keys))
    return LeakReport(
        rows_first=seen_first.rows, rows_second=seen_second.rows, digests_first=seen_first.digests, digests_second=seen_second.digests,
        overlaps=tuple(Overlap(kind=kind, rows_first=seen_first.counts[kind], rows_second=seen_second.counts[kind],
                               lines_first=tuple(seen_first.lines[kind]), lines_second=tuple(seen_second.lines[kind]))
                       for kind in KINDS if seen_second.counts[kind]),
    )  # fmt: skip


class _Tally:
    def __init__(self) -> None:
        self.rows = self.digests = 0
        self.counts: dict[OverlapKind, int] = dict.fromkeys(KINDS, 0)
        self.lines: dict[OverlapKind, list[int]] = {kind: [] for kind in KINDS}

    def count(self, line: int, keys: Keys, kinds: Iterable[OverlapKind]) -> None:
        self.rows += 1
        self.digests += keys.digest is not None
        for kind in kinds:
            self.counts[kind] += 1
            if len(self.lines[kind]) < SHOWN_LINES:
                self.lines[kind].append(line)


def _swapped(report: LeakReport) -> LeakReport:
    return LeakReport(
        rows_first=report.rows_second, rows_second=report.rows_first, digests_first=report.digests_second, digests_second=report.digests_first,
        overlaps=tuple(Overlap(kind=o.kind, rows_first=o.rows_second, rows_second=o.rows_first, lines_first=o.lines_second, lines_second=o.lines_first)
                       for o in report.overlaps),
    )  # fmt: skip


def _decoded(row: Row, decoding: Decoding) -> str | None:
    if not below(row.audio, decoding.roots):
        return None
    utterance = row.utterance
    try:
        info = audio.probe(row.audio)
        piece = not utterance.covers(info.seconds)
        samples = audio.decode(row.audio, rate=info.rate, offset=utterance.offset, duration=utterance.duration if piece else None)
    except NotReadyError:
        return None
    return pcm_digest(samples, info.rate).hex()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # scan_rows reports it
