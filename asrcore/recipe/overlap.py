"""Does the dev set hold training data? One pass over the shard manifests; only the dev set's keys are in memory.

Two utterances are the same recording when their ids agree, or their texts, speakers and durations (shards keep no path of the audio they were
packed from). The same sentence spoken twice is no leak by itself (short phrases recur), but a dev set of known sentences rewards recitation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asrcore.errors import Problem
from asrcore.manifest import Row
from asrcore.requests import ShardsResult
from asrcore.text import bare

SAME_DURATION_S = 0.011
MOST_KNOWN_SENTENCES = 0.5
"""Share of dev utterances whose sentence is trained on, above which the ranking of candidates means little."""


class ShardRows(NamedTuple):
    """What one pass over the shard manifests found."""

    problems: tuple[Problem, ...]
    longest_seconds: float
    too_long: int
    most_characters: int


def scan_shards(shards: ShardsResult, dev: Sequence[Row], dev_file: Path, max_duration: float) -> ShardRows:
    """Overlap problems by dev line (errors for the same recording, one warning or error for known sentences), and the longest rows."""
    ids = {row.utterance.id: row.line for row in dev if row.utterance.id is not None}
    sentences: dict[str, list[Row]] = {}
    for row in dev:
        sentences.setdefault(bare(row.utterance.text), []).append(row)
    same: dict[int, str] = {}
    known: set[int] = set()
    longest, too_long, characters = 0.0, 0, 0
    for fields in _rows(shards):
        seconds, text = float(fields["duration"]), str(fields.get("text", ""))
        too_long += seconds > max_duration
        longest, characters = max(longest, min(seconds, max_duration)), max(characters, len(text))
        if (line := ids.get(str(fields.get("id")))) is not None:
            same[line] = "id"
        for row in sentences.get(bare(text), ()):
            known.add(row.line)
            if abs(row.utterance.duration - seconds) < SAME_DURATION_S and row.utterance.speaker == fields.get("speaker"):
                same.setdefault(row.line, "text, speaker and duration")
    problems = [
        Problem(code="dev_overlap", message=f"the dev utterance is in the training data (same {what})", file=str(dev_file), line=line,
                fix="take it out of the dev manifest, or build shards without it")
        for line, what in sorted(same.items())
    ]  # fmt: skip
    if known:
        share = len(known) / len(dev)
        problems.append(Problem(
            code="dev_sentences_known", severity="error" if share > MOST_KNOWN_SENTENCES else "warning", file=str(dev_file),
            message=f"{100 * share:.0f} % of the dev sentences are trained on, spoken another time; candidates that recite rank too high",
            fix="use dev sentences that no training set holds",
        ))  # fmt: skip
    return ShardRows(tuple(problems), longest, too_long, characters)


def _rows(shards: ShardsResult) -> Iterator[dict[str, Any]]:
    for source in shards.sources:
        for shard in source.shards:
            with open(Path(shards.root) / shard.manifest, encoding="utf-8") as lines:
                for line in lines:
                    yield json.loads(line)
