"""Which synthetic sets exist and how they are written (pipeline step 3 of 3: grammar -> synth -> sets).

`python -m asrcore.embedded.sets pretrain OUT` makes the training audio of the embedded base (WAV, about 4 GB, not committed).
`python -m asrcore.embedded.sets ship OUT` makes the sets that ship in the package (Opus and GSM, < 15 MB, committed): OUT/NAME.tar.xz each, and
OUT/sets.json with what is in them.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile as sf

from asrcore.embedded import grammar, synth, voices

Channel = Literal["wideband", "telephone"]


@dataclass(frozen=True)
class SetSpec:
    """One set of synthetic utterances. `words` is the least number of reference words."""

    name: str
    locale: str
    part: grammar.Part
    channel: Channel
    words: int
    seed: int


PRETRAIN: tuple[SetSpec, ...] = (
    SetSpec("pretrain_en-US", "en-US", "train", "wideband", 90_000, 1),
    SetSpec("pretrain_es-ES", "es-ES", "train", "wideband", 120_000, 1),
    SetSpec("pretrain_bg-BG", "bg-BG", "train", "wideband", 90_000, 1),
    SetSpec("pretrain_el-GR", "el-GR", "train", "wideband", 70_000, 1),
)
SHIPPED: tuple[SetSpec, ...] = (
    SetSpec("el-GR_telephone_train", "el-GR", "train", "telephone", 4_800, 11),
    SetSpec("el-GR_telephone_dev", "el-GR", "train", "telephone", 900, 12),
    SetSpec("el-GR_telephone_test", "el-GR", "test", "telephone", 1_550, 13),
    SetSpec("el-GR_clean_test", "el-GR", "test", "wideband", 1_550, 14),
    SetSpec("en-US_replay_train", "en-US", "train", "wideband", 2_300, 15),
    SetSpec("es-ES_replay_train", "es-ES", "train", "wideband", 1_700, 15),
    SetSpec("bg-BG_replay_train", "bg-BG", "train", "wideband", 1_700, 15),
    SetSpec("en-US_guard_test", "en-US", "test", "wideband", 1_550, 16),
    SetSpec("es-ES_guard_test", "es-ES", "test", "wideband", 1_550, 16),
    SetSpec("bg-BG_guard_test", "bg-BG", "test", "wideband", 1_550, 16),
)


def make(spec: SetSpec, folder: Path, encoding: Literal["wav", "shipped"]) -> dict[str, object]:
    """Writes `folder/NAME/*.{wav,ogg}` and `folder/NAME/manifest.json`; returns counts. Deterministic for one espeak version."""
    espeak = synth.Espeak(spec.locale)
    rng = np.random.default_rng([spec.seed, *spec.name.encode()])
    cast = voices.TEST if spec.part == "test" else tuple(rng.permutation(voices.NAMED_TRAIN + voices.drawn_train(spec.locale)))
    language = synth.ESPEAK_LANGUAGE[spec.locale]
    out = folder / spec.name
    out.mkdir(parents=True, exist_ok=True)
    babble = np.concatenate([
        espeak.say(text, f"{language}+{voice}", 180, 50)
        for text, voice in zip(itertools.islice(grammar.load(spec.locale).sentences("train", 99), 12), itertools.cycle(voices.NAMED_TRAIN))
    ])
    rows: list[dict[str, object]] = []
    words = 0
    for index, text in enumerate(grammar.load(spec.locale).sentences(spec.part, spec.seed)):
        if words >= spec.words:
            break
        voice = cast[index % len(cast)]
        audio = espeak.say(text, f"{language}+{voice}", int(rng.integers(150, 200)), int(rng.integers(30, 70)))
        audio = audio * np.float32(10 ** (rng.uniform(-12, 3) / 20))
        name, rate = _write(audio, out, f"{index:05d}", spec.channel, encoding, rng, babble)
        words += len(text.split())
        rows.append({
            "audio_filepath": name, "duration": round(len(audio) / synth.WIDEBAND_HZ, 3), "text": text, "target_lang": spec.locale,
            "lang": spec.locale, "id": f"{spec.name}-{index:05d}", "speaker": f"espeak-{voice}", "source": f"synthetic-{spec.channel}",
            "sampling_rate": rate,
        })  # fmt: skip
    (out / "manifest.json").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    hours = sum(float(str(row["duration"])) for row in rows) / 3600
    return {
        "set": spec.name, "locale": spec.locale, "channel": spec.channel, "part": spec.part, "utterances": len(rows), "words": words,
        "hours": round(hours, 3), "voices": len({row["speaker"] for row in rows}),
    }  # fmt: skip


def _write(
    audio: synth.Audio, out: Path, stem: str, channel: Channel, encoding: str, rng: np.random.Generator, babble: synth.Audio
) -> tuple[str, int]:
    if channel == "telephone":
        narrow = synth.telephone(audio, rng, babble)
        sf.write(out / f"{stem}.wav", narrow, synth.TELEPHONE_HZ, subtype="GSM610")
        return f"{stem}.wav", synth.TELEPHONE_HZ
    if encoding == "wav":
        sf.write(out / f"{stem}.wav", audio, synth.WIDEBAND_HZ, subtype="PCM_16")
        return f"{stem}.wav", synth.WIDEBAND_HZ
    # libsndfile maps compression_level 0..1 to 256..6 kb/s per channel; 0.93 gives about 24 kb/s for mono 16 kHz.
    sf.write(out / f"{stem}.ogg", audio, synth.WIDEBAND_HZ, format="OGG", subtype="OPUS", compression_level=0.93)
    return f"{stem}.ogg", synth.WIDEBAND_HZ


def pack(folder: Path, tar: Path) -> None:
    """One set as an xz tar without times or owners; members `NAME/manifest.json` and `NAME/*`, sorted.

    xz does nothing for the audio, but a tar of small files is a tenth headers and padding.
    """
    with tarfile.open(tar, "w:xz", preset=9) as archive:
        for file in sorted(folder.iterdir()):
            member = tarfile.TarInfo(f"{folder.name}/{file.name}")
            data = file.read_bytes()
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in ("pretrain", "ship"):
        print(__doc__, file=sys.stderr)
        return 2
    out = Path(arguments[1])
    if arguments[0] == "pretrain":
        for spec in PRETRAIN:
            print(json.dumps(make(spec, out, "wav")), flush=True)
        return 0
    out.mkdir(parents=True, exist_ok=True)
    facts: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for spec in SHIPPED:
            facts.append(make(spec, Path(folder), "shipped"))
            pack(Path(folder) / spec.name, out / f"{spec.name}.tar.xz")
            print(json.dumps(facts[-1]), flush=True)
    (out / "sets.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
