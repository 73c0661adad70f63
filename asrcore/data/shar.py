"""A shard once more in Lhotse's Shar layout: `cuts.N.jsonl` and `recording.N.tar`, which `CutSet.from_shar` and NeMo's `lhotse_shar` read.

The audio members are those of the finished tar, byte for byte, each followed by its recording as JSON, as Lhotse pairs them (Lhotse 1.33,
shar/readers/tar.py). The format is tar and JSON lines, so Lhotse itself is not needed to write it; a test lets Lhotse read it back. Cuts are not
compressed, which Lhotse's indexed reading asks for. Equal input gives equal bytes.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asrcore import io
from asrcore.audio_header import MODEL_RATE
from asrcore.data.tar import TarWriter

FORMAT = 1
"""Raise when the files of equal shards come out as other bytes."""

_IN_CUT = frozenset({"audio_filepath", "duration", "text", "speaker", "sampling_rate", "shard_id"})


class Twin(NamedTuple):
    """The two files of a shard's twin and their digests, in the same order: cuts, recordings."""

    files: tuple[Path, Path]
    sha256: tuple[str, str]


def write(folder: Path, number: int, tar: Path, rows: Sequence[Mapping[str, Any]]) -> Twin:
    """Writes the twin of one shard; `rows` are those of its manifest, in the order of its tar."""
    cuts, recordings = folder / f"cuts.{number:06d}.jsonl", folder / f"recording.{number:06d}.tar"
    with tarfile.open(tar) as packed, io.atomic_file(recordings) as file:
        archive = TarWriter(file)
        for row, info in zip(rows, packed, strict=True):
            member = packed.extractfile(info)
            assert member is not None
            archive.add(info.name, member.read())
            archive.add(f"{_name(row)}.json", io.json_line(_recording(row)))
        digest = archive.close()
    lines = b"".join(io.json_line(_cut(row)) for row in rows)
    io.write_bytes(cuts, lines)
    return Twin((cuts, recordings), (hashlib.sha256(lines).hexdigest(), digest))


def _name(row: Mapping[str, Any]) -> str:
    """The member's name without its suffix: Lhotse holds cut and member together by it. Member names have no other dot."""
    return str(row["audio_filepath"]).rsplit(".", 1)[0]


def _recording(row: Mapping[str, Any]) -> dict[str, Any]:
    samples = round(row["duration"] * MODEL_RATE)
    return {
        "id": _name(row), "sources": [{"type": "shar", "channels": [0], "source": ""}], "sampling_rate": MODEL_RATE,
        "num_samples": samples, "duration": samples / MODEL_RATE, "channel_ids": [0],
    }  # fmt: skip


def _cut(row: Mapping[str, Any]) -> dict[str, Any]:
    recording = _recording(row)
    seconds, name = recording["duration"], recording["id"]
    supervision = {
        "id": name, "recording_id": name, "start": 0.0, "duration": seconds, "channel": 0, "text": row["text"], "language": row["target_lang"],
        **({"speaker": row["speaker"]} if "speaker" in row else {}),
    }  # fmt: skip
    custom = {key: value for key, value in row.items() if key not in _IN_CUT}
    return {
        "id": name, "start": 0.0, "duration": seconds, "channel": 0, "supervisions": [supervision], "recording": recording, "custom": custom,
        "type": "MonoCut",
    }  # fmt: skip
