"""Is a data set fit for fine-tuning? One streaming pass over a manifest and its audio.

Memory: about 400 bytes a row (ids, digests for duplicates, speaking rates); of each recording that is heard a block of 2**20 samples.
Time: decoding and one short transform; `bench/bench_data.py` measures it. Recordings are heard in threads, judged in the manifest's order.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from asrcore import audio
from asrcore.checkpoint import CheckpointInfo, tokenizer_bytes
from asrcore.data.findings import Finding, Findings, Verdict
from asrcore.data.pool import cores, threaded
from asrcore.data.signal import CLIPPED_SHARE, NARROW_BAND_SHARE, SILENCE_DBFS, Signal, measure
from asrcore.data.tags import TagChecker
from asrcore.data.transcripts import StyleShares, TranscriptCheck, UnknownCharacter
from asrcore.errors import NotReadyError, Problem, clean_text
from asrcore.manifest import Row, below, scan_rows
from asrcore.results import Frozen

DURATION_LIMITS = (("max", 20.0), ("max", 30.0), ("max", 39.99), ("min", 0.1))
"""Duration filters in use: 39.99 and 0.1 s in NeMo's recipe, 20 to 30 s where memory is short (trap 3.17)."""
SHOWN_NAMES = 10


class Heard(NamedTuple):
    """A row's audio. `piece`: the row is not the whole file."""

    info: audio.AudioInfo
    piece: bool
    signal: Signal


class FilterLoss(Frozen):
    """What a duration filter of the training loader would drop without a word."""

    limit: str = Field(description="max_duration or min_duration in seconds.")
    rows: int
    hours: float


class Names(Frozen):
    """Names from the data, cleaned and capped: hours of the largest speakers and sources."""

    hours_by_speaker: dict[str, float]
    hours_by_source: dict[str, float]


class InspectReport(Frozen):
    """Hours are of the rows inspected, by the manifest's durations."""

    verdict: Verdict
    manifest: str
    base: str
    rows: int = Field(description="Readable rows of the manifest.")
    rows_inspected: int
    rows_skipped: int = Field(description="Rows marked _skipme; not inspected.")
    rows_with_errors: int
    hours: float
    hours_by_locale: dict[str, float] = Field(description="By tag of the checkpoint; `unknown` for all other tags.")
    hours_by_sample_rate: dict[str, float]
    narrow_band_hours: float = Field(description="Hours with nothing above 4 kHz: telephone audio, whatever the sample rate.")
    speakers: int
    sources: int
    style: StyleShares
    unknown_characters: tuple[UnknownCharacter, ...]
    filters: tuple[FilterLoss, ...]
    findings: tuple[Finding, ...]
    untrusted_text: Names


def inspect(manifest: Path, base: CheckpointInfo, base_name: str, *, sample: int = 0, roots: Iterable[Path] | None = None,
            workers: int | None = None) -> InspectReport:  # fmt: skip
    """Inspects all rows, or with `sample` > 0 about that many: every k-th (the manifest itself is always read to its end).

    `roots`: folders that audio may lie in; None allows all. `workers`: threads that listen; None: one a core. The report does not depend on it.
    Raises `manifest_unreadable` and what `tokenizer_bytes` raises.
    """
    every = max(1, math.ceil(_count_lines(manifest) / sample)) if sample > 0 else 1
    inspector = _Inspector(base, None if roots is None else tuple(roots))
    for row, heard in threaded(hear, inspector.read(manifest, every), cores() if workers is None else workers):
        inspector.judge(row, heard)
    return inspector.report(manifest, base_name)


def hear(row: Row) -> Heard | NotReadyError:
    """Decodes and measures the audio of one row, or says why it cannot."""
    utterance = row.utterance
    try:
        info = audio.probe(row.audio)
        piece = utterance.offset > 0 or utterance.duration < info.seconds - audio.DURATION_TOLERANCE
        found = audio.blocks(row.audio, offset=utterance.offset, duration=utterance.duration if piece else None)
        return Heard(info, piece, measure(found, info.rate))
    except NotReadyError as error:
        return error


