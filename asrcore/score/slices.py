"""The score of one system, split by what the manifest says about the utterances: which speakers, lines or lengths it fails on."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asrcore.errors import Problem, UsageError, clean_text
from asrcore.requests import Hypothesis, Slice
from asrcore.score.bootstrap import Clusters, cluster, rate, resample
from asrcore.score.wer import ErrorCounts

OWN_FIELDS = ("speaker", "source", "sampling_rate", "duration", "locale")
"""Fields of every hypothesis; others come from `Hypothesis.fields`."""
DURATION_EDGES_S = (2.0, 5.0, 10.0, 20.0)
_DURATION_NAMES = ("<2 s", "2-5 s", "5-10 s", "10-20 s", ">=20 s")
MOST_VALUES = 50
"""Values of one field that are shown, those with the most words; the rest is one slice, `other (N values)`."""
WORST_FROM_WORDS = 100
"""A value needs so many reference words (characters where CER is used) to be called the worst."""
REPLICATIONS = 2_000
"""Of the bootstrap of one slice: its 95 % bounds then lie within about 0.1 of a standard error of those of 10,000."""
ABSENT = "(none)"
"""Name of the utterances that have no value."""
_QUARTERS = 4


class _Field(NamedTuple):
    """`number` is the value's number of each utterance; `ranked` values are ones a claim can be about, not "other" or "(none)"."""

    name: str
    values: list[str]
    number: NDArray[np.intp]
    ranked: list[bool]


def slices(hyps: Sequence[Hypothesis], counts: ErrorCounts, fields: Sequence[str], seed: int = 0) -> tuple[Slice, ...]:
    """Error rate by each value of each field, in the order of `fields`; values with the most words first, ranges in their own order.

    `counts` are those of `hyps`. `duration` is cut at 2, 5, 10 and 20 s; a field of numbers with more than 50 values into quarters of the
    utterances unless all are whole. The 95 % interval is the clustered bootstrap's within the slice, null where it holds one cluster. The worst of at least
    two values with 100 words or more is marked. Values are the data's: one of several looked at is worst by chance too, so no verdict.

    Raises `slice_field_unknown` with all fields that no utterance has, naming those that exist.
    """
    return tuple(one for one, _ in with_rows(hyps, counts, fields, seed))


def with_rows(
    hyps: Sequence[Hypothesis], counts: ErrorCounts, fields: Sequence[str], seed: int = 0
) -> tuple[tuple[Slice, NDArray[np.intp]], ...]:
    """The same slices, each with the places of its utterances in `hyps`. Raises what `slices` raises."""
    if not fields:
        return ()
    require_fields(fields, fields_of(hyps))
    clusters = cluster(hyps)
    return tuple(one for name in dict.fromkeys(fields) for one in _split(_field(hyps, counts, name), counts, clusters, seed))


def _split(field: _Field, counts: ErrorCounts, clusters: Clusters, seed: int) -> list[tuple[Slice, NDArray[np.intp]]]:
    found: list[Slice] = []
    places: list[NDArray[np.intp]] = []
    able: list[int] = []
    order = np.argsort(field.number, kind="stable")
    ends = np.cumsum(np.bincount(field.number, minlength=len(field.values)))
    for number, (value, ranked) in enumerate(zip(field.values, field.ranked, strict=True)):
        rows = order[ends[number - 1] if number else 0 : ends[number]]
        if len(rows) == 0:
            continue
        part = ErrorCounts(counts.substitutions[rows], counts.deletions[rows], counts.insertions[rows], counts.words[rows], counts.unit)
        _, index = np.unique(clusters.index[rows], return_inverse=True)
        own = Clusters(clusters.kind, index.astype(np.intp), int(index.max()) + 1, ())
        rates = resample([part.errors], part.words, own, seed, REPLICATIONS)[0] if own.count > 1 else np.empty(0)
        wer = rate(part, rates, own)
        if ranked and wer.words >= WORST_FROM_WORDS:
            able.append(len(found))
        found.append(Slice(field=clean_text(field.name, 80), untrusted_text=clean_text(value, 80), utterances=len(rows), wer=wer))
        places.append(rows)
    if len(able) > 1:
        worst = max(able, key=lambda n: found[n].wer.percent)
        found[worst] = found[worst].model_copy(update={"worst": True})
    return list(zip(found, places, strict=True))


