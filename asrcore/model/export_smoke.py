"""The smoke set of an export: what is decoded by the checkpoint and by every artefact made from it, and the proof that comparing says something.

Cases are some utterances with their own tag, the same in `auto`, and one long recording joined from them: the left context of 56 frames ends
after 4.5 s, so shorter clips cannot show a wrong one.
"""

from __future__ import annotations

import importlib.metadata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

from asrcore.audio import MODEL_RATE, Samples
from asrcore.errors import NotReadyError, Problem, ToolFault
from asrcore.locales import AUTO
from asrcore.manifest import Row, kept_rows
from asrcore.model.decode import row_slots, stream_items
from asrcore.model.restore import prompt_slots
from asrcore.model.stream import Decoded, GreedyState, StreamingDecoder, StreamItem, apply_prompt
from asrcore.requests import ExportRequest

MIN_TOKENS_PER_CLIP = 3
LONG_SECONDS = 12.0
"""Least length of the joined case: more than twice the left context."""
MIN_LOCALES = 2
"""Locales other than slot 0 that a smoke set needs for the targets that other runtimes read: a dropped prompt decodes like slot 0."""

Context = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """One recording to decode. `tag` is the prompt that a runtime is given by name, `slot` the same as index."""

    name: str
    audio: Samples
    tag: str
    slot: int
    row: Row | None = None
    """The manifest row of a case with its own tag."""

    def item(self, key: int = 0) -> StreamItem:
        return StreamItem(key, lambda: self.audio, self.slot, len(self.audio) / MODEL_RATE)


@dataclass(frozen=True)
class Smoke:
    """The cases, what the checkpoint says on them at each context, and whether the prompt matters."""

    cases: tuple[Case, ...]
    contexts: tuple[Context, ...]
    expected: dict[tuple[Context, str], Decoded]
    """Exact engine at batch size 1, by context and case name."""
    prompt_changes_output: bool

    @property
    def tokens(self) -> int:
        return sum(len(decoded.tokens) for decoded in self.expected.values())

    @property
    def locales(self) -> tuple[str, ...]:
        return tuple(sorted({case.tag for case in self.cases if case.tag != AUTO}))

    def pairs(self) -> Iterator[tuple[Context, Case, Decoded]]:
        """Every case at every context with what the checkpoint says."""
        for context in self.contexts:
            for case in self.cases:
                yield context, case, self.expected[context, case.name]


def prepare(model: Any, request: ExportRequest) -> Smoke:
    """Decodes the smoke set with the checkpoint itself. Raises `unknown_tag`, `smoke_empty`, `smoke_too_narrow`, `export_unprovable`."""
    cases = smoke_cases(model, request)
    expected = {(context, case.name): decode_case(model, case, context) for context in request.att_contexts for case in cases}
    smoke = Smoke(cases, request.att_contexts, expected, _prompt_matters(model, cases, request.att_contexts, expected))
    if smoke.tokens < MIN_TOKENS_PER_CLIP * len(expected) or not smoke.prompt_changes_output:
        raise ToolFault(
            "export_unprovable",
            f"the model emits {smoke.tokens} tokens on {len(expected)} smoke decodes and {'reacts' if smoke.prompt_changes_output else 'does not react'} "
            "to the prompt; identity of such output proves nothing.",
            next_step="export a checkpoint that transcribes the smoke set (run_streaming_eval shows its WER).",
        )  # fmt: skip
    return smoke


def smoke_cases(model: Any, request: ExportRequest) -> tuple[Case, ...]:
    """The cases of a request. Raises `unknown_tag`, `smoke_empty`, and `smoke_too_narrow` for targets other than `nemo`."""
    clips = clip_cases(model, request, request.smoke_utterances)
    own = {clip.tag for clip in clips if clip.slot != 0}
    if request.target != "nemo" and len(own) < MIN_LOCALES:
        raise NotReadyError(
            "smoke_too_narrow", f"the smoke utterances have {len(own)} locales other than the one of prompt slot 0; {MIN_LOCALES} are needed, since a "
            "runtime that drops the prompt may decode as if it were slot 0.",
            next_step="name manifests of more locales in extra_smoke_manifests (a guard set will do) and call export_model again.",
        )  # fmt: skip
    auto = prompt_slots(model)[AUTO]
    both = [one for clip in clips for one in (clip, Case(in_auto(clip.name), clip.audio, AUTO, auto))]
    return *both, Case("long", _joined([clip.audio for clip in clips]), clips[0].tag, clips[0].slot)


