"""The identity rules of the decoding engines (what they promise of any checkpoint), for the tests of the embedded base and of a tuned one.

Every check first shows that the model says something: an engine that writes nothing is identical to anything that writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from asrcore import io
from asrcore.audio import decode
from asrcore.embedded import shipped
from asrcore.locales import PROMPT_DICTIONARY
from asrcore.manifest import load_rows
from tests.model.nemo_loop import nemo_loop

CONTEXTS = [(56, 0), (56, 1), (56, 3), (56, 6), (56, 13)]
NEMO_CONTEXTS = [(56, 0), (56, 3), (56, 13)]
FOUR_LANGUAGES = (*shipped.GUARDS, shipped.CLEAN_TEST)
TOKENS_A_CLIP = 3
TOLERANCE = 1e-3
"""Of encoder frames, joint inputs and log probabilities between two implementations."""


def first_rows(manifest: Path, count: int, **changes: Any) -> Path:
    """A manifest of the first rows beside the whole one; `changes` go into the last row."""
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()[:count]]
    rows[-1] |= changes
    part = manifest.parent / f"first{count}_{io.sha256_json(changes)[:6]}.json"
    io.write_text(part, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return part


def items_of(model: Any, manifest: Path, count: int, first_key: int = 0, slot: int | None = None) -> list[Any]:
    """The first `count` utterances as the engines take them, with their locale's prompt slot unless `slot` names another."""
    from asrcore.model.restore import prompt_slots
    from asrcore.model.stream import StreamItem

    slots = prompt_slots(model)
    return [
        StreamItem(
            first_key + n, partial(decode, row.audio), slots[row.utterance.target_lang] if slot is None else slot, row.utterance.duration
        )
        for n, row in enumerate(load_rows(manifest)[:count])
    ]


def speaks(decoded: Sequence[Any]) -> bool:
    return sum(len(one.tokens) for one in decoded) >= TOKENS_A_CLIP * len(decoded)


def check_batch_one_is_nemos_loop(model: Any, manifests: Mapping[str, Path], context: tuple[int, int], count: int) -> None:
    from asrcore.model.stream import StreamingDecoder

    items = items_of(model, manifests["bg-BG_guard_test"], count)
    ours = StreamingDecoder(model, context, batch_size=1).decode(items)
    assert speaks(ours), "a model that says nothing proves nothing"
    assert [decoded.tokens for decoded in ours] == nemo_loop(model, [item.audio() for item in items], "bg-BG", 1, context)


def check_languages_stay_apart(model: Any, manifests: Mapping[str, Path], each: int) -> None:
    from asrcore.model.stream import StreamingDecoder

    mixed = [item for n, name in enumerate(FOUR_LANGUAGES) for item in items_of(model, manifests[name], each, first_key=10 * n)]
    together = StreamingDecoder(model, (56, 0), batch_size=5).decode(mixed)
    alone = StreamingDecoder(model, (56, 0), batch_size=1).decode(mixed)
    assert speaks(alone), "a model that says nothing proves nothing"
    assert [decoded.tokens for decoded in together] == [decoded.tokens for decoded in alone]


def check_another_slot_shows(model: Any, manifests: Mapping[str, Path]) -> None:
    from asrcore.model.stream import StreamingDecoder

    right, wrong = (
        StreamingDecoder(model, (56, 3), 4).decode(items_of(model, manifests["el-GR_clean_test"], 4, slot=PROMPT_DICTIONARY[locale]))
        for locale in ("el-GR", "en-US")
    )
    assert [decoded.tokens for decoded in right] != [decoded.tokens for decoded in wrong]


def check_every_end_is_the_exact_engines(model: Any, manifest: Path, context: tuple[int, int]) -> None:
    """Twelve cuts of one clip, 30 ms apart, cover whole chunks, tails under 80 ms and padded last frames."""
    from asrcore.model.fast import FastDecoder
    from asrcore.model.stream import StreamingDecoder, StreamItem

    audio = decode(load_rows(manifest)[0].audio)
    lengths = [len(audio) - 480 * n for n in range(12)]
    items = [StreamItem(n, partial(_cut, audio, samples), PROMPT_DICTIONARY["es-ES"], samples / 16000) for n, samples in enumerate(lengths)]
    exact = StreamingDecoder(model, context, batch_size=1).decode(items)
    assert speaks(exact), "a model that says nothing proves nothing"
    assert FastDecoder(model, context, batch_size=5).decode(items) == exact


def check_transformers_agrees(model: Any, clips: Sequence[Any], right: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoder frames, what the joint gets of them, and what it says, against the transformers class; another prompt and another mask must show.

    Without one thing: at 80 ms NeMo's stream embeds its second frame with zero frames in front, and transformers does not.
    """
    import torch

    from asrcore.model.fast import FastDecoder
    from asrcore.model.stream import apply_prompt, chunk_schedule, mel_features
    from asrcore.model.to_transformers import convert, encode

    written = torch.tensor([[3, 1, 4]])  # tokens that the prediction network has seen
    monkeypatch.setattr(FastDecoder, "_mend_second_chunk", lambda *_: None)
    other, slot = convert(model), PROMPT_DICTIONARY["bg-BG"]
    decoder = FastDecoder(model, (56, right))
    for clip in clips:
        with torch.inference_mode():
            features = mel_features(model, clip)
            schedule = chunk_schedule(model, features.shape[1])
            ours, lengths = decoder.encode([features], [schedule])
            frames = int(lengths[0])
            joint_side, wrong_side = (
                model.joint.project_encoder(apply_prompt(model, ours, torch.tensor([one])))[0, :frames] for one in (slot, 1)
            )
        theirs, projected = encode(other, features[:, : schedule[-1].end], slot, right)
        assert frames > 10
        assert _apart(ours[0, :frames], theirs[:frames]) <= TOLERANCE
        assert _apart(joint_side, projected[:frames]) <= TOLERANCE
        assert _apart(wrong_side, projected[:frames]) > TOLERANCE, "another prompt must show"
        with torch.inference_mode():
            predicted = model.joint.project_prednet(model.decoder.predict(written, None, add_sos=False, batch_size=1)[0])
            ours_said = model.joint.joint_after_projection(joint_side[None], predicted).log_softmax(-1)
            theirs_said = other.joint(other.decoder(written)[:, None], projected[None, :frames, None]).log_softmax(-1)
        assert ours_said.shape == theirs_said.shape
        assert _apart(ours_said, theirs_said) <= TOLERANCE
        wrong, _ = encode(other, features[:, : schedule[-1].end], slot, 1)
        assert _apart(ours[0, :frames], wrong[:frames]) > TOLERANCE, "another mask must show"


def _apart(ours: Any, theirs: Any) -> float:
    return float((ours - theirs).abs().max())


def _cut(audio: Any, samples: int) -> Any:
    return audio[:samples]
