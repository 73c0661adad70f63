"""The evaluation child on the embedded base and embedded synthetic speech."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from asrcore import io
from asrcore.audio import decode
from asrcore.checkpoint import embedded_base
from asrcore.embedded import shipped
from asrcore.errors import NotReadyError
from asrcore.jobs.child import Reporter
from asrcore.manifest import load_rows, manifest_ref
from asrcore.requests import CheckpointRef, EvalRequest, EvalSubject
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


@pytest.mark.parametrize(("gpu", "device"), [(True, "cuda"), (False, "cpu")])
def test_the_model_is_opened_on_the_gpu_where_there_is_one(
    manifests: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool, device: str
) -> None:
    import torch

    from asrcore.model import evaluate

    asked: list[str] = []

    def opened(path: Path, *, device: str) -> Any:
        asked.append(device)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(evaluate, "restore", opened)
    with pytest.raises(KeyboardInterrupt):
        evaluate.run(request_for(first_rows(manifests["es-ES_guard_test"], 3), tmp_path / "out"), Reporter(tmp_path))
    assert asked == [device]


def test_one_call_evaluates_several_checkpoints_each_in_its_own_folder(manifests: dict[str, Path], tmp_path: Path) -> None:
    from asrcore.model import evaluate

    twin = tmp_path / "twin.nemo"
    twin.write_bytes(embedded_base().read_bytes() + b"\0")  # another digest, the same model
    other = EvalSubject(checkpoint=CheckpointRef(name="twin", path=str(twin), sha256=io.sha256_file(twin)), out=str(tmp_path / "twin"))
    request = request_for(first_rows(manifests["es-ES_guard_test"], 3), tmp_path / "out", more=[other.model_dump()])
    cells = evaluate.run(request, Reporter(tmp_path)).cells
    assert [cell.checkpoint.name for cell in cells] == ["embedded", "twin"]
    assert [Path(cell.hypotheses).parents[1].name for cell in cells] == ["out", "twin"]
    assert cells[0].eval_id != cells[1].eval_id
    assert cells[0].normalised == cells[1].normalised
    steps = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    passed = [event["step"] for event in steps if event["stage"] == "evaluate"]
    assert passed == sorted(passed)
    assert passed[-1] == steps[-1]["total"] == 2000


def test_versions_are_those_of_the_process_that_decoded(manifests: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from asrcore.model import evaluate

    request = request_for(first_rows(manifests["es-ES_guard_test"], 3), tmp_path / "out")
    first = evaluate.run(request, Reporter(tmp_path)).cells[0]
    assert (first.versions["device"], first.versions["dtype"], first.versions["tf32"]) == ("cpu", "float32", "off")
    monkeypatch.setattr(torch, "__version__", "9.9")
    again = evaluate.run(request.model_copy(update={"slice_by": ("duration",)}), Reporter(tmp_path)).cells[0]
    assert again.slices
    assert again.versions == first.versions


@pytest.mark.parametrize("changes", [{"target_lang": "xx-XX", "lang": "xx-XX"}, {"target_langs": ["es-ES", "xx-XX"]}])
def test_a_row_with_a_tag_the_checkpoint_lacks_is_refused_with_its_line(
    manifests: dict[str, Path], tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Trap 3.3: a tag outside the dictionary."""
    from asrcore.model import evaluate

    part = first_rows(manifests["es-ES_guard_test"], 3, **changes)
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


def test_a_change_of_language_within_an_utterance_is_scored_by_the_tags_written_in_auto(manifests: dict[str, Path], tmp_path: Path) -> None:
    from asrcore.model import evaluate
    from asrcore.score import read_hypotheses

    pairs = zip(*(load_rows(manifests[f"{locale}_guard_test"])[:3] for locale in ("es-ES", "en-US")), strict=True)
    lines: list[str] = []
    for number, (spanish, english) in enumerate(pairs):
        sound = np.concatenate([decode(spanish.audio), np.zeros(4800, dtype=np.float32), decode(english.audio)])
        sf.write(tmp_path / f"{number}.wav", sound, 16_000)
        row = {"audio_filepath": f"{number}.wav", "duration": len(sound) / 16_000, "text": f"{spanish.utterance.text} {english.utterance.text}",
               "target_lang": "es-ES", "target_langs": ["es-ES", "en-US"], "id": str(number)}  # fmt: skip
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    manifest = tmp_path / "switched.json"
    io.write_text(manifest, "".join(lines))
    cell = evaluate.run(request_for(manifest, tmp_path / "out", prompt_modes=["auto"]), Reporter(tmp_path)).cells[0]
    assert cell.segment_tags is not None
    assert (cell.segment_tags.utterances, cell.segment_tags.segments) == (3, 6)
    written = [h.raw_text for h in read_hypotheses(Path(cell.hypotheses))]
    assert any("<es-ES>" in text for text in written), "the base writes tags in auto, else this proves nothing"
    assert 0 < cell.segment_tags.correct_percent < 100  # its training heard one sentence at a time (docs/log.md)
    assert cell.segment_tags.wer == cell.normalised


def test_every_latency_comes_as_median_95th_and_99th_percentile(manifests: dict[str, Path], tmp_path: Path) -> None:
    from asrcore.model import evaluate
    from asrcore.score import read_hypotheses

    cell = evaluate.run(request_for(first_rows(manifests["es-ES_guard_test"], 6), tmp_path / "out"), Reporter(tmp_path)).cells[0]
    found = cell.chunk_times
    assert found is not None
    for low, middle, high in (
        (found.p50_ms, found.p95_ms, found.p99_ms),
        (found.last_chunk_p50_ms, found.last_chunk_p95_ms, found.last_chunk_p99_ms),
        (found.first_partial_ms_p50, found.first_partial_ms_p95, found.first_partial_ms_p99),
    ):
        assert low is not None
        assert middle is not None
        assert high is not None
        assert 0 < low <= middle <= high
    partials = [1000 * h.first_partial_s for h in read_hypotheses(Path(cell.hypotheses)) if h.first_partial_s is not None]
    assert found.first_partial_ms_p50 == pytest.approx(statistics.median(partials))
    assert found.first_partial_ms_p99 is not None
    assert found.first_partial_ms_p99 <= max(partials)


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
