"""Proof that a file is still the file a plan was made from: sha256 of checkpoints, manifests and shards, all mismatches reported at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from asrcore.data_requests import NoiseRef
from asrcore.errors import NotReadyError, Problem
from asrcore.io import sha256_file
from asrcore.requests import CheckpointRef, ManifestRef, ShardsResult

SUMS = "SHA256SUMS"
"""In a shards folder: the digest of every tar and manifest. In an export: of every other file."""


def check_ref(ref: CheckpointRef | ManifestRef | NoiseRef) -> list[Problem]:
    """Empty when the file at `ref.path` has the digest of `ref`."""
    return _check(Path(ref.path), ref.sha256)


def check_shards(shards: ShardsResult) -> list[Problem]:
    """One problem per shard file that is missing or has changed. Tars are compared with the index, manifests with SHA256SUMS beside it."""
    root = Path(shards.root)
    if (sums := _sums_of(root)) is None:
        return [_no_sums(root, "build the shards again")]
    problems: list[Problem] = []
    for shard in (shard for source in shards.sources for shard in source.shards):
        problems += [*_check(root / shard.tar, shard.sha256), *_check(root / shard.manifest, sums.get(shard.manifest, ""))]
    return problems


def check_sums(root: Path) -> list[Problem]:
    """One problem for each file that SHA256SUMS names and that is missing, cut or changed, and for each that it does not name."""
    if not (sums := _sums_of(root)):
        return [_no_sums(root, "make the folder again")]
    foreign = sorted(path for path in root.rglob("*") if path.is_file() and path.relative_to(root).as_posix() not in {*sums, SUMS})
    return [problem for name, digest in sums.items() for problem in _check(root / name, digest)] + [
        Problem(code="file_unknown", message="SHA256SUMS does not name it", file=str(path), fix="move it out of the folder") for path in foreign
    ]


def require_unchanged(problems: Iterable[Problem], next_step: str) -> None:
    """Raises `fingerprint_mismatch` with all problems, or does nothing when there are none."""
    found = tuple(problems)
    if found:
        raise NotReadyError("fingerprint_mismatch", f"{len(found)} input file(s) are missing or no longer what the plan was made from.",
                            next_step=next_step, problems=found)  # fmt: skip


def _sums_of(root: Path) -> dict[str, str] | None:
    """Name -> digest; None for a list that is missing or unreadable."""
    try:
        return {name: digest for digest, name in (line.split("  ", 1) for line in (root / SUMS).read_text(encoding="utf-8").splitlines())}
    except (OSError, ValueError):
        return None


def _no_sums(root: Path, fix: str) -> Problem:
    return Problem(code="file_missing", message="the list of digests is missing or unreadable", file=str(root / SUMS), fix=fix)


def _check(path: Path, sha256: str) -> list[Problem]:
    missing = _present(path)
    if missing:
        return missing
    found = sha256_file(path)
    if found == sha256:
        return []
    return [Problem(code="file_changed", message=f"sha256 is {found[:12]}, expected {sha256[:12]}", file=str(path),
                    fix="put the original file back, or make a new plan from the new one")]  # fmt: skip


def _present(path: Path) -> list[Problem]:
    if path.is_file():
        return []
    return [Problem(code="file_missing", message="the file does not exist any more", file=str(path), fix="put it back, or build it again")]
