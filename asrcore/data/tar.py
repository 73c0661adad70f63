"""Tar files as `tarfile` writes them (USTAR, fixed times, owners and modes), with their sha256 taken on the way: nothing is read again or copied in pieces."""

from __future__ import annotations

import hashlib
import tarfile
from typing import BinaryIO


class TarWriter:
    """Members one after the other into an open file; `close` ends the archive and gives its digest. The file itself stays open."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = 0
        self._sha256 = hashlib.sha256()

    def add(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        self._write(info.tobuf(tarfile.USTAR_FORMAT))
        self._write(data)
        self._write(bytes(-len(data) % tarfile.BLOCKSIZE))

    def close(self) -> str:
        """Writes two empty blocks and fills the last record, as the format asks; sha256 of all that was written."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._write(bytes(-self.size % tarfile.RECORDSIZE))
        return self._sha256.hexdigest()

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self._sha256.update(data)
        self.size += len(data)
