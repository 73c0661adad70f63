"""What one utterance draws from the chains of a simulated channel (`channel.py`): a chain, one step of each of its stages, a value of each step's range.

It hangs on the utterance's id and the seed alone, so a row sounds the same in every shard set, and a step does not change what the steps after it draw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from asrcore.data.channel import NONE, STEPS, Stage, Step
from asrcore.data_requests import ChannelChain
from asrcore.manifest import Row

CHANNEL_FIELD = "simulated_channel"
"""Extra field of a row: the chain as it was asked for. Scores can be split by it."""
DRAWN_FIELD = "simulated_channel_drawn"
"""Extra field of a row: the same chain with the values that this utterance drew; itself a chain that makes the same sound for that id and seed."""

_DIGITS = 4


class Drawn(NamedTuple):
    """What one utterance goes through: the chain's name and its steps with their values; no steps leave it as it is.

    `key` names the utterance under its seed; the random parts of step n come from (key, n).
    """

    name: str
    steps: tuple[Step, ...]
    key: bytes

    @property
    def fields(self) -> dict[str, str]:
        """What the manifest row says of it."""
        return {CHANNEL_FIELD: self.name, DRAWN_FIELD: ",".join(map(str, self.steps)) or NONE}


def key_of(row: Row, seed: int) -> bytes:
    """Names an utterance: its id, or file and piece as the manifest has them where it has none."""
    utterance = row.utterance
    name = utterance.id if utterance.id is not None else f"{utterance.audio_filepath}@{utterance.offset:g}+{utterance.duration:g}"
    return hashlib.blake2b(f"{seed}\0{name}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def draw(chains: Sequence[tuple[ChannelChain, tuple[Stage, ...]]], key: bytes) -> Drawn:
    """One chain of those, one step of each of its stages, and one value of each step's range."""
    chain, found = chains[int(rng_of(key, "chain").integers(len(chains)))]
    steps: list[Step] = []
    for place, stage in enumerate(found):
        chance = rng_of(key, f"value {place}")
        step = stage[int(chance.integers(len(stage)))]
        if STEPS[step.name].takes == "range":
            value = round(float(chance.uniform(step.low, step.high)), _DIGITS)
            step = Step(step.name, value, value)
        steps.append(step)
    return Drawn(chain.name, tuple(steps), key)


def rng_of(key: bytes, what: str) -> np.random.Generator:
    """A source of chance of its own for each thing that is drawn for an utterance."""
    digest = hashlib.blake2b(what.encode(), key=key, digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest))
