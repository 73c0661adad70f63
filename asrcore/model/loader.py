"""Training batches: NeMo 3.0's Lhotse loader over weighted shards, with prompt choice, tag output and honest bookkeeping.

NeMo reads, mixes, buckets and resamples (`nemo_tarred` entries of an `input_cfg`; NeMo's cutset.py). The dataset here turns the cuts of a
batch into tensors: it draws the prompt of each utterance, appends ` <xx-XX>` where `auto` was drawn, and says where each utterance came from,
so that the training step, not the manifest, decides what counts as consumed (trap 3.13).

Several processes: each reads the whole stream, in the same order, and decodes the audio of its own rows alone. So what a batch holds, which
sources it mixes and which prompts were drawn is the same for any number of processes, and no process waits for another's data (trap 3.19).
The price is that tar bytes and manifests are read once a process; NeMo's own way, a stream of its own for each rank, would save that and give
up both that sameness and exact counts without asking the others.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from lhotse.dataset import AudioSamples
from lhotse.dataset.collation import collate_vectors
from nemo.collections.asr.data.audio_to_text_lhotse_prompt_index import LhotseSpeechToTextBpeDatasetWithPromptIndex
from nemo.collections.common.data.lhotse import get_lhotse_dataloader_from_config
from torch import Tensor

from asrcore.errors import NotReadyError, Problem
from asrcore.locales import written_tags
from asrcore.manifest import NEMO_PATTERN
from asrcore.model.train_ranks import ALONE, Ranks
from asrcore.requests import ShardedSource, ShardsResult, TrainRequest
from asrcore.text import LOCALE_TAG

SOURCE_TAG = "asrtune_source"
BUCKETS = 4
"""Utterances of like length share a batch; four buckets take its padding from 32 to 13 % on the embedded sets (docs/log.md)."""
_TAIL_TAG = re.compile(rf"{LOCALE_TAG.pattern}\s*$")
_DURATION_SAMPLE = 20_000


@dataclass(frozen=True)
class Batch:
    """One training batch. Tensors as NeMo's prompt dataset gives them, of this rank's rows, which are `share` of all; the tuples say of every row
    of the whole batch where it came from."""

    audio: Tensor
    audio_lens: Tensor
    tokens: Tensor
    token_lens: Tensor
    slots: Tensor
    sources: tuple[str, ...]
    locales: tuple[str, ...]
    seconds: tuple[float, ...]
    share: float = 1.0

    def to(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        audio, audio_lens, tokens, token_lens, slots = (
            t.to(device, non_blocking=True) for t in (self.audio, self.audio_lens, self.tokens, self.token_lens, self.slots)
        )
        return audio, audio_lens, tokens, token_lens, slots


class PromptedCuts(LhotseSpeechToTextBpeDatasetWithPromptIndex):
    """Cuts -> `Batch`. The prompts of batch n depend on (seed, n) only, so a resumed run draws what an uninterrupted one would have drawn."""

    def __init__(self, tokenizer: Any, prompts: Mapping[str, int], request: TrainRequest, skip: int, ranks: Ranks = ALONE) -> None:
        super().__init__(tokenizer, {
            "prompt_dictionary": dict(prompts), "default_prompt_mode": request.prompt_mode, "unified_auto_ratio": request.auto_ratio,
        })  # fmt: skip
        # NeMo's default drops a cut whose audio fails; the shards were verified, so a failure is a fault and must be loud.
        self.load_audio = AudioSamples(fault_tolerant=False)
        self.request = request
        self.skip = skip
        self.ranks = ranks
        self.delivered = 0
        self.tags = written_tags(prompts)

    def __getitem__(self, cuts: Any) -> Batch | None:  # pyright: ignore[reportIncompatibleMethodOverride] - a named batch, not a tuple
        number = self.delivered
        self.delivered += 1
        if number < self.skip:
            return None
        rng = random.Random(f"{self.request.seed}:{number}")
        everyone = [self._row(cut, rng) for cut in cuts]  # in all ranks, so that a prompt does not depend on their number
        rows = self.ranks.rows(everyone)
        audio, audio_lens = self.load_audio(CutSet.from_cuts(self.ranks.rows(list(cuts))))[:2]
        tokens = [torch.as_tensor(self.tokenizer(text, language)) for text, language, _ in rows]
        return Batch(
            audio=audio, audio_lens=audio_lens,
            tokens=collate_vectors(tokens, padding_value=0), token_lens=torch.tensor([len(t) for t in tokens]),
            slots=torch.tensor([slot for _, _, slot in rows]),
            sources=tuple(str(cut.custom[SOURCE_TAG]) for cut in cuts),
            locales=tuple(language for _, language, _ in everyone),
            seconds=tuple(float(cut.duration) for cut in cuts),
            share=len(rows) / len(everyone),
        )  # fmt: skip

    def _row(self, cut: Any, rng: random.Random) -> tuple[str, str, int]:
        """Target text, locale and prompt slot of one cut."""
        supervision = cut.supervisions[0]
        text, language = str(supervision.text), str(supervision.language)
        mode = self._get_prompt_mode(cut)
        auto = mode == "auto" or (mode == "unified" and rng.random() < self.request.auto_ratio)
        if not auto:
            return text, language, self._get_prompt_index(language)
        if self.request.emit_tag_in_auto and not _TAIL_TAG.search(text):
            text = f"{text} <{self.tags[self._get_prompt_index(language)]}>"
        return text, language, self.auto_index


def input_cfg(shards: ShardsResult) -> list[dict[str, Any]]:
    """One weighted `nemo_tarred` entry per source (key `tarred_audio_filepaths`, plural: the singular is read as untarred)."""
    return [
        {
            "type": "nemo_tarred",
            "manifest_filepath": _pattern(shards, [s.manifest for s in source.shards], "manifest", "json"),
            "tarred_audio_filepaths": _pattern(shards, [s.tar for s in source.shards], "audio", "tar"),
            "weight": source.weight,
            "tags": {SOURCE_TAG: source.name},
        }
        for source in shards.sources
    ]


def _pattern(shards: ShardsResult, files: list[str], stem: str, suffix: str) -> str:
    """`folder/stem__OP_0..n_CL_.suffix`, after checking that the files are just that; NeMo finds a shard's manifest by its position."""
    folder = Path(files[0]).parent
    if files != [str(folder / f"{stem}_{number}.{suffix}") for number in range(len(files))]:
        raise NotReadyError("shards_layout", f"the shards are not named {stem}_0.{suffix} … {stem}_{len(files) - 1}.{suffix} in one folder.",
                            next_step="build them again with build_shards.")  # fmt: skip
    path = str(Path(shards.root) / folder)
    if NEMO_PATTERN.search(path):
        raise NotReadyError("path_not_loadable", f"NeMo's loader takes brackets in a path for a pattern: {path}.",
                            next_step="set ASRTUNE_HOME to a folder without brackets in its path.")  # fmt: skip
    return f"{path}/{stem}__OP_0..{len(files) - 1}_CL_.{suffix}"


