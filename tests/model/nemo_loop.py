"""NeMo's own cache-aware streaming loop: the reference of our engines, in tests and in the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def nemo_loop(model: Any, clips: Sequence[Any], tag: str, batch_size: int, context: tuple[int, int]) -> list[tuple[int, ...]]:
    """Tokens of each clip, from NeMo 3.0's own streaming loop in batches of `batch_size`."""
    import torch
    from nemo.collections.asr.parts.utils.streaming_utils import CacheAwareStreamingAudioBuffer

    model.encoder.set_default_att_context_size(list(context))
    model.set_inference_prompt(tag)
    found: list[tuple[int, ...]] = []
    for start in range(0, len(clips), batch_size):
        batch = clips[start : start + batch_size]
        buffer: Any = CacheAwareStreamingAudioBuffer(model=model, online_normalization=None)
        for clip in batch:
            buffer.append_audio(np.asarray(clip), stream_id=-1)
        channel, times, length = model.encoder.get_initial_cache_state(batch_size=len(batch))
        hypotheses: Any = None
        previous: Any = None
        for step, (chunk, lengths) in enumerate(iter(buffer)):
            with torch.inference_mode():
                previous, _, channel, times, length, hypotheses = model.conformer_stream_step(
                    processed_signal=chunk, processed_signal_length=lengths, cache_last_channel=channel, cache_last_time=times,
                    cache_last_channel_len=length, keep_all_outputs=buffer.is_buffer_empty(), previous_hypotheses=hypotheses,
                    previous_pred_out=previous, drop_extra_pre_encoded=0 if step == 0 else model.encoder.streaming_cfg.drop_extra_pre_encoded,
                    return_transcription=True,
                )  # fmt: skip
        found += [tuple(int(token) for token in hypothesis.y_sequence) for hypothesis in hypotheses]
    return found
