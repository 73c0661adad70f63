"""The gate of the target `onnx`: the graphs on the checkpoint's features, the quantised ones beside them, and sherpa-onnx from audio to text.

sherpa-onnx is asked where the request says on how many utterances; the result tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asrcore.errors import ToolFault
from asrcore.export_requests import ExportCheck
from asrcore.model.export_onnx import ENCODER_INPUTS, ENCODER_OUTPUTS, metadata
from asrcore.model.export_onnx_run import OnnxModel, largest_delta, windows_of
from asrcore.model.export_sherpa import PACKAGE, folder_name, sherpa_texts
from asrcore.model.export_smoke import Case, Context, Smoke, clip_cases, refuse, runtime, text_of
from asrcore.model.stream import StreamingDecoder
from asrcore.requests import ExportRequest, Wer
from asrcore.score.tags import strip_tags
from asrcore.score.wer import needs_cer, score_wer, tokens

MAX_DELTA = 1e-3
"""Largest difference of a tensor between graph and checkpoint."""
INT8_POINTS = 5.0
"""Largest share of words, in points, by which the quantised graphs may differ from those in float32 on the smoke set."""
SHERPA_POINTS = 0.5
"""Points of normalised WER by which sherpa-onnx may be worse than the checkpoint's stream on the same recordings."""
BATCH = 16
"""Recordings in flight where error rates are compared, not transcripts."""


def verify(model: Any, folder: Path, smoke: Smoke, request: ExportRequest) -> tuple[tuple[ExportCheck, ...], tuple[str, ...]]:
    """Checks and notes. Raises `export_not_identical`, `export_int8_too_far`, `export_runtime_differs`."""
    checks: list[ExportCheck] = []
    notes: list[str] = []
    for context in smoke.contexts:
        chunk = folder / folder_name(context)
        model.encoder.set_default_att_context_size(list(context))
        graphs = _opened(chunk, context)
        refuse("onnx", _layout(model, graphs, chunk, context, request))
        checks += _graphs(model, graphs, smoke, context)
        del graphs  # gigabytes at full size; the quantised ones are opened next
        if request.int8:
            checks.append(_int8(model, chunk, smoke, context))
        if request.sherpa_utterances:
            checks.append(_sherpa(model, chunk, clip_cases(model, request, request.sherpa_utterances), context))
    if not request.sherpa_utterances:
        notes.append("The graphs were run by onnxruntime on the checkpoint's features; sherpa-onnx's own features and loop were not asked (`sherpa_utterances`).")
    return tuple(checks), tuple(notes)


def _opened(chunk: Path, context: Context) -> OnnxModel:
    try:
        return OnnxModel(chunk)
    except Exception as error:  # onnxruntime raises classes of its own that derive from Exception only
        refuse("onnx", [f"onnxruntime cannot open the graphs at {list(context)} ({type(error).__name__})"])
        raise


def _layout(model: Any, graphs: OnnxModel, chunk: Path, context: Context, request: ExportRequest) -> list[str]:
    """Names, shapes and metadata of the encoder, and the token list, against the checkpoint."""
    here = f"at {list(context)}"
    inputs = {entry.name: entry.shape for entry in graphs.encoder.get_inputs()}
    wanted = metadata(model, context, request)
    differences = [f"metadata {key} {here} is another" for key in wanted if graphs.meta.get(key) != wanted[key]]
    if tuple(inputs) != ENCODER_INPUTS:
        return [*differences, f"the encoder {here} takes {len(inputs)} inputs, not {len(ENCODER_INPUTS)} with the prompt last"]
    if tuple(entry.name for entry in graphs.encoder.get_outputs()) != ENCODER_OUTPUTS:
        differences.append(f"the encoder's outputs {here} are others")
    caches = (int(wanted["cache_last_channel_dim2"]), int(wanted["cache_last_time_dim3"]))
    if (inputs["cache_last_channel"][2], inputs["cache_last_time"][3]) != caches:
        differences.append(f"the caches {here} are not {caches[0]} frames of left context and {caches[1]} of convolution")
    lines = (chunk / "tokens.txt").read_text(encoding="utf-8").splitlines()
    if lines != [f"{piece} {index}" for index, piece in enumerate([*model.joint.vocabulary, "<blk>"])]:
        differences.append(f"tokens.txt {here} is not the checkpoint's vocabulary")
    return differences


