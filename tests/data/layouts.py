"""Three clips in every layout that import_dataset reads, as small as they get."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.speech import noise, wav

TEXTS = ("Καλημέρα σας, τι κάνετε;", "Θέλω ένα «εισιτήριο», παρακαλώ.", 'Είπε "όχι" και έφυγε.')
NAMES = ("a", "b", "c")


def clips(folder: Path, names: Sequence[str] = NAMES, suffix: str = ".wav", seconds: float = 0.5) -> list[Path]:
    """One different clip a name."""
    return [wav(folder / f"{name}{suffix}", noise(seconds, seed=n)) for n, name in enumerate(names)]


def lines(path: Path, rows: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")
    return path


def sidecar(folder: Path) -> dict[str, Any]:
    for audio, text in zip(clips(folder / "day1"), TEXTS, strict=True):
        lines(audio.with_suffix(".txt"), [text])
    return {}


def transcripts(folder: Path) -> dict[str, Any]:
    clips(folder / "wavs")
    lines(folder / "transcripts.txt", [f"{name}\t{text}" for name, text in zip(NAMES, TEXTS, strict=True)])
    return {}


def table(folder: Path) -> dict[str, Any]:
    clips(folder)
    quoted = [f'{name}.wav,"{text.replace(chr(34), chr(34) * 2)}",s{name}' for name, text in zip(NAMES, TEXTS, strict=True)]
    lines(folder / "rows.csv", ["path,sentence,speaker", *quoted])
    return {}


def audiofolder(folder: Path) -> dict[str, Any]:
    clips(folder / "train")
    rows = [{"file_name": f"train/{name}.wav", "transcription": text} for name, text in zip(NAMES, TEXTS, strict=True)]
    lines(folder / "metadata.jsonl", [json.dumps(row) for row in rows])
    return {}


def common_voice(folder: Path) -> dict[str, Any]:
    clips(folder / "clips")
    head = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tlocale\tsegment"
    rows = [f"s{name}\t{name}.wav\t{text}\t2\t0\t\tfemale_feminine\t\tel\t" for name, text in zip(NAMES, TEXTS, strict=True)]
    lines(folder / "train.tsv", [head, *rows])
    lines(folder / "other.tsv", [head])
    return {"split": "train"}


def librispeech(folder: Path) -> dict[str, Any]:
    chapter = folder / "train-clean-100/84/121123"
    ids = [f"84-121123-{n:04d}" for n in range(3)]
    clips(chapter, ids, ".flac")
    lines(chapter / "84-121123.trans.txt", [f"{name} {text}" for name, text in zip(ids, TEXTS, strict=True)])
    return {}


def mls(folder: Path) -> dict[str, Any]:
    ids = [f"4800_10003_{n:06d}" for n in range(3)]
    clips(folder / "dev/audio/4800/10003", ids, ".flac")
    lines(folder / "dev/transcripts.txt", [f"{name}\t{text}" for name, text in zip(ids, TEXTS, strict=True)])
    return {"split": "dev"}


def kaldi(folder: Path) -> dict[str, Any]:
    clips(folder, ["call"], seconds=2.0)
    lines(folder / "wav.scp", ["call call.wav"])
    lines(folder / "segments", [f"u{n} call {n * 0.5} {n * 0.5 + 0.5}" for n in range(3)])
    lines(folder / "text", [f"u{n} {text}" for n, text in enumerate(TEXTS)])
    lines(folder / "utt2spk", [f"u{n} s{n}" for n in range(3)])
    return {}


def voxpopuli(folder: Path) -> dict[str, Any]:
    clips(folder / "2013", suffix=".flac")
    head = "id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender\tis_gold_transcript\taccent"
    lines(
        folder / "asr_train.tsv",
        [head, *(f"{name}\t{text}\tx\ts{name}\ttrain\tmale\tTrue\tNone" for name, text in zip(NAMES, TEXTS, strict=True))],
    )
    return {}


def mosel(folder: Path) -> dict[str, Any]:
    clips(folder / "unlabelled", suffix=".flac")
    head = "id\tlanguage\ttext\thall_repeated_ngrams\thall_long_word\thall_frequent_single_word"
    rows = [f"{name}\tgreek\t{text}\tFalse\t{name == 'c'}\tFalse" for name, text in zip(NAMES, TEXTS, strict=True)]
    lines(folder / "voxpopuli.tsv", [head, *rows])
    return {}


def fleurs(folder: Path) -> dict[str, Any]:
    clips(folder / "dev")
    rows = [f"7\t{name}.wav\t{text}\tplain\tp l a i n\t8000\tMALE" for name, text in zip(NAMES, TEXTS, strict=True)]
    lines(folder / "dev.tsv", rows)
    lines(folder / "test.tsv", rows[:1])
    return {"split": "dev"}


def nemo(folder: Path) -> dict[str, Any]:
    clips(folder)
    rows = [
        {"audio_filepath": f"{name}.wav", "duration": 0.5, "text": text, "domain": "kiosk"} for name, text in zip(NAMES, TEXTS, strict=True)
    ]
    lines(folder / "train.jsonl", [json.dumps(row) for row in rows])
    return {}


def granary(folder: Path) -> dict[str, Any]:
    clips(folder / "audio")
    rows = [{"utt_id": f"u{name}", "audio_filepath": f"{name}.wav", "duration": 0.5, "text": text, "source_lang": "el", "target_lang": "el",
             "taskname": "asr"} for name, text in zip(NAMES, TEXTS, strict=True)]  # fmt: skip
    lines(folder / "el/yodas.json", [json.dumps(row) for row in rows])
    return {"source": str(folder / "el"), "audio_root": str(folder / "audio")}


def hugging_face(folder: Path) -> dict[str, Any]:
    """As `save_to_disk` and the hub write it, with the recordings inside."""
    audio = [{"bytes": path.read_bytes(), "path": path.name} for path in clips(folder / "made")]
    shutil.rmtree(folder / "made")
    table = pa.table({"audio": audio, "text": list(TEXTS), "speaker_id": [1, 2, 2], "gender": [0, 1, 1]})
    features = {"gender": {"names": ["female", "male"], "_type": "ClassLabel"}, "audio": {"sampling_rate": 16_000, "_type": "Audio"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (folder / "data").mkdir()
    for number in range(2):
        pq.write_table(table.slice(2 * number, 2), folder / "data" / f"train-{number:05d}-of-00002.parquet")
    pq.write_table(table, folder / "data" / "test-00000-of-00001.parquet")
    return {"split": "train"}


LAYOUTS: dict[str, tuple[str, Callable[[Path], dict[str, Any]]]] = {
    "sidecar": ("sidecar", sidecar), "transcripts": ("transcripts", transcripts), "table": ("table", table), "audiofolder": ("nemo", audiofolder),
    "common_voice": ("common_voice", common_voice), "librispeech": ("librispeech", librispeech), "mls": ("mls", mls), "kaldi": ("kaldi", kaldi),
    "voxpopuli": ("voxpopuli", voxpopuli), "mosel": ("mosel", mosel), "fleurs": ("fleurs", fleurs), "nemo": ("nemo", nemo),
    "granary": ("granary", granary), "hugging_face": ("hugging_face", hugging_face),
}  # fmt: skip
"""Name -> the format that it is, and what writes it and gives further arguments."""
