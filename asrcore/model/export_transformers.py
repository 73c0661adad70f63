"""Target `transformers`: a folder that `AutoProcessor` and `Nemotron3_5AsrForRNNT` (transformers 5.13 or later) load.

Weights and config come from `to_transformers`; here are the tokenizer, the processor with the checkpoint's own prompt dictionary, and the gate.

Of the two ways to run the folder the gate takes the one without a loop around it: `generate` on a whole recording, from the processor's own features,
at each look-ahead, against NeMo's one pass under the same mask. How many transcripts are those of NeMo's *stream* too is in the result: the
ends of a recording are treated differently there (`asrcore.model.fast`).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoProcessor, Nemotron3_5AsrForRNNT, Nemotron3_5AsrProcessor, NemotronAsrStreamingFeatureExtractor
from transformers.models.parakeet.tokenization_parakeet import ParakeetTokenizer

from asrcore.audio import MODEL_RATE
from asrcore.errors import NotReadyError
from asrcore.export_requests import ExportCheck
from asrcore.model.export_nemo import differing
from asrcore.model.export_smoke import Case, Context, Smoke, one_pass, refuse, runtime, text_of
from asrcore.model.restore import prompt_slots
from asrcore.model.to_transformers import convert, encode
from asrcore.requests import ExportRequest
from asrcore.score.tags import strip_tags
from asrcore.text import LOCALE_TAG

BLANK, PAD, UNKNOWN = "<blank>", "<pad>", "<unk>"
MAX_DELTA = 1e-3
"""Largest difference of an encoder frame between the two libraries; NeMo's features into both."""
UNIGRAM, BPE = 1, 2
"""`TrainerSpec.ModelType` of SentencePiece."""


def write(model: Any, folder: Path, request: ExportRequest) -> None:
    """Writes config.json, generation_config.json, model.safetensors and the processor's files. Raises `transformers_topology`, `transformers_tokenizer`."""
    target: Any = convert(model)
    blank = target.config.blank_token_id
    tokenizer = tokenizer_of(model, blank)
    target.config.encoder_config.default_num_lookahead_tokens = request.att_contexts[0][1]
    target.config.pad_token_id = tokenizer.pad_token_id
    target.generation_config.decoder_start_token_id = blank
    target.generation_config.pad_token_id = tokenizer.pad_token_id
    target.save_pretrained(folder)
    processor = Nemotron3_5AsrProcessor(
        feature_extractor=feature_extractor_of(model), tokenizer=tokenizer, blank_token=BLANK,
        supported_num_lookahead_tokens=[right for _, right in request.att_contexts], default_num_lookahead_tokens=request.att_contexts[0][1],
        prompt_dictionary=prompt_slots(model), num_prompts=int(model.num_prompts),
    )  # fmt: skip
    processor.save_pretrained(folder)


def verify(model: Any, folder: Path, smoke: Smoke) -> tuple[ExportCheck, ...]:
    """Loads the folder as a user would: same weights and settings, same encoder frames, same words. Raises `export_not_identical`."""
    try:
        processor: Any = AutoProcessor.from_pretrained(str(folder))
        loaded: Any = Nemotron3_5AsrForRNNT.from_pretrained(str(folder)).eval()
    except Exception as error:  # safetensors raises a class of its own that derives from Exception only
        refuse("transformers", [f"the finished folder cannot be opened ({type(error).__name__})"])
        raise
    library = runtime("transformers")
    ours = convert(model)
    differences = [f"tensor {name} differs" for name in differing(ours.state_dict(), loaded.state_dict())]
    differences += _settings(model, loaded, processor, smoke)
    refuse("transformers", differences)
    checks = [ExportCheck(what="weights", runtime=library, bar="every tensor equal to the bit", compared=len(ours.state_dict()), identical=len(ours.state_dict()))]
    for context in smoke.contexts:
        deltas: list[float] = []
        as_streamed = 0
        for case in smoke.cases:
            frames, tokens = one_pass(model, case, context)
            deltas.append(_delta(model, loaded, case, context, frames))
            said, text = generate(processor, loaded, case, context)
            if said != tokens or text.split() != strip_tags(text_of(model, tokens))[0].split():
                differences.append(f"{case.name} at {list(context)} reads differently")
            as_streamed += said == smoke.expected[context, case.name].tokens
        if max(deltas) > MAX_DELTA:
            differences.append(f"encoder frames at {list(context)} differ by {max(deltas):.2g}, more than {MAX_DELTA:g}")
        count = len(smoke.cases)
        checks += [
            ExportCheck(what="encoder frames, the checkpoint's features into both", runtime=library, bar=f"largest difference at most {MAX_DELTA:g}", att_context=context,
                        compared=count, max_delta=max(deltas)),
            ExportCheck(what="transcripts from audio, own features, batch size 1", runtime=library, bar="every one that of NeMo's pass under the same mask",
                        att_context=context, compared=count, identical=count, note=f"{as_streamed} of {count} are those of NeMo's stream too"),
        ]  # fmt: skip
    refuse("transformers", differences)
    return tuple(checks)


def generate(processor: Any, model: Any, case: Case, context: Context) -> tuple[tuple[int, ...], str]:
    """Token ids without blanks, and the text without tags, of one recording: the way the README shows."""
    processor.set_num_lookahead_tokens(context[1])
    inputs = processor(case.audio, sampling_rate=MODEL_RATE, language=case.tag)
    with torch.inference_mode():
        sequence = model.generate(**inputs).sequences
    drop = {model.config.blank_token_id, model.config.pad_token_id}
    return tuple(int(token) for token in sequence[0] if int(token) not in drop), str(processor.batch_decode(sequence, skip_special_tokens=True)[0])


