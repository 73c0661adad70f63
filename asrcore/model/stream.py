"""The exact streaming engine: every utterance chunk by chunk through the encoder's caches, one prompt slot per stream.

Continuous batching: up to `batch_size` streams are in flight; a finished stream's place is taken at once. Streams at the same stage of their
life (first chunk, middle, last chunk) advance together, so each stream sees just the chunks it would see alone:

    features (B, mel, frames) -> encoder.cache_aware_stream_step -> prompt_kernel in fp32 -> greedy RNNT, state kept per stream

Chunk boundaries, pre-encode cache, dropped frames and the treatment of the last chunk follow NeMo's `CacheAwareStreamingAudioBuffer` and
`conformer_stream_step`; at batch size 1 the transcripts are NeMo's own (tests/model/test_stream.py). NeMo sets one prompt on the whole model
(trap 3.10) and silently decodes without one when it was not set; here a slot is an argument of every stream.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from asrcore.model.boost import Boost
from asrcore.model.stream_attention import kept_width

MAX_SYMBOLS = 10
"""Most tokens per 80 ms frame, as in the checkpoint's saved decoding config."""
HOP_S = 0.01
"""Seconds a mel frame."""
FRAME_S = 0.08
"""Seconds an encoder frame."""


@dataclass(frozen=True)
class StreamItem:
    """One utterance to decode: `audio` returns mono float32 at 16 kHz, `slot` is its prompt index (0-127), `seconds` orders the queue.

    `boost`: phrases whose tokens get a bonus in this utterance alone.
    """

    key: int
    audio: Callable[[], npt.NDArray[np.float32]]
    slot: int
    seconds: float
    boost: Boost | None = None


@dataclass(frozen=True)
class Decoded:
    """Token ids of one utterance, the encoder frame (80 ms) at which each was emitted, and how soon the first could be seen.

    `first_partial_s` is audio time: the end of the chunk that wrote the first token; None when nothing was written.
    """

    key: int
    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    first_partial_s: float | None = None


@dataclass(frozen=True)
class Chunk:
    """Mel frames [start, end) of one step with `cached` older frames in front of them (zeros where there are none)."""

    start: int
    end: int
    cached: int
    last: bool


@dataclass
class StepTimes:
    """Wall seconds of chunk steps, a step being one batch of streams: all steps, and those that were their streams' last."""

    steps: list[float] = field(default_factory=list[float])
    last: list[float] = field(default_factory=list[float])


@dataclass
class Stream:
    """One utterance under way: the features that are still needed, chunks still to come, and what was written.

    `features` (mel, frames) starts at mel frame `dropped`; a live stream lets go of old frames, a file keeps them all.
    """

    key: int
    features: Tensor
    chunks: deque[Chunk]
    dropped: int = 0
    position: int = 0
    frame: int = 0
    tokens: list[int] = field(default_factory=list[int])
    frames: list[int] = field(default_factory=list[int])
    first_partial_s: float | None = None

    def window(self) -> Tensor:
        """Mel frames of the next chunk with the older ones in front of it that exist."""
        chunk = self.chunks[0]
        return self.features[:, chunk.start - min(chunk.cached, chunk.start) - self.dropped : chunk.end - self.dropped]

    def took(self, emitted: Sequence[tuple[int, int]], count: int) -> None:
        """The next chunk was decoded: `count` encoder frames that emitted (frame within the chunk, token)."""
        chunk = self.chunks.popleft()
        self.tokens += [token for _, token in emitted]
        self.frames += [self.frame + frame for frame, _ in emitted]
        self.frame += count
        self.position += 1
        if self.tokens and self.first_partial_s is None:
            self.first_partial_s = chunk.end * HOP_S


