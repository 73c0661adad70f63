"""What a round changed against the trained round before it: one lever a round is the rule, since two changes at once cannot be told apart afterwards."""

from __future__ import annotations

from asrcore.campaign.evidence import Change
from asrcore.requests import Role, TrainRequest

SHARE = 0.02
"""Replay shares that differ by less are the same: shards are weighed by what could be packed."""


def changes(before: TrainRequest, after: TrainRequest) -> tuple[Change, ...]:
    """Everything that a lever can stand for. Steps are none: they follow from the amount of data."""
    found: dict[Change, bool] = {
        "target_data": _data(before, "train") != _data(after, "train"),
        "replay": abs(_share(before) - _share(after)) > SHARE or _data(before, "replay") != _data(after, "replay"),
        "rate": (before.peak_lr, before.rates) != (after.peak_lr, after.rates),
        "surface": before.surface != after.surface,
        "prompt_mode": (before.prompt_mode, before.auto_ratio) != (after.prompt_mode, after.auto_ratio),
        "base": before.base.sha256 != after.base.sha256,
    }
    return tuple(name for name, changed in found.items() if changed)


def _data(request: TrainRequest, role: Role) -> set[tuple[int, tuple[tuple[str, float], ...]]]:
    """Each source of a role by its utterances and seconds a locale; names are not compared."""
    return {(one.utterances, tuple(sorted(one.seconds_by_locale.items()))) for one in request.shards.sources if one.role == role}


def _share(request: TrainRequest) -> float:
    return sum(one.share for one in request.shards.sources if one.role == "replay")
