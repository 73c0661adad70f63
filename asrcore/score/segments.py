"""Language tags of utterances in `auto`, of one language or of several that follow each other (code-switching)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from rapidfuzz.distance import Levenshtein

from asrcore.locales import PROMPT_DICTIONARY, written_tags
from asrcore.requests import Hypothesis, SegmentTags
from asrcore.score.bootstrap import with_ci
from asrcore.score.tags import TAG

FIELD = "target_langs"
"""Manifest field with the locale tags of an utterance in several languages, in order: a list, or a text with spaces between them."""

_WRITTEN = {tag: written_tags(PROMPT_DICTIONARY).get(slot, tag) for tag, slot in PROMPT_DICTIONARY.items()}
"""What a model writes for a tag: `el` and `el-GR` are one prompt slot, and `<el-GR>` comes out of it."""


def spoken(fields: Mapping[str, str]) -> tuple[str, ...]:
    """Locales of an utterance's segments in order, from its free fields; empty where it is all in its `target_lang`."""
    found = _runs(fields.get(FIELD, "").split())
    return found if len(found) > 1 else ()


def wrong_tag(h: Hypothesis) -> bool:
    """Whether the last tag is missing or another locale's than that of the last segment. Tags of one prompt slot are one locale."""
    last = (spoken(h.fields) or (h.locale,))[-1]
    return h.tag is None or _written(h.tag) != _written(last)


def segment_tags(hyps: Sequence[Hypothesis]) -> SegmentTags | None:
    """How well `auto` tells the languages of utterances with several apart; None when there is no such utterance."""
    mixed = [(wanted, h) for h in hyps if (wanted := spoken(h.fields))]
    if not mixed:
        return None
    segments = sum(len(wanted) for wanted, _ in mixed)
    wrong = sum(Levenshtein.distance(wanted, _runs(tag.strip("<>") for tag in TAG.findall(h.raw_text))) for wanted, h in mixed)
    rate = with_ci([h for _, h in mixed], normalised=True)
    return SegmentTags(utterances=len(mixed), segments=segments, correct_percent=max(0.0, 100 * (1 - wrong / segments)), wer=rate)


def _runs(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags as a model writes them, equal neighbours as one."""
    return tuple(tag for tag, _ in groupby(map(_written, tags)))


def _written(tag: str) -> str:
    return _WRITTEN.get(tag, tag)
