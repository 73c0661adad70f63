"""Values of an export that cross a process: what the model card says, what was compared, the result.

Part of the contract in `asrcore.requests`, which uses them; a module of its own only for its length. Rates in percent, losses in points.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asrcore.results import Frozen

ExportTarget = Literal["nemo", "transformers", "onnx"]


class CardRate(Frozen):
    """A normalised error rate with its 95 % interval and the words (or characters) behind it."""

    percent: float
    ci95: tuple[float, float] | None
    words: int
    unit: Literal["word", "character"]


class CardScore(Frozen):
    """One eval of the exported checkpoint, and the base's rate under the same conditions where the ledger has it."""

    eval_id: str
    set_name: str
    role: str
    """The role that the set is registered with; empty where it has none."""
    locales: tuple[str, ...]
    att_context: tuple[int, int]
    prompt_mode: str
    utterances: int
    normaliser: str
    score: CardRate
    base: CardRate | None = None
    wrong_tag_rate: float | None = None
    synthetic: bool
    """Some of its recordings name a source that starts with "synthetic"."""


class CardGuard(Frozen):
    """One guard of the newest replay check of the exported checkpoint; a positive loss is worse."""

    set_name: str
    locales: tuple[str, ...]
    att_context: tuple[int, int]
    prompt_mode: str
    loss_points: float
    upper_bound: float
    margin_points: float
    verdict: str
    words: int


class CardData(Frozen):
    """What training really drew from one source."""

    source: str
    run_id: str
    sha256: str
    """Digest over the digests of the source's shards, in their order; empty where the request of the run does not name the source."""
    role: str
    utterances: int
    hours: float
    locales: tuple[str, ...]


class CardFacts(Frozen):
    """What the ledger knows about a checkpoint and its model card has to say."""

    base_name: str
    base_sha256: str
    synthetic_base: bool
    """The chain starts at the embedded base, which was trained on synthetic speech only."""
    origin_known: bool
    """The ledger holds every step from a base to this checkpoint."""
    steps: tuple[str, ...] = ()
    """From the base to this checkpoint, oldest first, one sentence each."""
    runs: tuple[str, ...] = ()
    """Ids of the trainings among them, oldest first."""
    data: tuple[CardData, ...] = ()
    scores: tuple[CardScore, ...] = ()
    guards: tuple[CardGuard, ...] = ()


class ExportCheck(Frozen):
    """One comparison between an artefact and the checkpoint it was made from."""

    what: str
    runtime: str
    """Name and version of the library that ran the artefact."""
    bar: str
    """What had to hold."""
    att_context: tuple[int, int] | None = None
    """Null where the comparison does not depend on it."""
    compared: int
    identical: int | None = None
    max_delta: float | None = None
    note: str = ""


class ExportResult(Frozen):
    """`path` is `model.nemo`, or the folder for the other targets; `sha256` is then the digest of its SHA256SUMS."""

    target: str
    path: str
    sha256: str
    compared_utterances: int
    """Transcripts compared: smoke cases (utterances with their own tag, in auto, and one long one) times contexts."""
    compared_tokens: int
    identical: int
    prompt_changes_output: bool
    att_contexts: tuple[tuple[int, int], ...] = ()
    locales: tuple[str, ...] = ()
    prompt_modes: tuple[str, ...] = ()
    checks: tuple[ExportCheck, ...] = ()
    notes: tuple[str, ...] = Field(default=(), description="What a person has to know before deploying it, one sentence each.")
