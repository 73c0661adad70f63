"""Child process `python -m asrcore.model.evaluate request.json`: one checkpoint, several sets, contexts and prompt modes, streamed and scored.

Each (set, att_context_size, prompt mode) is one cell with a content-addressed id. A cell's hypotheses are written as a whole, so a run that
was killed goes on with the first cell that is not there; scoring is repeated, decoding is not.
"""

from __future__ import annotations

import importlib.metadata
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from asrcore import io
from asrcore.audio import decode as decode_audio
from asrcore.errors import NotReadyError, Problem, clean_text
from asrcore.jobs.child import Reporter, main
from asrcore.locales import AUTO, latency_ms
from asrcore.manifest import Row, kept_rows
from asrcore.model.restore import prompt_slots, restore
from asrcore.model.stream import StreamingDecoder, StreamItem
from asrcore.requests import EvalCell, EvalRequest, EvalResult, Hypothesis, ManifestRef, PromptMode
from asrcore.score.bootstrap import with_ci
from asrcore.score.hypotheses import read_hypotheses
from asrcore.score.normalise import NORMALISER
from asrcore.score.script import corpus_script_share
from asrcore.score.tags import strip_tags

ENGINE = "exact/1"
"""Name and version of the streaming engine; part of every eval id."""


def decode_manifest(
    model: Any,
    manifest: Path,
    att_context: tuple[int, int],
    prompt_mode: PromptMode,
    batch_size: int,
    on_progress: Callable[[int], None] | None = None,
) -> list[Hypothesis]:
    """Streams every utterance of a manifest, in manifest order, with its own `target_lang` slot (`langID`) or slot 101 (`auto`).

    Rows marked `_skipme` are left out. Raises `manifest_invalid` or `unknown_tag` with all lines, `audio_missing`/`audio_unreadable` for the
    first bad file.
    """
    rows = kept_rows(manifest)
    return decode_rows(model, rows, manifest, att_context, prompt_mode, batch_size, on_progress)


def decode_rows(
    model: Any,
    rows: Sequence[Row],
    manifest: Path,
    att_context: tuple[int, int],
    prompt_mode: PromptMode,
    batch_size: int,
    on_progress: Callable[[int], None] | None = None,
) -> list[Hypothesis]:
    """`decode_manifest` for rows that are already loaded."""
    items = stream_items(rows, row_slots(model, rows, manifest, prompt_mode))
    decoded = StreamingDecoder(model, att_context, batch_size).decode(items, on_progress)
    hypotheses: list[Hypothesis] = []
    for row, result in zip(rows, decoded, strict=True):
        raw = str(model.tokenizer.ids_to_text(list(result.tokens)))
        text, tag = strip_tags(raw)
        utterance = row.utterance
        hypotheses.append(
            Hypothesis(
                id=utterance.id or f"line-{row.line}", locale=utterance.target_lang, reference=utterance.text, text=text, raw_text=raw, tag=tag,
                duration=utterance.duration, speaker=utterance.speaker, source=utterance.source, line=row.line,
            )
        )  # fmt: skip
    return hypotheses


def stream_items(rows: Sequence[Row], slots: Sequence[int]) -> list[StreamItem]:
    """Rows with their prompt slots, ready to decode; audio is read when its stream starts."""
    return [
        StreamItem(
            key=index,
            audio=partial(decode_audio, row.audio, offset=row.utterance.offset, duration=row.utterance.duration),
            slot=slot,
            seconds=row.utterance.duration,
        )
        for index, (row, slot) in enumerate(zip(rows, slots, strict=True))
    ]


def row_slots(model: Any, rows: Sequence[Row], manifest: Path, prompt_mode: PromptMode) -> list[int]:
    """Prompt slot of each row. Raises `unknown_tag` with every line whose tag the checkpoint does not have (trap 3.3)."""
    slots = prompt_slots(model)
    unknown = [
        Problem(code="unknown_tag", message=f"target_lang {clean_text(row.utterance.target_lang, 20)!r} is not in the checkpoint's dictionary.",
                file=str(manifest), line=row.line, fix="correct the tag; validate_language_tags names the nearest one.")
        for row in rows if row.utterance.target_lang not in slots
    ]  # fmt: skip
    if unknown:
        raise NotReadyError("unknown_tag", f"{len(unknown)} rows have a tag that the checkpoint does not know.",
                            next_step="call validate_language_tags on this manifest.", problems=unknown)  # fmt: skip
    return [slots[AUTO] if prompt_mode == "auto" else slots[row.utterance.target_lang] for row in rows]


