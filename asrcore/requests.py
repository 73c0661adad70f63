"""What goes into a child process and what comes back: the typed doors of the long-running stages.

A job runs `python -m <module> request.json` in its own folder and leaves there, all written atomically or appended line by line:

    request.json      one of the requests below (input)
    events.jsonl      one `Event` a line: progress and metrics, for get_job and progress bars
    result.json       the matching result, only when the work is complete
    error.json        an `asrcore.errors.ErrorView`, when it failed in a way it understands

Paths in requests are absolute. WER is in percent, durations in seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from asrcore.captions import Caption, CaptionFormat, Word
from asrcore.data_requests import ChannelPlan, OpusKbits, OpusLoss, SharFiles
from asrcore.eval_requests import ChunkTimes as ChunkTimes
from asrcore.eval_requests import Parity as Parity
from asrcore.eval_requests import SegmentTags as SegmentTags
from asrcore.eval_requests import Slice as Slice
from asrcore.eval_requests import StyleErrors as StyleErrors
from asrcore.eval_requests import TermScore as TermScore
from asrcore.eval_requests import Wer as Wer
from asrcore.export_requests import CardFacts, ExportTarget
from asrcore.export_requests import ExportResult as ExportResult
from asrcore.results import Frozen

PromptMode = Literal["langID", "auto"]
TrainPromptMode = Literal["langID", "auto", "unified"]
Surface = Annotated[str, Field(pattern=r"^(full|decoder_joint|prompt|top_layers:[1-9][0-9]?|lora:[1-9][0-9]{0,2}|adapter:[1-9][0-9]{0,2})$")]
"""Tensors that a fine-tune may move; `top_layers:k`, `lora:r` and `adapter:d` carry a number."""
Module = Literal["encoder", "prompt_kernel", "decoder", "joint"]
ModuleRates = dict[Module, Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]]
"""Factor on the learning rate of a module's tensors; 1 where a module is not named."""
AttContext = tuple[Annotated[int, Field(ge=1, le=70)], Annotated[int, Field(ge=0, le=13)]]
"""[left, right] frames of 80 ms, as a caller may ask for it."""
EngineChoice = Literal["exact", "fast", "auto"]
Role = Literal["train", "replay"]

MODULES = {
    "build_shards": "asrcore.data.shards",
    "inspect": "asrcore.data.inspect_job",
    "train": "asrcore.model.train",
    "find_batch": "asrcore.model.find_batch",
    "blend": "asrcore.model.blend",
    "add_locale": "asrcore.model.add_locale",
    "eval": "asrcore.model.evaluate",
    "export": "asrcore.model.export",
    "transcribe": "asrcore.model.transcribe",
}
"""Job kind -> module that runs it. `asrcore.jobs` starts these and nothing else."""


def split_surface(surface: str) -> tuple[str, int]:
    """`lora:8` -> ("lora", 8); 0 where the surface has no number."""
    kind, _, number = surface.partition(":")
    return kind, int(number or 0)


class Event(Frozen):
    """One line of `events.jsonl`. `step` of `total` in units of the stage (utterances, steps); metrics are plain numbers."""

    time: float
    stage: str
    step: int = 0
    total: int = 0
    message: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)


class ManifestRef(Frozen):
    """A manifest by path and content; the digest is over the file's bytes."""

    name: str
    path: str
    sha256: str


class CheckpointRef(Frozen):
    """A `.nemo` by path and content."""

    name: str
    path: str
    sha256: str


# --- shards ---------------------------------------------------------------------------------------------------------------------------


class ShardSource(Frozen):
    """One manifest that becomes shards. `share` is the wanted share of seconds in training batches; shares of a request sum to 1."""

    name: str = Field(pattern=r"^[A-Za-z0-9_]{1,64}$")
    manifest: ManifestRef
    role: Role
    share: float = Field(gt=0, le=1)
    channel: ChannelPlan | None = None


class ShardsRequest(Frozen):
    sources: tuple[ShardSource, ...] = Field(min_length=1)
    utterances_per_shard: int = Field(default=200, ge=1, le=10_000)
    seed: int = 0
    shar: bool = False
    opus: OpusKbits = 0
    scheduler: str = ""
    """Address of a Dask scheduler whose workers write the shards; no part of their id."""
    out: str
    """Final folder `shards/shards_<id>`; written as a whole."""