def _field(hyps: Sequence[Hypothesis], counts: ErrorCounts, name: str) -> _Field:
    if name == "duration":
        index = np.searchsorted(DURATION_EDGES_S, [h.duration for h in hyps], side="right").astype(np.intp)
        return _Field(name, list(_DURATION_NAMES), index, [True] * len(_DURATION_NAMES))
    values = [_value(h, name) for h in hyps]
    if name not in OWN_FIELDS and _measured(set(values) - {None}):
        return _quarters(name, [None if value is None else float(value) for value in values])
    return _largest(name, values, counts.words)


def _measured(values: Collection[str | None]) -> bool:
    """Many numbers, and not all of them whole: a measurement. Whole numbers are as likely the ids of something."""
    numbers = [_number(value or "") for value in values]
    return len(numbers) > MOST_VALUES and None not in numbers and not all(number is not None and number.is_integer() for number in numbers)


def _largest(name: str, values: Sequence[str | None], words: NDArray[np.int64]) -> _Field:
    """The values with the most words, then the rest as one, then utterances without a value."""
    known = list(dict.fromkeys(value for value in values if value is not None))
    code = {value: number for number, value in enumerate(known)}
    first = np.array([len(known) if value is None else code[value] for value in values], dtype=np.intp)
    sums = np.bincount(first, weights=words, minlength=len(known) + 1)[: len(known)]
    ranking = np.argsort(-sums, kind="stable")
    order: list[int] = ranking[:MOST_VALUES].tolist()
    shown = [known[n] for n in order]
    rest = len(known) - len(shown)
    place = np.empty(len(known) + 1, dtype=np.intp)
    place[ranking] = np.minimum(np.arange(len(known)), len(shown))
    place[len(known)] = len(shown) + 1
    return _Field(name, [*shown, f"other ({rest} values)", ABSENT], place[first], [True] * len(shown) + [False, False])


def _quarters(name: str, numbers: Sequence[float | None]) -> _Field:
    """Quarters of the utterances that have a number; equal numbers stay together, so quarters may differ in size."""
    values = np.array([math.nan if number is None else number for number in numbers])
    edges = np.unique(np.nanquantile(values, np.arange(_QUARTERS + 1) / _QUARTERS))
    index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2).astype(np.intp)
    index[np.isnan(values)] = len(edges) - 1
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges.tolist())]
    return _Field(name, [*names, ABSENT], index, [True] * len(names) + [False])


def _value(h: Hypothesis, name: str) -> str | None:
    match name:
        case "speaker":
            return h.speaker
        case "source":
            return h.source
        case "sampling_rate":
            return None if h.sampling_rate is None else f"{h.sampling_rate} Hz"
        case "locale":
            return h.locale
        case _:
            return h.fields.get(name)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def fields_of(hyps: Sequence[Hypothesis]) -> tuple[str, ...]:
    """Fields in which at least one utterance has a value."""
    own = [name for name in OWN_FIELDS if name == "duration" or any(_value(h, name) is not None for h in hyps)]
    return (*own, *sorted({name for h in hyps for name in h.fields}))


def require_fields(fields: Sequence[str], present: Sequence[str]) -> None:
    """Raises `slice_field_unknown` with all `fields` that are not among those present; callers may ask before they decode."""
    unknown = [clean_text(name, 40) for name in dict.fromkeys(fields) if name not in present]
    if not unknown:
        return
    shown = ", ".join(clean_text(name, 40) for name in present[:30]) + (" …" if len(present) > 30 else "")
    raise UsageError(
        "slice_field_unknown", f"no utterance has the field {', '.join(unknown)}.", next_step=f"slice by one of: {shown}.",
        problems=[Problem(code="slice_field_unknown", message=f"no utterance has {name}", fix=f"use one of: {shown}") for name in unknown],
    )  # fmt: skip
