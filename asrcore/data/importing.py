"""From a corpus's rows to a manifest: checks the audio of every row, gives ids, and accounts for every line that was read.

    datasets/dataset_<id>/manifest.jsonl     the rows that are fit to be read, with absolute audio paths; the text as the corpus has it
    datasets/dataset_<id>/not_imported.jsonl every other place: {"file", "line", "reason"}
    datasets/dataset_<id>/dataset.json       the ImportReport

Rows read = rows kept + places not imported, always. Audio is read where it lies and never copied. Style, tags and length are not judged here: that
is what inspect_dataset and validate_language_tags are for. Memory: about 250 bytes a row for the ids. Time: one header read a file (about 0.2 ms),
or with `decode` all of its samples.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydantic import Field, ValidationError

from asrcore import audio, io
from asrcore.audio_header import DURATION_TOLERANCE
from asrcore.data.datasets import NewDataset, new_dataset
from asrcore.data.importers.formats import Format
from asrcore.data.importers.rows import REASONS, BadRow, Item, Place, RawRow
from asrcore.data.signal import DIGEST_FIELD, pcm_digest
from asrcore.errors import NotReadyError, Problem, clean_text
from asrcore.locales import AUTO, PROMPT_DICTIONARY
from asrcore.manifest import SKIP_MARK, Utterance, below, write_manifest
from asrcore.results import Frozen

MANIFEST, NOT_IMPORTED = "manifest.jsonl", "not_imported.jsonl"
SHOWN_PLACES = 3

_LOCALE = re.compile(r"[a-z]{2,3}([-_][A-Za-z0-9]{2,4})?")


class NotImported(Frozen):
    """All places with one reason; the file `not_imported.jsonl` lists each."""

    reason: str
    rows: int
    message: str
    fix: str
    untrusted_text: tuple[str, ...] = Field(description=f"The first places as file:line, at most {SHOWN_PLACES}.")


class ImportReport(Frozen):
    """Hours are of the rows kept, marked ones included."""

    dataset_id: str
    format: Format
    hub: str = Field("", description="The place on the hub that was read, with its commit; empty for a local source.")
    manifest: str
    rows_read: int = Field(description="Rows and places of the corpus: rows_kept plus all of not_imported.")
    rows_kept: int
    rows_marked: int = Field(description="Kept rows that the corpus itself warns of, marked _skipme; training leaves them out.")
    hours: float
    hours_by_locale: dict[str, float]
    hours_by_sample_rate: dict[str, float]
    speakers: int
    decoded: bool = Field(description="Whether all samples were decoded, or headers only.")
    not_imported: tuple[NotImported, ...]

    @property
    def rows_refused(self) -> int:
        return sum(one.rows for one in self.not_imported)


class ImportRules(NamedTuple):
    """How rows are taken. `locale` is for all of them; None means each row names its own. `name` becomes their `source`; `hub` is the place they come from."""

    format: Format
    locale: str | None
    name: str | None
    roots: tuple[Path, ...]
    decode: bool = False
    hub: str = ""


def is_locale(tag: str) -> bool:
    """Whether it has the shape of a locale tag, or is one of the family's own such as enGB; which ones a checkpoint knows is for validate_language_tags."""
    return (_LOCALE.fullmatch(tag) is not None or tag in PROMPT_DICTIONARY) and tag != AUTO


def import_rows(items: Iterable[Item], rules: ImportRules, datasets: Path) -> ImportReport:
    """Writes the dataset folder below `datasets`. Raises `import_empty` where no row is usable, and `disk_full`."""
    with new_dataset(datasets) as made:
        importer = _Importer(rules)
        with io.atomic_file(made.path(NOT_IMPORTED)) as refused:
            write_manifest(made.path(MANIFEST), importer.utterances(items, refused))
        if importer.kept == 0:
            raise _empty(importer)
        made.name_it("import_dataset")
        report = importer.report(made)
        made.finish(report)
    return report


