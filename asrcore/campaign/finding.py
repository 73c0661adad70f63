"""What a finding is, and how a place where errors gather is measured: its share of them and the most that can be won there, both with an interval.

Every interval is the clustered bootstrap's of the score room (95 %), over the whole set: a slice and the rest of the set are drawn together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asrcore.campaign.evidence import Lever
from asrcore.results import Frozen
from asrcore.score.bootstrap import Clusters, Draws, resample
from asrcore.score.wer import ErrorCounts

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Interval95 = tuple[float, float]

REPLICATIONS = 2_000
SEED = 0

Kind = Literal["slice", "terms", "numbers", "names", "deletions", "insertions", "silent", "loops", "style", "wrong_tags", "unknown_characters", "guard"]
Whole = Literal["errors", "raw errors", "utterances", "guard"]


class Effect(Frozen):
    """What a lever brings on the whole first target, in points of its error rate; positive is better."""

    points: float
    low: float
    high: float
    level: float = Field(description="Of the interval from low to high: 0.95 where a round measured it, 0.9 on the learning curve.")
    rests_on: str
    evals: tuple[str, ...]


class Finding(Frozen):
    """One place where errors gather. `untrusted_text` is a value of the data (a slice's name)."""

    kind: Kind
    about: str = Field(description="What was looked at: a manifest field, a locale, or the kind of error.")
    untrusted_text: str = ""
    share: float | None = Field(description="Share (0 to 1) of `of`; null where a guard lost.")
    share95: Interval95 | None = None
    of: Whole
    lever: Lever = Field(description="The cheapest one that acts here.")
    ceiling_points: float | None = Field(description="The most that can be won here, in points of the set's error rate (of a guard: what it lost).")
    ceiling95: Interval95 | None = Field(default=None, description="Null with a single cluster. Of a guard: one-sided 95 % bounds of its loss.")
    expected: Effect | None = Field(default=None, description="What the lever brought in this campaign; null until a round or the curve has shown it.")
    note: str


@dataclass(frozen=True)
class Place:
    """A place to be measured. `errors` are those of each utterance that stand there."""

    kind: Kind
    about: str
    lever: Lever
    note: str
    errors: Ints
    part: NDArray[np.bool_] | None = None
    """The utterances of a slice: it could at most become as good as the rest."""
    faulty: NDArray[np.bool_] | None = None
    """Utterances with a fault that is no word error; the share is then one of utterances."""
    untrusted_text: str = ""


def measured(place: Place, counts: ErrorCounts, clusters: Clusters) -> Finding:
    """The finding about a place, with nothing expected yet. The set has at least one word."""
    whole: Whole = "errors" if place.faulty is None else "utterances"
    parts = (place.errors, counts.errors) if place.faulty is None else (place.faulty.astype(np.int64), np.ones_like(counts.words))
    share, share95 = share_of(*parts, clusters)
    points, points95 = _ceiling(place, counts, clusters)
    return Finding(kind=place.kind, about=place.about, untrusted_text=place.untrusted_text, share=share, share95=share95, of=whole, lever=place.lever,
                   ceiling_points=points, ceiling95=points95, note=place.note)  # fmt: skip


def share_of(part: Ints, whole: Ints, clusters: Clusters) -> tuple[float, Interval95 | None]:
    """sum(part) / sum(whole), which must not be 0, with its 95 % interval (null with a single cluster), cut to 0 and 1."""
    share = int(part.sum()) / int(whole.sum())
    if clusters.count < 2:
        return share, None
    rates = resample([part, whole], np.ones_like(whole), clusters, SEED, REPLICATIONS)
    drawn = np.divide(rates[0], rates[1], out=np.full_like(rates[0], share), where=rates[1] > 0)
    low, high = _interval(share, drawn, clusters, 1 / int(whole.sum()))
    return round(share, 4), (round(max(0.0, low), 4), round(min(1.0, high), 4))


def _ceiling(place: Place, counts: ErrorCounts, clusters: Clusters) -> tuple[float, Interval95 | None]:
    """Points of the set's error rate that go with all errors of the place, or of a slice with those that it has beyond the rest of the set."""
    here = np.zeros_like(counts.words) if place.part is None else np.where(place.part, counts.words, 0)
    columns, words = [place.errors, counts.errors, here], int(counts.words.sum())
    sums = np.array([[100 * int(column.sum()) / words] for column in columns])
    points = float(_beyond_rest(sums, place.part is not None)[0])
    if clusters.count < 2:
        return points, None
    drawn = _beyond_rest(resample(columns, counts.words, clusters, SEED, REPLICATIONS), place.part is not None)
    low, high = _interval(points, drawn, clusters, 100 / words)
    return round(points, 3), (round(low if place.part is not None else max(0.0, low), 3), round(high, 3))


def _beyond_rest(rates: Floats, is_slice: bool) -> Floats:
    """`rates`: errors of the place, all errors and words of the place, each in percent of all words."""
    errors, every, words = rates
    if not is_slice:
        return errors
    share = words / 100
    rest = np.divide(every - errors, 1 - share, out=np.zeros_like(errors), where=share < 1)
    return errors - share * rest


def _interval(estimate: float, drawn: Floats, clusters: Clusters, one_error: float) -> Interval95:
    return Draws(estimate, np.sort(drawn), clusters.count, one_error, float(np.std(drawn)), 0.0).interval()