class _Inspector:
    def __init__(self, base: CheckpointInfo, roots: tuple[Path, ...] | None) -> None:
        self.base = base
        self.roots = roots
        self.findings = Findings()
        self.tags = TagChecker(base.prompt_dictionary, self.findings)
        self.transcripts = TranscriptCheck(tokenizer_bytes(Path(base.path)), self.findings)
        self.rows = self.readable = self.skipped = 0
        self.seconds = self.narrow_seconds = 0.0
        self.by_locale: dict[str, float] = defaultdict(float)
        self.by_rate: dict[str, float] = defaultdict(float)
        self.by_speaker: dict[str, float] = defaultdict(float)
        self.by_source: dict[str, float] = defaultdict(float)
        self.dropped = [[0, 0.0] for _ in DURATION_LIMITS]
        self._recordings: dict[bytes, tuple[int, int]] = {}

    def read(self, manifest: Path, every: int) -> Iterator[Row]:
        """Reads the manifest to its end, checks what every k-th row says, and gives those rows whose audio may be heard."""
        problems: list[Problem] = []
        for row in scan_rows(manifest, problems):
            self.findings.drain(problems)
            self.readable += 1
            if row.utterance.skipped:
                self.skipped += 1
            elif (row.line - 1) % every == 0:
                self._check_row(row)
                if self.roots is None or below(row.audio, self.roots):
                    yield row
                else:
                    self.findings.add("audio_refused", "error", row.line, "the audio lies outside the data roots",
                                      "move it below a data root, or ask the person to add one")  # fmt: skip
        self.findings.drain(problems)

    def judge(self, row: Row, heard: Heard | NotReadyError) -> None:
        if isinstance(heard, NotReadyError):
            self.findings.add(heard.code, "error", row.line, _WHAT[heard.code], heard.next_step)
            return
        self._check_header(row, heard.info, heard.signal, heard.piece)
        self._check_signal(row.line, row.utterance.duration, heard.info, heard.signal)
        self._check_duplicate(row.line, row.utterance.text, heard.signal)

    def _check_row(self, row: Row) -> None:
        utterance = row.utterance
        self.rows += 1
        self.seconds += utterance.duration
        self.by_locale[utterance.target_lang if utterance.target_lang in self.base.prompt_dictionary else "unknown"] += utterance.duration
        for names, name in ((self.by_speaker, utterance.speaker), (self.by_source, utterance.source)):
            if name is not None:
                names[name] += utterance.duration
        for index, (kind, limit) in enumerate(DURATION_LIMITS):
            if utterance.duration > limit if kind == "max" else utterance.duration < limit:
                self.dropped[index][0] += 1
                self.dropped[index][1] += utterance.duration
        self.tags.check(row)
        self.transcripts.check(row)

    def _check_header(self, row: Row, info: audio.AudioInfo, signal: Signal, piece: bool) -> None:
        add, line, utterance = self.findings.add, row.line, row.utterance
        self.by_rate[str(info.rate)] += utterance.duration
        if not piece and signal.seconds < info.seconds - audio.DURATION_TOLERANCE:
            add(
                "audio_truncated",
                "error",
                line,
                "the file decodes to less audio than its header promises",
                "replace the file, or remove the row",
            )
        elif signal.seconds < utterance.duration - audio.DURATION_TOLERANCE:
            add(
                "duration_too_long",
                "error",
                line,
                "the manifest's offset and duration reach over the end of the audio",
                "correct offset and duration",
            )
        elif utterance.offset == 0 and piece:
            add("duration_cuts_audio", "warning", line, "the manifest's duration ends before the audio does; only that part is used",
                "correct the duration, unless the row is a piece of a longer recording")  # fmt: skip
        if utterance.sampling_rate is not None and utterance.sampling_rate != info.rate:
            add("sampling_rate_mismatch", "warning", line, "sampling_rate of the row is not the file's", "correct or drop sampling_rate")
        if info.rate < audio.MODEL_RATE:
            add("sample_rate_low", "info", line, f"recorded at {info.rate} Hz; the model works at {audio.MODEL_RATE} Hz",
                "nothing; build_shards resamples", str(info.rate))  # fmt: skip
        if info.channels > 1:
            add("audio_channels", "warning", line, f"{info.channels} channels, averaged into one; two callers on two channels would talk over each other",
                "split the channels into rows of their own if they hold different speakers", str(info.channels))  # fmt: skip

    def _check_signal(self, line: int, seconds: float, info: audio.AudioInfo, signal: Signal) -> None:
        add = self.findings.add
        if signal.level_dbfs < SILENCE_DBFS:
            add(
                "audio_silent",
                "error",
                line,
                f"the level is under {SILENCE_DBFS:.0f} dBFS: no speech to learn from",
                "replace the audio, or remove the row",
            )
            return
        if signal.clipped_share > CLIPPED_SHARE:
            add(
                "audio_clipped",
                "warning",
                line,
                f"over {CLIPPED_SHARE:.1%} of the samples are cut off at full scale",
                "use the unclipped recording if there is one",
            )
        if signal.high_share < NARROW_BAND_SHARE:
            self.narrow_seconds += seconds
            if info.rate >= audio.MODEL_RATE:
                add("audio_upsampled", "warning", line, f"{info.rate} Hz with nothing above 4 kHz: telephone audio that was upsampled",
                    "nothing if telephone audio is the target; else use the wideband original", str(info.rate))  # fmt: skip

    def _check_duplicate(self, line: int, text: str, signal: Signal) -> None:
        first, first_text = self._recordings.setdefault(signal.digest, (line, hash(text)))
        if first == line:
            return
        if first_text == hash(text):
            self.findings.add("duplicate", "warning", line, "the same audio with the same text stands further up", "keep one of the rows")
        else:
            self.findings.add(
                "text_conflict", "error", line, "the same audio with another text stands further up", "keep the row with the right text"
            )

    def report(self, manifest: Path, base_name: str) -> InspectReport:
        style, characters = self.transcripts.finish()
        return InspectReport(
            verdict=self.findings.verdict(self.rows), manifest=str(manifest), base=base_name, rows=self.readable, rows_inspected=self.rows,
            rows_skipped=self.skipped,
            rows_with_errors=len(self.findings.bad_lines), hours=_hours(self.seconds), hours_by_locale=_largest(self.by_locale),
            hours_by_sample_rate=_largest(self.by_rate), narrow_band_hours=_hours(self.narrow_seconds), speakers=len(self.by_speaker),
            sources=len(self.by_source), style=style, unknown_characters=characters,
            filters=tuple(FilterLoss(limit=f"{kind}_duration {limit:g}", rows=int(lost[0]), hours=_hours(lost[1]))
                          for (kind, limit), lost in zip(DURATION_LIMITS, self.dropped, strict=True)),
            findings=self.findings.result(),
            untrusted_text=Names(hours_by_speaker=_largest(self.by_speaker), hours_by_source=_largest(self.by_source)),
        )  # fmt: skip


_WHAT = {
    "audio_missing": "the audio file does not exist",
    "audio_unreadable": "the audio cannot be decoded",
    "audio_empty": "the audio holds no samples in the wanted piece",
}


def _count_lines(path: Path) -> int:
    try:
        with open(path, "rb") as file:
            return sum(1 for _ in file)
    except OSError:
        return 0  # scan_rows reports it


def _hours(seconds: float) -> float:
    return round(seconds / 3600, 4)


def _largest(seconds: dict[str, float]) -> dict[str, float]:
    """Hours of the largest entries; names cleaned, as they may come from the data."""
    ranked = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
    return {clean_text(name, 40): _hours(value) for name, value in ranked[:SHOWN_NAMES]}
