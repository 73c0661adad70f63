"""The pieces that the live server is made of, one by one: frames on the pipe, samples, the audio's tail, segments of words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asrcore.serve import wire
from asrcore.serve.pcm import PcmStream, Tail
from asrcore.serve.segments import Segmenter, joined
from asrcore.serve.wire import LiveWord


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 7))
def test_frames_come_out_whole_however_the_bytes_are_cut(sizes: list[int], step: int) -> None:
    sent = [wire.pack_audio(n, bytes([n % 256]) * size) for n, size in enumerate(sizes)]
    data, frames = b"".join([wire.pack(wire.Stop()), *sent]), wire.Frames()
    found = [frame for at in range(0, len(data), step) for frame in frames.feed(data[at : at + step])]
    assert [wire.command_of(*frame) for frame in found] == [
        wire.Stop(),
        *(wire.Audio(n, bytes([n % 256]) * size) for n, size in enumerate(sizes)),
    ]


@pytest.mark.parametrize("data", [b"\xff" * 9, b"\x00" * 9, wire.pack(wire.Stop()).replace(b"stop", b"slop"), b"\x01\x00\x00\x00\x01"])
def test_bytes_that_are_no_frames_are_noticed(data: bytes) -> None:
    with pytest.raises(wire.OutOfStep):
        [wire.command_of(*frame) for frame in wire.Frames().feed(data)]


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=12), st.sampled_from([8000, 16000]))
def test_pieces_of_audio_give_the_samples_of_the_whole_file(cuts: list[int], rate: int) -> None:
    """Trap 3.24, at the level of samples: the resampler of a stream leaves no seams."""
    import soxr

    pcm = np.random.default_rng(0).integers(-20_000, 20_000, sum(cuts)).astype("<i2")
    stream, tail, at = PcmStream(rate), Tail(), 0
    for cut in cuts:
        tail.append(stream.feed(pcm[at : at + cut].tobytes()))
        at += cut
    tail.append(stream.finish())
    whole = pcm.astype(np.float32) / 32768
    wanted = whole if rate == 16_000 else np.asarray(soxr.resample(whole, rate, 16_000))
    assert tail.end == len(wanted)
    assert np.abs(tail.part(0, tail.end) - wanted).max() <= (0 if rate == 16_000 else 1e-5)


def test_a_tail_gives_overlapping_parts_and_forgets_what_lies_before() -> None:
    tail = Tail()
    for n in range(5):
        tail.append(np.arange(10 * n, 10 * n + 10, dtype=np.float32))
    assert tail.part(5, 20).tolist() == list(range(5, 20))
    assert tail.part(18, 50).tolist() == list(range(18, 50))
    with pytest.raises(IndexError):
        tail.part(10, 20)
    with pytest.raises(IndexError):
        tail.part(18, 51)


def word(text: str, start: float, *, glue: bool = False) -> LiveWord:
    return LiveWord(text=text, start=start, end=start + 0.2, glue=glue)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "bb.", "ccc", "d?", "e" * 30]), st.booleans(), st.sampled_from([0.1, 0.9])), max_size=60),
    st.data(),
)
def test_finals_together_are_all_words_in_order(raw: list[tuple[str, bool, float]], data: st.DataObject) -> None:
    words: list[LiveWord] = []
    at = 0.0
    for text, glue, gap in raw:
        at += gap
        words.append(word(text, at, glue=glue))
    segmenter, finals, left = Segmenter(), [], list(words)
    while left:
        count = data.draw(st.integers(1, 5))
        part, left = left[:count], left[count:]
        finals += segmenter.take(part, None, part[-1].end)[0]
    finals += segmenter.take([], None, at + 9, done=True)[0]
    assert [w for segment in finals for w in segment.words] == words
    assert joined(finals) == joined(words)
    assert [segment.number for segment in finals] == list(range(len(finals)))


def test_a_pause_makes_a_segment_final_and_an_open_word_is_only_shown() -> None:
    segmenter = Segmenter()
    finals, shown = segmenter.take([word("one", 0.0)], word("tw", 0.4), 0.6)
    assert (finals, shown and shown.text) == ([], "one tw")
    finals, shown = segmenter.take([word("two", 0.4)], None, 0.7)
    assert (finals, shown and shown.text) == ([], "one two")
    finals, shown = segmenter.take([], None, 1.5)
    assert ([segment.text for segment in finals], shown) == (["one two"], None)