class ShardFile(Frozen):
    tar: str
    manifest: str
    sha256: str
    utterances: int
    seconds: float
    shar: SharFiles | None = None


class ShardedSource(Frozen):
    """`weight` is what the loader's sampler needs: it draws utterances, so weight = share / mean duration, normalised."""

    name: str
    role: Role
    share: float
    weight: float
    utterances: int
    seconds: float
    seconds_by_locale: dict[str, float]
    channels: tuple[str, ...] = ()
    shards: tuple[ShardFile, ...]


class ShardsResult(Frozen):
    """`index.json` in the shards folder is this value. Paths are relative to `root`."""

    shards_id: str
    root: str
    sources: tuple[ShardedSource, ...]
    skipped: dict[str, int]
    """Rows left out, by reason code; nothing is dropped silently."""
    opus: OpusLoss | None = None
    """Of lossy shards; None: every member is the file as it is, or its samples at 16 kHz in FLAC."""


# --- training -------------------------------------------------------------------------------------------------------------------------


class TrainRequest(Frozen):
    """A fine-tune, fully resolved. `input_cfg` is what NeMo 3.0's Lhotse loader reads (NeMo 3.0, common/data/lhotse/cutset.py)."""

    run_id: str
    base: CheckpointRef
    shards: ShardsResult
    dev: ManifestRef
    surface: Surface = "full"
    max_steps: int = Field(ge=1)
    batch_size: int = Field(default=16, ge=1)
    batch_seconds: float | None = Field(default=None, gt=0)
    """Most seconds of a batch with its padding, in the place of `batch_size`, which then is how many utterances of mean length that makes."""
    bucketing: bool = True
    peak_lr: float = Field(gt=0)
    rates: ModuleRates = Field(default={})
    min_lr: float = 1e-6
    warmup_steps: int = Field(ge=0)
    weight_decay: float = 1e-3
    gradient_clip: float = 1.0
    prompt_mode: TrainPromptMode = "unified"
    auto_ratio: float = Field(default=0.5, ge=0, le=1)
    emit_tag_in_auto: bool = True
    """Append ` <xx-XX>` to the target text of utterances drawn in `auto`, so that tag output survives tuning (NeMo 3.0, rnnt_bpe_models_prompt.py)."""
    spec_augment: bool = True
    ema_decay: float = Field(default=0.0, ge=0, lt=1, description="Of a moving average of the weights, which candidates then hold; 0: none.")
    candidate_every: int = Field(ge=1)
    """A candidate checkpoint and a standalone streaming eval of it every so many steps, and at the end."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after this many candidates in a row that are no better than the best before them; null: the whole budget is spent."""
    att_context_size: tuple[int, int] = (56, 0)
    max_duration: float = 39.99
    fastemit_lambda: float = 5e-3
    seed: int = 0
    out: str
    """Run folder: candidates/step_N/{weights.safetensors,candidate.json}, best.nemo, state.safetensors."""


class Consumed(Frozen):
    """What the loader really delivered from one source. Zero fails the run (trap 3.13)."""

    source: str
    role: Role
    utterances: int
    seconds: float
    seconds_by_locale: dict[str, float]


class Candidate(Frozen):
    step: int
    path: str
    dev_wer: float
    train_loss: float


class Averaged(Frozen):
    """The mean of several candidates' weights. `kept`: it was better on dev than the best of them, so `best.nemo` holds it."""

    steps: tuple[int, ...]
    dev_wer: float
    kept: bool


class TrainResult(Frozen):
    run_id: str
    best: CheckpointRef
    best_step: int
    candidates: tuple[Candidate, ...]
    averaged: Averaged | None = None
    """The mean of the best candidates, scored; null where a run had only one."""
    base_dev_wer: float
    consumed: tuple[Consumed, ...]
    steps: int
    resumed_from: int = 0
    trainable_parameters: int
    seconds: float
    audio_hours_per_hour: float


# --- blending ---------------------------------------------------------------------------------------------------------------------------


class BlendGuards(Frozen):
    """The base's evals of the guard sets: they decide how far a blend may go, under their own conditions."""

    base: tuple[EvalCell, ...] = Field(min_length=1)
    margin_points: float | None = None
    """As in check_replay."""
    evals: str
    """The workspace's folder of evals."""


