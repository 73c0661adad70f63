"""Applies chosen fixes to a manifest: a new manifest and a unified diff, never in place, no row deleted.

Filters mark rows `_skipme: "reason:fix_manifest"`, which training leaves out and every count shows. Lines that are no JSON object are copied as they
are and stay a finding; blank lines, byte order marks and CRLF go. Audio paths become absolute, since the new manifest stands in another folder; the
diff shows them as they were. The diff has no context lines (`patch` and `git apply --unidiff-zero` read it).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast
from unicodedata import normalize

from pydantic import Field

from asrcore import audio, io
from asrcore.data.datasets import new_dataset
from asrcore.data.findings import Finding, Findings
from asrcore.data.tags import MIN_LETTERS, MIN_SCRIPT_SHARE
from asrcore.errors import NotReadyError, Problem
from asrcore.manifest import ALIASES, SKIP_MARK, below, scan_rows
from asrcore.results import Frozen
from asrcore.text import LOCALE_TAG, count_script, style

Filter = Literal["text_empty", "text_tag", "text_markup", "text_digits", "text_uncased", "text_unpunctuated", "script_mismatch", "audio_unusable", "duplicate"]
"""Rows that can be marked, by the finding of inspect_dataset or validate_language_tags that names them."""

MANIFEST, DIFF = "manifest.jsonl", "changes.diff"
TOOL = "fix_manifest"

_BOM = b"\xef\xbb\xbf"
_AUDIO_FIELDS = ("audio_filepath", *(alias for alias, name in ALIASES.items() if name == "audio_filepath"))
_LOCALE_FIELDS = ("target_lang", *(alias for alias, name in ALIASES.items() if name == "target_lang"))


class Fixes(Frozen):
    """What to change, in this order; texts first, then marks by what the texts have become."""

    names: bool = False
    """Aliases such as `sentence` to our field names, and `lang` equal to `target_lang`."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Locale tag -> the tag to write instead."""
    unicode_nfc: bool = False
    strip_tags: bool = False
    """Locale tags written in the text."""
    characters: dict[str, str] = Field(default_factory=dict)
    """Character -> what to write instead."""
    whitespace: bool = False
    """Runs of white space to one space, none at the ends."""
    mark: tuple[Filter, ...] = ()
    min_duration: float | None = None
    max_duration: float | None = None
    mark_lines: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    """Reason -> lines of the manifest, from 1."""


class FixReport(Frozen):
    dataset_id: str
    source: str
    source_sha256: str
    manifest: str
    diff: str
    rows: int
    rows_changed: int
    changes: dict[str, int] = Field(description="Rows by what was changed; marks as `mark <reason>`.")
    rows_marked: int
    hours_marked: float
    findings: tuple[Finding, ...] = Field(description="What the manifest reader still finds in the new manifest.")


class Fixed(NamedTuple):
    """One row after the fixes. `changes` names what happened to it."""

    fields: dict[str, Any]
    changes: list[str]


def fix(manifest: Path, fixes: Fixes, roots: tuple[Path, ...], datasets: Path) -> FixReport:
    """Writes the new manifest and the diff into a dataset folder. Raises `manifest_unreadable`, `lines_unknown`."""
    fixer = Fixer(fixes, manifest, roots)
    with new_dataset(datasets) as made:
        with io.atomic_file(made.path(MANIFEST)) as out, io.atomic_file(made.path(DIFF)) as diff:
            _rewrite(manifest, fixer, out, diff)
        _refuse_unknown_lines(fixes, fixer.lines, manifest)
        made.name_it(TOOL)
        problems, findings = list[Problem](), Findings()
        for _ in scan_rows(made.path(MANIFEST), problems):
            findings.drain(problems)
        findings.drain(problems)
        report = FixReport(
            dataset_id=made.dataset_id, source=str(manifest), source_sha256=io.sha256_file(manifest), manifest=str(made.folder / MANIFEST),
            diff=str(made.folder / DIFF), rows=fixer.rows, rows_changed=fixer.changed, changes=dict(fixer.counts), rows_marked=fixer.marked,
            hours_marked=round(fixer.marked_seconds / 3600, 4), findings=findings.result(),
        )  # fmt: skip
        made.finish(report)
    return report