def clip_cases(model: Any, request: ExportRequest, count: int) -> tuple[Case, ...]:
    """Up to `count` utterances of the smoke manifests with their own tags, locales in turn. Raises `unknown_tag`, `smoke_empty`."""
    manifests = [Path(ref.path) for ref in (request.smoke, *request.extra_smoke)]
    chosen = in_turn([(path, row) for path in manifests for row in kept_rows(path)], count)
    if not chosen:
        raise NotReadyError("smoke_empty", "the smoke manifests have no utterance that is not marked _skipme.",
                            next_step="name a manifest with utterances as smoke_manifest and call export_model again.")  # fmt: skip
    slots = [row_slots(model, [row], path, "langID")[0] for path, row in chosen]
    items = stream_items([row for _, row in chosen], slots)
    return tuple(
        Case(f"clip {number}", item.audio(), row.utterance.target_lang, item.slot, row) for number, ((_, row), item) in enumerate(zip(chosen, items, strict=True))
    )


def in_turn(rows: Sequence[tuple[Path, Row]], count: int) -> list[tuple[Path, Row]]:
    """The first `count` rows, one locale after the other, so that a few rows show as many locales as there are."""
    by_locale: defaultdict[str, list[tuple[Path, Row]]] = defaultdict(list)
    for entry in rows:
        by_locale[entry[1].utterance.target_lang].append(entry)
    mixed = [entry for turn in zip_longest(*by_locale.values()) for entry in turn if entry is not None]
    return mixed[:count]


def decode_case(model: Any, case: Case, context: Context) -> Decoded:
    """The exact engine at batch size 1."""
    return StreamingDecoder(model, context, batch_size=1).decode([case.item()])[0]


def one_pass(model: Any, case: Case, context: Context) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Encoder frames (T, D) before the prompt and token ids of the checkpoint in one pass under the chunk mask of `context`.

    Nothing of a stream's ends is imitated here (compare `FastDecoder`): this is what a library without a streaming loop computes.
    """
    model.encoder.set_default_att_context_size(list(context))
    device = next(model.parameters()).device
    with torch.inference_mode():
        signal = torch.from_numpy(case.audio)[None].to(device)
        features, length = model.preprocessor(input_signal=signal, length=torch.tensor([signal.shape[1]], device=device))
        encoded, frames = model.encoder(audio_signal=features, length=length)
        encoded = encoded.transpose(1, 2)
        prompted = apply_prompt(model, encoded, torch.tensor([case.slot], device=device))
        emitted = GreedyState(model, 1, device).advance(prompted, frames, torch.zeros(1, dtype=torch.long, device=device))[0]
    return encoded[0, : int(frames[0])], tuple(token for _, token in emitted)


def text_of(model: Any, tokens: Sequence[int]) -> str:
    return str(model.tokenizer.ids_to_text(list(tokens)))


def refuse(target: str, differences: Sequence[str]) -> None:
    """Raises `export_not_identical` with all differences, or does nothing when there are none."""
    if differences:
        raise ToolFault(
            "export_not_identical", f"the {target} artefact is not the checkpoint: {differences[0]}"
            + (f" ({len(differences)} differences)" if len(differences) > 1 else "") + "; nothing was written.",
            next_step="report this with the checkpoint's provenance; do not deploy it.",
            problems=[Problem(code="export_difference", message=one, fix="none by hand: an export is made whole or not at all") for one in differences[:20]],
        )  # fmt: skip


def runtime(package: str, name: str = "") -> str:
    """`transformers 5.23.0`"""
    return f"{name or package} {importlib.metadata.version(package)}"


def _joined(clips: Sequence[Samples]) -> Samples:
    total = sum(len(clip) for clip in clips)
    again = max(1, int(np.ceil(LONG_SECONDS * MODEL_RATE / max(total, 1))))
    joined = np.concatenate([*clips] * min(again, 100))
    return joined[: int(2 * LONG_SECONDS * MODEL_RATE)]


def _prompt_matters(model: Any, cases: Sequence[Case], contexts: Sequence[Context], expected: dict[tuple[Context, str], Decoded]) -> bool:
    """True when another prompt slot changes at least one transcript: `auto`, which is decoded already, else a slot that no utterance has."""
    spoken = [case for case in cases if case.row is not None]
    if any(expected[context, case.name].tokens != expected[context, in_auto(case.name)].tokens for context in contexts for case in spoken):
        return True
    other = next(slot for slot in range(model.num_prompts) if slot not in {case.slot for case in spoken})
    return any(
        decode_case(model, Case(case.name, case.audio, "", other), contexts[0]).tokens != expected[contexts[0], case.name].tokens for case in spoken
    )


def in_auto(name: str) -> str:
    """The name of a clip's case in `auto`."""
    return f"{name} in auto"
