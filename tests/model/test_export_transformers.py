"""Target transformers: the folder is opened by the library's own classes, and one that is not the checkpoint never appears."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asrcore.audio import MODEL_RATE, decode
from asrcore.checkpoint import embedded_base, read_checkpoint
from asrcore.errors import ToolFault
from asrcore.jobs.child import Reporter
from asrcore.locales import PROMPT_DICTIONARY
from asrcore.manifest import load_rows
from tests.model.exports import ALL_CONTEXTS, cut, exported, refused_when_damaged, request_for, unpacked

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return unpacked(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def made(sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return exported(sets, tmp_path_factory.mktemp("export"), "transformers")


def test_the_folder_says_the_same_words_at_every_chunk_size_in_three_locales_and_in_auto(made: tuple[Path, Any]) -> None:
    _, result = made
    assert result.locales == ("bg-BG", "el-GR", "es-ES")
    said = [check for check in result.checks if "transcripts" in check.what]
    assert [check.att_context for check in said] == list(ALL_CONTEXTS)
    assert all(check.identical == check.compared == 9 for check in said)
    assert all(check.max_delta <= 1e-3 for check in result.checks if check.max_delta is not None)


def test_the_library_loads_it_by_name_with_the_checkpoints_own_prompt_dictionary(made: tuple[Path, Any], sets: dict[str, Path]) -> None:
    from transformers import AutoModelForRNNT, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(str(made[0]))
    model: Any = AutoModelForRNNT.from_pretrained(str(made[0]))
    assert type(model).__name__ == "Nemotron3_5AsrForRNNT"
    assert processor.prompt_dictionary == read_checkpoint(embedded_base()).prompt_dictionary
    row = load_rows(sets["el"])[0]
    inputs = processor(decode(row.audio), sampling_rate=MODEL_RATE, language="el-GR")
    assert int(inputs["prompt_ids"][0]) == PROMPT_DICTIONARY["el-GR"]
    assert processor.batch_decode(model.generate(**inputs).sequences, skip_special_tokens=True)[0].strip()


def test_its_tokenizer_has_the_ids_of_the_checkpoints_and_tags_can_be_left_out(made: tuple[Path, Any]) -> None:
    from transformers import AutoProcessor

    from asrcore.model.restore import restore

    tokenizer: Any = AutoProcessor.from_pretrained(str(made[0])).tokenizer
    ours = restore(embedded_base()).tokenizer
    for text in ("Добър ден, обаждам се за договора.", "Καλημέρα, τι κάνετε;", "uno dos tres"):
        ids = ours.text_to_ids(text)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
        tagged = [*ids, *ours.text_to_ids(" <el-GR>")[-1:]]
        assert tokenizer.decode(tagged, skip_special_tokens=True, group_tokens=False).strip() == ours.ids_to_text(ids).strip()
        assert "<el-GR>" in tokenizer.decode(tagged, group_tokens=False)


def lost_prompt(folder: Path) -> None:
    change(folder, "prompt_projector.linear_1.weight", lambda tensor: tensor[:, -128:].zero_())


def one_weight(folder: Path) -> None:
    change(folder, "encoder.layers.0.feed_forward1.linear1.weight", lambda tensor: tensor[0, 0].add_(0.5))


def left_70(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["encoder_config"]["sliding_window"] = 71
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def other_dictionary(folder: Path) -> None:
    file = folder / "processor_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["prompt_dictionary"]["el-GR"] = 0
    file.write_text(json.dumps(config), encoding="utf-8")


def change(folder: Path, name: str, edit: Callable[[Any], Any]) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    edit(tensors[name])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("damage", [lost_prompt, one_weight, left_70, other_dictionary, cut("model.safetensors")])
def test_a_folder_that_is_not_the_checkpoint_is_refused_and_leaves_nothing(
    sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    """Clips of the embedded sets are shorter than the left context, so no transcript of theirs alone could show a wrong one."""
    refused_when_damaged("transformers", sets, tmp_path, monkeypatch, damage)


def test_words_are_compared_even_where_all_tensors_are_right(sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asrcore.model import export, export_transformers

    generate = export_transformers.generate
    monkeypatch.setattr(export_transformers, "generate", lambda *args: (generate(*args)[0][:-1], generate(*args)[1]))
    with pytest.raises(ToolFault) as caught:
        export.run(request_for(sets, tmp_path / "out", "transformers", smoke_utterances=2, att_contexts=((56, 3),)), Reporter(tmp_path))
    assert "reads differently" in str(caught.value)
