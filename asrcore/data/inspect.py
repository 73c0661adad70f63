"""Is a data set fit for fine-tuning? One streaming pass over a manifest and its audio.

Memory: about 400 bytes a row (ids, digests for duplicates, speaking rates, groups); of each recording that is heard a block of 2**20 samples.
Time: decoding and one short transform; `bench/bench_data.py` measures it. Recordings are heard in threads, judged in the manifest's order.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field

from asrcore import audio
from asrcore.audio_header import DURATION_TOLERANCE
from asrcore.checkpoint import CheckpointInfo, tokenizer_bytes
from asrcore.data.findings import Finding, Findings, Verdict
from asrcore.data.groups import GroupBalance, Groups
from asrcore.data.heard import HeardCheck, HeardReport
from asrcore.data.pool import cores, threaded
from asrcore.data.signal import CLIPPED_SHARE, DC_SHARE, EDGE_SILENCE_S, LOW_SNR_DB, NARROW_BAND_SHARE, SILENCE_DBFS, Signal, measure
from asrcore.data.tags import TagChecker
from asrcore.data.transcripts import StyleShares, TranscriptCheck, UnknownCharacter
from asrcore.errors import NotReadyError, Problem, clean_text
from asrcore.manifest import Below, Row, scan_rows
from asrcore.results import Frozen

DURATION_LIMITS = (("max", 20.0), ("max", 30.0), ("max", 39.99), ("min", 0.1))
"""Duration filters in use: 39.99 and 0.1 s in NeMo's recipe, 20 to 30 s where memory is short (trap 3.17)."""
DURATION_EDGES = (1, 2, 5, 10, 15, 20, 30, 40)
"""Edges of the duration bins, in seconds; the upper ones are limits in use (`DURATION_LIMITS`)."""
SHOWN_NAMES = 10

HEARD_A_SECOND = 800.0
"""Seconds of 16 kHz FLAC that a core decodes and measures a second, at the least (bench/bench_data.py, stage full)."""
ROW_S = 0.0005
"""Seconds a row for its text and for opening its file."""
EXPECT_FROM_ROWS = 500
"""Rows at the start of a manifest whose durations stand for all."""


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


class Noise(Frozen):
    """Estimated signal-to-noise ratio over the recordings of at least a second, in dB: 10 % of them are under `p10`."""

    p10: float
    median: float
    p90: float


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
    hours_by_duration: dict[str, float] = Field(description="By seconds of the row; the lower edge belongs to a bin.")
    snr_db: Noise | None = Field(description="Null where no recording is a second long.")
    edge_silence_hours: float = Field(description="Hours before the first and after the last speech of the recordings.")
    narrow_band_hours: float = Field(description="Hours with nothing above 4 kHz: telephone audio, whatever the sample rate.")
    speakers: int
    sources: int
    job_id: str | None = Field(default=None, description="Job that inspects all rows, where that takes long; this report is then of a sample.")
    groups: tuple[GroupBalance, ...] = Field(description="By fields of the rows that say something of the speaker.")
    style: StyleShares
    unknown_characters: tuple[UnknownCharacter, ...]
    heard: HeardReport | None = Field(description="Where transcripts of an independent recogniser were given.")
    filters: tuple[FilterLoss, ...]
    findings: tuple[Finding, ...]
    untrusted_text: Names


def inspect(manifest: Path, base: CheckpointInfo, base_name: str, *, sample: int = 0, roots: Iterable[Path] | None = None,
            workers: int | None = None, heard: Path | None = None, tick: Callable[[int], None] | None = None) -> InspectReport:  # fmt: skip
    """Inspects all rows, or with `sample` > 0 about that many: every k-th (the manifest itself is always read to its end).

    `roots`: folders that audio may lie in; None allows all. `workers`: threads that listen; None: one a core. The report does not depend on it.
    `heard`: transcripts of an independent recogniser. `tick` is called with the number of rows heard so far; what it raises ends the work.
    Raises `manifest_unreadable`, and what `tokenizer_bytes` and `HeardCheck` raise.
    """
    every = max(1, math.ceil(count_lines(manifest) / sample)) if sample > 0 else 1
    inspector = _Inspector(base, None if roots is None else Below(roots), None if heard is None else HeardCheck(heard))
    for number, (row, sound) in enumerate(threaded(hear, inspector.read(manifest, every), cores() if workers is None else workers), 1):
        inspector.judge(row, sound)
        if tick is not None:
            tick(number)
    return inspector.report(manifest, base_name)


def expected_row_s(manifest: Path) -> float:
    """Seconds that a row will take to inspect here, from the durations of the first rows; 0 where none is readable."""
    rows = list(islice(scan_rows(manifest, list[Problem]()), EXPECT_FROM_ROWS))
    seconds = sum(row.utterance.duration for row in rows) / len(rows) if rows else 0.0
    return ROW_S + seconds / HEARD_A_SECOND / cores() if rows else 0.0


def hear(row: Row) -> Heard | NotReadyError:
    """Decodes and measures the audio of one row, or says why it cannot."""
    utterance = row.utterance
    try:
        info = audio.probe(row.audio)
        piece = not utterance.covers(info.seconds)
        found = audio.blocks(row.audio, offset=utterance.offset, duration=utterance.duration if piece else None)
        return Heard(info, piece, measure(found, info.rate))
    except NotReadyError as error:
        return error


