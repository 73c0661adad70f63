"""Reads `.nemo` checkpoints without NeMo: a `.nemo` is a tar with `model_config.yaml`, weights and tokenizer files.

Nothing is unpacked to disk and no weight is loaded, so a read-only tool can ask a checkpoint for its prompt dictionary in milliseconds.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import yaml

from asrcore import io
from asrcore.errors import EnvironmentFault, NotReadyError, UsageError
from asrcore.hub import fetch, is_hub_id, repository, require_whole
from asrcore.locales import DOCUMENTED_CONTEXTS, TRAINED_CONTEXTS
from asrcore.requests import CheckpointRef
from asrcore.results import Frozen
from asrcore.workspace import CONFIG_NAME, Workspace

PROMPT_CLASS = "EncDecRNNTBPEModelWithPrompt"
EMBEDDED = "embedded"
"""Name of the small base that ships in the package."""
HUB_BASE = "nvidia/nemotron-3.5-asr-streaming-0.6b"
"""The one hub id that may be downloaded without an entry in `allowed_bases`."""

_CONFIG_MEMBER = "model_config.yaml"
_TAG = re.compile(r"[A-Za-z0-9_-]{2,16}")
_MAX_CONFIG = 32 << 20
_MAX_TOKENIZER = 256 << 20


class CheckpointInfo(Frozen):
    """What a checkpoint says about itself. `prompt_dictionary` is the one that inference uses (NeMo 3.0, rnnt_bpe_models_prompt.py)."""

    path: str
    sha256: str
    size_bytes: int
    target_class: str
    prompt_dictionary: dict[str, int]
    num_prompts: int
    att_contexts: tuple[tuple[int, int], ...]
    sample_rate: int
    vocabulary_size: int
    d_model: int
    n_layers: int


def read_checkpoint(path: Path) -> CheckpointInfo:
    """Reads and checks one `.nemo`. Raises `checkpoint_missing`, `checkpoint_not_nemo` or `checkpoint_not_prompt_class`."""
    if not path.is_file():
        raise UsageError(
            "checkpoint_missing", f"there is no checkpoint file at {path}.", next_step='pass a .nemo file, or base="embedded".'
        )
    stat = path.stat()
    return _read(path.resolve(), stat.st_size, stat.st_mtime_ns)


def trained_contexts(path: Path) -> tuple[tuple[int, int], ...]:
    """The att_context_size values in the config of a `.nemo`, without hashing it. Raises `checkpoint_not_nemo`."""
    try:
        return _contexts(_config(path)["encoder"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _not_nemo(path, "its config names no att_context_size") from error


def require_known_contexts(path: Path, asked: Iterable[tuple[int, int]]) -> None:
    """Raises `att_context_untrained` with all of `asked` that a `.nemo` does not name and its model card does not either, and `checkpoint_not_nemo`.

    Such a one decodes to plausible text that nobody has measured: exports of this family elsewhere had left context 70 where it is 56.
    """
    trained = trained_contexts(path)
    known = sorted({*trained, *(DOCUMENTED_CONTEXTS if set(trained) == set(TRAINED_CONTEXTS) else ())})
    if wrong := [list(context) for context in asked if tuple(context) not in known]:
        raise UsageError("att_context_untrained", f"the checkpoint was not trained at {', '.join(map(str, wrong))}.",
                         next_step=f"use one of {', '.join(str(list(context)) for context in known)}.")  # fmt: skip


def has_adapters(path: Path) -> bool:
    """Whether a `.nemo` holds NeMo adapters: such a checkpoint is more than its class, and only NeMo and asrtune read it. Raises `checkpoint_not_nemo`."""
    adapters = _config(path).get("adapters")
    return isinstance(adapters, dict) and any(name != "global_cfg" for name in cast("dict[str, Any]", adapters))


def tokenizer_bytes(path: Path) -> bytes:
    """The SentencePiece model inside. Raises `checkpoint_not_nemo` when there is none."""
    config = _config(path)
    tokenizer = config.get("tokenizer")
    wanted = str(cast("dict[str, Any]", tokenizer).get("model_path", "")) if isinstance(tokenizer, dict) else ""
    data = _member(path, wanted.removeprefix("nemo:") or "tokenizer.model", _MAX_TOKENIZER)
    if data is None:
        raise _not_nemo(path, "it holds no SentencePiece tokenizer")
    return data


def embedded_base() -> Path:
    """The small base in the package. Raises `embedded_base_missing` for a checkout or install without it."""
    path = Path(__file__).parent / "embedded" / "base.nemo"
    if not path.is_file():
        raise EnvironmentFault("embedded_base_missing", "this installation holds no embedded base checkpoint.",
                               next_step="reinstall asrtune, or pass the path of a .nemo as base.")  # fmt: skip
    return path


def resolve_base(ws: Workspace, name: str) -> CheckpointInfo:
    """`embedded`, a `.nemo` below a data root, or a hub id such as `nvidia/nemotron-3.5-asr-streaming-0.6b`, with `@revision` where one is wanted.

    With `allowed_bases` in the config only those digests pass. Without it: the embedded base, local files, and `HUB_BASE`.
    Raises `base_not_allowed`, `hub_file_damaged`, and what `fetch`, `read_checkpoint` and `Workspace.resolve_data` raise.
    """
    if name == EMBEDDED:
        info = read_checkpoint(embedded_base())
    elif name.endswith(".nemo") or not is_hub_id(name) or (ws.base_folder / name).exists():
        info = read_checkpoint(ws.resolve_data(name))
    else:
        if repository(name) != HUB_BASE and not ws.config.allowed_bases:
            raise UsageError("base_not_allowed", f"only {HUB_BASE} may be fetched from the hub while allowed_bases is empty.",
                             next_step=f"download the .nemo by hand below a data root and pass its path, or ask the person to list its sha256 in {CONFIG_NAME}.")  # fmt: skip
        file = fetch(name)
        info = read_checkpoint(file)
        require_whole(file, info.sha256)
    if ws.config.allowed_bases and info.sha256 not in ws.config.allowed_bases:
        raise UsageError("base_not_allowed", f"the checkpoint (sha256 {info.sha256}) is not in allowed_bases of {CONFIG_NAME}.",
                         next_step=f"pass an allowed base, or ask the person to add this sha256 to {CONFIG_NAME}.")  # fmt: skip
    return info


def checkpoint_ref(info: CheckpointInfo, name: str) -> CheckpointRef:
    """The reference that goes into requests."""
    return CheckpointRef(name=name, path=info.path, sha256=info.sha256)


@lru_cache(maxsize=32)
def _read(path: Path, size: int, mtime_ns: int) -> CheckpointInfo:
    """Cached by size and time stamp, since hashing a real checkpoint takes seconds."""
    config = _config(path)
    target = str(config.get("target", "")).rsplit(".", 1)[-1]
    if target != PROMPT_CLASS:
        held = target if target.isidentifier() else "model of unknown class"
        raise UsageError("checkpoint_not_prompt_class", f"{path} holds a {held}, not a {PROMPT_CLASS}.",
                         next_step="pass a checkpoint of the nemotron-3.5 streaming family.")  # fmt: skip
    try:
        defaults, encoder = config["model_defaults"], config["encoder"]
        # `no` without quotes is read as false by YAML 1.1, here and in NeMo alike: such an entry is no usable tag.
        prompts = {tag: int(slot) for tag, slot in defaults["prompt_dictionary"].items() if isinstance(tag, str)}
        if not all(_TAG.fullmatch(tag) for tag in prompts):
            raise ValueError("a prompt tag is no tag")  # tags are shown to agents, so a checkpoint cannot smuggle text through them
        return CheckpointInfo(
            path=str(path), sha256=io.sha256_file(path), size_bytes=size, target_class=target, prompt_dictionary=prompts,
            num_prompts=int(defaults["num_prompts"]), att_contexts=_contexts(encoder),
            sample_rate=int(config.get("sample_rate") or config["preprocessor"]["sample_rate"]),
            vocabulary_size=int(config["decoder"]["vocab_size"]), d_model=int(encoder["d_model"]), n_layers=int(encoder["n_layers"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _not_nemo(path, f"its config lacks a usable part ({type(error).__name__})") from error


def _contexts(encoder: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """One pair or a list of pairs, as NeMo's configs have either."""
    found = encoder["att_context_size"]
    return tuple((int(left), int(right)) for left, right in (found if isinstance(found[0], list) else [found]))


