"""Which synthetic voices speak in training and which in tests.

espeak-ng makes a voice from a short file of formant, pitch and timbre parameters. Forty-eight of its own variants are not enough: a model
of 3.6 M parameters learns those voices and fails on others (docs/log.md). So training also hears drawn voices, whose parameters come from
a seed; test sets hear only variants that espeak ships and that training never does.
"""

from __future__ import annotations

import random
from pathlib import Path

NAMED_TRAIN: tuple[str, ...] = tuple(
    "m1 m2 m4 m5 m6 m7 m8 f1 f3 f4 f5 Alex Alicia Annie Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Mike Nguyen Reed linda david "
    "john max paul pedro quincy rob robert edward ian iven boris caleb benjamin antonio anika aunty norbert marcelo sandro travis".split()
)
TEST: tuple[str, ...] = ("m3", "f2", "Andrea", "Michael", "steph", "adam", "belinda", "zac", "victor", "miguel", "gustave", "shelby")
"""espeak voice variants that no training set hears; test sets hear only these."""
_DRAWN = 96
"""Drawn voices a locale: espeak-ng holds at most 350 voices and comes with about 245."""

_FORMANTS = 9


def drawn_train(locale: str) -> tuple[str, ...]:
    """Names of the drawn voices of a locale; each locale has its own."""
    return tuple(f"{locale}-{index:02d}" for index in range(_DRAWN))


def write_drawn(locale: str, folder: Path) -> None:
    """One espeak variant file for each drawn voice of `locale` in `folder` (an espeak-ng-data/voices/!v)."""
    for name in drawn_train(locale):
        (folder / name).write_text(drawn_voice(name), encoding="utf-8")


def drawn_voice(name: str) -> str:
    """The variant file of a drawn voice: the same text for the same name.

    Parameters are those of espeak-ng's docs/voices.md: formants as frequency, height and width in percent of the language's own, pitch as
    a range in Hz, roughness and flutter from 0, consonants and voicing as loudness in percent. Ranges are those of the shipped variants.
    """
    rng = random.Random(f"voice/{name}")
    low = 60 * (220 / 60) ** rng.random()
    tract = 0.82 * (1.42 / 0.82) ** rng.random()
    lines = [
        "language variant",
        f"name {name}",
        f"pitch {low:.0f} {low * rng.uniform(1.2, 1.7):.0f}",
        f"roughness {rng.randint(0, 4)}",
        f"flutter {rng.randint(0, 8)}",
        f"voicing {rng.randint(40, 150)}",
        f"consonants {rng.randint(50, 140)} {rng.randint(50, 140)}",
        f"intonation {rng.randint(1, 4)}",
    ]
    dull = rng.random() < 0.3
    for formant in range(_FORMANTS):
        strong = 0.25 if dull and formant > 3 else 1.0
        frequency, height, width = 100 * tract * rng.uniform(0.9, 1.1), strong * rng.uniform(60, 150), rng.uniform(50, 170)
        lines.append(f"formant {formant} {frequency:.0f} {height:.0f} {width:.0f}")
    if rng.random() < 0.2:
        lines.append(f"klatt {rng.randint(1, 6)}")
    if rng.random() < 0.25:
        lines.append("breath " + " ".join(str(rng.randint(0, 5)) for _ in range(8)))
    if rng.random() < 0.2:
        lines.append(f"echo {rng.randint(40, 150)} {rng.randint(5, 15)}")
    if rng.random() < 0.3:
        lines.append("stressAdd " + " ".join(str(rng.randint(-30, 30)) for _ in range(8)))
    if rng.random() < 0.25:
        lines.append("tone " + " ".join(f"{hertz} {rng.randint(40, 255)}" for hertz in (400, 1200, 2400, 3600)))
    return "\n".join(lines) + "\n"