class _Inspector:
    def __init__(self, base: CheckpointInfo, allowed: Below | None, heard: HeardCheck | None) -> None:
        self.base = base
        self.heard = heard
        self.allowed = allowed
        self.findings = Findings()
        self.tags = TagChecker(base.prompt_dictionary, self.findings)
        self.transcripts = TranscriptCheck(tokenizer_bytes(Path(base.path)), self.findings)
        self.rows = self.readable = self.skipped = 0
        self.seconds = self.narrow_seconds = 0.0
        self.by_locale: dict[str, float] = defaultdict(float)
        self.by_rate: dict[str, float] = defaultdict(float)
        self.by_speaker: dict[str, float] = defaultdict(float)
        self.by_source: dict[str, float] = defaultdict(float)
        self.by_duration = [0.0] * (len(DURATION_EDGES) + 1)
        self.groups = Groups()
        self.snrs = array("f")
        self.edge_seconds = 0.0
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
                if self.allowed is None or self.allowed(row.audio):
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
        self.by_duration[bisect_right(DURATION_EDGES, utterance.duration)] += utterance.duration
        self.groups.add(row)
        for index, (kind, limit) in enumerate(DURATION_LIMITS):
            if utterance.duration > limit if kind == "max" else utterance.duration < limit:
                self.dropped[index][0] += 1
                self.dropped[index][1] += utterance.duration
        self.tags.check(row)
        self.transcripts.check(row)
        if self.heard is not None:
            self.heard.check(row)

    def _check_header(self, row: Row, info: audio.AudioInfo, signal: Signal, piece: bool) -> None:
        add, line, utterance = self.findings.add, row.line, row.utterance
        self.by_rate[str(info.rate)] += utterance.duration
        if not piece and signal.seconds < info.seconds - DURATION_TOLERANCE:
            add(
                "audio_truncated",
                "error",
                line,
                "the file decodes to less audio than its header promises",
                "replace the file, or remove the row",
            )
        elif signal.seconds < utterance.duration - DURATION_TOLERANCE:
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
        self.edge_seconds += signal.lead_s + signal.tail_s
        if abs(signal.dc) > DC_SHARE:
            add("audio_offset", "warning", line, f"the samples lie off zero by over {DC_SHARE:.0%} of full scale, a fault of the recorder",
                "high-pass the recording at 20 Hz")  # fmt: skip
        if max(signal.lead_s, signal.tail_s) > EDGE_SILENCE_S:
            add("audio_edge_silence", "warning", line, f"over {EDGE_SILENCE_S:g} s without speech at the start or the end",
                "cut it off, or give the row an offset and a duration")  # fmt: skip
        if signal.snr_db is not None:
            self.snrs.append(signal.snr_db)
            if signal.snr_db < LOW_SNR_DB:
                add("audio_noisy", "info", line, f"the pauses are less than {LOW_SNR_DB:g} dB quieter than the speech (estimate)",
                    "nothing where the product will hear such noise")  # fmt: skip
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
        self.tags.finish()
        heard = self.heard.finish(self.findings) if self.heard is not None else None
        return InspectReport(
            verdict=self.findings.verdict(self.rows), manifest=str(manifest), base=base_name, rows=self.readable, rows_inspected=self.rows,
            rows_skipped=self.skipped,
            rows_with_errors=len(self.findings.bad_lines), hours=_hours(self.seconds), hours_by_locale=_largest(self.by_locale),
            hours_by_sample_rate=_largest(self.by_rate),
            hours_by_duration={name: _hours(seconds) for name, seconds in zip(_bin_names(), self.by_duration, strict=True)},
            snr_db=_noise(self.snrs), edge_silence_hours=_hours(self.edge_seconds), narrow_band_hours=_hours(self.narrow_seconds), speakers=len(self.by_speaker),
            sources=len(self.by_source), groups=self.groups.finish(self.findings.bad_lines), style=style, unknown_characters=characters, heard=heard,
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


def count_lines(path: Path) -> int:
    """Lines of the file, of any length; 0 where it cannot be read."""
    lines, last = 0, b"\n"
    try:
        with open(path, "rb") as file:
            for block in iter(partial(file.read, 1 << 20), b""):
                lines, last = lines + block.count(b"\n"), block
        return lines + (not last.endswith(b"\n"))
    except OSError:
        return 0  # scan_rows reports it


def _bin_names() -> list[str]:
    inner = [f"{low}-{high}" for low, high in pairwise(DURATION_EDGES)]
    return [f"0-{DURATION_EDGES[0]}", *inner, f"{DURATION_EDGES[-1]}-"]


def _noise(snrs: array[float]) -> Noise | None:
    if not snrs:
        return None
    p10, median, p90 = (round(float(value), 1) for value in np.percentile(np.frombuffer(snrs, dtype=np.float32), (10, 50, 90)))
    return Noise(p10=p10, median=median, p90=p90)


def _hours(seconds: float) -> float:
    return round(seconds / 3600, 4)


def _largest(seconds: dict[str, float]) -> dict[str, float]:
    """Hours of the largest entries; names cleaned, as they may come from the data."""
    ranked = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
    return {clean_text(name, 40): _hours(value) for name, value in ranked[:SHOWN_NAMES]}
