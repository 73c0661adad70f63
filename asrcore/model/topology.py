"""Configs of the model class in two sizes: the embedded base, and the published checkpoint's own shape for checkpoints with random weights.

No machine of ours reaches a model hub, so whatever must hold at real size is tried on random weights of that size:

    python -m asrcore.model.topology OUT.nemo [--seed N]      637,997,088 parameters, 2.6 GB

Its words mean nothing; tensors, memory and time do. Sizes: model card of nvidia/nemotron-3.5-asr-streaming-0.6b and its saved config.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from asrcore import io, locales

FULL_PARAMETERS = 637_997_088
FULL_PIECES = 13_087


@dataclass(frozen=True)
class Size:
    """What differs between checkpoints of the class. Widths in units, `features` in mel bands."""

    features: int
    layers: int
    d_model: int
    heads: int
    subsampling_channels: int
    pred_hidden: int
    pred_layers: int
    joint_hidden: int
    dropout: float


EMBEDDED = Size(
    features=80, layers=6, d_model=144, heads=4, subsampling_channels=32, pred_hidden=160, pred_layers=1, joint_hidden=160, dropout=0.0
)
FULL = Size(
    features=128, layers=24, d_model=1024, heads=8, subsampling_channels=256, pred_hidden=640, pred_layers=2, joint_hidden=640, dropout=0.1
)


def build_config(size: Size, tokenizer_dir: Path) -> Any:
    """NeMo config of the real topology: cache-aware FastConformer, 128 prompt slots with the real dictionary, the real att_context list."""
    mel = {"_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor", "sample_rate": 16000, "normalize": "NA",
           "window_size": 0.025, "window_stride": 0.01, "window": "hann", "features": size.features, "n_fft": 512, "frame_splicing": 1,
           "dither": 1e-5, "pad_to": 0}  # fmt: skip
    encoder = {"_target_": "nemo.collections.asr.modules.ConformerEncoder", "feat_in": size.features, "feat_out": -1, "n_layers": size.layers,
               "d_model": size.d_model, "use_bias": False, "subsampling": "dw_striding", "subsampling_factor": 8,
               "subsampling_conv_channels": size.subsampling_channels, "causal_downsampling": True, "reduction": None, "reduction_position": None,
               "reduction_factor": 1, "ff_expansion_factor": 4, "self_attention_model": "rel_pos", "n_heads": size.heads,
               "att_context_size": [list(c) for c in locales.TRAINED_CONTEXTS], "att_context_probs": None, "att_context_style": "chunked_limited",
               "xscaling": False, "untie_biases": True, "pos_emb_max_len": 5000, "conv_kernel_size": 9, "conv_norm_type": "layer_norm",
               "conv_context_size": "causal", "dropout": size.dropout, "dropout_pre_encoder": size.dropout, "dropout_emb": 0.0,
               "dropout_att": size.dropout, "stochastic_depth_drop_prob": 0.0, "stochastic_depth_mode": "linear",
               "stochastic_depth_start_layer": 1}  # fmt: skip
    return OmegaConf.create({
        "sample_rate": 16000, "compute_eval_loss": False, "log_prediction": False, "skip_nan_grad": False,
        "model_defaults": {"enc_hidden": size.d_model, "pred_hidden": size.pred_hidden, "joint_hidden": size.joint_hidden,
                           "initialize_prompt_feature": True, "num_prompts": 128, "norm": "None",
                           "prompt_dictionary": dict(locales.PROMPT_DICTIONARY)},
        "tokenizer": {"dir": str(tokenizer_dir), "type": "bpe"}, "preprocessor": mel,
        "spec_augment": {"_target_": "nemo.collections.asr.modules.SpectrogramAugmentation", "freq_masks": 1, "time_masks": 1,
                         "freq_width": 15, "time_width": 0.05},
        "encoder": encoder,
        "decoder": {"_target_": "nemo.collections.asr.modules.RNNTDecoder", "normalization_mode": None, "random_state_sampling": False,
                    "blank_as_pad": True,
                    "prednet": {"pred_hidden": size.pred_hidden, "pred_rnn_layers": size.pred_layers, "t_max": None, "dropout": size.dropout}},
        "joint": {"_target_": "nemo.collections.asr.modules.RNNTJoint", "log_softmax": None, "preserve_memory": False, "fuse_loss_wer": True,
                  "fused_batch_size": 16, "jointnet": {"joint_hidden": size.joint_hidden, "activation": "relu", "dropout": size.dropout}},
        "decoding": {"strategy": "greedy_batch", "strip_lang_tags": False, "greedy": {"max_symbols": 10}},
        "loss": {"loss_name": "default", "warprnnt_numba_kwargs": {"fastemit_lambda": 5e-3, "clamp": -1.0}},
        "optim": {"name": "adamw", "lr": 1e-3, "betas": [0.9, 0.98], "weight_decay": 1e-3},
    })  # fmt: skip


def write_tokenizer(pieces: int, folder: Path) -> None:
    """A SentencePiece Unigram model of exactly `pieces` pieces, untrained: `<unk>`, the locale tags, letters of several scripts, made-up syllables."""
    messages: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    proto = messages.ModelProto()
    proto.trainer_spec.model_type = 1  # Unigram
    proto.trainer_spec.vocab_size = pieces
    proto.trainer_spec.byte_fallback = False
    proto.trainer_spec.unk_id, proto.trainer_spec.bos_id, proto.trainer_spec.eos_id, proto.trainer_spec.pad_id = 0, -1, -1, -1
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = True
    proto.normalizer_spec.escape_whitespaces = True
    names = _piece_names(pieces)
    for index, name in enumerate(names):
        piece = proto.pieces.add()
        piece.piece, piece.score = name, -float(index) / len(names) * 10
        piece.type = 2 if index == 0 else 4 if name.startswith("<") else 1  # unknown, user-defined, normal
    folder.mkdir(parents=True, exist_ok=True)
    io.write_bytes(folder / "tokenizer.model", proto.SerializeToString())
    io.write_text(folder / "vocab.txt", "".join(f"{name}\n" for name in names))


def _piece_names(count: int) -> list[str]:
    tags = sorted(f"<{tag}>" for tag in locales.PROMPT_DICTIONARY if len(tag) == 5 and tag[2] == "-")
    letters = [chr(code) for first, last in ((0x61, 0x7A), (0x3AC, 0x3CE), (0x430, 0x44F)) for code in range(first, last + 1)]
    names = dict.fromkeys(["<unk>", *tags, "▁", *letters, *"'.,?!-"])
    for first in letters:
        for second in letters:
            for name in (f"▁{first}{second}", f"{first}{second}"):
                if len(names) < count:
                    names[name] = None
    if len(names) != count:
        raise ValueError(f"{count} pieces cannot be made; {len(names)} is the most or the least")
    return list(names)


def make_random(target: Path, size: Size = FULL, pieces: int = FULL_PIECES, seed: int = 0) -> int:
    """Writes a `.nemo` with random weights and returns its number of parameters."""
    from nemo.collections.asr.models.rnnt_bpe_models_prompt import EncDecRNNTBPEModelWithPrompt

    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(pieces, Path(folder))
        model: Any = EncDecRNNTBPEModelWithPrompt(cfg=build_config(size, Path(folder)))
        with io.atomic_file(target) as file:
            model.save_to(file.name)
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    io.require_disk(options.out.resolve().parent, 4 * FULL_PARAMETERS * 2)
    print(f"{make_random(options.out.resolve(), seed=options.seed):,} parameters in {options.out}")


if __name__ == "__main__":
    main()
