"""How long ago something was, told by a clock that nobody sets.

Wall-clock times are shown to people and order rows; whether a grace period is over is told by the system's monotonic clock, which is one for
all processes since a boot. An age across boots or hosts is not known, and says so.
"""

from __future__ import annotations

import json
import time
from typing import NamedTuple

from asrcore.jobs.process import boot


class Tick(NamedTuple):
    """A moment: which boot of which machine, and seconds on its monotonic clock."""

    boot: str
    seconds: float

    def encode(self) -> str:
        return json.dumps(self)

    @classmethod
    def decode(cls, text: str | None) -> Tick | None:
        return cls(*json.loads(text)) if text else None

    @property
    def age(self) -> float | None:
        """Seconds since then; None when it was another boot or another machine."""
        return time.monotonic() - self.seconds if self.boot == boot() else None

    def over(self, seconds: float, *, unknown: bool) -> bool:
        """Whether more than `seconds` have passed since; `unknown` is the answer when nobody can tell."""
        age = self.age
        return unknown if age is None else age > seconds


def tick() -> Tick:
    """Now."""
    return Tick(boot(), time.monotonic())
