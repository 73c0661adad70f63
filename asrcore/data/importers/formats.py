"""The table of formats: name -> reader. The names are part of the contract of import_dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, get_args

from asrcore.data.importers import (
    common_voice,
    fleurs,
    folder,
    hugging_face,
    kaldi,
    lhotse_cuts,
    librispeech,
    manifests,
    pseudo,
    tables,
    voxpopuli,
)  # fmt: skip
from asrcore.data.importers.rows import Item, ReadRequest

Format = Literal["sidecar", "transcripts", "table", "common_voice", "librispeech", "mls", "kaldi", "voxpopuli", "mosel", "fleurs",
                 "nemo", "granary", "lhotse", "hugging_face", "pseudo"]  # fmt: skip
FORMATS: tuple[Format, ...] = get_args(Format)

READERS: Mapping[Format, Callable[[ReadRequest], Iterator[Item]]] = {
    "sidecar": folder.read_sidecars,
    "transcripts": folder.read_transcripts,
    "table": tables.read,
    "common_voice": common_voice.read,
    "librispeech": librispeech.read,
    "mls": librispeech.read_mls,
    "kaldi": kaldi.read,
    "voxpopuli": voxpopuli.read,
    "mosel": voxpopuli.read_mosel,
    "fleurs": fleurs.read,
    "nemo": manifests.read,
    "granary": manifests.read_granary,
    "lhotse": lhotse_cuts.read,
    "hugging_face": hugging_face.read,
    "pseudo": pseudo.read,
}

MEANS: Mapping[Format, str] = {
    "sidecar": "audio files, each with a .txt of the same name",
    "transcripts": "audio files and one transcript file",
    "table": "a CSV or TSV table, also audiofolder's metadata.csv",
    "common_voice": "a Common Voice release folder of one language",
    "librispeech": "LibriSpeech chapters (*.trans.txt)",
    "mls": "Multilingual LibriSpeech (transcripts.txt and audio/)",
    "kaldi": "a Kaldi data directory (wav.scp, text)",
    "voxpopuli": "VoxPopuli transcripts (asr_*.tsv)",
    "mosel": "MOSEL transcripts (TSV with hall_* columns)",
    "fleurs": "a FLEURS language (train.tsv, dev.tsv, test.tsv without header)",
    "nemo": "a NeMo manifest, also audiofolder's metadata.jsonl",
    "granary": "a Granary JSON file; audio from the source corpus",
    "lhotse": "Lhotse cuts, or recordings and supervisions (JSON lines, also gzipped)",
    "hugging_face": "a local copy of a Hugging Face dataset (parquet or Arrow files)",
    "pseudo": "the folder of a finished transcribe job, with agree_with that of a second checkpoint",
}

WITH_COLUMNS: frozenset[Format] = frozenset({"table", "common_voice", "voxpopuli", "mosel", "hugging_face"})
"""Formats whose columns can be mapped."""
WITH_PARTS: frozenset[Format] = frozenset({"table", "common_voice", "mls", "voxpopuli", "mosel", "fleurs", "nemo", "granary", "lhotse", "hugging_face"})
"""Formats whose folder may hold several parts, told apart by `split`."""
WITH_STYLES: frozenset[Format] = frozenset({"voxpopuli", "fleurs", "hugging_face"})
"""Formats with two transcripts of every utterance."""
