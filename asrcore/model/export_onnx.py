"""Target `onnx`: graphs in the layout that sherpa-onnx reads for this model, one folder a chunk size, each complete in itself.

    chunk_560ms/encoder.onnx   audio_signal (B, mel, T), length, three caches, prompt_index -> frames after the prompt layer, lengths, three caches
                decoder.onnx   targets (B, U) int32, target_length, LSTM states -> outputs (B, D, U), lengths, LSTM states
                joiner.onnx    encoder_outputs (B, D, 1), decoder_outputs (B, D, 1) -> log-probabilities (B, 1, 1, V + 1)
                tokens.txt     piece and id a line, `<blk>` last
    (`*.int8.onnx` beside them where asked; `*.data` beside a graph of more than protobuf can hold)

Names, order of inputs and metadata: what sherpa-onnx's `online-transducer-nemo-model.cc` reads (k2-fsa/sherpa-onnx, tried with release 2.0.1).
NeMo's own `model.export()` leaves the prompt layer out without a word; here it is part of the encoder graph.

One thing is ours: how a stream begins. NeMo's starts with a shorter chunk that has nothing in front, and at 80 ms the second chunk has zeros there. sherpa-onnx starts
with a whole window. At empty caches the first 16 mel frames of a whole window are cut off before the subsampling, so that what is left is NeMo's first chunk,
and later mel frames from before the stream's start become zeros. Usual exports drop the two frames that come of them afterwards; the next ones have heard them.
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.onnx.operators import shape_as_tensor

from asrcore import io
from asrcore.locales import AUTO, latency_ms
from asrcore.model.export_sherpa import folder_name
from asrcore.model.export_smoke import Context
from asrcore.model.restore import prompt_slots
from asrcore.requests import ExportRequest

ENCODER_INPUTS = ("audio_signal", "length", "cache_last_channel", "cache_last_time", "cache_last_channel_len", "prompt_index")
ENCODER_OUTPUTS = ("outputs", "encoded_lengths", "cache_last_channel_next", "cache_last_time_next", "cache_last_channel_next_len")
DECODER_INPUTS = ("targets", "target_length", "hidden", "cell")
DECODER_OUTPUTS = ("outputs", "prednet_lengths", "hidden_next", "cell_next")
JOINER_INPUTS = ("encoder_outputs", "decoder_outputs")
JOINER_OUTPUTS = ("outputs",)
GRAPHS = ("encoder", "decoder", "joiner")
OPSET = 17
INLINE_BYTES = 1 << 30
"""Weights up to this lie in the graph's own file; protobuf ends at 2 GiB."""


def write(model: Any, folder: Path, request: ExportRequest) -> None:
    for context in request.att_contexts:
        model.encoder.set_default_att_context_size(list(context))
        target = folder / folder_name(context)
        target.mkdir()
        write_encoder(model, target / "encoder.onnx", metadata(model, context, request))
        write_decoder(model, target / "decoder.onnx")
        write_joiner(model, target / "joiner.onnx")
        pieces = [*model.joint.vocabulary, "<blk>"]
        io.write_text(target / "tokens.txt", "".join(f"{piece} {index}\n" for index, piece in enumerate(pieces)))
        if request.int8:
            for name in GRAPHS:
                quantise(target / f"{name}.onnx", target / f"{name}.int8.onnx")


