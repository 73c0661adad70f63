"""Synthetic sets that do not ship with the package, for the parts of the study: sentences of a grammar, spoken by espeak-ng (extra `synth`).

Test voices and test sentences are in no training set, as in the shipped sets (asrcore/embedded/sets.py). A set that is there is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf

from asrcore import io
from asrcore.embedded import synth, voices
from asrcore.embedded.grammar import Grammar, Part


class Line(NamedTuple):
    """One sentence to speak. `text` goes into the manifest, `spoken` to espeak in the language `accent`; `fields` are further manifest fields. Lines of
    one `turn` get the same voice, speed and pitch."""

    turn: int
    text: str
    spoken: str
    accent: str
    fields: Mapping[str, str] = {}


def sentences(grammar: Grammar, part: Part, seed: int, words: int, taken: set[str]) -> Iterator[str]:
    """Sentences of one part until they hold `words` words; none of `taken`, to which they are added, so that sets share none."""
    for text in grammar.sentences(part, seed):
        if words <= 0:
            return
        if text not in taken:
            taken.add(text)
            words -= len(text.split())
            yield text


def speak(folder: Path, lines: Sequence[Line], locale: str, part: Part, seed: int, tags: Mapping[str, str] | None = None) -> None:
    """Writes the audio (16 kHz WAV) and, for each of `tags` (file name -> tag of all rows; `manifest.json` -> `locale` by default), a manifest."""
    if folder.exists():
        return
    espeak, key = synth.Espeak(locale), [seed, *folder.name.encode()]
    cast = voices.TEST if part == "test" else np.random.default_rng(key).permutation(voices.NAMED_TRAIN + voices.drawn_train(locale)).tolist()
    rows: list[dict[str, object]] = []
    with io.atomic_folder(folder) as out:
        for number, line in enumerate(lines):
            voice, rng = cast[line.turn % len(cast)], np.random.default_rng([*key, line.turn])
            audio = espeak.say(line.spoken, f"{line.accent}+{voice}", int(rng.integers(150, 200)), int(rng.integers(30, 70)))
            clip = f"{number:05d}.wav"
            sf.write(out / clip, audio, synth.WIDEBAND_HZ, subtype="PCM_16")
            rows.append({"audio_filepath": clip, "duration": round(len(audio) / synth.WIDEBAND_HZ, 3), "text": line.text, "id": f"{folder.name}-{number:05d}",
                         "speaker": f"espeak-{line.accent}-{voice}", "source": "synthetic-wideband", **line.fields})  # fmt: skip
        for file, tag in (tags or {"manifest.json": locale}).items():
            io.write_text(out / file, "".join(json.dumps(row | {"target_lang": tag, "lang": tag}, ensure_ascii=False) + "\n" for row in rows))
