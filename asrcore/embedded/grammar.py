"""Template sentences for the embedded synthetic speech (pipeline step 1 of 3: grammar -> synth -> sets).

A grammar is a TOML file with templates and slots. Templates are shared between train and test; *sentences* are not: each sentence
belongs to exactly one part, chosen by a hash of its text, so no seed or set size can move a test sentence into training.
"""

from __future__ import annotations

import hashlib
import random
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Literal

Part = Literal["train", "test"]
LOCALES: tuple[str, ...] = ("en-US", "es-ES", "bg-BG", "el-GR")
_TEST_SHARE = 8
"""One sentence in this many belongs to the test part."""
_SLOT = re.compile(r"\{(\w+)(?:\*(\d+))?\}")


@dataclass(frozen=True)
class Grammar:
    """Templates and slot fillers of one locale. Text is as spoken, with case and punctuation (the base model's style)."""

    locale: str
    templates: tuple[str, ...]
    slots: dict[str, tuple[str, ...]]

    def draw(self, rng: random.Random) -> str:
        """One random sentence, first letter upper case."""

        def fill(match: re.Match[str]) -> str:
            items = self.slots[match[1]]
            return " ".join(rng.choice(items) for _ in range(int(match[2] or 1)))

        text = _SLOT.sub(fill, rng.choice(self.templates))
        return text[0].upper() + text[1:]

    def sentences(self, part: Part, seed: int) -> Iterator[str]:
        """Endless stream of distinct sentences of one part. The same seed gives the same stream."""
        rng = random.Random(f"{self.locale}/{part}/{seed}")
        seen: set[str] = set()
        while True:
            text = self.draw(rng)
            if part_of(text) == part and text not in seen:
                seen.add(text)
                yield text


def part_of(text: str) -> Part:
    """The part a sentence belongs to, for every seed and set."""
    return "test" if hashlib.sha256(text.encode()).digest()[0] % _TEST_SHARE == 0 else "train"


def load(locale: str) -> Grammar:
    """The grammar of one of `LOCALES`."""
    raw = tomllib.loads(resources.files("asrcore.embedded").joinpath(f"grammar/{locale}.toml").read_text("utf-8"))
    slots = {name: tuple(items) for name, items in raw["slots"].items()}
    return Grammar(raw["locale"], tuple(raw["templates"]), slots)
