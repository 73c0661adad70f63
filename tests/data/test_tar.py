"""Our tar files are those of the standard library, byte for byte, and their digest is that of the file."""

from __future__ import annotations

import hashlib
import tarfile
from io import BytesIO

import pytest

from asrcore.data.tar import TarWriter

MEMBERS = {"a_00000001.wav": b"x" * 1000, "empty.json": b"", "block.flac": b"y" * 512, "long.wav": bytes(range(256)) * 90}


@pytest.mark.parametrize("count", range(len(MEMBERS) + 1))
def test_the_bytes_are_those_of_tarfile(count: int) -> None:
    members = dict(list(MEMBERS.items())[:count])
    ours, theirs = BytesIO(), BytesIO()
    writer = TarWriter(ours)
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            writer.add(name, data)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, BytesIO(data))
    digest = writer.close()
    assert ours.getvalue() == theirs.getvalue()
    assert digest == hashlib.sha256(ours.getvalue()).hexdigest()
