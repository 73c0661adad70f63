"""Child process `python -m asrcore.model.evaluate request.json`: one checkpoint, several sets, contexts and prompt modes, streamed and scored.

Each (set, att_context_size, prompt mode) is one cell with a content-addressed id. Utterances are written down as they are finished, so a run that
was killed goes on with the first one that is not there; scoring is repeated, decoding is not.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field

from asrcore import io
from asrcore.errors import NotReadyError, clean_text
from asrcore.jobs.child import Reporter, main
from asrcore.locales import latency_ms
from asrcore.manifest import kept_rows
from asrcore.model.decode import row_slots, transcribe_rows
from asrcore.model.fast import FastDecoder
from asrcore.model.parity import check_parity, sample_size
from asrcore.model.restore import fastest_device, restore
from asrcore.model.stream import StepTimes, StreamingDecoder
from asrcore.requests import ChunkTimes, EvalCell, EvalRequest, EvalResult, EvalSubject, Hypothesis, ManifestRef, Parity, PromptMode
from asrcore.results import Frozen
from asrcore.score.cell import score_hypotheses
from asrcore.score.hypotheses import hypothesis_of, read_hypotheses, write_hypotheses
from asrcore.score.normalise import NORMALISER
from asrcore.score.slices import fields_of, require_fields
from asrcore.score.terms import spell

EngineName = Literal["exact", "fast"]
ENGINES: dict[EngineName, str] = {"exact": "exact/1", "fast": "fast/1"}
"""Name and version of each engine; part of every eval id."""


class Pass(NamedTuple):
    """What one cell decodes."""

    set: ManifestRef
    att_context: tuple[int, int]
    mode: PromptMode

    @property
    def label(self) -> str:
        return f"{clean_text(self.set.name, 80)} at {latency_ms(self.att_context)} ms, {self.mode}"


class PassFacts(Frozen):
    """What is stored beside the hypotheses of a pass; its presence says that they are complete."""

    seconds: float
    """Wall seconds of decoding in the attempt that finished, without the parity check."""
    audio_seconds: float
    """Audio decoded in that attempt; 0 when it only had to finish what a killed one had decoded."""
    engine: EngineName
    parity: Parity | None = None
    chunk_times: ChunkTimes | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    """Of that attempt, which need not be those of the process that scores; empty in passes of earlier versions."""


class Finished:
    """Hypotheses of one pass as they come: appended to `<file>.part`, and written to `file` in manifest order once all are there."""

    def __init__(self, file: Path) -> None:
        self.file, self.part = file, self.part_of(file)
        self.by_line: dict[int, Hypothesis] = {}
        file.parent.mkdir(parents=True, exist_ok=True)
        if self.part.exists():
            for line in self.part.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n"):  # a killed process may leave its last line unfinished
                    hypothesis = Hypothesis.model_validate_json(line)
                    self.by_line[hypothesis.line] = hypothesis
            write_hypotheses(self.part, self.by_line.values())

    @staticmethod
    def part_of(file: Path) -> Path:
        return file.with_suffix(".part")

    def add(self, hypothesis: Hypothesis) -> None:
        io.append_line(self.part, hypothesis.model_dump_json())
        self.by_line[hypothesis.line] = hypothesis

    def complete(self, lines: Sequence[int]) -> list[Hypothesis]:
        ordered = [self.by_line[line] for line in lines]
        write_hypotheses(self.file, ordered)
        return ordered


class Evaluation:
    """One checkpoint of a request at work: the rows of its sets, the model once it is needed, and the files of the passes.

    `before` and `behind` count the checkpoints of the request on either side, for the progress.
    """

    def __init__(self, request: EvalRequest, reporter: Reporter, before: int = 0, behind: int = 0) -> None:
        self.request, self.reporter, self.before, self.behind = request, reporter, before, behind
        # All that can be wrong with sets, terms and fields is said before the model is loaded: a bad line must not cost an evaluation.
        self.rows = {one.path: kept_rows(Path(one.path)) for one in request.sets}
        for rows in self.rows.values() if request.slice_by else ():
            require_fields(request.slice_by, fields_of([hypothesis_of(row, "") for row in rows]))
        if request.terms:
            spell(request.terms, {row.utterance.target_lang for rows in self.rows.values() for row in rows})
        self.passes = [Pass(s, c, m) for s in request.sets for c in request.att_contexts for m in request.prompt_modes]

    @cached_property
    def model(self) -> Any:
        return restore(Path(self.request.checkpoint.path), device=fastest_device())

    def cells(self) -> tuple[EvalCell, ...]:
        return tuple(self._cell(number, one) for number, one in enumerate(self.passes))

    def _cell(self, number: int, one: Pass) -> EvalCell:
        wanted = self.request.engine
        fast = self._decoded(number, one, "fast") if wanted != "exact" else None
        parity = fast.parity if fast else None
        if fast and parity and parity.held:
            return self._score(one, fast)
        if wanted == "fast" and parity:
            raise NotReadyError(
                "fast_engine_not_equivalent",
                f"{one.label}: {parity.identical_percent:g} % of {parity.utterances} sampled transcripts are those of the exact engine, "
                f"{parity.delta_points:+.2f} points of WER apart.", next_step='call run_streaming_eval again with "engine": "exact" (or "auto").',
            )  # fmt: skip
        return self._score(one, self._decoded(number, one, "exact").model_copy(update={"parity": parity}))

    def _decoded(self, number: int, one: Pass, engine: EngineName) -> PassFacts:
        """Facts of a pass that lies on disk, decoding it first where it does not."""
        file = self._file(one, engine)
        facts = file.with_suffix(".json")
        if not facts.exists():
            io.write_json(facts, self._decode(number, one, engine))
        Finished.part_of(file).unlink(missing_ok=True)
        return PassFacts.model_validate_json(facts.read_text(encoding="utf-8"))

    def _decode(self, number: int, one: Pass, engine: EngineName) -> PassFacts:
        """Decodes what a killed attempt left, writes all hypotheses in manifest order, and checks a fast pass."""
        rows = self.rows[one.set.path]
        slots = row_slots(self.model, rows, Path(one.set.path), one.mode)
        decoder = (FastDecoder if engine == "fast" else StreamingDecoder)(self.model, one.att_context, self.request.batch_size)
        finished = Finished(self._file(one, engine))
        left = [n for n, row in enumerate(rows) if row.line not in finished.by_line]
        total = len(rows) + (sample_size(len(rows)) if engine == "fast" else 0)
        started = time.monotonic()
        report = self._progress(number, one, engine, total, len(rows) - len(left))

        def keep(hypothesis: Hypothesis) -> None:
            finished.add(hypothesis)
            report(hypothesis)

        transcribe_rows(self.model, decoder, [rows[n] for n in left], [slots[n] for n in left], keep)
        facts = PassFacts(
            seconds=time.monotonic() - started, audio_seconds=sum(rows[n].utterance.duration for n in left), engine=engine, versions=versions(self.model),
        )  # fmt: skip
        hypotheses = finished.complete([row.line for row in rows])
        if isinstance(decoder, StreamingDecoder):
            return facts.model_copy(update={"chunk_times": chunk_times(decoder.times, hypotheses)})
        checking = self._progress(number, one, "parity check", total, len(rows))
        parity = check_parity(self.model, rows, slots, one.att_context, hypotheses, one.set.sha256, checking)
        return facts.model_copy(update={"parity": parity})

    def _progress(self, number: int, one: Pass, what: str, total: int, before: int = 0) -> Callable[[Hypothesis], None]:
        done = itertools.count(before + 1)
        start, end = self.before * len(self.passes) + number, (self.before + 1 + self.behind) * len(self.passes)

        def report(_: Hypothesis) -> None:
            self.reporter.stop_if_asked()
            self.reporter.event("evaluate", start * 1000 + round(1000 * next(done) / total), end * 1000, f"{one.label}, {what}")

        return report

    def _file(self, one: Pass, engine: EngineName) -> Path:
        return Path(self.request.out) / "hyps" / f"{decode_id(self.request, one, engine)}.jsonl"

    def _score(self, one: Pass, facts: PassFacts) -> EvalCell:
        request, file = self.request, self._file(one, facts.engine)
        scores = score_hypotheses(read_hypotheses(file), one.mode, request.slice_by, request.terms)
        return EvalCell(
            **dict(scores), eval_id=eval_id(request, one, facts.engine), checkpoint=request.checkpoint, set=one.set,
            att_context=one.att_context, latency_ms=latency_ms(one.att_context), prompt_mode=one.mode,
            rtfx=round(facts.audio_seconds / max(facts.seconds, 1e-6), 1), engine=ENGINES[facts.engine], batch_size=request.batch_size,
            hypotheses=str(file), versions=facts.versions, parity=facts.parity, chunk_times=facts.chunk_times,
        )  # fmt: skip


def run(request: EvalRequest, reporter: Reporter) -> EvalResult:
    started = time.monotonic()
    subjects = (EvalSubject(checkpoint=request.checkpoint, out=request.out), *request.more)
    cells: list[EvalCell] = []
    for number, one in enumerate(subjects):  # each lets go of its model before the next one is opened
        part = request.model_copy(update={"checkpoint": one.checkpoint, "out": one.out, "more": ()})
        cells += Evaluation(part, reporter, number, len(subjects) - number - 1).cells()
    return EvalResult(cells=tuple(cells), seconds=round(time.monotonic() - started, 2))


def decode_id(request: EvalRequest, one: Pass, engine: EngineName) -> str:
    """The same checkpoint, set, context, mode, batch size, engine and normaliser give the same id."""
    key = [request.checkpoint.sha256, one.set.sha256, list(one.att_context), one.mode, request.batch_size, ENGINES[engine], NORMALISER]
    return "eval_" + io.sha256_json(key)[:12]


def eval_id(request: EvalRequest, one: Pass, engine: EngineName) -> str:
    """`decode_id`, and for a cell with slices or terms an id of its own, since it holds more."""
    decoded = decode_id(request, one, engine)
    asked = [list(request.slice_by), list(request.terms)]
    return "eval_" + io.sha256_json([decoded, asked])[:12] if any(asked) else decoded


def chunk_times(times: StepTimes, hypotheses: Sequence[Hypothesis]) -> ChunkTimes | None:
    """Percentiles of chunk steps, of last steps and of first partials; None when no utterance was long enough for a chunk."""
    if not times.steps:
        return None
    p50, p95, p99 = percentiles_ms(times.steps)
    last50, last95, last99 = percentiles_ms(times.last or times.steps)
    partials = [h.first_partial_s for h in hypotheses if h.first_partial_s is not None]
    first50, first95, first99 = percentiles_ms(partials) if partials else (None, None, None)
    return ChunkTimes(
        chunks=len(times.steps), p50_ms=p50, p95_ms=p95, p99_ms=p99, last_chunk_p50_ms=last50, last_chunk_p95_ms=last95, last_chunk_p99_ms=last99,
        first_partial_ms_p50=first50, first_partial_ms_p95=first95, first_partial_ms_p99=first99,
    )  # fmt: skip


def percentiles_ms(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, 95th and 99th percentile in milliseconds, interpolated between neighbours."""
    p50, p95, p99 = (round(1000 * float(q), 2) for q in np.percentile(seconds, (50, 95, 99)))
    return p50, p95, p99


def versions(model: Any) -> dict[str, str]:
    """Versions and settings that can change a transcript or its time. `tf32`: kinds of operation whose factors the GPU rounds to 10 bits."""
    weights = next(model.parameters())
    gpu = weights.device.type == "cuda"
    kinds = (("matmul", torch.backends.cuda.matmul.allow_tf32), ("convolution", torch.backends.cudnn.allow_tf32))
    return {
        "nemo_toolkit": importlib.metadata.version("nemo_toolkit"), "torch": torch.__version__, "dtype": str(weights.dtype).removeprefix("torch."),
        "threads": str(torch.get_num_threads()), "device": torch.cuda.get_device_name(weights.device) if gpu else weights.device.type,
        "tf32": " and ".join(name for name, on in kinds if gpu and on) or "off",
    }  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main(EvalRequest, run))
