"""The embedded synthetic sets, as a user's files: unpacked once into a folder, then plain manifests with audio beside them."""

from __future__ import annotations

import json
import tarfile
from importlib import resources
from pathlib import Path

from asrcore import io
from asrcore.results import Frozen

TARGET_LOCALE = "el-GR"
TELEPHONE_TRAIN = "el-GR_telephone_train"
TELEPHONE_DEV = "el-GR_telephone_dev"
TELEPHONE_TEST = "el-GR_telephone_test"
CLEAN_TEST = "el-GR_clean_test"
REPLAY = ("en-US_replay_train", "es-ES_replay_train", "bg-BG_replay_train")
GUARDS = ("en-US_guard_test", "es-ES_guard_test", "bg-BG_guard_test")


class SetFacts(Frozen):
    """What one embedded set holds. All speech is synthetic (espeak-ng); test voices and sentences are in no training set, templates are shared."""

    set: str
    locale: str
    channel: str
    part: str
    utterances: int
    words: int
    hours: float
    voices: int


def set_facts() -> tuple[SetFacts, ...]:
    """The committed `sets.json`."""
    text = resources.files("asrcore.embedded").joinpath("sets/sets.json").read_text("utf-8")
    return tuple(SetFacts.model_validate(entry) for entry in json.loads(text))


def unpack(folder: Path) -> dict[str, Path]:
    """Set name -> manifest path below `folder`. Each set appears complete or not at all; sets that are there are kept."""
    manifests: dict[str, Path] = {}
    for facts in set_facts():
        target = folder / facts.set
        if not target.exists():
            source = resources.files("asrcore.embedded").joinpath(f"sets/{facts.set}.tar.xz")
            with io.atomic_folder(target) as part, source.open("rb") as file, tarfile.open(fileobj=file) as archive:
                for member in archive.getmembers():
                    content = archive.extractfile(member)
                    if content is not None:
                        (part / Path(member.name).name).write_bytes(content.read())
        manifests[facts.set] = target / "manifest.json"
    return manifests