def check_tags(shards: ShardsResult, prompts: Mapping[str, int], tokenizer: Any, emit_tag: bool) -> None:
    """Every locale of the shards has a slot and, where tags are to be written, a tag the tokenizer can write. Raises all that have not."""
    tags, unknown_id = written_tags(prompts), tokenizer.tokenizer.unk_id()
    problems: list[Problem] = []
    for locale in sorted({locale for source in shards.sources for locale in source.seconds_by_locale}):
        if locale not in prompts:
            problems.append(
                Problem(code="tag_unknown", message=f"the base has no prompt slot for {locale}", fix="correct the rows' target_lang")
            )
        elif emit_tag and (prompts[locale] not in tags or unknown_id in tokenizer.text_to_ids(f"<{tags[prompts[locale]]}>")):
            problems.append(Problem(code="tag_not_writable", message=f"the tokenizer has no piece for the tag of {locale}",
                                    fix="train with prompt_mode langID, or with emit_tag_in_auto off"))  # fmt: skip
    if problems:
        raise NotReadyError("tags_not_trainable", f"{len(problems)} locale(s) of the shards cannot be trained with this base.",
                            next_step="call validate_language_tags on the source manifests.", problems=problems)  # fmt: skip


def duration_bins(shards: ShardsResult, max_duration: float) -> list[float]:
    """Inner bounds, in seconds, of `BUCKETS` buckets with equal shares of the utterances; fewer when durations repeat."""
    most = max(1, _DURATION_SAMPLE // len(shards.sources))
    durations = [d for source in shards.sources for d in islice(_durations(shards, source), most) if d <= max_duration]
    if not durations:
        raise NotReadyError("shards_empty", f"no utterance of the shards is at most {max_duration:g} s long.",
                            next_step="build shards from shorter utterances.")  # fmt: skip
    bounds = np.quantile(durations, np.linspace(0, 1, BUCKETS + 1)[1:-1])
    return sorted({round(float(bound), 3) for bound in bounds})


def fewest_rows(request: TrainRequest) -> int:
    """Utterances in the smallest batch there can be: of a batch by seconds, as many of the longest as it holds. Reads all shard manifests for that."""
    if request.batch_seconds is None:
        return request.batch_size
    durations = (d for source in request.shards.sources for d in _durations(request.shards, source) if d <= request.max_duration)
    return max(1, int(request.batch_seconds / max(durations, default=request.max_duration)))


def _durations(shards: ShardsResult, source: ShardedSource) -> Iterator[float]:
    for shard in source.shards:
        with open(Path(shards.root) / shard.manifest, encoding="utf-8") as lines:
            for line in lines:
                yield float(json.loads(line)["duration"])


def batches(
    request: TrainRequest, tokenizer: Any, prompts: Mapping[str, int], *, sample_rate: int, skip: int, ranks: Ranks = ALONE
) -> Iterator[Batch]:
    """Endless batches from number `skip` on. The order depends on the seed alone; skipped batches are sampled, but their audio is not decoded.

    `limit_train_batches` and `len()` play no part (traps 3.4, 3.20): the caller counts steps.
    """
    check_tags(request.shards, prompts, tokenizer, request.emit_tag_in_auto and request.prompt_mode != "langID" and request.auto_ratio > 0)
    bins = duration_bins(request.shards, request.max_duration)
    dataset = PromptedCuts(tokenizer, prompts, request, skip, ranks)
    loader = get_lhotse_dataloader_from_config(loader_config(request, bins, sample_rate), global_rank=0, world_size=1, dataset=dataset)
    return (batch for batch in loader if batch is not None)


def loader_config(request: TrainRequest, bins: list[float], sample_rate: int) -> dict[str, Any]:
    """What NeMo's Lhotse loader is told. A batch is that of all ranks together."""
    # In utterances with their audio bytes in memory; small, since the shards are shuffled when they are built.
    buffer = 8 * BUCKETS * request.batch_size
    buckets = {"use_bucketing": True, "num_buckets": len(bins) + 1, "bucket_duration_bins": bins, "bucket_buffer_size": buffer, "shuffle_buffer_size": None}
    return {
        "use_lhotse": True, "input_cfg": input_cfg(request.shards), "sample_rate": sample_rate,
        "text_field": "text", "lang_field": "target_lang", "max_duration": request.max_duration,
        **({"batch_size": request.batch_size} if request.batch_seconds is None else {"batch_duration": request.batch_seconds}),
        "shuffle": True, "seed": request.seed, "shard_seed": request.seed,
        # NeMo turns bucketing on by itself wherever it is given bins.
        **(buckets if request.bucketing else {"use_bucketing": False, "shuffle_buffer_size": buffer}), "concurrent_bucketing": False,
        # One process: the same order on every machine, and exact resume. Decoding costs a few ms a batch.
        "num_workers": 0, "pin_memory": False, "cuda_expandable_segments": False,
    }  # fmt: skip
