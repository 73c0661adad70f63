"""The evaluation child on the embedded base and embedded synthetic speech."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asrcore import io
from asrcore.checkpoint import embedded_base
from asrcore.embedded import shipped
from asrcore.errors import NotReadyError
from asrcore.jobs.child import Reporter
from asrcore.manifest import manifest_ref
from asrcore.requests import CheckpointRef, EvalRequest
from tests.model.identity import first_rows

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return shipped.unpack(tmp_path_factory.mktemp("sets"))


def request_for(manifest: Path, out: Path, **changes: Any) -> EvalRequest:
    base = embedded_base()
    checkpoint = CheckpointRef(name="embedded", path=str(base), sha256=io.sha256_file(base))
    return EvalRequest.model_validate(
        {"checkpoint": checkpoint, "sets": [manifest_ref(manifest)], "out": str(out), "batch_size": 4, "att_contexts": [(56, 3)]} | changes
    )


def test_a_pass_is_scored_and_never_decoded_twice(manifests: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.model import evaluate

    request = request_for(first_rows(manifests["es-ES_guard_test"], 6), tmp_path / "out", prompt_modes=["langID", "auto"])
    first = evaluate.run(request, Reporter(tmp_path))
    assert [(c.prompt_mode, c.latency_ms, c.utterances) for c in first.cells] == [("langID", 320, 6), ("auto", 320, 6)]
    langid, auto = first.cells
    assert langid.eval_id != auto.eval_id
    assert langid.wrong_tag_rate is None
    assert auto.wrong_tag_rate is not None
    assert langid.normalised.words == auto.normalised.words > 20

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("decoded again")

    monkeypatch.setattr(evaluate, "restore", refuse)
    again = evaluate.run(request, Reporter(tmp_path))
    assert [c.model_dump() for c in again.cells] == [c.model_dump() for c in first.cells]


def test_a_row_with_a_tag_the_checkpoint_lacks_is_refused_with_its_line(manifests: dict[str, Path], tmp_path: Path) -> None:
    """Trap 3.3: a tag outside the dictionary."""
    from asrcore.model import evaluate

    part = first_rows(manifests["es-ES_guard_test"], 3, target_lang="xx-XX", lang="xx-XX")
    with pytest.raises(NotReadyError) as caught:
        evaluate.run(request_for(part, tmp_path / "out"), Reporter(tmp_path))
    assert caught.value.code == "unknown_tag"
    assert [(p.file, p.line) for p in caught.value.problems] == [(str(part), 3)]


def test_missing_audio_is_a_coded_error_and_leaves_no_hypotheses(manifests: dict[str, Path], tmp_path: Path) -> None:
    from asrcore.model import evaluate

    part = first_rows(manifests["es-ES_guard_test"], 3, audio_filepath="gone.ogg")
    with pytest.raises(NotReadyError) as caught:
        evaluate.run(request_for(part, tmp_path / "out"), Reporter(tmp_path))
    assert caught.value.code == "audio_missing"
    assert not list((tmp_path / "out").rglob("*.jsonl"))


def test_the_language_tag_never_counts_as_a_word(manifests: dict[str, Path], tmp_path: Path) -> None:
    """Trap 3.7: in `auto` the model writes `<es-ES>`; the stored text is free of it and the tag is kept beside."""
    from asrcore.model import evaluate
    from asrcore.score import read_hypotheses

    request = request_for(first_rows(manifests["es-ES_guard_test"], 6), tmp_path / "out", prompt_modes=["auto"])
    cell = evaluate.run(request, Reporter(tmp_path)).cells[0]
    hypotheses = read_hypotheses(Path(cell.hypotheses))
    assert any("<" in h.raw_text for h in hypotheses), "the base writes tags in auto, else this proves nothing"
    assert not any("<" in h.text for h in hypotheses)
    assert all(h.tag is None or f"<{h.tag}>" in h.raw_text for h in hypotheses)


def test_a_pass_that_was_killed_goes_on_with_the_first_utterance_that_is_not_there(
    manifests: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asrcore.model import evaluate
    from asrcore.score import read_hypotheses

    part = first_rows(manifests["es-ES_guard_test"], 6)
    whole = evaluate.run(request_for(part, tmp_path / "whole", batch_size=1), Reporter(tmp_path)).cells[0]
    request = request_for(part, tmp_path / "out", batch_size=1)
    add, finished = evaluate.Finished.add, list[int]()

    def dies_in_the_fourth(self: Any, hypothesis: Any) -> None:
        if len(finished) == 3:
            with open(self.part, "a", encoding="utf-8") as file:
                file.write(hypothesis.model_dump_json()[:40])
            raise KeyboardInterrupt
        add(self, hypothesis)
        finished.append(hypothesis.line)

    monkeypatch.setattr(evaluate.Finished, "add", dies_in_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        evaluate.run(request, Reporter(tmp_path))
    again: list[int] = []

    def note(self: Any, hypothesis: Any) -> None:
        add(self, hypothesis)
        again.append(hypothesis.line)

    monkeypatch.setattr(evaluate.Finished, "add", note)
    cell = evaluate.run(request, Reporter(tmp_path)).cells[0]
    assert sorted([*finished, *again]) == [1, 2, 3, 4, 5, 6]
    assert len(again) == 3
    assert read_hypotheses(Path(cell.hypotheses)) == read_hypotheses(Path(whole.hypotheses))
    assert not list((tmp_path / "out").rglob("*.part"))
