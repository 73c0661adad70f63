"""Language tags of a manifest against the checkpoint's own prompt dictionary (traps 3.3, 3.16).

A tag outside the dictionary stops training; a tag of a slot that was never trained, or an alias that means another variety
(`es` is es-US, `pt` is pt-PT, `no` is not `nb`), gives garbled output without any error. So do a text in another language than its tag, and tags that
change within one speaker or one recording without the language changing. Memory: about 150 bytes a row, for the tags of recordings.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from asrcore import locales
from asrcore.checkpoint import CheckpointInfo
from asrcore.data.findings import Finding, Findings, Verdict
from asrcore.data.text_language import PACKAGE, TextLanguages, installed
from asrcore.errors import Problem, Severity, clean_text
from asrcore.manifest import Row, scan_rows
from asrcore.results import Frozen
from asrcore.text import NEMO_TAG, ScriptCount, count_script, language, scripts

SHOWN_TAGS = 20
MIN_LETTERS = 4
"""Texts with fewer letters are too short to tell their script."""
MIN_SCRIPT_SHARE = 0.5
"""Share of letters in the locale's script under which a row is held for mistagged; loan words and names stay far above."""
OTHER_LANGUAGE_SHARE = 0.5
"""Share of a tag's told texts in other languages from which on the tag is wrong, not the row: an error."""
LEAST_TOLD = 5
"""Texts that must be told for that."""

Status = Literal["ok", "alias", "adaptation", "untrained", "unknown", "auto"]

_FULL = re.compile(r"[a-z]{2,3}-[A-Z]{2}")
_RELATED = {"no": ("nb", "nn"), "nb": ("nn",), "nn": ("nb",), "iw": ("he",), "cmn": ("zh",), "yue": ("zh",), "fil": ("tl",), "in": ("id",)}
_ISO3: dict[str, str] = {
    pair[:3]: pair[4:] for pair in
    "eng en|spa es|fra fr|fre fr|ita it|por pt|nld nl|dut nl|deu de|ger de|tur tr|rus ru|ara ar|hin hi|jpn ja|kor ko|vie vi|ukr uk|pol pl|swe sv|"
    "ces cs|cze cs|nob nb|nno nn|nor no|dan da|bul bg|fin fi|hrv hr|slk sk|slo sk|zho zh|chi zh|hun hu|ron ro|rum ro|est et|ell el|gre el|lit lt|"
    "lav lv|mlt mt|slv sl|heb he|tha th".split("|")
}  # fmt: skip


class TagUse(Frozen):
    """One tag of the manifest. `slot` is the prompt index; `canonical` the full tag to write; `tier` is the model card's."""

    tag: str | None = Field(description="The tag; null when the checkpoint does not know it (then see untrusted_text).")
    status: Status
    slot: int | None
    canonical: str | None
    tier: locales.Tier | None
    nearest: tuple[str, ...] = Field((), description="Tags of the checkpoint to write instead, best first.")
    rows: int
    hours: float
    script_share: float | None = Field(
        description="Share of letters in the locale's script, 0 to 1; null without letters or for an unknown tag."
    )
    text_languages: dict[str, float] = Field(
        default_factory=dict, description="Shares of the texts whose language is sure (of the first 20,000), by language; the largest three."
    )
    first_line: int
    untrusted_text: str = Field("", description="An unknown tag as it stands in the manifest, cleaned.")


class TagReport(Frozen):
    verdict: Verdict
    manifest: str
    base: str
    rows: int
    skipped: int
    tags: tuple[TagUse, ...]
    distinct_tags: int
    findings: tuple[Finding, ...]


class Remark(NamedTuple):
    """One thing to say about a tag; `about` is the tag when it is a known one."""

    code: str
    severity: Severity
    message: str
    fix: str
    about: str = ""


class _Use:
    def __init__(self, line: int) -> None:
        self.first_line = line
        self.rows = self.own = self.letters = 0
        self.seconds = 0.0

    def add(self, seconds: float, script: ScriptCount) -> None:
        self.rows += 1
        self.seconds += seconds
        self.own += script.own
        self.letters += script.letters