class EncoderStep(nn.Module):
    """One streaming step: subsampling, layers with caches (batch first), prompt layer in float32."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.encoder, self.prompt_kernel, self.prompts = model.encoder, model.prompt_kernel, int(model.num_prompts)
        config = model.encoder.streaming_cfg
        self.window, self.older, self.drop = window_size(model), int(config.pre_encode_cache_size[1]), int(config.drop_extra_pre_encoded)
        self.factor = int(model.encoder.subsampling_factor)

    def forward(self, audio: Tensor, length: Tensor, channel: Tensor, time: Tensor, filled: Tensor, prompt: Tensor) -> tuple[Tensor, ...]:
        embedded, lengths = self._subsampled(audio, length.to(torch.int64), filled)
        encoded, lengths, channel, time, filled = self.encoder.forward_internal(
            embedded, lengths, cache_last_channel=channel.transpose(0, 1), cache_last_time=time.transpose(0, 1), cache_last_channel_len=filled,
            bypass_pre_encode=True,
        )  # fmt: skip
        frames = encoded.transpose(1, 2)
        one_hot = nn.functional.one_hot(prompt, self.prompts).to(frames.dtype)[:, None, :].expand(-1, frames.shape[1], -1)
        prompted = self.prompt_kernel(torch.cat([frames, one_hot], dim=-1)).transpose(1, 2)
        return prompted, lengths, channel.transpose(0, 1), time.transpose(0, 1), filled

    def _subsampled(self, audio: Tensor, length: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder frames (B, T, D) of the chunk alone and their counts (B,): as a stream's first chunk, or with the mel frames in front heard and dropped."""
        unheard = (shape_as_tensor(audio)[2] >= self.window).to(torch.int64) * self.drop * self.factor
        first, firsts = self.encoder.pre_encode(x=_from(audio, 2, unheard).transpose(1, 2), lengths=length - unheard)
        existing = (self.factor * (filled - 1) + 1).clamp(max=self.older)  # mel frames in front that the stream really had; NeMo has zeros before them
        silent = torch.arange(audio.shape[2], device=audio.device) < (self.older - existing)[:, None]
        later, laters = self.encoder.pre_encode(x=audio.masked_fill(silent[:, None, :], 0.0).transpose(1, 2), lengths=length)
        later = nn.functional.pad(later[:, self.drop :], (0, 0, 0, self.drop))[:, : first.shape[1]]
        begun = filled > 0
        lengths = torch.where(begun, (laters.to(torch.int64) - self.drop).clamp(min=0), firsts.to(torch.int64))
        return _until(torch.where(begun[:, None, None], later, first), lengths.max()), lengths


