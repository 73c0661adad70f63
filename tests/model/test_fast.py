"""The fast engine against the exact one at batch size 1, and what happens where they part."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from asrcore import io
from asrcore.checkpoint import embedded_base
from asrcore.embedded import shipped
from asrcore.errors import NotReadyError
from asrcore.jobs.child import Reporter
from asrcore.manifest import manifest_ref
from asrcore.requests import CheckpointRef, EngineChoice, EvalRequest, Hypothesis
from tests.model.identity import CONTEXTS, check_every_end_is_the_exact_engines, first_rows

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def model() -> Any:
    from asrcore.model.restore import restore

    return restore(embedded_base())


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return first_rows(shipped.unpack(tmp_path_factory.mktemp("sets"))["es-ES_guard_test"], 6)


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_way_an_utterance_can_end_gives_the_exact_engines_tokens_and_frames(
    model: Any, manifest: Path, context: tuple[int, int]
) -> None:
    """Trap 3.23: the last chunk."""
    check_every_end_is_the_exact_engines(model, manifest, context)


def test_audio_shorter_than_a_chunk_is_an_empty_transcript_in_both_engines(model: Any) -> None:
    import numpy as np

    from asrcore.model.fast import FastDecoder
    from asrcore.model.stream import StreamingDecoder, StreamItem

    items = [
        StreamItem(n, partial(np.zeros, samples, dtype=np.float32), 0, samples / 16000) for n, samples in enumerate((200, 1600, 16000))
    ]
    for context in CONTEXTS:
        assert FastDecoder(model, context, 3).decode(items) == StreamingDecoder(model, context, 1).decode(items)


def request(manifest: Path, out: Path, engine: EngineChoice) -> EvalRequest:
    base = embedded_base()
    checkpoint = CheckpointRef(name="embedded", path=str(base), sha256=io.sha256_file(base))
    return EvalRequest(checkpoint=checkpoint, sets=(manifest_ref(manifest),), out=str(out), batch_size=4, engine=engine)


def test_a_fast_pass_carries_its_parity_and_has_an_id_of_its_own(manifest: Path, tmp_path: Path) -> None:
    from asrcore.model import evaluate

    fast = evaluate.run(request(manifest, tmp_path / "out", "fast"), Reporter(tmp_path)).cells[0]
    exact = evaluate.run(request(manifest, tmp_path / "out", "exact"), Reporter(tmp_path)).cells[0]
    assert fast.parity is not None
    assert (fast.parity.utterances, fast.parity.identical_percent, fast.parity.delta_points, fast.parity.held) == (6, 100.0, 0.0, True)
    assert fast.normalised == exact.normalised
    assert (fast.engine, exact.engine) == ("fast/1", "exact/1")
    assert fast.eval_id != exact.eval_id
    assert exact.chunk_times is not None
    assert exact.chunk_times.first_partial_ms_p50 is not None
    assert exact.parity is None


def break_the_fast_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.model.fast import FastDecoder
    from asrcore.model.stream import Decoded

    good = FastDecoder._decode_batch

    def loses_the_last_token(self: Any, batch: Any) -> list[Any]:
        return [Decoded(d.key, d.tokens[:-1], d.frames[:-1], d.first_partial_s) for d in good(self, batch)]

    monkeypatch.setattr(FastDecoder, "_decode_batch", loses_the_last_token)


def test_a_fast_engine_that_says_something_else_is_refused_with_the_next_call(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asrcore.model import evaluate

    break_the_fast_engine(monkeypatch)
    with pytest.raises(NotReadyError) as caught:
        evaluate.run(request(manifest, tmp_path / "out", "fast"), Reporter(tmp_path))
    assert caught.value.code == "fast_engine_not_equivalent"
    assert '"engine": "exact"' in caught.value.next_step


def test_auto_goes_on_with_the_exact_engine_and_records_why(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.model import evaluate

    break_the_fast_engine(monkeypatch)
    auto = evaluate.run(request(manifest, tmp_path / "out", "auto"), Reporter(tmp_path)).cells[0]
    exact = evaluate.run(request(manifest, tmp_path / "out", "exact"), Reporter(tmp_path)).cells[0]
    assert auto.engine == "exact/1"
    assert auto.parity is not None
    assert not auto.parity.held
    assert auto.parity.identical_percent < 98
    assert auto.model_copy(update={"parity": None}) == exact


def test_a_sample_without_a_word_proves_nothing() -> None:
    """A silent model would be identical to itself (design of the measuring rooms)."""
    from asrcore.model.parity import compare

    silent = [Hypothesis(id="u", locale="en-US", reference="one", text="", raw_text="", tag=None, duration=1.0, line=1)]
    assert not compare(silent, silent).held
