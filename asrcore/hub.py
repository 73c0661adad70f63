"""Base checkpoints from the Hugging Face hub: `owner/name`, or `owner/name@revision` (a commit, tag or branch), the `.nemo` of the same name inside.

The local cache comes first, so what was fetched once needs no network. Large files lie in that cache under their own sha256 (the hub's name for a file in
LFS), which is compared with what is read: a damaged download is not trained from. The token is the library's own business (HF_TOKEN, or a login), as is the
address (HF_ENDPOINT). Datasets: `asrcore.hub_datasets`.
"""

from __future__ import annotations

import errno
import importlib
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asrcore import io
from asrcore.errors import EnvironmentFault, UsageError

REPOSITORY = r"(?!\.)[A-Za-z0-9._-]{1,96}/(?!\.)[A-Za-z0-9._-]{1,96}"
_ID = re.compile(rf"(?P<repo>{REPOSITORY})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_ACCESS = (401, 403)
TIMEOUT_S = 10


def is_hub_id(name: str) -> bool:
    return _ID.fullmatch(name) is not None


def repository(name: str) -> str:
    """`owner/name` without the revision."""
    return name.partition("@")[0]


def fetch(name: str) -> Path:
    """The `.nemo` of a hub id from the local cache, else downloaded.

    Raises `hub_missing` and what `coded_errors` raises; `hub_unreachable` also where there is no cached file and HF_HUB_OFFLINE is set.
    """
    repo, _, revision = name.partition("@")
    file = repo.rsplit("/", 1)[-1] + ".nemo"
    by_hand = f"download {file} of {repo} on a machine with network access, put it below a data root and pass its path as base."
    hub = library(by_hand)
    where = {"repo_id": repo, "filename": file, "revision": revision or None}
    cached = hub.try_to_load_from_cache(**where)
    if isinstance(cached, str):
        return Path(cached)
    with coded_errors(name, by_hand, no_file=(f"{repo} holds no {file}.", "pass the path of a .nemo that was downloaded by hand.")):
        return Path(hub.hf_hub_download(**where, etag_timeout=TIMEOUT_S))


def library(by_hand: str) -> Any:
    """huggingface_hub. Raises `hub_missing`."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise EnvironmentFault("hub_missing", "huggingface_hub is not installed.", next_step=f"pip install huggingface_hub; or {by_hand}") from error


@contextmanager
def coded_errors(name: str, by_hand: str, no_file: tuple[str, str]) -> Generator[None]:
    """What the library raises for `name` (`owner/name[@revision]`) as errors with a code; `no_file`: message and next step where the repository lacks what was asked.

    Raises `hub_access_needed` (no token, or its account may not read the repository), `hub_revision_unknown`, `hub_file_unknown`, `hub_unreachable`, `disk_full`.
    """
    errors: Any = importlib.import_module("huggingface_hub.errors")
    repo, _, revision = name.partition("@")
    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise UsageError("hub_revision_unknown", f"{repo} has no revision {revision}.", next_step=f"leave @{revision} out, or pass one of the commits on its page.") from error
    except errors.RepositoryNotFoundError as error:  # GatedRepoError is one; the hub does not say which of the two it is without a token
        raise _no_access(repo, by_hand) from error
    except errors.LocalEntryNotFoundError as error:
        raise _unreachable(repo, error, by_hand) from error
    except errors.EntryNotFoundError as error:
        raise UsageError("hub_file_unknown", no_file[0], next_step=no_file[1]) from error
    except (OSError, ValueError, errors.HTTPError) as error:  # HTTPError: of whatever HTTP client the library uses
        if getattr(getattr(error, "response", None), "status_code", None) in _NO_ACCESS:
            raise _no_access(repo, by_hand) from error
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise io.disk_full(cache(), "the download did not fit (HF_HOME moves the hub's cache)") from error
        raise _unreachable(repo, error, by_hand) from error


def cache() -> Path:
    """The folder of the library's cache."""
    constants: Any = importlib.import_module("huggingface_hub.constants")
    return Path(constants.HF_HUB_CACHE)


def require_whole(path: Path, sha256: str, expected: str | None = None) -> None:
    """Raises `hub_file_damaged` when a file of the hub's cache has another `sha256` than `expected`, or where that is not known than the one it lies under."""
    stored = expected or path.resolve().name
    if _SHA256.fullmatch(stored) and stored != sha256:
        raise EnvironmentFault("hub_file_damaged", f"the hub's file has sha256 {stored}, what lies in the local cache has {sha256}.",
                               next_step=f"delete {path.resolve()} and call again.", retryable=True)  # fmt: skip


def _no_access(repo: str, by_hand: str) -> EnvironmentFault:
    return EnvironmentFault("hub_access_needed", f"the hub does not let us read {repo}: it is gated, private or not there, and no token with access is set.",
                            next_step="ask the person to accept the terms on its page and to set HF_TOKEN, then call again; or " + by_hand)  # fmt: skip


def _unreachable(repo: str, error: Exception, by_hand: str) -> EnvironmentFault:
    return EnvironmentFault("hub_unreachable", f"{repo} is not in the local hub cache and could not be fetched ({type(error).__name__}).", next_step=by_hand, retryable=True)
