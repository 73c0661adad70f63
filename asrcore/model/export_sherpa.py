"""sherpa-onnx (k2-fsa, the wheel `sherpa-onnx`) on an exported chunk folder: from audio to text with its own features and its own loop.

Tried with 2.0.1. It starts with a whole window, so two encoder frames (160 ms) never come out, and leaves a tail that fills none: silence goes in
front and behind. What is in front is not heard by our graphs (`export_onnx`). Language tags are taken out of its texts.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asrcore.audio import MODEL_RATE, Samples
from asrcore.locales import latency_ms

if TYPE_CHECKING:
    from asrcore.model.export_smoke import Case, Context  # the card needs only the names here, without torch

PACKAGE, MODULE = "sherpa-onnx", "sherpa_onnx"
HEAD_S = 0.165
"""Seconds of silence in front: the two encoder frames that are dropped, and the 5 ms by which its feature windows lie later than NeMo's."""
TAIL_S = 0.1
"""Seconds of silence behind, beyond one chunk: what lies in front of a chunk, and one frame."""


def folder_name(context: Context) -> str:
    """The folder of one chunk size."""
    return f"chunk_{latency_ms(context)}ms"


def sherpa_texts(chunk: Path, cases: Sequence[Case], context: Context) -> list[str]:
    """sherpa-onnx's transcripts, one recording a stream."""
    sherpa: Any = importlib.import_module(MODULE)
    recogniser = sherpa.OnlineRecognizer.from_transducer(
        tokens=str(chunk / "tokens.txt"), encoder=str(chunk / "encoder.onnx"), decoder=str(chunk / "decoder.onnx"), joiner=str(chunk / "joiner.onnx"),
        num_threads=1, decoding_method="greedy_search",
    )  # fmt: skip
    texts: list[str] = []
    for case in cases:
        stream = recogniser.create_stream()
        stream.set_option("language", case.tag)
        stream.accept_waveform(MODEL_RATE, padded(case.audio, context))
        stream.input_finished()
        while recogniser.is_ready(stream):
            recogniser.decode_stream(stream)
        texts.append(str(recogniser.get_result(stream)))
    return texts


def padded(audio: Samples, context: Context) -> Samples:
    """The recording with the silence that it needs, so that its first and last words are decoded."""
    head, tail = (np.zeros(round(seconds * MODEL_RATE), np.float32) for seconds in (HEAD_S, latency_ms(context) / 1000 + TAIL_S))
    return np.concatenate([head, audio, tail])
