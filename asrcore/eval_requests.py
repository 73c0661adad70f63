"""Values of the measuring rooms that cross a process: an error rate, how an engine decoded, what stands beside the rate.

Part of the contract in `asrcore.requests`, which uses them; a module of its own only for its length.
"""

from __future__ import annotations

from typing import Literal

from asrcore.results import Frozen


class Wer(Frozen):
    """Corpus error rate in percent, counts over the whole set. CER where the locale needs it (`unit`)."""

    percent: float
    errors: int
    substitutions: int
    deletions: int
    insertions: int
    words: int
    unit: Literal["word", "character"] = "word"
    ci95: tuple[float, float] | None = None


class Parity(Frozen):
    """How far the fast engine's transcripts are those of the exact engine at batch size 1, on a random sample of the set."""

    utterances: int
    identical_percent: float
    delta_points: float
    """fast - exact, in points of normalised WER on the sample."""
    held: bool


class ChunkTimes(Frozen):
    """How long a chunk takes to decode and how soon text appears, each as median, 95th and 99th percentile in milliseconds. Null in old evals.

    Chunk steps are model-side wall time of a whole batch of streams (not of one), on a machine that may have had other work.
    """

    chunks: int
    """Steps that were timed."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    last_chunk_p50_ms: float
    """Finalisation: from the last chunk's arrival to the final transcript, what a speaker waits for after the end of speech beyond the chunk itself."""
    last_chunk_p95_ms: float | None = None
    last_chunk_p99_ms: float | None = None
    first_partial_ms_p50: float | None
    """First partial: audio time from the start of a clip, silence in front included, to the end of the chunk that wrote the first token; clips without text are left out."""
    first_partial_ms_p95: float | None = None
    first_partial_ms_p99: float | None = None


class StyleErrors(Frozen):
    """Errors in what the normaliser takes away, in percent of what the reference holds; null where it holds none."""

    punctuation_percent: float | None
    casing_percent: float | None
    punctuation_marks: int
    """Marks in the references."""
    cased_words: int
    """Aligned equal words in which case could differ."""


class TermScore(Frozen):
    """Listed terms in references and hypotheses, counted after normalisation. Percent; null where a denominator is zero."""

    terms: int
    occurrences: int
    recall_percent: float | None
    precision_percent: float | None
    f1_percent: float | None
    missed: tuple[str, ...] = ()
    """Terms of the caller's list that were missed at least once, worst first, at most 20."""


class Slice(Frozen):
    """One value of one manifest field. `untrusted_text` is the value as the data has it, cleaned and capped."""

    field: str
    untrusted_text: str
    utterances: int
    wer: Wer
    worst: bool = False
    """The worst value of its field among those with at least 100 words."""


class SegmentTags(Frozen):
    """Utterances with several languages, in `auto`: are the languages told apart? Rows name them in order, `"target_langs": "el-GR en-US"` or a list."""

    utterances: int
    segments: int
    """Stretches of one language in the references."""
    correct_percent: float
    """Segments whose tag was written, in order: 100 * (1 - edit distance of the two tag sequences / segments), at least 0. The model tags each
    sentence, so equal tags in a row are one segment."""
    wer: Wer | None = None
    """Normalised rate of these utterances alone."""
