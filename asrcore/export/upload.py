"""An artefact to a repository on huggingface.co, after its files were held against SHA256SUMS. A person's act: `asrtune upload` asks at a terminal.

The token comes from the environment alone (HF_TOKEN): the one that `hf auth login` stores is not used, and no argument takes it. Nothing is uploaded
from beside the folder, and nothing in the repository is deleted.
"""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any

from asrcore.errors import EnvironmentFault, NotReadyError, UsageError
from asrcore.fingerprint import SUMS, check_sums, require_unchanged
from asrcore.jobs.ledger import Ledger
from asrcore.requests import ExportResult
from asrcore.workspace import Workspace

TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
"""`owner/name`; huggingface_hub refuses the rest of what is wrong."""


def folder_of(ws: Workspace, export_id: str) -> Path:
    """The folder of a finished export whose files are whole. Raises `export_unknown`, `fingerprint_mismatch`."""
    exported = ExportResult.model_validate(Ledger.open(ws).require("export", export_id))
    folder = Path(exported.path) if exported.target != "nemo" else Path(exported.path).parent
    require_unchanged(check_sums(folder), next_step="call export_model again; never upload a folder that changed after its gate.")
    return folder


def require_repository(name: str) -> str:
    """Raises `upload_repository_invalid`."""
    if not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name or name.endswith((".git", ".", "-")):
        raise UsageError("upload_repository_invalid", "the repository is not OWNER/NAME.", next_step="pass for example acme/nemotron-greek.")
    return name


def require_token() -> str:
    """Raises `upload_token_missing`."""
    if not (token := os.environ.get(TOKEN, "").strip()):
        raise EnvironmentFault("upload_token_missing", f"{TOKEN} is not set in the environment.",
                               next_step=f"set {TOKEN} to a token with write access to the repository, and upload again.")  # fmt: skip
    return token


def upload(folder: Path, repository: str, token: str, *, public: bool) -> str:
    """One commit with the whole folder; gives its address. A repository that is not there is made, private unless `public`.

    Raises `hub_missing`, `upload_refused` (by the hub), `hub_unreachable`.
    """
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ModuleNotFoundError as error:
        raise EnvironmentFault("hub_missing", "huggingface_hub is not installed.", next_step="pip install huggingface_hub") from error
    errors: Any = importlib.import_module("huggingface_hub.errors")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    api = hub.HfApi(token=token)
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=files, commit_message=f"asrtune export, {SUMS} checked")
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise NotReadyError("upload_refused", f"the hub refused the upload (status {status}).", retryable=status is None or status >= 500,
                            next_step="check that the token may write to this repository and that its name is free; then upload again.") from error  # fmt: skip
    except (OSError, errors.HTTPError) as error:
        raise EnvironmentFault("hub_unreachable", f"the hub cannot be reached ({type(error).__name__}).", retryable=True,
                               next_step="upload from a machine with a network; the folder can be copied there, SHA256SUMS proves the copy.") from error  # fmt: skip
    return str(commit.commit_url)
