"""Makes the embedded base: a small checkpoint of the real class, trained from nothing on synthetic speech.

`python -m asrcore.model.pretrain_embedded DATA OUT.nemo [--minutes N]`; DATA is the output of `asrcore.embedded.sets pretrain`.
RNNT loss alone learns to recite the templates; a CTC head on the encoder output makes the encoder listen (docs/log.md). The schedule runs
by the clock, not by steps, so a slow or shared machine ends in time with a weaker base instead of hours later.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import soundfile as sf
import torch
from nemo.collections.asr.models.rnnt_bpe_models_prompt import EncDecRNNTBPEModelWithPrompt

from asrcore import locales
from asrcore.embedded import voices
from asrcore.model.rnnt_loss import rnnt_loss
from asrcore.model.stream import apply_prompt
from asrcore.model.topology import EMBEDDED, build_config

Tensor = torch.Tensor

VOCABULARY = 640
WARM_SHARE = 0.06
"""This first share of the time trains CTC alone, on short unaltered utterances of named voices, mostly at the longest context, until the encoder
hears tokens. With drawn voices and altered clips from the start it heard none in 2,700 steps (docs/log.md)."""
HARDER_SHARE = 0.2
"""Up to this share of the time clips are altered more and more often, from never to the shares below."""
LISTEN_SHARE = 0.35
"""Up to this share of the time CTC alone is trained, then RNNT alone: once the encoder listens, the CTC head has done its work (docs/log.md)."""
WARM_SECONDS = 2.6
WARM_CONTEXT_PROBS = (0.15, 0.05, 0.1, 0.7)
SPEED_SHARE, SPEEDS = 0.7, (0.88, 1.14)
BAND_SHARE, BAND = 0.25, (250.0, 3500.0)
"""Hz, a little wider than a telephone's."""
NOISE_SHARE, NOISE_DB = 0.5, (15.0, 40.0)
LEAD_SHARE, LEAD_SECONDS = 0.4, 0.5
"""Share of the clips with up to this much silence in front: without any, the base heard nothing right after 165 ms of it (docs/log.md)."""
AUTO_SHARE = 0.3
"""Of the rows, in the `auto` slot with the locale tag at the end of their tokens; at 0.5 the prompt was not heard on the telephone (docs/log.md)."""
BATCH = 16
RAMP_STEPS = 300
CONTEXT_PROBS = (0.2, 0.4, 0.2, 0.2)
"""Chance of each att_context_size in a pre-training step, in the order of `locales.TRAINED_CONTEXTS`; 80 ms is the hardest."""