class Fixer:
    """Fixes one row after the other, and counts."""

    def __init__(self, fixes: Fixes, manifest: Path, roots: tuple[Path, ...]) -> None:
        self.fixes = fixes
        self.folder = manifest.resolve().parent
        self.roots = roots
        self.lines = self.rows = self.changed = self.marked = 0
        self.marked_seconds = 0.0
        self.counts: Counter[str] = Counter()
        self._line_reasons = {line: reason for reason, lines in fixes.mark_lines.items() for line in lines}
        self._characters = str.maketrans(fixes.characters)
        self._seen: set[tuple[str, float, str]] = set()

    def row(self, line: int, before: Mapping[str, Any]) -> Fixed:
        fields, changes = dict(before), list[str]()
        if self.fixes.names and _rename(fields):
            changes.append("names")
        if self._retag(fields):
            changes.append("tags")
        if isinstance(fields.get("text"), str):
            for name, change in self._text_changes():
                changed = change(fields["text"])
                if changed != fields["text"]:
                    fields["text"] = changed
                    changes.append(name)
        if not fields.get(SKIP_MARK) and (reason := self._reason(line, fields)):
            fields[SKIP_MARK] = f"{reason}:{TOOL}"
            changes.append(f"mark {reason}")
            self.marked += 1
            self.marked_seconds += _number(fields.get("duration")) or 0.0
        self.rows += 1
        self.changed += bool(changes)
        self.counts.update(changes)
        return Fixed(fields, changes)

    def _retag(self, fields: dict[str, Any]) -> bool:
        """Wherever the row names its locale, so that the two names never come apart."""
        found = [(name, new) for name in _LOCALE_FIELDS if isinstance(old := fields.get(name), str) and (new := self.fixes.tags.get(old, old)) != old]
        fields.update(found)
        return bool(found)

    def _text_changes(self) -> Iterator[tuple[str, Callable[[str], str]]]:
        if self.fixes.unicode_nfc:
            yield "unicode_nfc", lambda text: normalize("NFC", text)
        if self.fixes.strip_tags:
            yield "strip_tags", _without_tags
        if self._characters:
            yield "characters", lambda text: text.translate(self._characters)
        if self.fixes.whitespace:
            yield "whitespace", lambda text: " ".join(text.split())

    def _reason(self, line: int, fields: Mapping[str, Any]) -> str | None:
        """Why the row is to be marked: by line, by duration, by filter."""
        if line in self._line_reasons:
            return self._line_reasons[line]
        seconds = _number(fields.get("duration"))
        if seconds is not None and self.fixes.max_duration is not None and seconds > self.fixes.max_duration:
            return "too_long"
        if seconds is not None and self.fixes.min_duration is not None and seconds < self.fixes.min_duration:
            return "too_short"
        return next((name for name in self.fixes.mark if self._fits(name, fields)), None)

    def _fits(self, name: Filter, fields: Mapping[str, Any]) -> bool:
        if name == "audio_unusable":
            return not self._audio_opens(_audio(fields))
        text, locale = fields.get("text"), fields.get("target_lang")
        if not isinstance(text, str) or not isinstance(locale, str):
            return False
        if name == "duplicate":
            key = (str(_audio(fields)), _number(fields.get("offset")) or 0.0, text)
            known = key in self._seen
            self._seen.add(key)
            return known
        if name == "text_empty":
            return not text.strip()
        if name == "script_mismatch":
            found = count_script(text, locale)
            return found.letters >= MIN_LETTERS and found.own < MIN_SCRIPT_SHARE * found.letters
        found = style(text, locale)
        return {"text_tag": found.tags, "text_markup": found.markup, "text_digits": found.digits, "text_uncased": found.cased is False,
                "text_unpunctuated": found.punctuated is False}[name]  # fmt: skip

    def _audio_opens(self, name: object) -> bool:
        if not isinstance(name, str) or not below(self.folder / name, self.roots):
            return False
        try:
            audio.probe(self.folder / name)
        except (NotReadyError, OSError, ValueError):
            return False
        return True


def _rewrite(manifest: Path, fixer: Fixer, out: BinaryIO, diff: BinaryIO) -> None:
    diff.write(f"--- {manifest.name}\n+++ {MANIFEST}\n".encode("utf-8", "replace"))
    written = 0
    for line, raw in _lines(manifest):
        fixer.lines = line
        text = (raw.removeprefix(_BOM) if line == 1 else raw).rstrip(b"\r\n")
        if raw.startswith(_BOM) and line == 1:
            fixer.counts["byte_order_mark"] += 1
        if not text.strip():
            fixer.counts["blank_line"] += 1
            diff.write(b"@@ -%d +%d,0 @@\n-%s\n" % (line, written, text))
            continue
        written += 1
        before = _object(text)
        if before is None:
            out.write(text + b"\n")
            continue
        fixed = fixer.row(line, before)
        if fixed.changes:
            diff.write(b"@@ -%d +%d @@\n-%s\n+%s\n" % (line, written, text, _dump(fixed.fields)))
        absolute = {name: os.path.normpath(fixer.folder / path) for name in _AUDIO_FIELDS if isinstance(path := fixed.fields.get(name), str)}
        fixed.fields.update(absolute)
        out.write(_dump(fixed.fields) + b"\n")


def _lines(manifest: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with open(manifest, "rb") as file:
            yield from enumerate(file, 1)
    except OSError as error:
        raise NotReadyError("manifest_unreadable", f"{manifest} cannot be read ({error.strerror}).",
                            next_step="pass the path of a readable JSON-lines manifest.") from error  # fmt: skip


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value: object = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _dump(fields: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(fields, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, written as an escape in the original too
        return json.dumps(fields).encode()


def _audio(fields: Mapping[str, Any]) -> object:
    return next((fields[name] for name in _AUDIO_FIELDS if name in fields), None)


def _rename(fields: dict[str, Any]) -> bool:
    """Whether anything was renamed or made equal; `target_lang` wins over `lang`, since it is what training reads."""
    before = dict(fields)
    for alias, name in ALIASES.items():
        if alias in fields and name not in fields:
            fields[name] = fields[alias] if alias == "lang" else fields.pop(alias)
    if "lang" in fields:
        fields["lang"] = fields["target_lang"]
    return fields != before


def _without_tags(text: str) -> str:
    return " ".join(LOCALE_TAG.sub(" ", text).split()) if LOCALE_TAG.search(text) else text


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _refuse_unknown_lines(fixes: Fixes, lines: int, manifest: Path) -> None:
    outside = sorted(line for asked in fixes.mark_lines.values() for line in asked if line > lines)
    if outside:
        raise NotReadyError("lines_unknown", f"mark_lines names line {outside[0]}, {manifest} has {lines} lines.",
                            next_step="pass lines of this manifest, from 1.")  # fmt: skip
