"""Were guard utterances trained on? Then "kept" would say that the model recites them, not that it kept the language.

One pass over the manifests of the shards; only the guards' keys are in memory. Shards keep no path of the audio they were packed from, so two
utterances are the same recording when they agree in sentence, speaker and duration, or in id and one of sentence and duration (ids such as
`0001` recur between corpora, so an id alone proves nothing). The same sentence from another mouth is no overlap.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asrcore.requests import Hypothesis, Role, ShardsResult
from asrcore.score.normalise import normalise

SAME_DURATION_S = 0.011
"""Durations of one recording in two manifests differ by rounding to hundredths at most."""


class Trained(NamedTuple):
    """One guard utterance that a source of the training data holds."""

    guard: str
    line: int
    source: str
    role: Role


def find_trained(guards: Mapping[str, Sequence[Hypothesis]], shards: Sequence[ShardsResult]) -> tuple[Trained, ...]:
    """Every utterance of the guards that is in the shards, once, by guard and line. Raises `OSError` where a shard manifest is gone."""
    asked = [(name, h) for name, hyps in guards.items() for h in hyps]
    by_id: dict[str, list[tuple[str, Hypothesis]]] = {}
    by_sentence: dict[str, list[tuple[str, Hypothesis]]] = {}
    for name, h in asked:
        by_id.setdefault(h.id, []).append((name, h))
        by_sentence.setdefault(normalise(h.reference, h.locale), []).append((name, h))
    speakers = {h.speaker for _, h in asked}
    found: dict[tuple[str, int], Trained] = {}
    for source, role, row in _rows(shards):
        speaker, same_id = _name(row.get("speaker")), by_id.get(_name(row.get("id")) or "", [])
        if not same_id and speaker not in speakers:
            continue
        sentence, seconds = normalise(str(row.get("text", "")), str(row.get("target_lang", ""))), float(row["duration"])
        same = [(name, h) for name, h in by_sentence.get(sentence, ()) if h.speaker == speaker and _close(h, seconds)]
        same += [(name, h) for name, h in same_id if _close(h, seconds) or normalise(h.reference, h.locale) == sentence]
        for name, h in same:
            found.setdefault((name, h.line), Trained(name, h.line, source, role))
    return tuple(found[key] for key in sorted(found))


def _close(h: Hypothesis, seconds: float) -> bool:
    return abs(h.duration - seconds) < SAME_DURATION_S


def _name(value: object) -> str | None:
    return None if value is None else str(value)


def _rows(shards: Sequence[ShardsResult]) -> Iterator[tuple[str, Role, dict[str, Any]]]:
    for one in shards:
        for source in one.sources:
            for shard in source.shards:
                with open(Path(one.root) / shard.manifest, encoding="utf-8") as lines:
                    for line in lines:
                        yield source.name, source.role, json.loads(line)