class StreamingDecoder:
    """Decodes utterances in streaming mode in a fixed number of places. `decode` runs at the att_context_size that was set last."""

    def __init__(self, model: Any, att_context: tuple[int, int], batch_size: int = 16, *, pause_s: float | None = None) -> None:
        """`pause_s`: see `GreedyState`; None, as in NeMo, for utterances."""
        self.model = model
        self.batch_size = batch_size
        self.device: torch.device = next(model.parameters()).device
        self.use(att_context)
        self.greedy = GreedyState(model, batch_size, self.device, pause_s)
        channel, time, length = model.encoder.get_initial_cache_state(batch_size=batch_size)
        channel = channel.new_zeros(*channel.shape[:3], kept_width(model.encoder))
        self.caches: list[Tensor] = [channel.to(self.device), time.to(self.device), length.to(self.device)]
        self.slots = torch.zeros(batch_size, dtype=torch.long, device=self.device)
        self.times = StepTimes()

    def use(self, att_context: tuple[int, int]) -> None:
        """Sets the att_context_size of the steps that follow. All of one left context share the caches; the encoder holds one at a time."""
        self.att_context = att_context
        self.model.encoder.set_default_att_context_size(list(att_context))
        self.config: Any = self.model.encoder.streaming_cfg

    def reset(self, place: int, slot: int, boost: Boost | None = None) -> None:
        """Makes a place ready for a new stream with its prompt slot: nothing of the one before is left."""
        self.slots[place] = slot
        self.caches[0][:, place] = 0
        self.caches[1][:, place] = 0
        self.caches[2][place] = 0
        self.greedy.reset(place, boost)

    def decode(self, items: Sequence[StreamItem], on_done: Callable[[Decoded], None] | None = None) -> list[Decoded]:
        """Transcribes all items; results in the order of `items`. `on_done` gets each utterance when it is finished."""
        queue = iter(sorted(items, key=lambda item: -item.seconds))
        places: list[Stream | None] = [None] * self.batch_size
        done: dict[int, Decoded] = {}

        def finish(decoded: Decoded) -> None:
            done[decoded.key] = decoded
            if on_done:
                on_done(decoded)

        with torch.inference_mode():
            while True:
                for place, stream in enumerate(places):
                    if stream is None:
                        places[place] = self._admit(queue, place, finish)
                active = [(place, stream) for place, stream in enumerate(places) if stream is not None]
                if not active:
                    break
                for group in groups(active):
                    self.step(group)
                for place, stream in active:
                    if not stream.chunks:
                        finish(Decoded(stream.key, tuple(stream.tokens), tuple(stream.frames), stream.first_partial_s))
                        places[place] = None
        return [done[item.key] for item in items]

    def _admit(self, queue: Iterator[StreamItem], place: int, finish: Callable[[Decoded], None]) -> Stream | None:
        for item in queue:
            features = mel_features(self.model, item.audio())
            chunks = chunk_schedule(self.model, features.shape[1])
            if not chunks:
                finish(Decoded(item.key, (), ()))
                continue
            self.reset(place, item.slot, item.boost)
            return Stream(item.key, features, deque(chunks))
        return None

    def step(self, group: Sequence[tuple[int, Stream]]) -> None:
        """Decodes the next chunk of each (place, stream); `groups` says which may go together."""
        started = time.perf_counter()
        chunks = [stream.chunks[0] for _, stream in group]
        first = group[0][1].position == 0
        width = max(c.end - c.start for c in chunks) + chunks[0].cached
        signal = torch.zeros(len(group), group[0][1].features.shape[0], width, device=self.device)
        for row, ((_, stream), chunk) in enumerate(zip(group, chunks, strict=True)):
            older = min(chunk.cached, chunk.start)
            piece = stream.window()
            signal[row, :, chunk.cached - older : chunk.cached - older + piece.shape[1]] = piece
        lengths = torch.tensor([c.end - c.start + c.cached for c in chunks], device=self.device)
        rows = torch.tensor([place for place, _ in group], device=self.device)
        encoded, encoded_lengths, *caches = self.model.encoder.cache_aware_stream_step(
            processed_signal=signal,
            processed_signal_length=lengths,
            cache_last_channel=self.caches[0][:, rows],
            cache_last_time=self.caches[1][:, rows],
            cache_last_channel_len=self.caches[2][rows],
            keep_all_outputs=chunks[0].last,
            drop_extra_pre_encoded=0 if first else self.config.drop_extra_pre_encoded,
        )
        self.caches[0][:, rows], self.caches[1][:, rows], self.caches[2][rows] = caches
        prompted = apply_prompt(self.model, encoded.transpose(1, 2), self.slots[rows])
        emitted = self.greedy.advance(prompted, encoded_lengths, rows)
        for (_, stream), tokens, count in zip(group, emitted, encoded_lengths.tolist(), strict=True):
            stream.took(tokens, count)
        took = time.perf_counter() - started  # tokens were read back, so a GPU has finished too
        self.times.steps.append(took)
        if chunks[0].last:
            self.times.last.append(took)


