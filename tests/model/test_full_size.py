"""Real size: random weights in the published checkpoint's own shape (637,997,088 parameters). Its words mean nothing, its tensors do.

One run at a time on a machine, whoever started it (the lock of bench/full_size.py), at most 20 GB of memory, and 13 GB on disk (an export with its source).
"""

from __future__ import annotations

import resource
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asrcore.audio import decode
from asrcore.checkpoint import read_checkpoint, tokenizer_bytes
from asrcore.embedded import shipped
from asrcore.jobs.child import Reporter
from asrcore.locales import PROMPT_DICTIONARY, TRAINED_CONTEXTS
from asrcore.manifest import load_rows
from bench.full_size import alone_on_this_machine
from bench.full_size_stages import quieten
from tests.model.exports import request_for, unpacked
from tests.model.identity import check_transformers_agrees

pytestmark = [pytest.mark.heavy, pytest.mark.slow]


MOST_GB = 20.0


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    with alone_on_this_machine():
        yield
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # Linux counts in kB
    print(f"peak memory {peak:.1f} GB")
    assert peak <= MOST_GB


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    from asrcore.model.topology import FULL_PARAMETERS, make_random

    path = tmp_path_factory.mktemp("full") / "full.nemo"
    assert make_random(path) == FULL_PARAMETERS
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    from asrcore.model.restore import restore

    return restore(checkpoint)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    manifest: Path = shipped.unpack(tmp_path_factory.mktemp("sets"))["bg-BG_guard_test"]
    return decode(load_rows(manifest)[0].audio)[:48_000]


def test_its_shape_is_the_published_one_and_is_read_without_nemo(checkpoint: Path) -> None:
    info = read_checkpoint(checkpoint)
    assert (info.n_layers, info.d_model, info.vocabulary_size, info.num_prompts) == (24, 1024, 13_087, 128)
    assert info.att_contexts == TRAINED_CONTEXTS
    assert info.prompt_dictionary == dict(PROMPT_DICTIONARY)
    assert tokenizer_bytes(checkpoint)
    with tarfile.open(checkpoint) as archive:
        assert not [m for m in archive.getmembers() if m.name.startswith(("/", "..")) or not (m.isfile() or m.isdir())]


def test_it_has_as_many_tensors_as_the_published_one(model: Any) -> None:
    assert sum(1 for _ in model.parameters()) + sum(1 for name, _ in model.named_buffers() if name in model.state_dict()) == len(
        model.state_dict()
    )
    assert len([name for name in model.state_dict() if not name.startswith("preprocessor.")]) == 655


@pytest.mark.parametrize("right", [0, 3, 13])
def test_transformers_encoder_prompt_and_joint_agree_at_real_size(
    model: Any, clip: Any, right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traps 3.9, 3.10 and 3.23 seen by other code, at the width where bf16 once lost the prompt."""
    check_transformers_agrees(model, [clip], right, monkeypatch)


@pytest.mark.parametrize("right", [0, 3, 13])
def test_chunk_by_chunk_gives_the_frames_of_one_pass_at_real_size(
    model: Any, clip: Any, right: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from asrcore.model import stream
    from asrcore.model.fast import FastDecoder
    from asrcore.model.stream import StreamingDecoder, StreamItem, apply_prompt, chunk_schedule, mel_features

    heard: list[Any] = []
    monkeypatch.setattr(
        stream, "apply_prompt", lambda model, encoded, slots: (heard.append(encoded[0]), apply_prompt(model, encoded, slots))[1]
    )
    StreamingDecoder(model, (56, right), batch_size=1).decode([StreamItem(0, lambda: clip, PROMPT_DICTIONARY["bg-BG"], 3.0)])
    streamed = torch.cat(heard)
    with torch.inference_mode():
        features = mel_features(model, clip)
        whole, lengths = FastDecoder(model, (56, right)).encode([features], [chunk_schedule(model, features.shape[1])])
    assert int(lengths[0]) == streamed.shape[0]
    assert float((whole[0, : streamed.shape[0]] - streamed).abs().max()) <= 1e-3


@pytest.fixture(scope="module")
def speaking(model: Any, clip: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same weights with a blank that is more likely, since a joint of random numbers speaks in every frame. Last: it changes `model`."""
    quieten(model, clip)
    path = tmp_path_factory.mktemp("speaking") / "speaking.nemo"
    model.save_to(str(path))
    yield path
    path.unlink()


@pytest.mark.parametrize("target", ["nemo", "transformers", "onnx"])
def test_an_artefact_of_every_target_holds_the_checkpoints_tensors_at_real_size(speaking: Path, tmp_path: Path, target: str) -> None:
    """Through the gate itself: weights to the bit, or outputs, caches and joint within a thousandth, at the size where a graph needs a file for its weights."""
    if target == "onnx":
        pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    from asrcore.model import export

    out = tmp_path / "out"
    result = export.run(request_for(unpacked(tmp_path / "sets"), out, target, speaking, smoke_utterances=2, att_contexts=((56, 3),)), Reporter(tmp_path))
    assert result.identical == result.compared_utterances == 5
    assert all(check.identical in (None, check.compared) for check in result.checks)
    assert all(check.max_delta <= 1e-3 for check in result.checks if check.max_delta is not None)
    if target == "onnx":
        assert (out / "chunk_320ms/encoder.data").stat().st_size > 2 << 30
    for path in out.rglob("*"):
        if path.is_file():
            path.unlink()
