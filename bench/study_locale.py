"""A language that the embedded base lacks, for `study.py locale`: Catalan sentences spoken by espeak-ng. All synthetic.

Catalan is written with letters that the base has, close to a language it knows (Spanish), and in no dictionary of the model family, so that
all three ways can be taken: another's slot under an alias, a free slot that starts as a copy of it, and a slot that never learned anything.
Needs the development extra `synth`. Sentences of the test set are in no training set, and neither are its voices.
"""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path

import numpy as np
import soundfile as sf

from asrcore import io
from asrcore.embedded import synth, voices
from asrcore.embedded.grammar import Grammar, Part

LOCALE = "ca-ES"
NEIGHBOUR = "es-ES"
NEVER_TRAINED = "pt-PT"
"""A tag whose slot the embedded base has and never saw: the start from zero. The rows stay Catalan; only their tag is this."""
ESPEAK = "ca"
GRAMMAR = Grammar(
    locale=LOCALE,
    templates=(
        "Bon dia, truco per {object}.",
        "Bona tarda, vull pagar {object} {day}.",
        "Em dic {name} {surname} i visc a {city}.",
        "El meu codi és {digit*4}.",
        "El meu número de telèfon és {digit*6}.",
        "Tinc hora {day} a les {hour}.",
        "Em pot enviar {object} {day}?",
        "Encara no he rebut {object}.",
        "Vull {number} entrades per {day}.",
        "El tren surt a les {hour} i {number} minuts.",
        "La meva adreça és carrer {street} {number}.",
        "El senyor {surname} viu a {city} des de fa {number} anys.",
        "La senyora {surname} vol parlar amb {name}.",
        "Hi ha un problema amb {thing} des de {day}.",
        "Gràcies, {name}, tornaré a trucar {day}.",
        "Sí, el compte és {digit*5}.",
        "No, he dit {digit*3}, no {digit*3}.",
        "Porto {number} minuts esperant per {object}.",
        "Pago amb targeta, el número és {digit*4}, {digit*4}.",
    ),
    slots={
        "object": ("la factura", "la meva comanda", "el contracte", "la reserva", "el paquet", "el rebut", "la garantia", "la targeta"),
        "thing": ("la botiga", "el banc", "la farmàcia", "la oficina", "la biblioteca", "el viatge"),
        "name": ("Jordi", "Montserrat", "Marta", "Pau", "Laia", "Pere", "Anna", "Miquel"),
        "surname": ("Puig", "Soler", "Vila", "Ferrer", "Serra", "Roca", "Costa", "Pons"),
        "city": ("Girona", "Lleida", "Tarragona", "Barcelona", "Reus", "Figueres"),
        "street": ("Major", "Nou", "Verdaguer", "del Mar"),
        "day": ("avui", "dilluns", "dimarts", "dimecres", "dijous", "divendres", "dissabte", "diumenge"),
        "hour": ("dues", "tres", "quatre", "cinc", "sis", "set", "vuit", "nou", "deu"),
        "number": ("dos", "tres", "quatre", "cinc", "sis", "set", "vuit", "nou", "deu", "vint", "trenta"),
        "digit": ("zero", "un", "dos", "tres", "quatre", "cinc", "sis", "set", "vuit", "nou"),
    },
)  # fmt: skip
ACCENTS = str.maketrans("àèòç", "aeoc")
"""Letters that the base's tokenizer has no piece for; the remedy that add_locale names is to map them, in training and test alike."""
SETS: tuple[tuple[str, Part, int, int], ...] = (("train", "train", 4_800, 1), ("dev", "train", 700, 2), ("test", "test", 1_550, 3))
"""Name, part of the grammar, least number of words, seed. As many words as the Greek telephone sets."""


def make(folder: Path) -> dict[str, Path]:
    """Set name -> manifest, tagged `LOCALE`; `NAME_zero` is the same audio tagged `NEVER_TRAINED`. Sets that are there are kept."""
    found: dict[str, Path] = {}
    seen: set[str] = set()
    for name, part, words, seed in SETS:
        target = folder / f"{LOCALE}_{name}"
        if not target.exists():
            with io.atomic_folder(target) as out:
                _speak(out, name, part, words, seed, seen)
        found[name], found[f"{name}_zero"] = target / "manifest.json", target / "manifest_zero.json"
        seen |= {json.loads(line)["text"] for line in found[name].read_text(encoding="utf-8").splitlines()}
    return found


def _speak(out: Path, name: str, part: Part, words: int, seed: int, taken: set[str]) -> None:
    espeak, rng = synth.Espeak(LOCALE), np.random.default_rng([seed, *name.encode()])
    cast = voices.TEST if part == "test" else tuple(rng.permutation(voices.NAMED_TRAIN + voices.drawn_train(LOCALE)))
    rows: list[dict[str, object]] = []
    spoken = 0
    for sentence, voice in zip(GRAMMAR.sentences(part, seed), cycle(cast)):
        text = sentence.translate(ACCENTS)
        if spoken >= words:
            break
        if text in taken:
            continue
        audio = espeak.say(sentence, f"{ESPEAK}+{voice}", int(rng.integers(150, 200)), int(rng.integers(30, 70)))
        clip = f"{len(rows):05d}.wav"
        sf.write(out / clip, audio, synth.WIDEBAND_HZ, subtype="PCM_16")
        rows.append({"audio_filepath": clip, "duration": round(len(audio) / synth.WIDEBAND_HZ, 3), "text": text, "id": f"{LOCALE}-{name}-{len(rows):05d}",
                     "speaker": f"espeak-{voice}", "source": "synthetic-wideband"})  # fmt: skip
        spoken += len(text.split())
    for file, tag in (("manifest.json", LOCALE), ("manifest_zero.json", NEVER_TRAINED)):
        lines = (json.dumps(row | {"target_lang": tag, "lang": tag}, ensure_ascii=False) for row in rows)
        io.write_text(out / file, "\n".join(lines) + "\n")
