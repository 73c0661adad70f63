"""Words of one stream to what a client shows: the segment under way (`partial`, replaced by the next one) and finished ones (`final`, never taken back).

A segment ends where a caption ends (asrcore.captions): at a sentence mark, at a pause, or when it would grow too long to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
        self._words: list[LiveWord] = []
        self._number = 0

    def take(
        self, words: Sequence[LiveWord], open_word: LiveWord | None, heard_s: float, *, done: bool = False
    ) -> tuple[list[Segment], Segment | None]:
        """The segments that are finished now, and the one under way, if any."""
        self._words += words
        groups = self._groups()
        quiet = bool(self._words) and open_word is None and heard_s - self._words[-1].end >= PAUSE_S
        finished = groups if done or quiet else groups[:-1]
        finals = [self._segment(group) for group in finished]
        self._words = [] if done or quiet else list(groups[-1]) if groups else []
        under_way = [*self._words, *([open_word] if open_word else [])]
        return finals, self._shown(under_way) if under_way else None

    def _groups(self) -> list[list[LiveWord]]:
        """Words by caption. A glued word stays with the one before it, unless the caption would not."""
        captions = captions_of([Word(text=word.text, start=word.start, end=word.end) for word in self._words])
        groups: list[list[LiveWord]] = []
        left = iter(self._words)
        for caption in captions:
            group: list[LiveWord] = []
            while sum(len(word.text) + 1 for word in group) - 1 < len(caption.text):
                group.append(next(left))
            groups.append(group)
        return groups

    def _segment(self, words: Sequence[LiveWord]) -> Segment:
        segment = self._shown(words)
        self._number += 1
        return segment

    def _shown(self, words: Sequence[LiveWord]) -> Segment:
        return Segment(
            number=self._number, text=joined(words), start=words[0].start, end=words[-1].end, glue=words[0].glue, words=tuple(words)
        )


def joined(words: Iterable[LiveWord | Segment]) -> str:
    """Words or segments as one text; the first has no space in front, whatever it says of itself."""
    return "".join(word.text if word.glue else f" {word.text}" for word in words).removeprefix(" ")
