"""Names the format of a folder or file from what lies there. It answers with one format or refuses; locales and columns it never guesses."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from asrcore.data.audio_files import AUDIO_SUFFIXES
from asrcore.data.importers import hugging_face, lhotse_cuts
from asrcore.data.importers.common_voice import SPLITS
from asrcore.data.importers.fleurs import COLUMNS
from asrcore.data.importers.folder import TRANSCRIPT_NAMES
from asrcore.data.importers.formats import FORMATS, MEANS, Format
from asrcore.data.importers.librispeech import LIBRISPEECH_SUFFIX, MLS_FILE, MLS_LINE
from asrcore.data.importers.lines import Line, read_lines
from asrcore.data.importers.manifests import JSON_SUFFIXES, METADATA, is_granary, parse
from asrcore.data.importers.rows import BadRow, walk
from asrcore.errors import UsageError

MOST_FILES = 20_000
"""Files of a folder that are looked at for chapters and sidecars; a corpus shows its layout long before."""


def detect(source: Path, roots: tuple[Path, ...]) -> Format:
    """The one format that fits. Raises `format_unknown` or `format_ambiguous` with the candidates."""
    found = list(dict.fromkeys(_of_folder(source, roots) if source.is_dir() else _of_file(source, roots)))
    if len(found) == 1:
        return found[0]
    if not found:
        known = "; ".join(f"{name} ({MEANS[name]})" for name in FORMATS)
        raise UsageError("format_unknown", f"no known layout was recognised. Known: {known}.",
                         next_step='pass format= with one of these names, or the path of a table and columns={"audio": "…", "text": "…"}.')  # fmt: skip
    raise UsageError("format_ambiguous", f"several layouts fit: {', '.join(found)}.", next_step="pass format= with the one you mean.")


def _of_folder(folder: Path, roots: tuple[Path, ...]) -> Iterator[Format]:
    """Named layouts first; loose files only where no named layout fits."""
    named = list(_named_layouts(folder, roots))
    if named:
        yield from named
        return
    names = {p.name for p in folder.iterdir()}
    if names.intersection(TRANSCRIPT_NAMES):
        yield "transcripts"
        return
    stems: dict[str, set[str]] = {}
    for path in itertools.islice(walk(folder, list[BadRow]()), MOST_FILES):
        if path.name.endswith(LIBRISPEECH_SUFFIX):
            yield "librispeech"
            return
        kind = "audio" if path.suffix.lower() in AUDIO_SUFFIXES else path.suffix.lower()
        stems.setdefault(str(path.with_suffix("")), set()).add(kind)
    if any({"audio", ".txt"} <= kinds for kinds in stems.values()):
        yield "sidecar"
    tables = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".csv", ".tsv", *JSON_SUFFIXES))
    for table in tables:
        yield from _of_file(table, roots)


def _named_layouts(folder: Path, roots: tuple[Path, ...]) -> Iterator[Format]:
    if (folder / "wav.scp").is_file() and (folder / "text").is_file():
        yield "kaldi"
    if (folder / "clips").is_dir() and any((folder / f"{split}.tsv").is_file() for split in SPLITS):
        yield "common_voice"
    elif any("fleurs" in _of_file(table, roots) for split in SPLITS[:3] if (table := folder / f"{split}.tsv").is_file()):
        yield "fleurs"
    if any(os.path.isfile(base / MLS_FILE) and MLS_LINE.fullmatch(_first(base / MLS_FILE, roots)) for base in (folder, *folder.glob("*/"))):
        yield "mls"
    if any(folder.glob("asr_*.tsv")):
        yield "voxpopuli"
    if any(_is_lhotse(found, roots) for found in lhotse_cuts.manifests(folder)):
        yield "lhotse"
    if any(path.suffix in hugging_face.SUFFIXES for path in itertools.islice(walk(folder, list[BadRow]()), MOST_FILES)):
        yield "hugging_face"
    if (folder / METADATA).is_file():
        yield "nemo"
    elif (folder / "metadata.csv").is_file() and "file_name" in _first(folder / "metadata.csv", roots):
        yield "table"


def _is_lhotse(found: lhotse_cuts.Manifests, roots: tuple[Path, ...]) -> bool:
    """A file called cuts may be anything; recordings with supervisions beside them are Lhotse's."""
    return found.cuts is None or found.cuts.suffix == ".gz" or lhotse_cuts.is_cut(parse(_first(found.cuts, roots)) or {})


def _of_file(file: Path, roots: tuple[Path, ...]) -> Iterator[Format]:
    if file.name.endswith(".jsonl.gz"):
        yield "lhotse"  # nobody else zips JSON lines here
        return
    suffix = file.suffix.lower()
    if suffix in hugging_face.SUFFIXES:
        yield "hugging_face"
        return
    first = _first(file, roots)
    if not first:
        return
    if suffix in JSON_SUFFIXES:
        fields = parse(first)
        if fields is not None:
            yield "lhotse" if lhotse_cuts.is_cut(fields) else "granary" if is_granary(fields) else "nemo"
    elif suffix == ".tsv":
        yield _of_tsv([name.strip() for name in first.split("\t")])
    elif suffix == ".csv":
        yield "table"
    elif file.name.endswith(LIBRISPEECH_SUFFIX):
        yield "librispeech"
    elif suffix in (".txt", ".trn", ""):
        yield "transcripts"


def _of_tsv(columns: list[str]) -> Format:
    if any(name.startswith("hall_") for name in columns):
        return "mosel"
    if {"raw_text", "normalized_text"} <= set(columns):
        return "voxpopuli"
    if {"client_id", "path", "sentence"} <= set(columns):
        return "common_voice"
    if len(columns) == COLUMNS and columns[0].isdigit() and columns[5].isdigit():
        return "fleurs"
    return "table"


def _first(file: Path, roots: tuple[Path, ...]) -> str:
    """The first readable line, or an empty string."""
    return next((line.text for line in read_lines(file, roots) if isinstance(line, Line)), "")
