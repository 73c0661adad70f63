"""Tiny corpora of noise for tests of planning and training: manifests, real shards of them, and a workspace that knows both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile as sf

from asrcore.data import shards as shards_job
from asrcore.data.shard_request import check_manifests, make_request
from asrcore.jobs import Ledger
from asrcore.requests import ShardsResult
from asrcore.workspace import Workspace

RATE = 16_000


class Quiet:
    """A reporter that nobody reads."""

    def event(self, stage: str, step: int = 0, total: int = 0, message: str = "", **metrics: float) -> None:
        pass

    def stop_if_asked(self) -> None:
        pass


def corpus(
    folder: Path, name: str, locale: str, count: int, *, seed: int = 0, first: float = 0.7, texts: Sequence[str] | None = None
) -> Path:
    """A manifest of `count` clips of noise, 0.7 s and longer by 20 ms each, with ids `name-0` and so on."""
    rng = np.random.default_rng([seed, len(name), sum(map(ord, name))])
    home = folder / name
    home.mkdir(parents=True)
    lines: list[str] = []
    for number in range(count):
        samples = round((first + 0.02 * number) * RATE)
        sf.write(home / f"{number}.wav", (0.05 * rng.standard_normal(samples)).astype(np.float32), RATE)
        text = texts[number] if texts else f"{name} {number} {rng.integers(1_000_000)}"
        lines.append(json.dumps({"audio_filepath": f"{number}.wav", "duration": samples / RATE, "text": text, "target_lang": locale,
                                 "id": f"{name}-{number}", "speaker": f"s{number % 2}"}))  # fmt: skip
    manifest = home / "manifest.json"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def build(ws: Workspace, train: Sequence[Path], replay: Sequence[Path] = (), *, share: float = 0.3, per_shard: int = 8) -> ShardsResult:
    """Shards of these manifests, in the workspace and its ledger."""
    facts = check_manifests(train, replay, ws.data_roots)
    request = make_request(facts, share, utterances_per_shard=per_shard, seed=0, folder=ws.home / "shards")
    result = shards_job.run(request, Quiet())
    Ledger.open(ws).put("shards", result.shards_id, result)
    return result
