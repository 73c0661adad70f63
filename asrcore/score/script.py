"""Which script a transcript is written in: a wrong prompt shows as Latin letters in Greek output before it shows anywhere else."""

from __future__ import annotations

from collections.abc import Iterable

from asrcore.text import count_script


def script_share(text: str, locale: str) -> float:
    """Share (0 to 1) of the letters of `text` that belong to the locale's script; 1 when there is no letter. Marks and digits do not count."""
    return corpus_script_share([(text, locale)])


def corpus_script_share(texts: Iterable[tuple[str, str]]) -> float:
    """The share over all letters of (text, locale) pairs."""
    counts = [count_script(text, locale) for text, locale in texts]
    letters = sum(count.letters for count in counts)
    return sum(count.own for count in counts) / letters if letters else 1.0