class TagChecker:
    """What is to say about each tag, worked out once a tag."""

    def __init__(self, prompts: Mapping[str, int], findings: Findings) -> None:
        self.prompts = prompts
        self.findings = findings
        self.languages = TextLanguages() if installed() else None
        self._remarks: dict[str, tuple[Remark, ...]] = {}
        self._others: Counter[str] = Counter()
        self._speakers: dict[int, str] = {}
        self._recordings: dict[int, str] = {}

    def check(self, row: Row) -> ScriptCount:
        """Adds the findings of one row; returns its letters (none for a tag without a script)."""
        tag, text = row.utterance.target_lang, row.utterance.text
        if tag not in self._remarks:
            self._remarks[tag] = tuple(_remarks(tag, self.prompts))
        for code, severity, message, fix, about in self._remarks[tag]:
            self.findings.add(code, severity, row.line, message, fix, about)
        self._check_mixed(row)
        if tag == locales.AUTO or tag not in self.prompts:
            return ScriptCount(0, 0)
        script = count_script(text, tag)
        if script.letters >= MIN_LETTERS and script.own < MIN_SCRIPT_SHARE * script.letters:
            self.findings.add("script_mismatch", "error", row.line, f"most letters are not {' or '.join(scripts(tag)).title()}, the script of {tag}",
                              "correct the tag or the text of these rows", tag)  # fmt: skip
        elif self.languages is not None and (other := self.languages.other(text, tag)):
            self._others[tag] += 1
            self.findings.add("text_language", "warning", row.line, f"the text reads as {other}, not as {tag}",
                              "correct the tag or the text of these rows", tag)  # fmt: skip
        return script

    def _check_mixed(self, row: Row) -> None:
        """Tags are compared with the first of their speaker and recording."""
        tag, utterance = row.utterance.target_lang, row.utterance
        if utterance.speaker is not None and self._speakers.setdefault(hash((utterance.speaker, utterance.source)), tag) != tag:
            self.findings.add("tags_mixed_speaker", "warning", row.line, "the speaker has rows of another tag further up",
                              "correct the tag, unless the person does speak both")  # fmt: skip
        if self._recordings.setdefault(hash(str(row.audio)), tag) != tag:
            self.findings.add("tags_mixed_recording", "warning", row.line, "a piece of the same recording has another tag further up",
                              "correct the tag, unless the language does change there")  # fmt: skip

    def finish(self) -> None:
        """Judges what only the whole set tells."""
        if self.languages is None:
            self.findings.add("text_language_unchecked", "info", None, f"the language of the texts was not judged: {PACKAGE} is not installed",
                              'pip install "asrtune[language]", then call again')  # fmt: skip
            return
        for tag, others in self._others.items():
            told = self.languages.counts[tag].total()
            if told >= LEAST_TOLD and others > OTHER_LANGUAGE_SHARE * told:
                self.findings.regrade("text_language", "error", tag)

    def text_languages(self, tag: str) -> dict[str, float]:
        """Shares of the languages that the texts of a tag were surely written in, the largest three."""
        counts = self.languages.counts[tag] if self.languages is not None else Counter[str]()
        return {name: round(count / counts.total(), 4) for name, count in counts.most_common(3)}


def check_tags(manifest: Path, base: CheckpointInfo, base_name: str) -> TagReport:
    """One pass over the text of all rows; audio is not opened. Raises `manifest_unreadable`."""
    findings, problems, uses = Findings(), list[Problem](), dict[str, _Use]()
    checker = TagChecker(base.prompt_dictionary, findings)
    rows = skipped = 0
    for row in scan_rows(manifest, problems):
        findings.drain(problems)
        rows += 1
        if row.utterance.skipped:
            skipped += 1
            continue
        uses.setdefault(row.utterance.target_lang, _Use(row.line)).add(row.utterance.duration, checker.check(row))
    findings.drain(problems)
    checker.finish()
    described = [
        _describe(tag, use, base.prompt_dictionary, checker.text_languages(tag)) for tag, use in sorted(uses.items(), key=lambda item: (-item[1].rows, item[0]))
    ]
    _report_shared_slots(described, findings)
    return TagReport(verdict=findings.verdict(rows - skipped), manifest=str(manifest), base=base_name, rows=rows, skipped=skipped,
                     tags=tuple(described[:SHOWN_TAGS]), distinct_tags=len(described), findings=findings.result())  # fmt: skip


def status(tag: str, prompts: Mapping[str, int]) -> Status:
    """Where a tag stands. `adaptation` and `untrained` follow the model card's tiers."""
    if tag == locales.AUTO:
        return "auto"
    if tag not in prompts:
        return "unknown"
    full = canonical(tag, prompts)
    tier = locales.tier(full)
    return "untrained" if tier == "untrained" else "alias" if full != tag else "adaptation" if tier == "adaptation" else "ok"


def canonical(tag: str, prompts: Mapping[str, int]) -> str:
    """The full tag of a known tag's slot: the one of the model card, else the first written as `xx-XX`, else the tag itself."""
    same = [other for other, slot in prompts.items() if slot == prompts[tag]]
    return next(
        (t for t in same if t in locales.TIERS), tag if _FULL.fullmatch(tag) else next((t for t in same if _FULL.fullmatch(t)), tag)
    )


