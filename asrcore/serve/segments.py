"""Words of one stream to what a client shows: the segment under way (`partial`, replaced by the next one) and finished ones (`final`, never taken back).

A segment ends where a caption ends (asrcore.captions): at a sentence mark, at a pause, or when it would grow too long to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from asrcore.captions import PAUSE_S, Word, captions_of
from asrcore.results import Frozen
from asrcore.serve.wire import LiveWord


class Segment(Frozen):
    """Text with the seconds of its stream it spans. `glue`: it continues the word before it, without a space."""

    number: int
    text: str
    start: float
    end: float
    glue: bool = False
    words: tuple[LiveWord, ...] = ()


class Segmenter:
    def __init__(self) -> None:
        self._groups: list[list[LiveWord]] = []
        """Finished words that are not final yet, caption by caption."""
        self._number = 0

    def take(
        self, words: Sequence[LiveWord], open_word: LiveWord | None, heard_s: float, *, done: bool = False
    ) -> tuple[list[Segment], Segment | None]:
        """The segments that are finished now, and the one under way, if any."""
        if words:  # most chunks bring none, and laying captions out is most of the work here
            self._groups = _by_caption([*chain.from_iterable(self._groups), *words])
        quiet = bool(self._groups) and open_word is None and heard_s - self._groups[-1][-1].end >= PAUSE_S
        count = len(self._groups) if done or quiet else len(self._groups) - 1
        finals = [self._segment(group) for group in self._groups[: max(0, count)]]
        self._groups = self._groups[max(0, count) :]
        under_way = [*chain.from_iterable(self._groups), *([open_word] if open_word else [])]
        return finals, self._shown(under_way) if under_way else None

    def _segment(self, words: Sequence[LiveWord]) -> Segment:
        segment = self._shown(words)
        self._number += 1
        return segment

    def _shown(self, words: Sequence[LiveWord]) -> Segment:
        return Segment(
            number=self._number, text=joined(words), start=words[0].start, end=words[-1].end, glue=words[0].glue, words=tuple(words)
        )


def _by_caption(words: Sequence[LiveWord]) -> list[list[LiveWord]]:
    """A glued word stays with the one before it, unless the caption would not."""
    groups: list[list[LiveWord]] = []
    left = iter(words)
    for caption in captions_of([Word(text=word.text, start=word.start, end=word.end) for word in words]):
        group: list[LiveWord] = []
        length = -1
        while length < len(caption.text):
            group.append(next(left))
            length += len(group[-1].text) + 1
        groups.append(group)
    return groups


def joined(words: Iterable[LiveWord | Segment]) -> str:
    """Words or segments as one text; the first has no space in front, whatever it says of itself."""
    return "".join(word.text if word.glue else f" {word.text}" for word in words).removeprefix(" ")
