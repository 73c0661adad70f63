"""Target onnx: the graphs are the checkpoint, to a thousandth, and every way in which such exports went wrong elsewhere is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrcore.errors import AsrtuneError, ToolFault
from asrcore.jobs.child import Reporter
from tests.model.exports import ALL_CONTEXTS, exported, no_prompt, one_weight, refused_when_damaged, request_for, unpacked

pytestmark = pytest.mark.heavy
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return unpacked(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def made(sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return exported(sets, tmp_path_factory.mktemp("export"), "onnx")


def test_the_graphs_say_the_same_words_as_the_stream_at_every_chunk_size(made: tuple[Path, Any]) -> None:
    _, result = made
    said = [check for check in result.checks if check.what.startswith("transcripts")]
    assert [check.att_context for check in said] == list(ALL_CONTEXTS)
    assert all(check.identical == check.compared == 9 for check in said)
    assert all(check.max_delta <= 1e-3 for check in result.checks if check.max_delta is not None)


def test_each_chunk_folder_is_complete_and_described_for_sherpa_onnx(made: tuple[Path, Any]) -> None:
    """Names, order and metadata as its reader of this model type expects; it takes the prompt by position, as the last input."""
    import onnx

    for folder, window, shift in (("chunk_80ms", 17, 8), ("chunk_160ms", 25, 16), ("chunk_1120ms", 121, 112)):
        here = made[0] / folder
        assert {path.name for path in here.iterdir()} == {"encoder.onnx", "decoder.onnx", "joiner.onnx", "tokens.txt"}
        graph = onnx.load(here / "encoder.onnx")
        assert [entry.name for entry in graph.graph.input] == [
            "audio_signal", "length", "cache_last_channel", "cache_last_time", "cache_last_channel_len", "prompt_index",
        ]  # fmt: skip
        meta = {entry.key: entry.value for entry in graph.metadata_props}
        assert (int(meta["window_size"]), int(meta["chunk_shift"]), int(meta["cache_last_channel_dim2"])) == (window, shift, 56)
        assert meta["auto_prompt_id"] == "101"
        assert (here / "tokens.txt").read_text(encoding="utf-8").splitlines()[-1] == f"<blk> {meta['vocab_size']}"


def test_int8_graphs_stand_beside_the_others_and_their_loss_is_stated(
    sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asrcore.model import export, export_onnx_gate

    monkeypatch.setattr(export_onnx_gate, "INT8_POINTS", 100.0)  # how much a model this small loses is not the point here
    result = export.run(request_for(sets, tmp_path / "out", "onnx", smoke_utterances=2, att_contexts=((56, 6),), int8=True), Reporter(tmp_path))
    folder = tmp_path / "out/chunk_560ms"
    assert (folder / "encoder.int8.onnx").stat().st_size < 0.6 * (folder / "encoder.onnx").stat().st_size
    (check,) = [one for one in result.checks if "int8" in one.what]
    assert "% of" in check.note


def test_int8_that_changes_too_many_words_is_refused(sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.model import export, export_onnx_gate

    monkeypatch.setattr(export_onnx_gate, "INT8_POINTS", -1.0)
    with pytest.raises(ToolFault) as caught:
        export.run(request_for(sets, tmp_path / "out", "onnx", smoke_utterances=2, att_contexts=((56, 6),), int8=True), Reporter(tmp_path))
    assert caught.value.code == "export_int8_too_far"
    assert list(tmp_path.glob("*out*")) == []


def retraced(damage: Callable[[Any], None]) -> Callable[[Path], None]:
    """The graphs of a damaged model in the place of the right ones."""

    def broken(folder: Path) -> None:
        from asrcore.checkpoint import embedded_base
        from asrcore.model import export_onnx
        from asrcore.model.restore import restore

        model = restore(embedded_base())
        damage(model)
        rewrite(export_onnx, model, folder)

    broken.__name__ = damage.__name__
    return broken


def rewrite(export_onnx: Any, model: Any, folder: Path, context: tuple[int, int] = (56, 3)) -> None:
    import onnx

    encoder = folder / "chunk_320ms/encoder.onnx"
    meta = {entry.key: entry.value for entry in onnx.load(encoder).metadata_props}
    model.encoder.set_default_att_context_size(list(context))
    encoder.unlink()
    export_onnx.write_encoder(model, encoder, meta)


def left_70(folder: Path) -> None:
    from asrcore.checkpoint import embedded_base
    from asrcore.model import export_onnx
    from asrcore.model.restore import restore

    model = restore(embedded_base())
    rewrite(export_onnx, model, folder, (70, 3))


def without_prompt_input(folder: Path) -> None:
    """As NeMo's own export leaves it: five inputs."""
    import onnx

    path = folder / "chunk_320ms/encoder.onnx"
    graph = onnx.load(path)
    names = [entry.name for entry in graph.graph.input]
    graph.graph.initializer.append(onnx.helper.make_tensor("prompt_index", onnx.TensorProto.INT64, [1], [0]))
    del graph.graph.input[names.index("prompt_index")]
    onnx.save(graph, path)


def other_tokens(folder: Path) -> None:
    path = folder / "chunk_320ms/tokens.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("<en-US> 1\n", "<en-XX> 1\n"), encoding="utf-8")


def no_graph(folder: Path) -> None:
    shutil.copy(folder / "chunk_320ms/tokens.txt", folder / "chunk_320ms/joiner.onnx")


@pytest.mark.parametrize("damage", [retraced(no_prompt), retraced(one_weight), left_70, without_prompt_input, other_tokens, no_graph])
def test_graphs_that_are_not_the_checkpoint_are_refused_and_leave_nothing(
    sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    refused_when_damaged("onnx", sets, tmp_path, monkeypatch, damage)


def heard(words: Callable[[str], str]) -> Callable[..., list[str]]:
    """A sherpa-onnx that writes `words` of each reference."""
    return lambda chunk, cases, context: [words(case.row.utterance.text) for case in cases]


def test_sherpa_onnx_is_asked_on_request_and_its_words_are_held_against_the_references(
    sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asrcore.model import export, export_onnx_gate

    asked = request_for(sets, tmp_path / "out", "onnx", smoke_utterances=2, att_contexts=((56, 6),), sherpa_onnx=True)
    monkeypatch.setattr(export, "require_packages", lambda _: None)
    monkeypatch.setattr(export_onnx_gate, "runtime", lambda package: f"{package} 2.0")
    monkeypatch.setattr(export_onnx_gate, "sherpa_texts", heard(lambda text: "nothing of that"))
    with pytest.raises(ToolFault) as caught:
        export.run(asked, Reporter(tmp_path))
    assert caught.value.code == "export_runtime_differs"
    assert list(tmp_path.glob("*out*")) == []
    monkeypatch.setattr(export_onnx_gate, "sherpa_texts", heard(str))
    (check,) = [one for one in export.run(asked, Reporter(tmp_path)).checks if "sherpa-onnx" in one.what]
    assert check.note.startswith("0.00 % against")


def test_the_result_says_that_sherpa_onnx_was_not_asked(made: tuple[Path, Any]) -> None:
    assert any("sherpa-onnx's own features and loop were not asked" in note for note in made[1].notes)


def test_a_wanted_sherpa_onnx_that_is_not_installed_names_the_extra(sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from asrcore.model import export

    find = export.importlib.util.find_spec
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name, *rest: None if name == "sherpa_onnx" else find(name, *rest))
    with pytest.raises(AsrtuneError) as caught:
        export.run(request_for(sets, tmp_path / "out", "onnx", sherpa_onnx=True), Reporter(tmp_path))
    assert caught.value.code == "export_extra_missing"
