"""Who speaks, where the rows say it: hours of each group of speakers, and the group whose rows are worst."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Set
from typing import Any

from pydantic import Field

from asrcore.errors import clean_text
from asrcore.manifest import Row
from asrcore.results import Frozen

FIELDS = ("gender", "sex", "age", "accent", "accents", "dialect", "region")
"""Fields that say something of the speaker: those of Common Voice, FLEURS and VoxPopuli, and their common spellings."""
LEAST_ROWS = 20
"""Rows that a group needs to be called the worst: one bad row of fewer is chance."""
SHOWN_GROUPS = 10


class GroupNames(Frozen):
    """Names from the data, cleaned and capped."""

    hours: dict[str, float] = Field(description=f"Of the largest groups, at most {SHOWN_GROUPS}.")
    worst: str | None


class GroupBalance(Frozen):
    """The groups of one field. Shares are of the hours whose rows have the field, or of the rows of a group; 0 to 1."""

    field: str
    groups: int
    hours_known: float
    largest_share: float
    smallest_share: float
    error_share: float = Field(description="Share of the rows inspected that have errors, of all groups.")
    worst_error_share: float | None = Field(description=f"The same of the worst group of at least {LEAST_ROWS} rows; null where none has errors.")
    untrusted_text: GroupNames


class Groups:
    """One pass over rows. Memory: 12 bytes a row and field."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, int]] = {}
        self._rows: dict[str, tuple[array[int], array[int]]] = {}
        self._seconds: dict[str, defaultdict[int, float]] = {}

    def add(self, row: Row) -> None:
        extra: Mapping[str, Any] = row.utterance.model_extra or {}
        for field in FIELDS if extra else ():
            value = extra.get(field)
            if not isinstance(value, str | int) or value == "":
                continue
            names = self._names.setdefault(field, {})
            number = names.setdefault(str(value), len(names))
            lines, groups = self._rows.setdefault(field, (array("Q"), array("I")))
            lines.append(row.line)
            groups.append(number)
            self._seconds.setdefault(field, defaultdict(float))[number] += row.utterance.duration

    def finish(self, bad_lines: Set[int]) -> tuple[GroupBalance, ...]:
        """`bad_lines`: those with an error."""
        return tuple(self._balance(field, bad_lines) for field in FIELDS if field in self._names)

    def _balance(self, field: str, bad_lines: Set[int]) -> GroupBalance:
        names, seconds, (lines, groups) = list(self._names[field]), self._seconds[field], self._rows[field]
        rows, bad = Counter(groups), Counter(group for line, group in zip(lines, groups, strict=True) if line in bad_lines)
        worst = max((group for group in bad if rows[group] >= LEAST_ROWS), key=lambda group: (bad[group] / rows[group], -group), default=None)
        total, ranked = sum(seconds.values()), sorted(seconds, key=lambda group: (-seconds[group], group))
        return GroupBalance(
            field=field, groups=len(names), hours_known=round(total / 3600, 4), largest_share=round(seconds[ranked[0]] / total, 4),
            smallest_share=round(seconds[ranked[-1]] / total, 4), error_share=round(bad.total() / len(lines), 4),
            worst_error_share=None if worst is None else round(bad[worst] / rows[worst], 4),
            untrusted_text=GroupNames(hours={clean_text(names[group], 40): round(seconds[group] / 3600, 4) for group in ranked[:SHOWN_GROUPS]},
                                      worst=None if worst is None else clean_text(names[worst], 40)),
        )  # fmt: skip
