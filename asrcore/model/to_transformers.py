"""The same weights as a `Nemotron3_5AsrForRNNT` of the transformers library (5.13 or later), whose code shares nothing with NeMo's.

Names were matched by reading both classes (NeMo 3.0.0 `EncDecRNNTBPEModelWithPrompt`, transformers 5.23 `models/nemotron3_5_asr`); every tensor
has to find its place, so a checkpoint with another topology fails here instead of half-loading.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor
from transformers import Nemotron3_5AsrConfig, Nemotron3_5AsrForRNNT
from transformers.models.nemotron_asr_streaming.configuration_nemotron_asr_streaming import NemotronAsrStreamingEncoderConfig

from asrcore.errors import NotReadyError
from asrcore.locales import AUTO
from asrcore.model.restore import prompt_slots

NAMES: tuple[tuple[str, str], ...] = (
    (r"encoder\.pre_encode\.out\.", "encoder.subsampling.linear."),
    (r"encoder\.pre_encode\.conv\.0\.", "encoder.subsampling.conv_in."),
    (r"(encoder\.layers\.\d+\.)conv\.batch_norm\.", r"\1conv.norm."),
    (r"(encoder\.layers\.\d+\.self_attn\.)pos_bias_([uv])", r"\1bias_\2"),
    (r"(encoder\.layers\.\d+\.self_attn\.)linear_pos\.", r"\1relative_k_proj."),
    (r"(encoder\.layers\.\d+\.self_attn\.)linear_out\.", r"\1o_proj."),
    (r"(encoder\.layers\.\d+\.self_attn\.)linear_([qkv])\.", r"\1\2_proj."),
    (r"decoder\.prediction\.embed\.", "decoder.embedding."),
    (r"decoder\.prediction\.dec_rnn\.lstm\.", "decoder.lstm."),
    (r"joint\.pred\.", "decoder.decoder_projector."),
    (r"joint\.enc\.", "encoder_projector."),
    (r"joint\.joint_net\.\d+\.", "joint.head."),
    (r"prompt_kernel\.0\.", "prompt_projector.linear_1."),
    (r"prompt_kernel\.2\.", "prompt_projector.linear_2."),
)
"""NeMo name (start of it) -> transformers name. Names that no rule matches are the same in both."""
LEFT_OUT = ("preprocessor.",)
"""NeMo tensors that are no weights: window and mel filters."""


def convert(model: Any) -> Nemotron3_5AsrForRNNT:
    """A transformers model on the CPU, in eval mode, with copies of `model`'s weights in float32.

    Raises `transformers_topology` when the class cannot hold this checkpoint: other sizes of prediction network and joint, a joint that is
    not ReLU, or a tensor without a place.
    """
    target = Nemotron3_5AsrForRNNT(config_of(model)).eval()
    weights = {
        rename(name): tensor.detach().float().cpu().clone() for name, tensor in model.state_dict().items() if not name.startswith(LEFT_OUT)
    }
    wanted = target.state_dict()
    wrong = sorted({*weights} ^ {*wanted}) or [name for name, tensor in weights.items() if tensor.shape != wanted[name].shape]
    if wrong:
        raise _topology(f"{len(wrong)} tensors have no counterpart, {wrong[0]} among them")
    target.load_state_dict(weights)
    return target


def rename(name: str) -> str:
    """The transformers name of a NeMo tensor."""
    convolution = re.fullmatch(r"encoder\.pre_encode\.conv\.(\d+)\.(weight|bias)", name)
    if convolution and convolution[1] != "0":
        # NeMo's Sequential: conv, relu, then (depthwise, pointwise, relu) for each further halving.
        layer, part = divmod(int(convolution[1]) - 2, 3)
        return f"encoder.subsampling.layers.{layer}.{('depthwise', 'pointwise')[part]}_conv.{convolution[2]}"
    for pattern, replacement in NAMES:
        found = re.match(pattern, name)
        if found:
            return found.expand(replacement) + name[found.end() :]
    return name


def config_of(model: Any) -> Nemotron3_5AsrConfig:
    """The transformers config of a NeMo model of the class. Default look-ahead: the first of the checkpoint's list."""
    encoder, joint, prediction = model.cfg.encoder, model.cfg.joint.jointnet, model.cfg.decoder.prednet
    if joint.joint_hidden != prediction.pred_hidden:
        raise _topology(f"joint_hidden {joint.joint_hidden} and pred_hidden {prediction.pred_hidden} differ")
    contexts = [list(context) for context in encoder.att_context_size]
    blank = int(model.joint.num_classes_with_blank) - 1
    first, _, second = model.prompt_kernel
    bias = bool(encoder.get("use_bias", True))
    return Nemotron3_5AsrConfig(
        encoder_config=NemotronAsrStreamingEncoderConfig(
            hidden_size=encoder.d_model, num_hidden_layers=encoder.n_layers, num_attention_heads=encoder.n_heads,
            intermediate_size=encoder.d_model * encoder.ff_expansion_factor, attention_bias=bias, convolution_bias=bias,
            conv_kernel_size=encoder.conv_kernel_size, subsampling_factor=encoder.subsampling_factor,
            subsampling_conv_channels=encoder.subsampling_conv_channels, num_mel_bins=encoder.feat_in, scale_input=bool(encoder.xscaling),
            sliding_window=contexts[0][0] + 1, default_num_lookahead_tokens=contexts[0][1],
        ),
        vocab_size=blank + 1, decoder_hidden_size=prediction.pred_hidden, num_decoder_layers=prediction.pred_rnn_layers,
        hidden_act=joint.activation, blank_token_id=blank, num_prompts=first.in_features - second.out_features,
        prompt_intermediate_size=first.out_features, default_prompt_id=prompt_slots(model)[AUTO],
    )  # fmt: skip


def encode(target: Any, features: Tensor, slot: int, right: int) -> tuple[Tensor, Tensor]:
    """Encoder frames (T, D) of one utterance's features (mel, frames) and what the joint gets from them (T, H), in one pass at [left, right]."""
    mask = torch.ones(1, features.shape[1], dtype=torch.long)
    with torch.inference_mode():
        out = target.get_audio_features(features.T[None], attention_mask=mask, prompt_ids=torch.tensor([slot]), num_lookahead_tokens=right)
    return out.last_hidden_state[0], out.pooler_output[0]


def _topology(why: str) -> NotReadyError:
    return NotReadyError("transformers_topology", f"transformers' Nemotron3_5AsrForRNNT cannot hold this checkpoint: {why}.",
                         next_step='export it as "nemo" instead.')  # fmt: skip
