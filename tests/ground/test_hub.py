"""Bases from the Hugging Face hub, through the library itself: its cache as it lies on disk, no network, and the errors that it raises."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from asrcore import checkpoint as c
from asrcore import hub
from asrcore.errors import AsrtuneError, EnvironmentFault, UsageError
from asrcore.workspace import Config, Workspace

library: Any = pytest.importorskip("huggingface_hub")
constants: Any = importlib.import_module("huggingface_hub.constants")
errors: Any = importlib.import_module("huggingface_hub.errors")
REVISIONS = ("a" * 40, "b" * 40)
FILE = "nemotron-3.5-asr-streaming-0.6b.nemo"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library's cache folder, empty, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def cached(cache: Path, revision: str, content: bytes | None = None, main: bool = False) -> str:
    """Lays a file into the cache as a download does: the blob under its sha256, a link in the snapshot. `content`: what lies there instead."""
    source = c.embedded_base().read_bytes() + revision.encode()  # a tar may have anything after its end
    sha256 = hashlib.sha256(source).hexdigest()
    repo = cache / "models--nvidia--nemotron-3.5-asr-streaming-0.6b"
    (repo / "blobs").mkdir(parents=True, exist_ok=True)
    (repo / "blobs" / sha256).write_bytes(source if content is None else content)
    snapshot = repo / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (snapshot / FILE).symlink_to(Path("../../blobs") / sha256)
    if main:
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / "main").write_text(revision, encoding="utf-8")
    return sha256


def test_what_was_fetched_once_needs_no_network_and_a_revision_is_the_one_that_was_asked(cache: Path, ws: Workspace) -> None:
    newest, older = cached(cache, REVISIONS[0], main=True), cached(cache, REVISIONS[1])
    assert newest != older
    assert c.resolve_base(ws, c.HUB_BASE).sha256 == newest
    assert c.resolve_base(ws, f"{c.HUB_BASE}@{REVISIONS[1]}").sha256 == older
    assert c.resolve_base(ws, c.HUB_BASE).vocabulary_size == c.read_checkpoint(c.embedded_base()).vocabulary_size


def test_without_network_and_cache_the_error_says_how_to_get_the_file(cache: Path, ws: Workspace) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        c.resolve_base(ws, c.HUB_BASE)
    assert (caught.value.code, caught.value.retryable) == ("hub_unreachable", True)
    assert FILE in caught.value.next_step
    with pytest.raises(EnvironmentFault, match="hub_unreachable"):
        c.resolve_base(ws, f"{c.HUB_BASE}@{REVISIONS[0]}")


def test_a_damaged_file_of_the_cache_is_refused(cache: Path, ws: Workspace) -> None:
    """Its name in the cache is the sha256 that the hub gave."""
    cached(cache, REVISIONS[0], content=c.embedded_base().read_bytes(), main=True)
    with pytest.raises(EnvironmentFault, match="hub_file_damaged"):
        c.resolve_base(ws, c.HUB_BASE)


def test_only_listed_digests_pass_from_the_hub_too(cache: Path, tmp_path: Path) -> None:
    newest, older = cached(cache, REVISIONS[0], main=True), cached(cache, REVISIONS[1])
    ws = Workspace(tmp_path / "home", Config(allowed_bases=(older,)), tmp_path)
    with pytest.raises(UsageError, match="base_not_allowed"):
        c.resolve_base(ws, c.HUB_BASE)
    assert newest != older
    assert c.resolve_base(ws, f"{c.HUB_BASE}@{REVISIONS[1]}").sha256 == older


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("GatedRepoError", "hub_access_needed"), ("RepositoryNotFoundError", "hub_access_needed"), ("RevisionNotFoundError", "hub_revision_unknown"),
        ("RemoteEntryNotFoundError", "hub_file_unknown"), ("LocalEntryNotFoundError", "hub_unreachable"), ("HfHubHTTPError", "hub_unreachable"),
    ],
)  # fmt: skip
def test_what_the_library_raises_becomes_a_coded_error(error: str, code: str, cache: Path, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = getattr(errors, error)

    def refuse(**_: Any) -> str:
        raise kind.__new__(kind)

    monkeypatch.setattr(library, "hf_hub_download", refuse)
    with pytest.raises(AsrtuneError) as caught:
        c.resolve_base(ws, f"{c.HUB_BASE}@v1")
    assert caught.value.code == code
    assert caught.value.next_step


def test_a_download_is_read_where_the_library_puts_it(cache: Path, ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(**arguments: Any) -> str:
        asked.update(arguments)
        return str(shutil.copy(c.embedded_base(), tmp_path / FILE))

    monkeypatch.setattr(library, "hf_hub_download", download)
    assert c.resolve_base(ws, f"{c.HUB_BASE}@v1.2").path == str(tmp_path / FILE)
    assert (asked["repo_id"], asked["filename"], asked["revision"]) == (c.HUB_BASE, FILE, "v1.2")


def test_without_the_library_the_error_says_so(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(EnvironmentFault, match="hub_missing"):
        c.resolve_base(ws, c.HUB_BASE)


@pytest.mark.parametrize(
    ("name", "good"),
    [("a/b", True), ("a/b@main", True), ("a/b@" + "0" * 40, True), ("a/b@", False), ("a/b@../x", False), ("a", False), ("a/b/c", False), ("../b", False), ("a/.b", False)],
)
def test_hub_ids_are_told_from_paths(name: str, good: bool) -> None:
    assert hub.is_hub_id(name) is good