def cell_id(request: EvalRequest, manifest: ManifestRef, att_context: tuple[int, int], mode: PromptMode) -> str:
    """The same checkpoint, set, context, mode, batch size, engine and normaliser give the same id."""
    key = [request.checkpoint.sha256, manifest.sha256, list(att_context), mode, request.batch_size, ENGINE, NORMALISER]
    return "eval_" + io.sha256_json(key)[:12]


def run(request: EvalRequest, reporter: Reporter) -> EvalResult:
    started = time.monotonic()
    out = Path(request.out)
    # All sets are read before the model is: a bad line must not cost an evaluation.
    rows = {manifest.path: kept_rows(Path(manifest.path)) for manifest in request.sets}
    model: Any = None
    cells: list[EvalCell] = []
    passes: list[tuple[ManifestRef, tuple[int, int], PromptMode]] = [(s, c, m) for s in request.sets for c in request.att_contexts for m in request.prompt_modes]
    for number, (manifest, context, mode) in enumerate(passes):
        eval_id = cell_id(request, manifest, context, mode)
        file = out / "hyps" / f"{eval_id}.jsonl"
        timing = out / "hyps" / f"{eval_id}.json"
        if not timing.exists():
            if model is None:
                model = restore(Path(request.checkpoint.path))
            label = f"{manifest.name} at {latency_ms(context)} ms, {mode}"
            seconds = time.monotonic()
            own = rows[manifest.path]
            progress = partial(_report, reporter, label, number, len(passes), len(own))
            decoded = decode_rows(model, own, Path(manifest.path), context, mode, request.batch_size, progress)
            io.write_text(file, "".join(h.model_dump_json() + "\n" for h in decoded))
            io.write_json(timing, {"seconds": time.monotonic() - seconds})
        hypotheses = read_hypotheses(file)
        wall = float(json.loads(timing.read_text(encoding="utf-8"))["seconds"])
        cells.append(score_cell(request, manifest, context, mode, eval_id, hypotheses, wall, file))
    return EvalResult(cells=tuple(cells), seconds=round(time.monotonic() - started, 2))


def _report(reporter: Reporter, label: str, number: int, passes: int, total: int, done: int) -> None:
    reporter.stop_if_asked()
    reporter.event("evaluate", number * 1000 + round(1000 * done / total), passes * 1000, label)


def score_cell(
    request: EvalRequest, manifest: ManifestRef, context: tuple[int, int], mode: PromptMode, eval_id: str, hyps: Sequence[Hypothesis], wall: float, file: Path
) -> EvalCell:
    """Scores one pass. WER over the corpus; the 95 % interval is over clusters of utterances (asrcore.score.bootstrap)."""
    seconds = sum(h.duration for h in hyps)
    wrong = sum(h.tag != h.locale for h in hyps) / len(hyps) if mode == "auto" else None
    return EvalCell(
        eval_id=eval_id, checkpoint=request.checkpoint, set=manifest, att_context=context, latency_ms=latency_ms(context), prompt_mode=mode,
        locales=tuple(sorted({h.locale for h in hyps})), utterances=len(hyps), seconds=round(seconds, 2),
        raw=with_ci(hyps, normalised=False), normalised=with_ci(hyps, normalised=True), normaliser=NORMALISER,
        empty_hypotheses=sum(not h.text.strip() for h in hyps), wrong_tag_rate=wrong,
        script_share=round(corpus_script_share((h.text, h.locale) for h in hyps), 4), rtfx=round(seconds / max(wall, 1e-6), 1),
        engine=ENGINE, batch_size=request.batch_size, hypotheses=str(file), versions=versions(),
    )  # fmt: skip


def versions() -> dict[str, str]:
    """Versions that can change a transcript."""
    return {"nemo_toolkit": importlib.metadata.version("nemo_toolkit"), "torch": torch.__version__, "dtype": "float32"}


if __name__ == "__main__":
    raise SystemExit(main(EvalRequest, run))