def chunk_schedule(model: Any, frames: int) -> list[Chunk]:
    """The chunks of an utterance of `frames` mel frames, at the att_context_size that is set on the encoder.

    A tail too short for one encoder frame (< 80 ms) is not decoded, as in NeMo.
    """
    chunks: list[Chunk] = []
    start = 0
    while (chunk := next_chunk(model, start, frames)) is not None:
        chunks.append(chunk)
        start += shift_of(model, start)
    return chunks


def next_chunk(model: Any, start: int, frames: int) -> Chunk | None:
    """The chunk that begins at mel frame `start` of an utterance of `frames`; None when what is left is too short for one encoder frame."""
    config, part = model.encoder.streaming_cfg, 0 if start == 0 else 1
    end = min(start + config.chunk_size[part], frames)
    if end - start < max(1, model.encoder.pre_encode.get_sampling_frames()[part]):
        return None
    return Chunk(start, end, config.pre_encode_cache_size[part], last=start + config.shift_size[part] >= frames)


def shift_of(model: Any, start: int) -> int:
    """Mel frames from the start of the chunk at `start` to the start of the next."""
    return int(model.encoder.streaming_cfg.shift_size[0 if start == 0 else 1])


def mel_features(model: Any, audio: npt.NDArray[np.float32]) -> Tensor:
    """Log-mel features (mel, frames) of one utterance, at 10 ms a frame."""
    device = next(model.parameters()).device
    signal = torch.from_numpy(audio)[None].to(device)
    features, _ = model.preprocessor(input_signal=signal, length=torch.tensor([signal.shape[1]], device=device))
    return features[0]


def apply_prompt(model: Any, encoded: Tensor, slots: Tensor) -> Tensor:
    """Encoder frames (B, T, D) with the one-hot prompt of each row's slot (B,) through `prompt_kernel`, computed in fp32 (trap 3.9)."""
    prompt = torch.zeros(*encoded.shape[:2], model.num_prompts, device=encoded.device)
    prompt.scatter_(2, slots.view(-1, 1, 1).expand(-1, encoded.shape[1], -1), 1.0)
    with torch.autocast(encoded.device.type, enabled=False):
        return model.prompt_kernel(torch.cat([encoded.float(), prompt], dim=-1)).to(encoded.dtype)


