"""The fast engine: one offline pass under the chunk mask of the att_context_size, instead of one pass a chunk.

A cache-aware encoder computes the same frames either way, because its convolutions are causal and its attention stays inside the chunk and the
frames before it. What differs are the ends of an utterance: a stream drops a tail under 80 ms, writes the padded extra frame of its last chunk
only when that chunk ends the audio, and at 80 ms embeds its second frame with zeros in front. All three are mended here, so that what is left
is the order of floating-point sums (docs/concepts/measuring.md).
Whether that holds for a checkpoint is measured, not assumed: `asrcore.model.parity`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from asrcore.model.stream import HOP_S, Chunk, Decoded, GreedyState, StreamItem, apply_prompt, chunk_schedule, mel_features


class FastDecoder:
    """Decodes whole utterances at one att_context_size. Same `decode` as `StreamingDecoder`; batches hold utterances of like duration."""

    def __init__(self, model: Any, att_context: tuple[int, int], batch_size: int = 16, *, pause_s: float | None = None) -> None:
        """`pause_s`: see `GreedyState`."""
        self.model = model
        self.pause_s = pause_s
        self.batch_size = batch_size
        self.chunk_frames = att_context[1] + 1
        model.encoder.set_default_att_context_size(list(att_context))

    def decode(self, items: Sequence[StreamItem], on_done: Callable[[Decoded], None] | None = None) -> list[Decoded]:
        """Transcribes all items; results in the order of `items`. `on_done` gets each utterance when it is finished."""
        done: dict[int, Decoded] = {}
        with torch.inference_mode():
            longest_first = sorted(items, key=lambda item: -item.seconds)
            for start in range(0, len(longest_first), self.batch_size):
                batch = longest_first[start : start + self.batch_size]
                for decoded in self._decode_batch(batch):
                    done[decoded.key] = decoded
                    if on_done:
                        on_done(decoded)
        return [done[item.key] for item in items]

    def encode(self, features: Sequence[Tensor], schedules: Sequence[Sequence[Chunk]]) -> tuple[Tensor, Tensor]:
        """Encoder frames (B, T, D) and their counts (B,), just those that streaming would give. Every schedule needs a chunk."""
        ends = [chunks[-1].end for chunks in schedules]
        signal = torch.zeros(len(features), features[0].shape[0], max(ends), device=features[0].device)
        for row, (one, end) in enumerate(zip(features, ends, strict=True)):
            signal[row, :, :end] = one[:, :end]
        encoder = self.model.encoder
        embedded, lengths = encoder.pre_encode(x=signal.transpose(1, 2), lengths=torch.tensor(ends, device=signal.device))
        self._mend_second_chunk(embedded, signal, schedules)
        encoded, lengths = encoder(audio_signal=embedded, length=lengths.to(torch.int64), bypass_pre_encode=True)
        whole = torch.tensor([0 if chunks[-1].last else len(chunks) * self.chunk_frames for chunks in schedules], device=signal.device)
        return encoded.transpose(1, 2), torch.where(whole > 0, torch.minimum(whole, lengths), lengths)

    def _mend_second_chunk(self, embedded: Tensor, signal: Tensor, schedules: Sequence[Sequence[Chunk]]) -> None:
        """Embeds the second chunk as a stream does where the first is shorter than the pre-encode cache ([56,0]: one frame against nine).

        The cache is filled up with zero frames there, which are not the zero padding of the inner convolutions once a bias was added.
        """
        encoder = self.model.encoder
        alike: dict[tuple[Chunk, int], list[int]] = {}
        for row, chunks in enumerate(schedules):
            if len(chunks) > 1 and chunks[1].start < chunks[1].cached:
                alike.setdefault((chunks[1], chunks[0].end // encoder.subsampling_factor + 1), []).append(row)
        for (second, first), rows in alike.items():
            window = torch.nn.functional.pad(signal[rows, :, : second.end], (second.cached - second.start, 0)).transpose(1, 2)
            frames, _ = encoder.pre_encode(x=window, lengths=torch.full((len(rows),), window.shape[1], device=window.device))
            frames = frames[:, encoder.streaming_cfg.drop_extra_pre_encoded :]
            count = min(frames.shape[1], self.chunk_frames if not second.last else frames.shape[1], embedded.shape[1] - first)
            embedded[rows, first : first + count] = frames[:, :count]

    def _decode_batch(self, batch: Sequence[StreamItem]) -> list[Decoded]:
        features = [mel_features(self.model, item.audio()) for item in batch]
        schedules = [chunk_schedule(self.model, one.shape[1]) for one in features]
        spoken = [row for row, chunks in enumerate(schedules) if chunks]
        results = {row: Decoded(item.key, (), ()) for row, item in enumerate(batch)}
        if spoken:
            encoded, lengths = self.encode([features[row] for row in spoken], [schedules[row] for row in spoken])
            device = encoded.device
            slots = torch.tensor([batch[row].slot for row in spoken], device=device)
            greedy = GreedyState(self.model, len(spoken), device, self.pause_s)
            for place, row in enumerate(spoken):
                greedy.reset(place, batch[row].boost)
            emitted = greedy.advance(apply_prompt(self.model, encoded, slots), lengths, torch.arange(len(spoken), device=device))
            for row, tokens in zip(spoken, emitted, strict=True):
                results[row] = self._decoded(batch[row], tokens, schedules[row])
        return [results[row] for row in range(len(batch))]

    def _decoded(self, item: StreamItem, emitted: list[tuple[int, int]], chunks: Sequence[Chunk]) -> Decoded:
        first = chunks[min(emitted[0][0] // self.chunk_frames, len(chunks) - 1)].end * HOP_S if emitted else None
        return Decoded(item.key, tuple(token for _, token in emitted), tuple(frame for frame, _ in emitted), first)
