"""The exact streaming engine against NeMo's own cache-aware loop, on the embedded base and embedded synthetic speech."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from asrcore.audio import decode
from asrcore.checkpoint import embedded_base
from asrcore.embedded import shipped
from asrcore.manifest import load_rows
from tests.model.identity import (
    NEMO_CONTEXTS,
    check_another_slot_shows,
    check_batch_one_is_nemos_loop,
    check_languages_stay_apart,
    items_of,
)

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def model() -> Any:
    from asrcore.model.restore import restore

    return restore(embedded_base())


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return shipped.unpack(tmp_path_factory.mktemp("sets"))


@pytest.mark.parametrize("context", NEMO_CONTEXTS)
def test_batch_one_gives_the_transcripts_of_nemos_own_streaming_loop(
    model: Any, manifests: dict[str, Path], context: tuple[int, int]
) -> None:
    """Traps 3.10 and 3.23: right prompt, right context, right first and last chunk."""
    check_batch_one_is_nemos_loop(model, manifests, context, 6)


def test_streams_of_several_languages_in_one_batch_say_what_each_says_alone(model: Any, manifests: dict[str, Path]) -> None:
    """Trap 3.10: NeMo holds one prompt for the whole model; here each stream has its own, and none leaks into a neighbour."""
    check_languages_stay_apart(model, manifests, 3)


def test_another_prompt_slot_changes_what_is_written(model: Any, manifests: dict[str, Path]) -> None:
    check_another_slot_shows(model, manifests)


def test_a_finished_streams_place_is_taken_at_once(model: Any, manifests: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole batches would leave places empty until their longest stream ends; here that happens only once the queue is empty."""
    from asrcore.model import stream

    clip = decode(load_rows(manifests["en-US_guard_test"])[0].audio)[:32_000]
    items = [
        stream.StreamItem(n, partial(clip.__getitem__, slice(samples)), 0, samples / 16_000) for n, samples in enumerate((8_000, 32_000, 8_000, 8_000, 8_000))
    ]
    in_flight: list[int] = []
    groups = stream.groups

    def counted(active: Any) -> Any:
        found = groups(active)
        in_flight.append(sum(map(len, found)))
        return found

    monkeypatch.setattr(stream, "groups", counted)
    decoder = stream.StreamingDecoder(model, (56, 0), batch_size=2)
    assert [decoded.key for decoded in decoder.decode(items)] == [0, 1, 2, 3, 4]
    short, long = (len(stream.chunk_schedule(model, stream.mel_features(model, items[n].audio()).shape[1])) for n in (0, 1))
    # The four short ones pass through the place beside the long one; the last to end is alone.
    assert len(in_flight) == max(long, 4 * short)
    assert in_flight.count(2) == min(long, 4 * short)


def test_an_utterance_shorter_than_one_chunk_ends_with_what_it_has(model: Any) -> None:
    import numpy as np

    from asrcore.model.stream import StreamingDecoder, StreamItem

    items = [
        StreamItem(n, partial(np.zeros, samples, dtype=np.float32), 0, samples / 16000) for n, samples in enumerate((200, 1600, 16000))
    ]
    for context in ((56, 0), (56, 13)):
        assert len(StreamingDecoder(model, context, 2).decode(items)) == len(items)


def test_emission_frames_rise_and_stay_inside_the_audio(model: Any, manifests: dict[str, Path]) -> None:
    from asrcore.model.stream import StreamingDecoder

    items = items_of(model, manifests["en-US_guard_test"], 4)
    for item, decoded in zip(items, StreamingDecoder(model, (56, 0), 4).decode(items), strict=True):
        assert list(decoded.frames) == sorted(decoded.frames)
        assert not decoded.frames or decoded.frames[-1] * 0.08 <= item.seconds + 0.16


def test_a_long_stream_keeps_a_state_of_fixed_size(model: Any, manifests: dict[str, Path]) -> None:
    """Trap 3.25: NeMo's loop carries the whole hypothesis through every step; here a stream owns its caches, one decoder state and a list of ids."""
    import numpy as np

    from asrcore.model.stream import StreamingDecoder, StreamItem

    clip = decode(load_rows(manifests["en-US_guard_test"])[0].audio)
    decoder = StreamingDecoder(model, (56, 13), batch_size=1)

    def sizes() -> list[int]:
        return [tensor.numel() for tensor in (*decoder.caches, decoder.greedy.projected, *decoder.greedy.state)]

    before = sizes()
    decoder.decode([StreamItem(0, partial(np.tile, clip, 12), 0, 12 * len(clip) / 16000)])
    assert sizes() == before
    assert len(decoder.times.steps) * 14 > 3 * 56, "several times longer than what the encoder can see at once"