class BlendRequest(Frozen):
    """Weights between a base and the mean of tuned checkpoints: base + alpha * (mean - base), one `.nemo` for each alpha."""

    base: CheckpointRef
    tuned: tuple[CheckpointRef, ...] = Field(min_length=1, max_length=20)
    alphas: tuple[float, ...] = Field(min_length=1, max_length=20)
    """Each over 0 and at most 1; 1 is the mean of the tuned checkpoints itself."""
    guards: BlendGuards | None = None
    out: str
    """Final folder `blends/blend_<id>`; appears as a whole."""


class Blend(Frozen):
    """One blended checkpoint and what it was made of."""

    alpha: float
    checkpoint: CheckpointRef
    base: CheckpointRef
    tuned: tuple[CheckpointRef, ...]

    @property
    def blend_id(self) -> str:
        """Its name in the ledger, from its weights."""
        return f"blend_{self.checkpoint.sha256[:12]}"


class GuardedBlend(Frozen):
    """What the guards say of one alpha. `not_kept`: locales of the guards that are forgotten or inconclusive."""

    blend_id: str
    alpha: float
    verdict: Literal["kept", "forgotten", "inconclusive"]
    not_kept: tuple[str, ...]
    worst_loss_points: float


class BlendResult(Frozen):
    blends: tuple[Blend, ...]
    """By rising alpha."""
    chosen: str | None = None
    """Blend id of the largest alpha whose guards are all kept; null where there is none, or no guard was given."""
    guarded: tuple[GuardedBlend, ...] = ()
    """The alphas that were tried on the guards, largest first."""
    cells: tuple[EvalCell, ...] = ()
    """The evals behind that."""
    seconds: float


# --- a new locale ---------------------------------------------------------------------------------------------------------------------


class NewLetter(Frozen):
    """A letter that the tokenizer lacked, and the piece whose id it takes over."""

    letter: str = Field(min_length=1, max_length=1)
    id: int = Field(ge=0)
    piece: str


class AddLocaleRequest(Frozen):
    """A base with one more tag. `neighbour` is a trained tag of the base that the new one starts from."""

    base: CheckpointRef
    locale: str = Field(pattern=r"^[a-z]{2,3}-[A-Z]{2}$")
    neighbour: str
    way: Literal["own_slot", "alias"]
    num_prompts: int = Field(ge=1)
    letters: tuple[NewLetter, ...] = ()
    out: str
    """Final folder `bases/base_<id>` with base.nemo; appears as a whole."""


class AddLocaleResult(Frozen):
    checkpoint: CheckpointRef
    base: CheckpointRef
    locale: str
    neighbour: str
    way: Literal["own_slot", "alias"]
    slot: int
    letters: tuple[NewLetter, ...] = ()
    seconds: float


# --- evaluation -----------------------------------------------------------------------------------------------------------------------


class EvalSubject(Frozen):
    """A checkpoint to evaluate, and its folder as `EvalRequest.out`."""

    checkpoint: CheckpointRef
    out: str


class EvalRequest(Frozen):
    """checkpoints x sets x att_contexts x prompt modes; one `EvalCell` each.

    `exact` decodes chunk by chunk; `fast` in one pass under the same chunk mask, and fails where a sample shows that it is not equivalent; `auto`
    tries `fast` and goes on with `exact` where it is not.
    """

    checkpoint: CheckpointRef
    sets: tuple[ManifestRef, ...] = Field(min_length=1)
    att_contexts: tuple[tuple[int, int], ...] = ((56, 0),)
    prompt_modes: tuple[PromptMode, ...] = ("langID",)
    batch_size: int = Field(default=16, ge=1, le=512)
    engine: EngineChoice = "exact"
    slice_by: tuple[str, ...] = ()
    """Manifest fields (also `speaker`, `source`, `sampling_rate`, `duration`) whose values split the score."""
    terms: tuple[str, ...] = ()
    """Words and names whose recall and precision are reported."""
    out: str
    """Folder for `hyps/<cell_id>.jsonl`, one `Hypothesis` a line."""
    more: tuple[EvalSubject, ...] = ()
    """Further checkpoints, for the same passes."""


class Hypothesis(Frozen):
    """One decoded utterance. `text` has its tags stripped; `raw_text` is what the model wrote, `tag` the last locale tag in it or null."""

    id: str
    locale: str
    reference: str
    text: str
    raw_text: str
    tag: str | None
    duration: float
    speaker: str | None = None
    source: str | None = None
    line: int
    """Line of the manifest, from 1."""
    sampling_rate: int | None = None
    fields: dict[str, str] = Field(default_factory=dict)
    """The other scalar fields of the row, as text, for slices."""
    first_partial_s: float | None = None
    """Audio seconds from the start of the clip to the end of the chunk that wrote the first token; null when nothing was written."""


