"""An independent recogniser beside the embedded base, end to end. Needs the extra `peers`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.heavy
@pytest.mark.slow
def test_whisper_base_and_the_embedded_base_stand_in_one_table(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    done = subprocess.run([sys.executable, str(ROOT / "bench/peer_whisper.py"), str(tmp_path), "--utterances", "12", "--json"],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    table = json.loads(done.stdout.splitlines()[-1])
    ours, peer = table["rows"].values()
    assert ours["set"]["sha256"] == peer["set"]["sha256"]
    assert ours["normalised"]["words"] == peer["normalised"]["words"] > 60
    assert (ours["engine"], peer["engine"], peer["checkpoint"]["name"]) == ("exact/1", "peer/1", "whisper-base")
    assert peer["normalised"]["percent"] < 70, "it understands the synthetic voices"
    texts = [json.loads(line)["pred_text"] for line in (tmp_path / "en-US_guard_test.12.whisper.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(texts) == 12
    assert not any(character in "0123456789" for text in texts for character in text), "the references spell numbers"