def _graphs(model: Any, graphs: OnnxModel, smoke: Smoke, context: Context) -> list[ExportCheck]:
    differences: list[str] = []
    worst = [0.0, 0.0]
    for case in smoke.cases:
        windows = windows_of(model, case, context)
        try:
            trace = graphs.decode(windows, case.slot)
        except Exception as error:
            refuse("onnx", [f"the graphs do not run on {case.name} at {list(context)} ({type(error).__name__})"])
            raise
        if tuple(trace.tokens) != smoke.expected[context, case.name].tokens:
            differences.append(f"{case.name} at {list(context)} reads differently")
        worst = [max(pair) for pair in zip(worst, largest_delta(model, windows, case.slot, trace), strict=True)]
    for what, delta in zip(("encoder outputs and caches", "joiner outputs"), worst, strict=True):
        if not delta <= MAX_DELTA:
            differences.append(f"{what} at {list(context)} differ by {delta:.2g}, more than {MAX_DELTA:g}")
    refuse("onnx", differences)
    library, count = runtime("onnxruntime"), len(smoke.cases)
    bar = f"largest difference at most {MAX_DELTA:g}"
    return [
        ExportCheck(what="encoder outputs and caches, float32", runtime=library, bar=bar, att_context=context, compared=count, max_delta=worst[0]),
        ExportCheck(what="joiner log-probabilities, float32", runtime=library, bar=bar, att_context=context, compared=count, max_delta=worst[1]),
        ExportCheck(what="transcripts, streamed at batch size 1, the checkpoint's features", runtime=library, bar="every one identical", att_context=context,
                    compared=count, identical=count),
    ]  # fmt: skip


def _int8(model: Any, chunk: Path, smoke: Smoke, context: Context) -> ExportCheck:
    graphs = OnnxModel(chunk, ".int8")
    pairs = [(smoke.expected[context, case.name].tokens, tuple(graphs.decode(windows_of(model, case, context), case.slot).tokens)) for case in smoke.cases]
    full, quantised = ([strip_tags(text_of(model, pair[side]))[0] for pair in pairs] for side in (0, 1))
    difference = _errors(full, quantised, [smoke.locales[0]] * len(full))
    if difference.percent > INT8_POINTS:
        raise ToolFault(
            "export_int8_too_far", f"{difference.percent:.2f} % of {difference.words} {difference.unit}s at {list(context)} change with int8, more than "
            f"{INT8_POINTS:g} %; nothing was written.", next_step="call export_model without int8.",
        )  # fmt: skip
    return ExportCheck(
        what="words that int8 changes, the checkpoint's features", runtime=runtime("onnxruntime"), bar=f"at most {INT8_POINTS:g} %", att_context=context,
        compared=len(pairs), identical=sum(a == b for a, b in pairs), note=f"{difference.percent:.2f} % of {difference.words} {difference.unit}s",
    )  # fmt: skip


def _sherpa(model: Any, chunk: Path, cases: Sequence[Case], context: Context) -> ExportCheck:
    """From audio to text by sherpa-onnx itself, with the language named by its tag, against the stream on the same recordings."""
    heard = sherpa_texts(chunk, cases, context)
    streamed = StreamingDecoder(model, context, BATCH).decode([case.item(number) for number, case in enumerate(cases)])
    ours_said = [strip_tags(text_of(model, decoded.tokens))[0] for decoded in streamed]
    references, locales = [case.row.utterance.text for case in cases if case.row is not None], [case.tag for case in cases]
    theirs, ours = (_errors(references, texts, locales) for texts in (heard, ours_said))
    delta = theirs.percent - ours.percent
    if delta > SHERPA_POINTS:
        raise ToolFault(
            "export_runtime_differs", f"sherpa-onnx at {list(context)} has {theirs.percent:.2f} % errors from audio where the checkpoint's stream has "
            f"{ours.percent:.2f} % ({ours.words} {ours.unit}s), though the graphs are the checkpoint's; nothing was written.",
            next_step="name larger smoke manifests if these are few words, else report this; with sherpa_utterances 0 the graphs come without this check, for a loop of your own.",
        )  # fmt: skip
    return ExportCheck(
        what="words from audio, sherpa-onnx's own features and loop", runtime=runtime(PACKAGE), bar=f"WER at most {SHERPA_POINTS:g} point worse",
        att_context=context, compared=len(cases), identical=sum(a.split() == b.split() for a, b in zip(heard, ours_said, strict=True)),
        note=f"{theirs.percent:.2f} % against {ours.percent:.2f} %, {ours.words} {ours.unit}s",
    )  # fmt: skip


def _errors(references: Sequence[str], texts: Sequence[str], locales: Sequence[str]) -> Wer:
    """Error rate over all recordings that hold a word, by word, or by character where a locale needs that."""
    unit = ["ja-JP"] * len(locales) if any(map(needs_cer, locales)) else locales
    filled = [(a, b, one) for a, b, one in zip(references, texts, unit, strict=True) if tokens(a, one, normalised=True)]
    return score_wer([a for a, _, _ in filled], [b for _, b, _ in filled], [one for _, _, one in filled], normalised=True)
