"""The snippets in the README.md of every target are run as they stand there, in the artefact's folder, beside a recording."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile as sf

from asrcore.audio import MODEL_RATE, decode
from asrcore.jobs.child import Reporter
from asrcore.manifest import load_rows
from asrcore.score.tags import strip_tags
from asrcore.score.wer import score_wer
from tests.model.exports import request_for, unpacked

pytestmark = pytest.mark.heavy
BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)
NEEDS = {"nemo": (), "transformers": (), "onnx": ("onnxruntime", "sherpa_onnx")}


def run(folder: Path, language: str, code: str) -> str:
    """What a snippet prints. `asrtune` on PATH is this checkout's."""
    root = Path(__file__).parents[2]
    programs = folder.parent / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "asrtune").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m asrtune "$@"\n', encoding="utf-8")
    (programs / "asrtune").chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": f"{root}{os.pathsep}{root / 'tools'}", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euc", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("target", ["nemo", "transformers", "onnx"])
def test_the_three_snippets_of_a_readme_run_as_they_stand_there(tmp_path: Path, target: str) -> None:
    for package in NEEDS[target]:
        pytest.importorskip(package, reason="the extra `export` is not installed")
    from asrcore.model import export

    sets = unpacked(tmp_path / "sets")
    export.run(request_for(sets, tmp_path / "out", target, smoke_utterances=3, att_contexts=((56, 6),)), Reporter(tmp_path))
    row = load_rows(sets["bg"])[1]  # one that the base hears well
    snippets: list[tuple[str, str]] = BLOCK.findall((tmp_path / "out/README.md").read_text(encoding="utf-8"))
    assert len(snippets) == 3
    assert "OK" in run(tmp_path / "out", *snippets[0]), "checked while nothing else lies in the folder"
    sf.write(tmp_path / "out/clip.wav", decode(row.audio), MODEL_RATE)
    for language, code in snippets[1:]:
        said = run(tmp_path / "out", language, code)
        if "asrtune transcribe" in code:
            (written,) = (tmp_path / "out").rglob("transcript.json")
            said = json.loads(written.read_text(encoding="utf-8"))["untrusted_text"]
        rates = [score_wer([row.utterance.text], [strip_tags(line)[0]], ["bg-BG"], normalised=True).percent for line in said.splitlines()]
        assert min(rates) <= 60, said