class Scores(Frozen):
    """What the scorer says about one set of hypotheses, whoever wrote them."""

    locales: tuple[str, ...]
    utterances: int
    seconds: float
    raw: Wer
    normalised: Wer
    normaliser: str
    empty_hypotheses: int
    repeated_phrases: int = 0
    """Hypotheses in which a phrase comes five or more times in a row, and in the reference does not (trap 3.27i)."""
    wrong_tag_rate: float | None = None
    """Share of utterances in `auto` whose emitted tag is missing or another locale's; null in langID."""
    script_share: float
    """Share of letters in the output that belong to the locale's script."""
    style: StyleErrors | None = None
    terms: TermScore | None = None
    slices: tuple[Slice, ...] = ()
    segment_tags: SegmentTags | None = None


class EvalCell(Scores):
    """One scored pass. `eval_id` is content-addressed: same checkpoint, set, context, mode, engine and scorer give the same id.

    The cell of another system (`engine` peer) names the context and mode it is compared at; `batch_size` and `rtfx` are 0 there.
    """

    eval_id: str
    checkpoint: CheckpointRef
    set: ManifestRef
    att_context: tuple[int, int]
    latency_ms: int
    prompt_mode: PromptMode
    rtfx: float
    """Audio seconds per wall second of decoding, in the attempt that finished the pass."""
    engine: str
    batch_size: int
    hypotheses: str
    versions: dict[str, str]
    parity: Parity | None = None
    """Set when the fast engine was asked for; `engine` says which one was used in the end."""
    chunk_times: ChunkTimes | None = None
    """Set by the exact engine."""


class EvalResult(Frozen):
    cells: tuple[EvalCell, ...]
    seconds: float


# --- export ---------------------------------------------------------------------------------------------------------------------------


class ExportRequest(Frozen):
    checkpoint: CheckpointRef
    target: ExportTarget = "nemo"
    smoke: ManifestRef
    extra_smoke: tuple[ManifestRef, ...] = ()  # of other locales
    smoke_utterances: int = Field(default=8, ge=1, le=200)
    att_contexts: tuple[tuple[int, int], ...] = ((56, 0),)
    int8: bool = False  # ONNX only: quantised graphs beside those in float32
    sherpa_utterances: int = Field(default=0, ge=0, le=2000)  # ONNX only: how many sherpa-onnx itself transcribes from audio in the gate
    provenance: dict[str, Any] = Field(default_factory=dict)
    card: CardFacts | None = None
    out: str
    """Final folder `exports/export_<id>`; appears only when the gate held."""


# --- transcription --------------------------------------------------------------------------------------------------------------------


class TranscribeRequest(Frozen):
    checkpoint: CheckpointRef
    files: tuple[str, ...] = Field(min_length=1)
    digests: tuple[str, ...]
    """Absolute paths of audio files, and the sha256 of each: what they hold is part of the job's key."""
    language: str
    """A tag of the checkpoint's dictionary, or `auto`."""
    att_context: tuple[int, int] = (56, 13)
    engine: Literal["exact", "fast"] = "exact"
    """Chunk by chunk as it is served, or one pass a piece of at most half a minute, cut in pauses."""
    batch_size: int = Field(default=16, ge=1, le=512)
    formats: tuple[CaptionFormat, ...] = ("json",)
    boost: tuple[str, ...] = ()
    boost_weight: float = Field(default=1.0, gt=0, le=20, description="Factor on the scores of NeMo's boosting tree over the phrases of `boost`.")
    out: str
    """Folder `transcripts/transcript_<id>` with `file_<n>/transcript.{json,srt,vtt,txt}`."""


class Transcript(Frozen):
    """One file's text, or the code of why there is none."""

    number: int
    untrusted_source: str
    seconds: float
    error: str | None = None
    untrusted_text: str = ""
    languages: tuple[str, ...] = ()
    """Locale tags that the model wrote, in order; it writes them with `auto` only."""
    words: tuple[Word, ...] = ()
    captions: tuple[Caption, ...] = ()


class TranscribeResult(Frozen):
    files: tuple[Transcript, ...]
    failed: int
