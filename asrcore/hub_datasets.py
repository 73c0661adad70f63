"""Datasets on the Hugging Face hub: the parquet and Arrow files of a repository at one commit, each from the local cache, else downloaded when it is asked for.

`hf://datasets/OWNER/NAME[@REVISION][/FOLDER]` is how the hub itself writes such a place (huggingface_hub 2, utils/_hf_uris.py); a branch called `a/b` is
`@a%2Fb`. A branch or tag is resolved once, and everything is read at that commit. The list of files at a commit never changes: it is kept, so a place that
names its commit is read without a network once its files were fetched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from pydantic import ValidationError

from asrcore import hub, io
from asrcore.errors import UsageError
from asrcore.results import Frozen

SCHEME = "hf://"
SUFFIXES = (".parquet", ".arrow")
CONVERTED = "refs/convert/parquet"
"""Branch on which the hub keeps its own parquet copy of a dataset, as CONFIG/SPLIT/0000.parquet (huggingface.co/docs/dataset-viewer/parquet)."""

_SEGMENT = r"(?!\.)[\w.=+ -]{1,255}"
_PLACE = re.compile(
    rf"hf://datasets/(?P<repo>{hub.REPOSITORY})(?:@(?P<revision>refs/convert/[A-Za-z0-9_.-]{{1,99}}|refs/pr/\d{{1,9}}|[A-Za-z0-9](?:[A-Za-z0-9._-]|%2F){{0,99}}))?"
    rf"(?:/(?P<folder>{_SEGMENT}(?:/{_SEGMENT})*))?/?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubFile(Frozen):
    path: str
    """In the repository."""
    size: int
    sha256: str | None
    """None for a small file that git itself holds."""


class HubDataset(Frozen):
    """Files below one folder of a repository at one commit; the folder is empty for all of it, and may be a single file."""

    repo: str
    commit: str
    folder: str
    files: tuple[HubFile, ...]

    @property
    def place(self) -> str:
        """How to ask for exactly this again."""
        return f"{SCHEME}datasets/{self.repo}@{self.commit}{'/' if self.folder else ''}{self.folder}"

    def fetch(self, path: str) -> Path:
        """One of the files, whole. Raises what `hub.coded_errors` raises, and `hub_file_damaged`."""
        (file,) = (file for file in self.files if file.path == path)
        with hub.coded_errors(f"{self.repo}@{self.commit}", _by_hand(self.repo), no_file=(f"{self.repo} no longer holds a file that it listed.", "call again.")):
            found = Path(hub.library(_by_hand(self.repo)).hf_hub_download(self.repo, path, repo_type="dataset", revision=self.commit, etag_timeout=hub.TIMEOUT_S))
        hub.require_whole(found, io.sha256_file(found), file.sha256)
        return found


def find(place: str, kept: Path) -> HubDataset:
    """What lies at a place of the hub; without a revision on the default branch, or where that has no such files, in the hub's own parquet copy.

    `kept`: folder of the lists of files. Raises `hub_place_invalid`, `hub_missing` and what `hub.coded_errors` raises; `hub_file_unknown` where there are
    no parquet and Arrow files.
    """
    named = _PLACE.fullmatch(place)
    if named is None:
        raise UsageError("hub_place_invalid", "the source is no place of a dataset on the hub.",
                         next_step="write hf://datasets/OWNER/NAME/CONFIG, with @REVISION after the name to pin it, or pass a folder below a data root.")  # fmt: skip
    repo, folder = named["repo"], named["folder"] or ""
    if named["revision"]:
        found = _at(repo, unquote(named["revision"]), folder, kept)
    else:
        found = _at(repo, None, folder, kept, there=False) or _at(repo, CONVERTED, folder, kept, there=False)
    if found is None:
        raise _no_files(repo, folder)
    return found


def _at(repo: str, revision: str | None, folder: str, kept: Path, *, there: bool = True) -> HubDataset | None:
    """The files at a revision; None where there are none, and unless `there` also where revision or folder are none of the repository's."""
    if revision is not None and _COMMIT.fullmatch(revision) and (known := _known(_list_file(repo, revision, folder, kept))):
        return known
    api, no_files = hub.library(_by_hand(repo)).HfApi(), _no_files(repo, folder)
    try:
        with hub.coded_errors(repo if revision is None else f"{repo}@{revision}", _by_hand(repo), no_file=(no_files.message, no_files.next_step)):
            commit = str(api.dataset_info(repo, revision=revision, timeout=hub.TIMEOUT_S).sha)
            listed = _listed(api, repo, commit, folder)
    except UsageError:
        if there:
            raise
        return None
    files = tuple(HubFile(path=entry.path, size=entry.size, sha256=entry.lfs.sha256 if entry.lfs else None)
                  for entry in sorted(listed, key=lambda entry: entry.path) if _is_data(entry))  # fmt: skip
    if not files:
        return None
    found = HubDataset(repo=repo, commit=commit, folder=folder, files=files)
    io.write_json(_list_file(repo, commit, folder, kept), found)
    return found


def _listed(api: Any, repo: str, commit: str, folder: str) -> Sequence[Any]:
    """Entries below a folder, or the one file."""
    if folder.endswith(SUFFIXES):
        return list(api.get_paths_info(repo, folder, revision=commit, repo_type="dataset"))
    return list(api.list_repo_tree(repo, folder or None, recursive=True, revision=commit, repo_type="dataset"))


def _is_data(entry: Any) -> bool:
    """Hidden folders are the bookkeeping of other programs; a path that climbs is nobody's data."""
    path = PurePosixPath(entry.path)
    return hasattr(entry, "size") and path.suffix in SUFFIXES and not path.is_absolute() and not any(part.startswith(".") for part in path.parts)


def _list_file(repo: str, commit: str, folder: str, kept: Path) -> Path:
    return kept / f"{repo.replace('/', '--')}@{commit[:12]}-{io.sha256_json([repo, commit, folder])[:12]}.json"


def _known(file: Path) -> HubDataset | None:
    try:
        return HubDataset.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _no_files(repo: str, folder: str) -> UsageError:
    where = f"{repo} has no parquet and no Arrow files" + (f" in {folder}" if folder else "")
    return UsageError("hub_file_unknown", where + ".",
                      next_step=f"leave the folder out to see what there is; a dataset in another form: {_by_hand(repo)}")  # fmt: skip


def _by_hand(repo: str) -> str:
    return (f"run `hf download {repo} --repo-type dataset --local-dir FOLDER` on a machine with network access, put FOLDER below a data root and pass it as source; "
            "a place with the commit of an earlier import needs no network.")  # fmt: skip