def nearest_tags(tag: str, prompts: Mapping[str, int], limit: int = 3) -> tuple[str, ...]:
    """Full tags of the checkpoint to write instead of `tag`, best first; trained ones before untrained ones of the same language."""
    spoken, _, region = tag.replace("_", "-").partition("-")
    spoken = _ISO3.get(spoken.lower(), spoken.lower())
    wanted = f"{spoken}-{region.upper()}" if region else spoken
    full = list(dict.fromkeys(canonical(t, prompts) for t in prompts if t != locales.AUTO))
    languages = (spoken, *_RELATED.get(spoken, ()))
    meant = (wanted, canonical(wanted, prompts) if wanted in prompts else wanted)
    same = sorted((t for t in full if language(t) in languages), key=lambda t: (locales.tier(t) == "untrained", t not in meant))
    found = same or difflib.get_close_matches(wanted, full, n=limit, cutoff=0.6)
    return tuple(t for t in found if t != tag)[:limit]


def _remarks(tag: str, prompts: Mapping[str, int]) -> Iterator[Remark]:
    """A known tag may be shown; an unknown one is data and stays out of the message."""
    if tag == locales.AUTO:
        yield Remark("tag_auto", "error", "auto is a prompt mode, not a language; a row needs the language that is spoken",
                     "write the locale of the audio; auto is mixed in by the training plan")  # fmt: skip
        return
    if tag not in prompts:
        yield Remark("tag_unknown", "error", "the checkpoint's prompt dictionary has no such tag; training would stop",
                     "write the nearest tag of the checkpoint (validate_language_tags lists it)")  # fmt: skip
        return
    full = canonical(tag, prompts)
    others = [t for t in nearest_tags(full, prompts) if locales.tier(t) != "untrained"]
    if full != tag:
        yield Remark("tag_alias", "warning", f"{tag} is an alias of slot {prompts[tag]}, {full}" + (f", which is not {others[0]}" if others else ""),
                     f"write {full}" + (f", or {' or '.join(others)} if that is what is spoken" if others else ""), tag)  # fmt: skip
    if locales.tier(full) == "untrained":
        yield Remark("tag_untrained", "warning", f"slot {prompts[tag]} ({full}) has no tier on the model card: it counts as never trained",
                     f"write {others[0]} if that is what is spoken" if others else "use the slot of a trained neighbour, or expect to need far more data",
                     tag)  # fmt: skip
    if locales.tier(full) == "adaptation":
        yield Remark("tag_adaptation", "info", f"{full} is adaptation-ready: the tokenizer knows it, the model has to be tuned for it",
                     "nothing; tune and measure", tag)  # fmt: skip
    if _FULL.fullmatch(full) and not NEMO_TAG.fullmatch(f"<{full}>"):
        yield Remark("tag_three_letter", "warning", f"NeMo's default pattern leaves <{full}> in transcripts, where it counts as a word",
                     "serve with a lang_tag_pattern for three letters; asrtune's own scoring strips it", tag)  # fmt: skip


def _describe(tag: str, use: _Use, prompts: Mapping[str, int], text_languages: dict[str, float]) -> TagUse:
    state = status(tag, prompts)
    known = state not in ("unknown", "auto")
    full = canonical(tag, prompts) if known else None
    return TagUse(
        tag=tag if state != "unknown" else None, status=state, slot=prompts.get(tag), canonical=full, tier=locales.tier(full) if full else None,
        nearest=() if state in ("ok", "adaptation", "auto") else nearest_tags(tag, prompts), rows=use.rows, hours=round(use.seconds / 3600, 4),
        script_share=round(use.own / use.letters, 4) if known and use.letters else None, text_languages=text_languages,
        first_line=use.first_line,
        untrusted_text=clean_text(tag, 40) if state == "unknown" else "",
    )  # fmt: skip


def _report_shared_slots(tags: list[TagUse], findings: Findings) -> None:
    by_slot: dict[int, list[TagUse]] = {}
    for use in tags:
        if use.slot is not None:
            by_slot.setdefault(use.slot, []).append(use)
    for slot, group in by_slot.items():
        if len(group) > 1:
            names = ", ".join(str(use.tag) for use in group)
            findings.add("tags_share_slot", "warning", min(use.first_line for use in group), f"{names} collapse into one slot ({slot})",
                         f"write {group[0].canonical} in all of these rows, or the right tag of the other variety", str(group[0].canonical))  # fmt: skip
