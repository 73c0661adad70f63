"""A shard once more in Lhotse's Shar layout: `cuts.N.jsonl` and `recording.N.tar`, which `CutSet.from_shar` and NeMo's `lhotse_shar` read.

The audio members are those of the finished tar, byte for byte, each followed by its recording as JSON, as Lhotse pairs them (Lhotse 1.33,
shar/readers/tar.py). The format is tar and JSON lines, so Lhotse itself is not needed to write it; a test lets Lhotse read it back. Cuts are not
compressed, which Lhotse's indexed reading asks for. Equal input gives equal bytes.
"""

from __future__ import annotations

import io as memory
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asrcore import io
from asrcore.audio import MODEL_RATE

FORMAT = 1
"""Raise when the files of equal shards come out as other bytes."""

_IN_CUT = frozenset({"audio_filepath", "duration", "text", "speaker", "sampling_rate", "shard_id"})


def write(folder: Path, number: int, tar: Path, rows: Sequence[Mapping[str, Any]]) -> tuple[Path, Path]:
    """Writes the twin of one shard; `rows` are those of its manifest, in the order of its tar. Returns the cuts and the recordings."""
    cuts, recordings = folder / f"cuts.{number:06d}.jsonl", folder / f"recording.{number:06d}.tar"
    with (
        tarfile.open(tar) as packed, io.atomic_file(recordings) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):  # fmt: skip
        for row, info in zip(rows, packed, strict=True):
            member = packed.extractfile(info)
            assert member is not None
            _add(archive, info.name, member.read())
            _add(archive, f"{_name(row)}.json", _line(_recording(row)))
    io.write_bytes(cuts, b"".join(_line(_cut(row)) for row in rows))
    return cuts, recordings


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


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, memory.BytesIO(data))