class _Importer:
    def __init__(self, rules: ImportRules) -> None:
        self.rules = rules
        self.kept = self.marked = 0
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.by_rate: defaultdict[str, float] = defaultdict(float)
        self.speakers: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.places: defaultdict[str, list[Place]] = defaultdict(list)
        self._ids: set[str] = set()
        self._probed: tuple[Path, audio.AudioInfo | str] | None = None

    def utterances(self, items: Iterable[Item], refused: BinaryIO) -> Iterator[Utterance]:
        """The kept rows; every other place goes to `refused` as a line."""
        for item in items:
            made = item.reason if isinstance(item, BadRow) else self._utterance(item)
            if isinstance(made, Utterance):
                self.kept += 1
                self.marked += made.skipped
                yield made
                continue
            self.counts[made] += 1
            if len(self.places[made]) < SHOWN_PLACES:
                self.places[made].append(item.place)
            line = {"file": str(item.place.file), "line": item.place.line, "reason": made}
            refused.write(json.dumps(line, ensure_ascii=True).encode() + b"\n")

    def _utterance(self, row: RawRow) -> Utterance | str:
        """The checked row, or the reason why there is none."""
        text = " ".join(row.text.split("\n")).strip()
        locale = self._locale(row)
        if locale in REASONS:
            return locale
        if not text and not row.mark:
            return "text_empty"
        found = self._audio(row)
        if isinstance(found, str):
            return found
        info, duration, digest = found
        path = os.path.normpath(row.audio)
        identity = row.id or f"{os.path.splitext(path)[0]}{f'@{row.offset:g}' if row.offset else ''}"
        if identity in self._ids:
            return "id_duplicate"
        fields = {
            "audio_filepath": path, "duration": duration, "text": text, "target_lang": locale, "offset": float(row.offset), "speaker": row.speaker,
            "source": self.rules.name, "id": identity, "sampling_rate": info.rate,
        }  # fmt: skip
        extra = {name: value for name, value in row.extra.items() if name not in fields or fields[name] is None}
        try:
            made = Utterance.model_validate({**fields, **extra, **({DIGEST_FIELD: digest} if digest else {}), **({SKIP_MARK: row.mark} if row.mark else {})})
            io.json_line(made.to_row())
        except UnicodeEncodeError:
            return "name_not_text"
        except (ValidationError, ValueError, TypeError):
            return "line_invalid"
        self._ids.add(identity)
        self.seconds[locale] += duration
        self.by_rate[str(info.rate)] += duration
        if row.speaker is not None:
            self.speakers.add(row.speaker)
        return made

    def _locale(self, row: RawRow) -> str:
        """The tag, or the reason why there is none."""
        if row.locale is None:
            return self.rules.locale or "locale_missing"
        if not is_locale(row.locale):
            return "locale_invalid"
        return "locale_conflict" if self.rules.locale not in (None, row.locale) else row.locale

    def _audio(self, row: RawRow) -> tuple[audio.AudioInfo, float, str | None] | str:
        """Header, duration of the piece and digest of its samples; or the reason why it cannot be used."""
        info = self._probe(row.audio)
        if isinstance(info, str):
            return info
        if not math.isfinite(row.offset) or row.offset < 0 or (row.duration is not None and not (math.isfinite(row.duration) and row.duration > 0)):
            return "number_invalid"
        rest = info.seconds - row.offset
        if rest <= 0 or (row.duration is not None and row.duration > rest + DURATION_TOLERANCE):
            return "piece_outside"
        duration = round(rest if row.duration is None else min(row.duration, rest), 6)
        if not self.rules.decode:
            return info, duration, None
        whole = row.offset == 0 and duration >= info.seconds - DURATION_TOLERANCE
        try:
            samples = audio.decode(row.audio, rate=info.rate, offset=row.offset, duration=None if whole else duration)
        except NotReadyError as error:
            return error.code
        if len(samples) / info.rate < duration - DURATION_TOLERANCE:
            return "audio_truncated"
        return info, duration, pcm_digest(samples, info.rate).hex()

    def _probe(self, path: Path) -> audio.AudioInfo | str:
        """The header; the last one is kept, since pieces of a recording follow each other."""
        if self._probed is None or self._probed[0] != path:
            self._probed = (path, self._read_header(path))
        return self._probed[1]

    def _read_header(self, path: Path) -> audio.AudioInfo | str:
        try:
            return audio.probe(path) if below(path, self.rules.roots) else "audio_refused"
        except NotReadyError as error:
            return error.code
        except (OSError, ValueError):  # no permission, a name too long, a NUL in the name
            return "audio_unreadable"

    def report(self, made: NewDataset) -> ImportReport:
        return ImportReport(
            dataset_id=made.dataset_id, format=self.rules.format, hub=self.rules.hub, manifest=str(made.folder / MANIFEST),
            rows_read=self.kept + self.counts.total(), rows_kept=self.kept, rows_marked=self.marked, hours=round(sum(self.seconds.values()) / 3600, 4),
            hours_by_locale=_hours(self.seconds), hours_by_sample_rate=_hours(self.by_rate), speakers=len(self.speakers), decoded=self.rules.decode,
            not_imported=tuple(NotImported(reason=reason, rows=rows, message=REASONS[reason][0], fix=REASONS[reason][1],
                                           untrusted_text=tuple(_shown(place) for place in self.places[reason]))
                               for reason, rows in self.counts.most_common()),
        )  # fmt: skip


def _empty(importer: _Importer) -> NotReadyError:
    problems = [
        Problem(code="row_not_imported", message=f"{reason}: {REASONS[reason][0]}", file=clean_text(str(place.file), 300), line=place.line,
                fix=REASONS[reason][1])
        for reason, _ in importer.counts.most_common() for place in importer.places[reason]
    ]  # fmt: skip
    reasons = ", ".join(f"{rows} {reason}" for reason, rows in importer.counts.most_common(5)) or "nothing was found"
    return NotReadyError("import_empty", f"none of {importer.counts.total()} rows can be used: {reasons}.",
                         next_step="correct what problems lists, or pass the format, columns or audio_root that fit, then call import_dataset again.",
                         problems=problems)  # fmt: skip


def _shown(place: Place) -> str:
    return clean_text(str(place.file) if place.line is None else f"{place.file}:{place.line}", 200)


def _hours(seconds: dict[str, float]) -> dict[str, float]:
    ranked = sorted(seconds.items(), key=lambda item: (-item[1], item[0]))
    return {name: round(value / 3600, 4) for name, value in ranked[:20]}
