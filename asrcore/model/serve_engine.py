"""The exact engine on audio that is still coming: the chunks, features and states of each stream are those of `StreamingDecoder` on the whole file.

A file is cut into chunks of mel frames whose borders depend on the att_context_size alone, so a live stream has the same ones: a chunk is decoded as
soon as its last frame can be computed, and such a chunk is never the file's last. Features of a piece of audio by itself are wrong at its borders
(trap 3.24): every piece is computed with `_lookback` frames of older samples in front, which are cut off again, and ends where its last window ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from asrcore.audio import MODEL_RATE
from asrcore.endpoints import SENTENCE_PAUSE_S
from asrcore.errors import NotReadyError
from asrcore.model.stream import HOP_S, Stream, StreamingDecoder, groups, next_chunk, shift_of
from asrcore.serve.pcm import PcmStream, Tail

Context = tuple[int, int]


@dataclass
class LiveStream(Stream):
    """A stream whose audio is still coming. `start` is the mel frame at which its next chunk begins, `heard` the one at which its last one ended."""

    context: Context = (56, 3)
    place: int = -1
    pcm: PcmStream = field(default_factory=lambda: PcmStream(MODEL_RATE))
    samples: Tail = field(default_factory=Tail)
    start: int = 0
    heard: int = 0
    ended: bool = False
    done: bool = False

    @property
    def heard_s(self) -> float:
        """Seconds of audio that were decoded: all of them when the stream is done."""
        came = self.samples.end / MODEL_RATE
        return came if self.done else min(came, self.heard * HOP_S)

    @property
    def computed(self) -> int:
        """Mel frames that were computed, those that were let go included."""
        return self.dropped + self.features.shape[1]

    def feed(self, pcm: bytes) -> None:
        self.samples.append(self.pcm.feed(pcm))

    def end(self) -> None:
        """No more audio will come."""
        if not self.ended:
            self.samples.append(self.pcm.finish())
            self.ended = True


class LiveEngine:
    """Places for live streams, each with its own prompt slot and att_context_size. Not thread-safe."""

    def __init__(self, model: Any, contexts: Sequence[Context], places: int) -> None:
        """`contexts` share one left context: what the caches hold. Raises `features_need_whole_file`."""
        featurizer = model.preprocessor.featurizer
        if featurizer.normalize in ("per_feature", "all_features"):
            raise NotReadyError("features_need_whole_file", "the checkpoint normalises features over a whole file, which a live stream does not have.",
                                next_step="serve a checkpoint of the nemotron-3.5 streaming family, whose features are not normalised.")  # fmt: skip
        self.model = model
        self.hop, self.reach, self.bands = int(featurizer.hop_length), int(featurizer.win_length) // 2, int(featurizer.nfilt)
        self._lookback = -(-(int(featurizer.n_fft) // 2 + 1) // self.hop)  # one more sample for the pre-emphasis
        self.decoder = StreamingDecoder(model, next(iter(contexts)), places, pause_s=SENTENCE_PAUSE_S)
        self._sizes: dict[Context, tuple[int, int]] = {}
        for context in contexts:
            self._use(context)
            first, rest = self.decoder.config.chunk_size
            self._sizes[context] = int(first), int(rest)
        self.contexts = tuple(self._sizes)
        self._free = list(range(places))
        self.streams: dict[int, LiveStream] = {}

    @torch.inference_mode()  # else every reset would hang another node on the graph of the prediction network's start
    def open(self, key: int, slot: int, rate: int, context: Context) -> None:
        """A new stream with audio of `rate` Hz in an empty place; the caller keeps to the number of places."""
        place = self._free.pop()
        self.decoder.reset(place, slot)
        empty = torch.zeros(self.bands, 0, device=self.decoder.device)
        self.streams[key] = LiveStream(key, empty, deque(), context=context, place=place, pcm=PcmStream(rate))

    def close(self, key: int) -> None:
        """Forgets a stream and frees its place."""
        self._free.append(self.streams.pop(key).place)

    def round(self) -> list[LiveStream]:
        """Decodes one chunk of every stream that has one, and gives those streams; ended ones too, which are `done` when nothing is left."""
        touched: list[LiveStream] = []
        with torch.inference_mode():
            for context in self._sizes:
                ready = [stream for stream in self.streams.values() if stream.context == context and self._ready(stream)]
                if not ready:
                    continue
                self._use(context)
                self._compute([(stream, self._due(stream)) for stream in ready])
                for stream in ready:
                    self._schedule(stream)
                for group in groups((stream.place, stream) for stream in ready if stream.chunks):
                    self.decoder.step(group)
                for stream in ready:
                    stream.done = stream.ended and next_chunk(self.model, stream.start, self._frames(stream)) is None
                touched += ready
        self.decoder.times.steps.clear()  # the offline engine's statistics, a number a step; a server runs for months
        self.decoder.times.last.clear()
        return touched

    def _use(self, context: Context) -> None:
        if self.decoder.att_context != context:
            self.decoder.use(context)

    def _frames(self, stream: LiveStream) -> int:
        """Mel frames that can be computed and will never change: the window of each is full, or the audio has ended (then as for a whole file)."""
        if stream.ended:
            return stream.samples.end // self.hop + 1 if stream.samples.end else 0
        return max(0, (stream.samples.end - self.reach) // self.hop + 1)

    def _size(self, stream: LiveStream) -> int:
        """Mel frames of the stream's next chunk, where the audio is long enough."""
        return self._sizes[stream.context][0 if stream.start == 0 else 1]

    def _ready(self, stream: LiveStream) -> bool:
        return stream.ended or self._frames(stream) >= stream.start + self._size(stream)

    def _due(self, stream: LiveStream) -> int:
        """The mel frame up to which the next chunk needs features."""
        return min(stream.start + self._size(stream), self._frames(stream))

    def _schedule(self, stream: LiveStream) -> None:
        """Puts the next chunk in front of the stream, and lets go of the frames that it does not need."""
        known = self._frames(stream) if stream.ended else stream.start + self._size(stream) + 1  # an open stream goes on after this chunk
        chunk = next_chunk(self.model, stream.start, known)
        if chunk is None:
            return
        keep = max(stream.dropped, chunk.start - chunk.cached)
        stream.features, stream.dropped = stream.features[:, keep - stream.dropped :], keep
        stream.chunks.append(chunk)
        stream.heard = chunk.end
        stream.start += shift_of(self.model, stream.start)

    def _compute(self, due: list[tuple[LiveStream, int]]) -> None:
        """Features up to a mel frame for each stream; pieces of equal length go through the preprocessor together."""
        pieces: dict[tuple[int, int, int], list[tuple[LiveStream, Tensor]]] = {}
        for stream, end in due:
            have = stream.computed
            if end <= have:
                continue
            first = max(0, have - self._lookback)
            whole = stream.ended and end == self._frames(stream)
            stop = stream.samples.end if whole else min(stream.samples.end, (end - 1) * self.hop + self.reach)
            samples = torch.from_numpy(stream.samples.part(first * self.hop, stop))
            pieces.setdefault((len(samples), have - first, end - first), []).append((stream, samples))
        for (length, start, stop), rows in pieces.items():
            signal = torch.stack([samples for _, samples in rows]).to(self.decoder.device)
            features, _ = self.model.preprocessor(input_signal=signal, length=torch.full((len(rows),), length, device=signal.device))
            for (stream, _), found in zip(rows, features, strict=True):
                stream.features = torch.cat([stream.features, found[:, start:stop]], dim=1)
