"""Values of the data room that cross a process: the simulated channel of a source, the Shar twin of a shard, cuts that Lhotse is asked to read.

Part of the contract in `asrcore.requests`, which uses them; a module of its own only for its length.
"""

from __future__ import annotations

from pydantic import Field

from asrcore.results import Frozen


class ChannelChain(Frozen):
    """One chain of a simulated channel. `name` is what was asked for, `steps` the same written out (grammar: `asrcore.data.channel`)."""

    name: str
    steps: str


class NoiseRef(Frozen):
    """A recording of background noise by path and content."""

    path: str
    sha256: str


class ChannelPlan(Frozen):
    """What the audio of a source goes through. Each utterance draws one of the chains by its id and the request's seed; noise is pink without files."""

    chains: tuple[ChannelChain, ...] = Field(min_length=1)
    noise: tuple[NoiseRef, ...] = ()


class SharFiles(Frozen):
    """The same utterances in Lhotse's Shar layout, paths relative to the shards folder."""

    cuts: str
    recording: str


class LhotseCutsRequest(Frozen):
    """Either `cuts`, or `recordings` with `supervisions`: JSON-lines manifests of Lhotse, also gzipped."""

    cuts: str | None = None
    recordings: str | None = None
    supervisions: str | None = None
    out: str
    """File of JSON lines: a row for each supervision, or the reason why a cut is none."""


class LhotseCutsResult(Frozen):
    rows: int
    refused: int