class GreedyState:
    """Greedy RNNT search whose prediction-network state outlives a chunk, for a fixed number of places.

    The projected prediction output of each place is kept, so a frame that emits blank costs one joint step and no LSTM step.

    `pause_s` ends a sentence for recordings of many: when that long nothing was written after something was, the prediction network begins anew, while the encoder
    goes on. A model that has heard single utterances in training may write nothing more after the end of one (the embedded base does).
    """

    def __init__(self, model: Any, places: int, device: torch.device, pause_s: float | None = None) -> None:
        self.decoder, self.joint = model.decoder, model.joint
        self.blank = int(model.joint.num_classes_with_blank) - 1
        start, state = self._predict(torch.full((1, 1), self.blank, device=device), None)
        self.start: tuple[Tensor, list[Tensor]] = (start, state)
        self.projected: Tensor = start.repeat(places, 1, 1)
        self.state: list[Tensor] = [s.repeat(1, places, 1) for s in state]
        self.pause = None if pause_s is None else round(pause_s / FRAME_S)
        self.quiet: dict[int, int] = {}
        """Place -> frames without a token since its last one; only with a pause."""
        self.boosts: dict[int, Boost] = {}
        self.boost_states = torch.zeros(places, dtype=torch.long, device=device)

    def reset(self, place: int, boost: Boost | None = None) -> None:
        """Puts one place back to the start of an utterance, with the phrases that are boosted in it."""
        self.quiet.pop(place, None)
        self.boosts.pop(place, None)
        if boost is not None:
            self.boosts[place] = boost
            self.boost_states[place] = boost.tree.get_init_states(1)[0]
        self.projected[place] = self.start[0][0]
        for mine, fresh in zip(self.state, self.start[1], strict=True):
            mine[:, place] = fresh[:, 0]

    def advance(self, encoded: Tensor, lengths: Tensor, places: Tensor) -> list[list[tuple[int, int]]]:
        """Tokens that each row of `encoded` (B, T, D) emits, as (frame within the chunk, token id). `places` (B,) maps rows to states."""
        emitted: list[list[tuple[int, int]]] = [[] for _ in range(encoded.shape[0])]
        frames = self.joint.project_encoder(encoded)
        ends = (places.tolist(), lengths.tolist()) if self.pause is not None else ((), ())
        for t in range(encoded.shape[1]):
            rows = torch.nonzero(lengths > t).squeeze(1)
            for _ in range(MAX_SYMBOLS):
                if not len(rows):
                    break
                logits = self.joint.joint_after_projection(frames[rows, t : t + 1], self.projected[places[rows]])
                logits = logits.flatten(1)
                best = logits.argmax(-1)
                speaking = best != self.blank
                rows, labels = rows[speaking], best[speaking]
                if not len(rows):
                    break
                where = places[rows]
                if self.boosts:
                    labels = self._boosted(logits[speaking], labels, where)
                projected, state = self._predict(labels[:, None], [s[:, where] for s in self.state])
                self.projected[where] = projected
                for mine, new in zip(self.state, state, strict=True):
                    mine[:, where] = new
                for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
                    emitted[row].append((t, label))
            if self.pause is not None:
                self._end_sentences(t, [(place, tokens) for place, length, tokens in zip(*ends, emitted, strict=True) if t < length])
        return emitted

    def _end_sentences(self, t: int, rows: Sequence[tuple[int, Sequence[tuple[int, int]]]]) -> None:
        """Counts the frames without a token up to frame `t`, for each place with what it emitted, and begins anew where they make a pause."""
        for place, tokens in rows:
            if tokens and tokens[-1][0] == t:
                self.quiet[place] = 0
            elif place in self.quiet:
                self.quiet[place] += 1
                if self.quiet[place] == self.pause:
                    self.reset(place, self.boosts.get(place))

    def _boosted(self, logits: Tensor, labels: Tensor, where: Tensor) -> Tensor:
        """The labels, chosen anew in places with phrases. Streams that share a list are looked up together."""
        rows: dict[Boost, list[int]] = {}
        for row, place in enumerate(where.tolist()):
            if place in self.boosts:
                rows.setdefault(self.boosts[place], []).append(row)
        for boost, found in rows.items():
            index = torch.tensor(found, device=labels.device)
            labels[index], self.boost_states[where[index]] = boost.choose(logits[index], self.boost_states[where[index]])
        return labels

    def _predict(self, labels: Tensor, state: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        output, new = self.decoder.predict(labels, state, add_sos=False, batch_size=labels.shape[0])
        return self.joint.project_prednet(output), list(new)


def groups(active: Iterable[tuple[int, Stream]]) -> list[list[tuple[int, Stream]]]:
    """Streams that may share a step: same stage of life, and in the last chunk the same length."""
    found: dict[tuple[bool, int], list[tuple[int, Stream]]] = {}
    for place, stream in active:
        chunk = stream.chunks[0]
        found.setdefault((stream.position == 0, (chunk.end - chunk.start) if chunk.last else 0), []).append((place, stream))
    return list(found.values())
