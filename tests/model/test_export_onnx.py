"""Target onnx: the graphs are the checkpoint, to a thousandth, and every way in which such exports went wrong elsewhere is refused."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrcore.errors import AsrtuneError, ToolFault
from asrcore.jobs.child import Reporter
from tests.model.exports import ALL_CONTEXTS, cut, exported, no_prompt, one_weight, refused_when_damaged, request_for, unpacked

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


@pytest.mark.parametrize("name", ["encoder", "decoder", "joiner"])
def test_the_config_for_triton_names_every_tensor_of_its_graph_with_type_and_shape(made: tuple[Path, Any], name: str) -> None:
    import onnx

    graph = onnx.load(made[0] / f"chunk_560ms/{name}.onnx", load_external_data=False).graph
    config = (made[0] / f"deploy/triton/chunk_560ms/{name}/config.pbtxt").read_text(encoding="utf-8")
    said = {
        tensor: (kind, [int(size) for size in sizes.split(",")])
        for tensor, kind, sizes in re.findall(r'name: "(\w+)", data_type: TYPE_(\w+), dims: \[ ([^]]+) \]', config) if tensor != "empty"
    }  # fmt: skip
    for into, out, kind, sizes in re.findall(r'input_name: "(\w+)", output_name: "(\w+)", data_type: TYPE_(\w+), dims: \[ ([^]]+) \]', config):
        said |= dict.fromkeys((into, out), (kind, [int(size) for size in sizes.split(",")]))
    kinds = {onnx.TensorProto.FLOAT: "FP32", onnx.TensorProto.INT64: "INT64", onnx.TensorProto.INT32: "INT32"}
    assert {entry.name for entry in (*graph.input, *graph.output)} == said.keys()
    for entry in (*graph.input, *graph.output):
        kind, sizes = said[entry.name]
        shape = entry.type.tensor_type.shape.dim
        assert (kinds[entry.type.tensor_type.elem_type], len(shape)) == (kind, len(sizes)), entry.name
        fixed = [(dim.dim_value, size) for dim, size in zip(shape, sizes, strict=True) if dim.HasField("dim_value") and dim.dim_value > 0]
        assert all(dim == size for dim, size in fixed), entry.name


@pytest.mark.parametrize("right", [0, 1, 6])
def test_whole_windows_from_the_first_on_give_the_frames_of_the_stream_whatever_lies_in_front(sets: dict[str, Path], right: int) -> None:
    """sherpa-onnx passes 16 mel frames from before the stream and never a shorter first chunk; streams of every age share its batches."""
    import torch

    from asrcore.audio import decode
    from asrcore.checkpoint import embedded_base
    from asrcore.locales import PROMPT_DICTIONARY
    from asrcore.manifest import load_rows
    from asrcore.model.export_onnx import EncoderStep, empty_caches, window_size
    from asrcore.model.export_onnx_run import _torch_steps, windows_of
    from asrcore.model.export_smoke import Case
    from asrcore.model.restore import restore
    from asrcore.model.stream import mel_features

    model, context = restore(embedded_base()), (56, right)
    slot = PROMPT_DICTIONARY["bg-BG"]
    case = Case("clip", decode(load_rows(sets["bg"])[0].audio), "bg-BG", slot)
    with torch.inference_mode():
        wanted = [outputs for outputs, *_ in _torch_steps(model, windows_of(model, case, context), slot)]
    step, size, shift = EncoderStep(model).eval(), window_size(model), int(model.encoder.streaming_cfg.shift_size[1])
    for front in (-16.0, 3.0):
        features = torch.nn.functional.pad(mel_features(model, case.audio), (16, 0), value=front)
        windows = list(features.unfold(1, size, shift).unbind(1))[: len(wanted) - 1]
        caches, ages = list(empty_caches(model)), []
        with torch.inference_mode():
            for window, frames in zip(windows, wanted, strict=False):
                ages.append(caches)
                outputs, _, *caches = step(window[None], torch.tensor([size]), *caches, torch.tensor([slot]))
                assert torch.allclose(outputs, torch.from_numpy(frames), atol=1e-5)
            mixed = [torch.cat([age[n] for age in ages[:3]]) for n in range(3)]
            together = step(torch.stack(windows[:3]), torch.tensor([size] * 3), *mixed, torch.tensor([slot] * 3))[0]
        assert all(torch.allclose(row, torch.from_numpy(frames[0]), atol=1e-4) for row, frames in zip(together, wanted[:3], strict=True))


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


@pytest.mark.parametrize("damage", [retraced(no_prompt), retraced(one_weight), left_70, without_prompt_input, other_tokens, no_graph, cut("chunk_320ms/encoder.onnx")])
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

    asked = request_for(sets, tmp_path / "out", "onnx", smoke_utterances=2, att_contexts=((56, 6),), sherpa_utterances=3)
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
    assert check.compared == 3, "of its own number of recordings, whatever the others compare"


@pytest.mark.slow
@pytest.mark.parametrize("right", [0, 6])
def test_sherpa_onnx_from_audio_is_within_half_a_point_of_the_stream_on_a_thousand_words(sets: dict[str, Path], tmp_path: Path, right: int) -> None:
    """The wheel itself: own features, own loop, 150 recordings of three languages."""
    pytest.importorskip("sherpa_onnx", reason="the extra `export` is not installed")
    from asrcore.model import export

    asked = request_for(sets, tmp_path / "out", "onnx", smoke_utterances=3, att_contexts=((56, right),), sherpa_utterances=150)
    (check,) = [one for one in export.run(asked, Reporter(tmp_path)).checks if "sherpa-onnx" in one.what]
    theirs, ours, words = (float(number) for number in re.findall(r"[\d.]+", check.note)[:3])
    assert check.compared == 150
    assert words > 1000
    assert theirs - ours <= 0.5
    assert ours < 25, "the base hears these clips, or closeness would mean little"


def test_the_result_says_that_sherpa_onnx_was_not_asked(made: tuple[Path, Any]) -> None:
    assert any("sherpa-onnx's own features and loop were not asked" in note for note in made[1].notes)


def test_a_wanted_sherpa_onnx_that_is_not_installed_names_the_extra(sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from asrcore.model import export

    find = export.importlib.util.find_spec
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name, *rest: None if name == "sherpa_onnx" else find(name, *rest))
    with pytest.raises(AsrtuneError) as caught:
        export.run(request_for(sets, tmp_path / "out", "onnx", sherpa_utterances=3), Reporter(tmp_path))
    assert caught.value.code == "export_extra_missing"
