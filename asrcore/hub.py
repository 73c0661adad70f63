"""Base checkpoints from the Hugging Face hub: `owner/name`, or `owner/name@revision` (a commit, tag or branch), the `.nemo` of the same name inside.

The local cache comes first, so what was fetched once needs no network. Large files lie in that cache under their own sha256 (the hub's name for a file in
LFS), which is compared with what is read: a damaged download is not trained from. The token is the library's own business (HF_TOKEN, or a login).
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from asrcore.errors import EnvironmentFault, UsageError

_ID = re.compile(r"(?P<repo>(?!\.)[A-Za-z0-9._-]{1,96}/(?!\.)[A-Za-z0-9._-]{1,96})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._-]{0,99}))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIMEOUT_S = 10


def is_hub_id(name: str) -> bool:
    return _ID.fullmatch(name) is not None


def repository(name: str) -> str:
    """`owner/name` without the revision."""
    return name.partition("@")[0]


def fetch(name: str) -> Path:
    """The `.nemo` of a hub id from the local cache, else downloaded.

    Raises `hub_missing`, `hub_access_needed` (no token, or its account may not read the repository), `hub_revision_unknown`, `hub_file_unknown`, and
    `hub_unreachable` where there is neither a cached file nor a network (or HF_HUB_OFFLINE is set).
    """
    repo, _, revision = name.partition("@")
    file = repo.rsplit("/", 1)[-1] + ".nemo"
    by_hand = f"download {file} of {repo} on a machine with network access, put it below a data root and pass its path as base."
    try:
        hub: Any = importlib.import_module("huggingface_hub")
        errors: Any = importlib.import_module("huggingface_hub.errors")
    except ImportError as error:
        raise EnvironmentFault("hub_missing", "huggingface_hub is not installed.", next_step=f"pip install huggingface_hub; or {by_hand}") from error
    where = {"repo_id": repo, "filename": file, "revision": revision or None}
    cached = hub.try_to_load_from_cache(**where)
    if isinstance(cached, str):
        return Path(cached)
    try:
        return Path(hub.hf_hub_download(**where, etag_timeout=_TIMEOUT_S))
    except errors.RevisionNotFoundError as error:
        raise UsageError("hub_revision_unknown", f"{repo} has no revision {revision}.", next_step=f"pass {repo}, or one of the commits on its page after an @.") from error
    except errors.RepositoryNotFoundError as error:  # GatedRepoError is one; the hub does not say which of the two it is without a token
        raise EnvironmentFault("hub_access_needed", f"the hub does not let us read {repo}: it is gated, private or not there, and no token with access is set.",
                               next_step="ask the person to accept the terms on its page and to set HF_TOKEN, then call again; or " + by_hand) from error  # fmt: skip
    except errors.LocalEntryNotFoundError as error:
        raise _unreachable(repo, error, by_hand) from error
    except errors.EntryNotFoundError as error:
        raise UsageError("hub_file_unknown", f"{repo} holds no {file}.", next_step="pass the path of a .nemo that was downloaded by hand.") from error
    except (OSError, ValueError) as error:
        raise _unreachable(repo, error, by_hand) from error


def require_whole(path: Path, sha256: str) -> None:
    """Raises `hub_file_damaged` when the file lies in the hub's cache under another sha256 than its own."""
    stored = path.resolve().name
    if _SHA256.fullmatch(stored) and stored != sha256:
        raise EnvironmentFault("hub_file_damaged", f"the hub's file has sha256 {stored}, what lies in the local cache has {sha256}.",
                               next_step=f"delete {path.resolve()} and call again.", retryable=True)  # fmt: skip


def _unreachable(repo: str, error: Exception, by_hand: str) -> EnvironmentFault:
    return EnvironmentFault("hub_unreachable", f"{repo} is not in the local hub cache and could not be fetched ({type(error).__name__}).", next_step=by_hand, retryable=True)
