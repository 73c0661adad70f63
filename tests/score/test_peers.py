"""Another system's transcripts, through the tool that scores them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from asrcore.errors import NotReadyError
from asrcore.workspace import Config, Workspace
from asrtune import registry

TEXTS = ("one two three", "four five", "six")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "home", Config(data_roots=(str(tmp_path),)), tmp_path)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "test.jsonl"
    rows = [{"audio_filepath": f"a{n}.wav", "duration": 1.0, "text": text, "target_lang": "en-US", "id": f"u{n}"} for n, text in enumerate(TEXTS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def score(ws: Workspace, manifest: Path, lines: Sequence[str]) -> tuple[int, int, int, int]:
    """S, D, I and words of these hypotheses."""
    file = manifest.with_name("peer.txt")
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    answer = registry.call("score_hypotheses", {"manifest": str(manifest), "hypotheses": str(file), "system": "peer"}, ws)
    wer = answer.data.normalised
    return wer.substitutions, wer.deletions, wer.insertions, wer.words


@pytest.mark.parametrize(
    "lines",
    [
        ['{"id": "u0", "pred_text": "one two tree"}', '{"id": "u1", "pred_text": ""}', '{"id": "u2", "pred_text": "six six"}'],
        ['{"audio_filepath": "a0.wav", "text": "one two tree"}', '{"audio_filepath": "a1.wav", "text": ""}', '{"audio_filepath": "a2.wav", "text": "six six"}'],
        ["u0 one two tree", "u1", "u2\tsix six"],
        ["one two tree (u0)", "(u1)", "six six (u2)"],
        ["u2 six six", "u1 ", "u0 One, two tree."],
    ],
    ids=["json with ids", "json with paths", "kaldi", "trn", "other order and style"],
)
def test_the_three_shapes_of_hypotheses_files_score_alike(ws: Workspace, manifest: Path, lines: list[str]) -> None:
    assert score(ws, manifest, lines) == (1, 2, 1, 6)


def test_missing_unknown_repeated_and_broken_lines_are_all_named_at_once(ws: Workspace, manifest: Path) -> None:
    with pytest.raises(NotReadyError) as caught:
        score(ws, manifest, ['{"id": "u0", "pred_text": "one"}', '{"id": "u0", "pred_text": "two"}', '{"id": "nobody", "pred_text": ""}', "{broken"])
    assert caught.value.code == "peer_hypotheses_invalid"
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4, None, None]
    assert "nobody" not in str(caught.value)


def test_a_peer_stands_beside_another_in_compare_models(ws: Workspace, manifest: Path, tmp_path: Path) -> None:
    many = tmp_path / "many.jsonl"
    rows = [{"audio_filepath": f"{n}.wav", "duration": 1.0, "text": f"word{n} two three", "target_lang": "en-US", "id": f"u{n}", "speaker": f"s{n % 25}"} for n in range(100)]
    many.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ids: list[str] = []
    for system, heard in (("bad", "word two"), ("good", "two three")):
        file = tmp_path / f"{system}.txt"
        file.write_text("".join(f"u{n} {heard if system == 'bad' else f'word{n} ' + heard}\n" for n in range(100)), encoding="utf-8")
        ids.append(registry.call("score_hypotheses", {"manifest": str(many), "hypotheses": str(file), "system": system}, ws).data.eval_id)
    verdict = registry.call("compare_models", {"base_eval": ids[0], "tuned_eval": ids[1]}, ws).data
    assert (verdict.verdict, verdict.base_checkpoint.name, verdict.tuned_checkpoint.name) == ("better", "bad", "good")


def test_digits_that_the_references_lack_are_a_warning(ws: Workspace, manifest: Path) -> None:
    file = manifest.with_name("digits.txt")
    file.write_text("u0 1 2 3\nu1 4 5\nu2 6\n", encoding="utf-8")
    answer = registry.call("score_hypotheses", {"manifest": str(manifest), "hypotheses": str(file), "system": "peer"}, ws)
    assert [warning.code for warning in answer.warnings] == ["digits_in_hypotheses"]