def feature_extractor_of(model: Any) -> NemotronAsrStreamingFeatureExtractor:
    """The preprocessor's settings in samples; the class never normalises, and neither does the checkpoint family."""
    settings = model.cfg.preprocessor
    if str(settings.get("normalize", "NA")) != "NA":
        raise _unfit(f"its features are normalised ({settings.normalize})")
    rate = int(settings.sample_rate)
    return NemotronAsrStreamingFeatureExtractor(
        feature_size=int(settings.features), sampling_rate=rate, hop_length=round(float(settings.window_stride) * rate), n_fft=int(settings.n_fft),
        win_length=round(float(settings.window_size) * rate), preemphasis=float(settings.get("preemph", 0.97)),
    )  # fmt: skip


def tokenizer_of(model: Any, blank: int) -> ParakeetTokenizer:
    """The SentencePiece model as a `tokenizers` one with the same ids, `<blank>` after them, locale tags marked special so that they can be left out.

    Raises `transformers_tokenizer`.
    """
    messages: Any = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    proto = messages.ModelProto()
    proto.ParseFromString(model.tokenizer.tokenizer.serialized_model_proto())
    pieces = [piece.piece for piece in proto.pieces]
    if len(set(pieces)) != blank:
        raise _unfit(f"{len(set(pieces))} different pieces where the joint has {blank} labels")
    core = _core(proto)
    core.add_tokens([AddedToken(piece.piece, normalized=False, special=piece.type == 3) for piece in proto.pieces if piece.type in (3, 4)])
    scheme = "always" if proto.normalizer_spec.add_dummy_prefix else "never"
    charsmap = proto.normalizer_spec.precompiled_charsmap
    spaces = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), " ")]
    core.normalizer = normalizers.Sequence([*([normalizers.Precompiled(charsmap)] if charsmap else []), *spaces])
    core.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme)
    metaspace = decoders.Metaspace(replacement="▁", prepend_scheme=scheme)
    core.decoder = decoders.Sequence([decoders.ByteFallback(), metaspace]) if proto.trainer_spec.byte_fallback else metaspace
    core.add_special_tokens([AddedToken(BLANK, normalized=False, special=True)])
    special: dict[str, Any] = {"pad_token": PAD if PAD in pieces else BLANK}
    if UNKNOWN in pieces:
        special["unk_token"] = UNKNOWN
    tokenizer: Any = ParakeetTokenizer(tokenizer_object=core, clean_up_tokenization_spaces=False, **special)
    tags = sorted(piece for piece in pieces if LOCALE_TAG.fullmatch(piece))
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=True) for tag in tags], special_tokens=True)
    moved = [piece for index, piece in enumerate([*pieces, BLANK]) if tokenizer.convert_tokens_to_ids(piece) != index]
    if moved:
        raise _unfit(f"{len(moved)} pieces got another id")
    return tokenizer


def _core(proto: Any) -> Tokenizer:
    spec = proto.trainer_spec
    if spec.model_type == UNIGRAM:
        vocabulary = [(piece.piece, piece.score) for piece in proto.pieces]
        return Tokenizer(models.Unigram(vocabulary, unk_id=spec.unk_id, byte_fallback=spec.byte_fallback))
    if spec.model_type == BPE:
        ids = {piece.piece: index for index, piece in enumerate(proto.pieces)}
        return Tokenizer(models.BPE(ids, merges_of(ids), unk_token=spec.unk_piece, fuse_unk=True, byte_fallback=spec.byte_fallback))
    raise _unfit(f"SentencePiece model type {spec.model_type}")


def merges_of(ids: dict[str, int]) -> list[tuple[str, str]]:
    """The pairs that BPE joins, best first. SentencePiece keeps no list of them; its pieces stand in the order in which they were made."""
    found = [
        (ids[piece], ids[piece[:cut]], ids[piece[cut:]], piece[:cut], piece[cut:])
        for piece in ids for cut in range(1, len(piece)) if piece[:cut] in ids and piece[cut:] in ids
    ]  # fmt: skip
    return [(left, right) for *_, left, right in sorted(found)]


def _settings(model: Any, loaded: Any, processor: Any, smoke: Smoke) -> list[str]:
    """What the folder says about itself, against the checkpoint. Short recordings decode alike with a wrong left context, so it is read, too."""
    config, slots = loaded.config, prompt_slots(model)
    wanted = {
        "left context": (config.encoder_config.sliding_window - 1, smoke.contexts[0][0]),
        "prompt dictionary": (processor.prompt_dictionary, slots),
        "number of prompts": (config.num_prompts, int(model.num_prompts)),
        "default prompt": (config.default_prompt_id, slots["auto"]),
        "blank": ((config.blank_token_id, processor.blank_token_id), (model.joint.num_classes_with_blank - 1,) * 2),
        "look-aheads": (list(processor.supported_num_lookahead_tokens), [right for _, right in smoke.contexts]),
    }  # fmt: skip
    return [f"the {what} is another" for what, (found, right) in wanted.items() if found != right]


def _delta(model: Any, loaded: Any, case: Case, context: Context, frames: torch.Tensor) -> float:
    signal = torch.from_numpy(case.audio)[None]
    with torch.inference_mode():
        features, length = model.preprocessor(input_signal=signal, length=torch.tensor([signal.shape[1]]))
    theirs, _ = encode(loaded, features[0, :, : int(length[0])], case.slot, context[1])
    count = min(len(frames), len(theirs))
    if count < len(frames) or not count:
        return float("inf")
    return float((frames - theirs[:count]).abs().max())


def _unfit(why: str) -> NotReadyError:
    return NotReadyError("transformers_tokenizer", f"the checkpoint's front end has no counterpart in transformers: {why}.", next_step='export it as "nemo" instead.')