def train_tokenizer(texts: list[str], folder: Path) -> None:
    """SentencePiece Unigram without byte fallback; the locale tags are pieces of their own, as in the real checkpoint (its model card)."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(texts), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(  # pyright: ignore[reportUnknownMemberType]
        input=str(corpus), model_prefix=str(folder / "tokenizer"), vocab_size=VOCABULARY, model_type="unigram", character_coverage=1.0,
        bos_id=-1, eos_id=-1, hard_vocab_limit=False, byte_fallback=False, user_defined_symbols=[f"<{tag}>" for tag in locales.TIERED],
        minloglevel=2,
    )  # fmt: skip
    pieces = [line.split("\t")[0] for line in (folder / "tokenizer.vocab").read_text(encoding="utf-8").splitlines()]
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    corpus.unlink()


class Corpus:
    """All utterances in memory: int16 audio and token ids with and without the locale tag."""

    def __init__(self, manifests: list[Path], tokenizer: Any, prompts: dict[str, int]) -> None:
        self.audio: list[np.ndarray[Any, Any]] = []
        self.tokens: list[tuple[Tensor, Tensor]] = []
        self.slots: list[int] = []
        self.easy: list[bool] = []
        named = {f"espeak-{voice}" for voice in voices.NAMED_TRAIN}
        for manifest in manifests:
            for line in manifest.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                self.audio.append(sf.read(manifest.parent / row["audio_filepath"], dtype="int16")[0])
                plain, tagged = row["text"], f"{row['text']} <{row['target_lang']}>"
                self.tokens.append((torch.tensor(tokenizer.text_to_ids(plain)), torch.tensor(tokenizer.text_to_ids(tagged))))
                self.slots.append(prompts[row["target_lang"]])
                self.easy.append(row["speaker"] in named and row["duration"] < WARM_SECONDS)
        self.audio = in_one_piece(self.audio)
        self.order: list[int] = []

    def batch(self, rng: random.Random, auto_slot: int, altered: float) -> tuple[Tensor, ...]:
        """Audio (B, S), its lengths, tokens (B, U), their lengths, the same without tags, prompt slots (B,).

        `altered` (0 to 1) scales how often clips are altered; at 0 they are the easy ones too.
        `AUTO_SHARE` of the rows are in `auto`, with the locale tag at the end of their tokens.
        """
        if len(self.order) < BATCH * 8:
            fresh = [i for i, easy in enumerate(self.easy) if altered or easy]
            rng.shuffle(fresh)
            self.order += fresh
        pool = sorted(self.order[: BATCH * 8], key=lambda i: len(self.audio[i]))
        start = rng.randrange(0, len(pool) - BATCH + 1)
        rows = pool[start : start + BATCH]
        chosen = set(rows)
        self.order = [i for i in self.order[: BATCH * 8] if i not in chosen] + self.order[BATCH * 8 :]
        waves = [varied(torch.from_numpy(self.audio[i].astype(np.float32) / 32768), rng, altered) for i in rows]
        auto = [rng.random() < AUTO_SHARE for _ in rows]
        tokens = [self.tokens[i][int(a)] for i, a in zip(rows, auto, strict=True)]
        slots = torch.tensor([auto_slot if a else self.slots[i] for i, a in zip(rows, auto, strict=True)])
        pad = torch.nn.utils.rnn.pad_sequence
        plain = [self.tokens[i][0] for i in rows]
        return (pad(waves, batch_first=True), torch.tensor([len(w) for w in waves]),
                pad(tokens, batch_first=True), torch.tensor([len(t) for t in tokens]),
                pad(plain, batch_first=True), torch.tensor([len(t) for t in plain]), slots)  # fmt: skip


def varied(wave: Tensor, rng: random.Random, often: float) -> Tensor:
    """The clip (S,) at another speed, sometimes through a narrow band, sometimes after a silence, sometimes with noise; `often` scales each share.

    Speed moves pitch and formants too, so it stands in for voices that are not there; without it the held-out voices had twice the errors
    (docs/log.md). The narrow band keeps the telephone from being a place where the base loses even the language.
    """
    if rng.random() < often * SPEED_SHARE:
        size = int(len(wave) / rng.uniform(*SPEEDS))
        wave = torch.nn.functional.interpolate(wave[None, None], size=size, mode="linear")[0, 0]
    if rng.random() < often * BAND_SHARE:
        spectrum, hertz = torch.fft.rfft(wave), torch.fft.rfftfreq(len(wave), 1 / 16000)
        wave = torch.fft.irfft(spectrum * ((hertz > BAND[0]) & (hertz < BAND[1])), n=len(wave))
    deviation = wave.std()
    if rng.random() < often * LEAD_SHARE:
        wave = torch.nn.functional.pad(wave, (int(rng.uniform(0, LEAD_SECONDS) * 16000), 0))
    if rng.random() < often * NOISE_SHARE:
        wave = wave + torch.randn_like(wave) * deviation * 10 ** (-rng.uniform(*NOISE_DB) / 20)
    return wave


def in_one_piece(clips: list[Any]) -> list[Any]:
    """The same clips as views of one array: ten thousands of small blocks between large ones make every later malloc slow."""
    whole = np.concatenate(clips)
    return np.split(whole, np.cumsum([len(clip) for clip in clips])[:-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=85.0, help="training time; the rate falls to zero in it")
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--listen-share", type=float, default=LISTEN_SHARE, help="share of the time with CTC alone")
    parser.add_argument("--init", type=Path, help="go on from this .nemo instead of from nothing")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    manifests = sorted(options.data.glob("*/manifest.json"))
    if options.init:
        model: Any = EncDecRNNTBPEModelWithPrompt.restore_from(str(options.init), map_location=torch.device("cpu"))
    else:
        texts = [json.loads(line)["text"] for m in manifests for line in m.read_text(encoding="utf-8").splitlines()]
        with tempfile.TemporaryDirectory() as folder:
            train_tokenizer(texts, Path(folder))
            model = EncDecRNNTBPEModelWithPrompt(cfg=build_config(EMBEDDED, Path(folder)))
            start_prompt_as_identity(model)
            model.save_to(str(options.out))
        model = EncDecRNNTBPEModelWithPrompt.restore_from(str(options.out), map_location=torch.device("cpu"))
    corpus = Corpus(manifests, model.tokenizer, dict(locales.PROMPT_DICTIONARY))
    train(model, corpus, options.minutes * 60, options.lr, rng, options.out, 0.0 if options.init else WARM_SHARE, options.listen_share)


def train(
    model: Any, corpus: Corpus, seconds: float, peak_lr: float, rng: random.Random, out: Path, warm_share: float, listen_share: float
) -> None:
    """CTC on the encoder, then RNNT, for `seconds`; writes `out` every 500 steps and at the end."""
    blank = model.tokenizer.vocab_size
    head = torch.nn.Linear(EMBEDDED.d_model, blank + 1)
    parameters = [*model.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=peak_lr, betas=(0.9, 0.98), weight_decay=1e-3, fused=True)
    model.train()
    model.joint._fuse_loss_wer = False
    model.preprocessor.featurizer.dither = 0.0  # evaluation adds none either, so digital silence has to be met as it is
    augmentation, started = model.spec_augmentation, time.monotonic()
    print(f"utterances {len(corpus.audio)} vocabulary {blank} parameters {sum(p.numel() for p in model.parameters())}", flush=True)
    step, share = 0, 0.0
    while share < 1.0:
        step, share = step + 1, (time.monotonic() - started) / seconds
        warm, listening = share < warm_share, share < listen_share
        altered = min(1.0, max(0.0, share - warm_share) / (HARDER_SHARE - warm_share)) if warm_share else 1.0
        for group in optimiser.param_groups:
            group["lr"] = peak_lr * min(1.0, step / RAMP_STEPS) * max(0.0, 1.0 - share)
        model.spec_augmentation = None if warm else augmentation
        model.encoder.att_context_probs = list(WARM_CONTEXT_PROBS if warm else CONTEXT_PROBS)
        audio, audio_lens, tokens, token_lens, plain, plain_lens, slots = corpus.batch(rng, locales.PROMPT_DICTIONARY["auto"], altered)
        encoded, encoded_lens = encode(model, audio, audio_lens)
        if listening:
            logp = head(encoded).log_softmax(-1).transpose(0, 1)
            losses = torch.nn.functional.ctc_loss(logp, plain, encoded_lens, plain_lens, blank=blank, reduction="none", zero_infinity=True)
        else:
            predicted, _, _ = model.decoder(targets=tokens, target_length=token_lens)
            acts = model.joint.joint(apply_prompt(model, encoded, slots), predicted.transpose(1, 2))
            losses = rnnt_loss(acts, tokens, encoded_lens, token_lens, blank, fastemit_lambda=5e-3)
        loss = losses.mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if step % 50 == 0:
            print(f"step {step} {'ctc' if listening else 'rnnt'} {loss.item():.2f} seconds {time.monotonic() - started:.0f}", flush=True)
        if step % 500 == 0:
            save(model, out)
    save(model, out)
    print(f"done in {time.monotonic() - started:.0f} s", flush=True)


def encode(model: Any, audio: Tensor, audio_lens: Tensor) -> tuple[Tensor, Tensor]:
    """Encoder frames (B, T, D) before the prompt, and their lengths."""
    with torch.no_grad():
        features, lengths = model.preprocessor(input_signal=audio, length=audio_lens)
        if model.spec_augmentation is not None:
            features = model.spec_augmentation(input_spec=features, length=lengths)
    encoded, encoded_lens = model.encoder(audio_signal=features, length=lengths)
    return encoded.transpose(1, 2), encoded_lens


def start_prompt_as_identity(model: Any) -> None:
    """`prompt_kernel` (Linear, ReLU, Linear; hidden width twice d_model) starts as x = relu(x) - relu(-x), so the joint hears the encoder.

    With the default start, CTC behind the kernel stayed at 3.6 nats a token where CTC on the encoder was at 2.6 (250 steps, docs/log.md).
    """
    first, _, second = model.prompt_kernel
    eye = torch.eye(EMBEDDED.d_model)
    with torch.no_grad():
        first.weight[:, : EMBEDDED.d_model] = torch.cat([eye, -eye])
        first.weight[:, EMBEDDED.d_model :] *= 0.5
        first.bias.zero_()
        second.weight.copy_(torch.cat([eye, -eye], dim=1))
        second.bias.zero_()


def save(model: Any, out: Path) -> None:
    fused, model.joint._fuse_loss_wer = model.joint._fuse_loss_wer, True
    probs, model.encoder.att_context_probs = model.encoder.att_context_probs, None
    part = out.with_suffix(".part.nemo")
    model.save_to(str(part))
    part.replace(out)
    model.joint._fuse_loss_wer, model.encoder.att_context_probs = fused, probs


if __name__ == "__main__":
    main()