def _config(path: Path) -> dict[str, Any]:
    raw = _member(path, _CONFIG_MEMBER, _MAX_CONFIG)
    if raw is None:
        raise _not_nemo(path, f"it holds no {_CONFIG_MEMBER}")
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        config: object = yaml.load(raw, loader)  # noqa: S506 - a safe loader, in C where there is one
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _not_nemo(path, f"its {_CONFIG_MEMBER} is not YAML") from error
    if not isinstance(config, dict):
        raise _not_nemo(path, f"its {_CONFIG_MEMBER} is not a mapping")
    return cast("dict[str, Any]", config)


def _member(path: Path, name: str, limit: int) -> bytes | None:
    """Bytes of the regular file `name` in the archive, in memory; None when it is not there."""
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                if member.isfile() and (base := member.name.removeprefix("./")) and (base == name or base.endswith("_" + name)):
                    if member.size > limit:
                        raise _not_nemo(path, f"its {name.rsplit('_', 1)[-1]} is larger than {limit >> 20} MiB")
                    file = archive.extractfile(member)
                    return file.read() if file else None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _not_nemo(path, "it is not a readable tar archive") from error
    return None


def _not_nemo(path: Path, why: str) -> NotReadyError:
    return NotReadyError("checkpoint_not_nemo", f"{path} is not a usable .nemo: {why}.",
                         next_step='pass an intact .nemo of the nemotron-3.5 streaming family, or base="embedded".')  # fmt: skip
