"""Values of the data room that cross a process: the simulated channel of a source, the Shar twin of a shard, cuts that Lhotse is asked to read.

Part of the contract in `asrcore.requests`, which uses them; a module of its own only for its length.
"""

from __future__ import annotations

from typing import Literal

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


OpusKbits = Literal[0, 16, 24, 32, 48, 64]
"""kbit/s of lossy shards; 0 keeps them lossless."""


class OpusLoss(Frozen):
    """What Opus took from shards and what it left. Training then hears other samples than the recordings hold."""

    kbits: OpusKbits
    bytes: int = Field(description="Of all tars.")
    snr_db: float | None = Field(description="Energy of the audio over that of its change by the codec; null where every file was such Opus before.")


class SharFiles(Frozen):
    """The same utterances in Lhotse's Shar layout, paths relative to the shards folder."""

    cuts: str
    recording: str


class InspectRequest(Frozen):
    """A full inspection that takes too long for one call. Its result is the `InspectReport` of the data room."""

    manifest: str
    sha256: str
    """Of the manifest: another content is another job."""
    base: str
    base_name: str
    sample: int = Field(default=0, ge=0)
    heard: str = ""
    """File of an independent recogniser's transcripts."""
    roots: tuple[str, ...]


class LhotseCutsRequest(Frozen):
    """Either `cuts`, or `recordings` with `supervisions`: JSON-lines manifests of Lhotse, also gzipped."""

    cuts: str | None = None
    recordings: str | None = None
    supervisions: str | None = None
    out: str
    """File of JSON lines: a row for each supervision, or the reason why a cut is none."""


class LhotseRecipeRequest(Frozen):
    """A corpus folder as it was published, and the recipe of Lhotse that knows its layout: `librispeech` for `lhotse.recipes.prepare_librispeech`."""

    recipe: str
    corpus: str
    out: str
    """Folder for the manifests."""


class LhotseRecipeResult(Frozen):
    files: int


class LhotseCutsResult(Frozen):
    rows: int
    refused: int
