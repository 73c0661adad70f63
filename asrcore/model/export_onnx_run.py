"""Runs exported ONNX graphs with onnxruntime, step by step as a server would, and holds every tensor against the checkpoint's own.

Needs the packages of the extra `export`. Batch size 1, on the CPU; greedy search as in `GreedyState`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from asrcore.model.export_onnx import ENCODER_INPUTS, ENCODER_OUTPUTS, GRAPHS
from asrcore.model.export_smoke import Case, Context
from asrcore.model.stream import MAX_SYMBOLS, apply_prompt, chunk_schedule, mel_features

Array = NDArray[np.float32]


@dataclass
class Trace:
    """What one recording gave: encoder outputs and caches a step, tokens, and the joiner's answers along the way with (frame, tokens so far)."""

    steps: list[list[Array]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    visits: list[tuple[int, int, Array]] = field(default_factory=list)


class OnnxModel:
    """The three graphs of one chunk folder. `suffix` is `.int8` for the quantised ones."""

    def __init__(self, folder: Path, suffix: str = "") -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
        options.log_severity_level = 3
        self.encoder: Any
        self.decoder: Any
        self.joiner: Any
        self.encoder, self.decoder, self.joiner = (
            ort.InferenceSession(str(folder / f"{name}{suffix}.onnx"), options, providers=["CPUExecutionProvider"]) for name in GRAPHS
        )
        self.meta: dict[str, str] = self.encoder.get_modelmeta().custom_metadata_map
        self.blank = int(self.meta["vocab_size"])

    def decode(self, windows: Sequence[Array], slot: int) -> Trace:
        """Transcribes one recording from the windows of its chunks (mel, frames)."""
        trace, greedy = Trace(), _Greedy(self)
        caches = [np.zeros(self._cache("cache_last_channel"), np.float32), np.zeros(self._cache("cache_last_time"), np.float32), np.zeros(1, np.int64)]
        for window in windows:
            feeds = (window[None], np.array([window.shape[1]]), *caches, np.array([slot]))
            outputs, lengths, *caches = self.encoder.run(list(ENCODER_OUTPUTS), dict(zip(ENCODER_INPUTS, feeds, strict=True)))
            trace.steps.append([outputs, *caches])
            for frame in range(int(lengths[0])):
                greedy.frame(outputs[:, :, frame : frame + 1], trace)
        return trace

    def _cache(self, name: str) -> tuple[int, int, int, int]:
        return 1, int(self.meta[f"{name}_dim1"]), int(self.meta[f"{name}_dim2"]), int(self.meta[f"{name}_dim3"])


class _Greedy:
    """Greedy RNNT search whose prediction state outlives a chunk."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        state = np.zeros((int(model.meta["pred_rnn_layers"]), 1, int(model.meta["pred_hidden"])), np.float32)
        self.state: list[Array] = [state, state]
        self.predicted = self._predict(model.blank)
        self.frames = 0

    def frame(self, encoded: Array, trace: Trace) -> None:
        for _ in range(MAX_SYMBOLS):
            scores: Array = self.model.joiner.run(None, {"encoder_outputs": encoded, "decoder_outputs": self.predicted})[0].reshape(-1)
            trace.visits.append((self.frames, len(trace.tokens), scores))
            best = int(scores.argmax())
            if best == self.model.blank:
                break
            trace.tokens.append(best)
            self.predicted = self._predict(best)
        self.frames += 1

    def _predict(self, token: int) -> Array:
        feeds = {"targets": np.array([[token]], np.int32), "target_length": np.ones(1, np.int32), "hidden": self.state[0], "cell": self.state[1]}
        outputs, _, *self.state = self.model.decoder.run(None, feeds)
        return outputs


def windows_of(model: Any, case: Case, context: Context) -> list[Array]:
    """The checkpoint's features of a recording, chunk by chunk, with what lies in front of each chunk (zeros where there is nothing)."""
    model.encoder.set_default_att_context_size(list(context))
    features = mel_features(model, case.audio)
    windows: list[Array] = []
    for chunk in chunk_schedule(model, features.shape[1]):
        older = min(chunk.cached, chunk.start)
        window = torch.nn.functional.pad(features[:, chunk.start - older : chunk.end], (chunk.cached - older, 0))
        windows.append(window.cpu().numpy())
    return windows


def largest_delta(model: Any, windows: Sequence[Array], slot: int, trace: Trace) -> tuple[float, float]:
    """Largest differences to the checkpoint on the same windows: of encoder outputs and caches, and of the joiner's log-probabilities.

    Each side goes on with its own caches; infinite where shapes differ.
    """
    encoder, outputs = 0.0, list[torch.Tensor]()
    with torch.inference_mode():
        for mine, theirs in zip(_torch_steps(model, windows, slot), trace.steps, strict=True):  # caches of all steps at once would be gigabytes
            encoder = max(encoder, *(_delta(a, b) for a, b in zip(mine, theirs, strict=True)))
            outputs.append(torch.from_numpy(mine[0]))
        frames = torch.cat(outputs, dim=2).transpose(1, 2)
        predicted = _torch_predictions(model, trace.tokens)
        projected = model.joint.project_encoder(frames)
        joint = max(
            (_delta(model.joint.joint_after_projection(projected[:, t : t + 1], predicted[u]).reshape(-1).numpy(), scores) for t, u, scores in trace.visits),
            default=0.0,
        )
    return encoder, joint


def _torch_steps(model: Any, windows: Sequence[Array], slot: int) -> Iterator[list[Array]]:
    """The checkpoint's own step, through NeMo's streaming function: outputs (1, D, T) after the prompt, caches batch first."""
    encoder = model.encoder
    caches = list(encoder.get_initial_cache_state(batch_size=1))
    for number, window in enumerate(windows):
        encoded, _, *caches = encoder.cache_aware_stream_step(
            processed_signal=torch.from_numpy(window)[None], processed_signal_length=torch.tensor([window.shape[1]]), cache_last_channel=caches[0],
            cache_last_time=caches[1], cache_last_channel_len=caches[2], keep_all_outputs=number == len(windows) - 1,
            drop_extra_pre_encoded=encoder.streaming_cfg.drop_extra_pre_encoded if number else 0,
        )  # fmt: skip
        prompted = apply_prompt(model, encoded.transpose(1, 2), torch.tensor([slot])).transpose(1, 2)
        yield [prompted.numpy(), caches[0].transpose(0, 1).numpy(), caches[1].transpose(0, 1).numpy(), caches[2].numpy().astype(np.float32)]


def _torch_predictions(model: Any, tokens: Sequence[int]) -> list[torch.Tensor]:
    """Projected outputs of the prediction network before the first token and after each."""
    blank = int(model.joint.num_classes_with_blank) - 1
    state, found = None, []
    for token in (blank, *tokens):
        output, state = model.decoder.predict(torch.tensor([[token]]), state, add_sos=False, batch_size=1)
        found.append(model.joint.project_prednet(output))
    return found


def _delta(ours: Array, theirs: NDArray[Any]) -> float:
    return float(np.abs(ours - theirs.astype(np.float32)).max(initial=0.0)) if ours.shape == theirs.shape else float("inf")