class DecoderStep(nn.Module):
    """The prediction network: tokens (B, U) and LSTM states (L, B, H) -> outputs (B, D, U) and states."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, targets: Tensor, lengths: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        outputs, (hidden, cell) = self.decoder.predict(targets.to(torch.int64), (hidden, cell), add_sos=False)
        return outputs.transpose(1, 2), lengths.clone(), hidden, cell


class JoinerStep(nn.Module):
    """Encoder and prediction outputs (B, D, T), (B, D, U) -> log-probabilities (B, T, U, V + 1)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.joint = model.joint

    def forward(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        frames, labels = (side.transpose(1, 2) for side in (encoded, predicted))
        return self.joint.joint_after_projection(self.joint.project_encoder(frames), self.joint.project_prednet(labels))


def _from(frames: Tensor, axis: int, start: Tensor) -> Tensor:
    """What lies at `start` and after it; a slice with a tensor would be a constant in the traced graph."""
    return frames.index_select(axis, torch.nonzero(torch.arange(frames.shape[axis], device=frames.device) >= start).squeeze(1))


def _until(frames: Tensor, end: Tensor) -> Tensor:
    return frames.index_select(1, torch.nonzero(torch.arange(frames.shape[1], device=frames.device) < end).squeeze(1))


def window_size(model: Any) -> int:
    """Mel frames that a step after the first gets: the chunk and what lies in front of it."""
    config = model.encoder.streaming_cfg
    return int(config.chunk_size[1] + config.pre_encode_cache_size[1])


def metadata(model: Any, context: Context, request: ExportRequest) -> dict[str, str]:
    """The encoder's metadata, as sherpa-onnx reads it; all values are texts."""
    encoder, config = model.encoder, model.encoder.streaming_cfg
    slots = prompt_slots(model)
    values: dict[str, Any] = {
        "vocab_size": len(model.joint.vocabulary), "window_size": window_size(model), "chunk_size_ms": latency_ms(context),
        "chunk_shift": int(config.shift_size[1]), "normalize_type": "", "cache_last_channel_dim1": len(encoder.layers),
        "cache_last_channel_dim2": int(config.last_channel_cache_size), "cache_last_channel_dim3": int(encoder.d_model),
        "cache_last_time_dim1": len(encoder.layers), "cache_last_time_dim2": int(encoder.d_model), "cache_last_time_dim3": int(encoder.conv_context_size[0]),
        "pred_rnn_layers": int(model.decoder.pred_rnn_layers), "pred_hidden": int(model.decoder.pred_hidden), "subsampling_factor": int(encoder.subsampling_factor),
        "feat_dim": int(model.cfg.preprocessor.features), "model_type": type(model).__name__, "version": "1", "model_author": "NeMo",
        "comment": f"asrtune, from checkpoint sha256 {request.checkpoint.sha256}", "prompt_dictionary": json.dumps(slots, sort_keys=True),
        "auto_prompt_id": slots[AUTO],
    }  # fmt: skip
    return {key: str(value) for key, value in values.items()}


def empty_caches(model: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Caches of one new stream, batch first as the graph has them."""
    channel, time, filled = model.encoder.get_initial_cache_state(batch_size=1)
    return channel.transpose(0, 1).cpu(), time.transpose(0, 1).cpu(), filled.to(torch.int64).cpu()


def write_encoder(model: Any, path: Path, meta: dict[str, str]) -> None:
    window = window_size(model)
    features = torch.zeros(1, int(model.cfg.preprocessor.features), window)
    example = (features, torch.tensor([window]), *empty_caches(model), torch.tensor([prompt_slots(model)[AUTO]]))
    batch: dict[str, dict[int, str]] = {name: {0: "batch"} for name in (*ENCODER_INPUTS, *ENCODER_OUTPUTS)}
    batch["audio_signal"][2], batch["outputs"][2] = "time", "frames"
    _export(EncoderStep(model), example, path, ENCODER_INPUTS, ENCODER_OUTPUTS, batch, meta)


def write_decoder(model: Any, path: Path) -> None:
    state = torch.zeros(int(model.decoder.pred_rnn_layers), 1, int(model.decoder.pred_hidden))
    example = (torch.zeros(1, 1, dtype=torch.int32), torch.ones(1, dtype=torch.int32), state, state.clone())
    axes: dict[str, dict[int, str]] = {name: {0: "batch"} for name in (*DECODER_INPUTS[:2], *DECODER_OUTPUTS[:2])}
    axes |= {name: {1: "batch"} for name in (*DECODER_INPUTS[2:], *DECODER_OUTPUTS[2:])}
    axes["targets"][1], axes["outputs"][2] = "labels", "labels"
    _export(DecoderStep(model), example, path, DECODER_INPUTS, DECODER_OUTPUTS, axes, {})


def write_joiner(model: Any, path: Path) -> None:
    sides = (torch.zeros(1, int(model.encoder.d_model), 1), torch.zeros(1, int(model.decoder.pred_hidden), 1))
    axes = {"encoder_outputs": {0: "batch", 2: "frames"}, "decoder_outputs": {0: "batch", 2: "labels"}, "outputs": {0: "batch", 1: "frames", 2: "labels"}}
    _export(JoinerStep(model), sides, path, JOINER_INPUTS, JOINER_OUTPUTS, axes, {})


def quantise(source: Path, target: Path) -> None:
    """Dynamic int8: activations measured while running, weights with a scale a channel and seven bits of range.

    Seven, since products of eight bits overflow their 16-bit sums on x86 without VNNI (onnxruntime's guide to quantisation, "reduce_range"). On the embedded base
    the package's defaults (a scale a tensor, eight bits) changed 3.3 % of 215 words, this 0.5 % (synthetic, 560 ms).
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # a line for every tensor that is no float, on the root logger
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_dynamic(str(source), str(target), weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)
    finally:
        logging.disable(logging.NOTSET)
    meta = {entry.key: entry.value for entry in onnx.load(str(source), load_external_data=False).metadata_props}
    if meta and not onnx.load(str(target), load_external_data=False).metadata_props:
        _save(onnx.load(str(target)), target, meta)


def _export(module: nn.Module, example: tuple[Tensor, ...], path: Path, inputs: tuple[str, ...], outputs: tuple[str, ...], axes: Any, meta: dict[str, str]) -> None:
    """Traces in a scratch folder (a graph over 2 GiB leaves one file a tensor there), then saves as one graph file and at most one data file."""
    scratch = path.with_suffix(".tracing")
    scratch.mkdir()
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns about Python numbers; whether they were right is what the gate measures
        torch.onnx.export(
            module.eval(), example, str(scratch / path.name), input_names=list(inputs), output_names=list(outputs), opset_version=OPSET,
            dynamic_axes=axes, dynamo=False,
        )  # fmt: skip
    _save(onnx.load(str(scratch / path.name)), path, meta)
    shutil.rmtree(scratch)


def _save(graph: onnx.ModelProto, path: Path, meta: dict[str, str]) -> None:
    del graph.metadata_props[:]
    for key, value in meta.items():
        graph.metadata_props.add(key=key, value=value)
    if sum(len(tensor.raw_data) for tensor in graph.graph.initializer) <= INLINE_BYTES:
        onnx.save_model(graph, str(path))
        return
    data = path.with_suffix(".data")
    data.unlink(missing_ok=True)
    onnx.save_model(graph, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=data.name)
