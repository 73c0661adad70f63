"""A new locale: both ways start from the neighbour to the bit, nothing else moves, and a language that cannot be spelled is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asrcore.checkpoint import checkpoint_ref, embedded_base, read_checkpoint
from asrcore.embedded import shipped
from asrcore.errors import AsrtuneError, NotReadyError
from asrcore.manifest import kept_rows
from asrcore.requests import AddLocaleRequest, AddLocaleResult
from asrcore.workspace import Workspace
from asrtune import registry
from tests.model.runs import Watch

pytestmark = pytest.mark.heavy

NEW, NEIGHBOUR = "se-NO", "bg-BG"


def make(folder: Path, way: str, locale: str = NEW) -> AddLocaleResult:
    from asrcore.model import add_locale

    base = read_checkpoint(embedded_base())
    request = AddLocaleRequest.model_validate({
        "base": checkpoint_ref(base, "embedded"), "locale": locale, "neighbour": NEIGHBOUR, "way": way, "num_prompts": base.num_prompts,
        "out": str(folder / way),
    })  # fmt: skip
    return add_locale.run(request, Watch(folder / f"{way}.job"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AddLocaleResult]:
    folder = tmp_path_factory.mktemp("locales")
    return {way: make(folder, way) for way in ("own_slot", "alias")}


def test_the_new_tag_gets_a_slot_of_its_own_or_the_neighbours(made: dict[str, AddLocaleResult]) -> None:
    old = read_checkpoint(embedded_base()).prompt_dictionary
    own, alias = (read_checkpoint(Path(made[way].checkpoint.path)).prompt_dictionary for way in ("own_slot", "alias"))
    assert own == {**old, NEW: made["own_slot"].slot}
    assert made["own_slot"].slot not in old.values()
    assert alias == {**old, NEW: old[NEIGHBOUR]}


def test_both_ways_decode_as_the_neighbour_does_before_any_training(made: dict[str, AddLocaleResult], tmp_path: Path) -> None:
    from asrcore.model.decode import stream_items
    from asrcore.model.restore import prompt_slots, restore
    from asrcore.model.stream import StreamingDecoder

    rows = kept_rows(shipped.unpack(tmp_path)["bg-BG_guard_test"])[:2]

    def decoded(path: Path, tag: str) -> list[tuple[int, ...]]:
        model = restore(path, threads=1)
        items = stream_items(rows, [prompt_slots(model)[tag]] * len(rows))
        return [one.tokens for one in StreamingDecoder(model, (56, 3), batch_size=1).decode(items)]

    expected = decoded(embedded_base(), NEIGHBOUR)
    assert sum(map(len, expected)) >= 6
    assert decoded(embedded_base(), "auto") != expected or decoded(embedded_base(), "en-US") != expected
    for result in made.values():
        assert decoded(Path(result.checkpoint.path), NEW) == expected


def test_no_tensor_but_the_new_column_is_touched(made: dict[str, AddLocaleResult]) -> None:
    import torch

    from asrcore.model.blend import read_weights

    base, own, alias = (
        read_weights(path) for path in (embedded_base(), *(Path(made[way].checkpoint.path) for way in ("own_slot", "alias")))
    )
    name = "prompt_kernel.0.weight"
    assert all(torch.equal(tensor, alias[key]) for key, tensor in base.items())
    assert all(torch.equal(tensor, own[key]) for key, tensor in base.items() if key != name)
    changed = (base[name] != own[name]).any(dim=0).nonzero().flatten().tolist()
    assert changed == [base[name].shape[1] - 128 + made["own_slot"].slot]


def test_a_tag_that_the_dictionary_has_but_nobody_trained_keeps_its_slot(tmp_path: Path) -> None:
    result = make(tmp_path, "own_slot", locale="af-ZA")
    assert result.slot == read_checkpoint(embedded_base()).prompt_dictionary["af-ZA"]


def transcripts(ws: Workspace, text: str) -> str:
    import numpy as np
    import soundfile as sf

    sf.write(ws.base_folder / "a.wav", np.zeros(16_000, dtype=np.float32), 16_000)
    row: dict[str, Any] = {"audio_filepath": "a.wav", "duration": 1.0, "text": text, "target_lang": NEIGHBOUR}
    (ws.base_folder / "new.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return "new.jsonl"


def test_a_language_that_the_tokenizer_cannot_spell_is_refused_with_its_letters(ws: Workspace) -> None:
    arguments = {"locale": NEW, "neighbour": NEIGHBOUR, "manifest": transcripts(ws, "ğğ ñ")}
    with pytest.raises(NotReadyError, match="tokenizer_cannot_spell") as caught:
        registry.call("add_locale", arguments, ws)
    assert caught.value.problems[0].message.startswith("U+011F LATIN SMALL LETTER G WITH BREVE occurs 2 times")


@pytest.mark.parametrize(
    ("locale", "neighbour", "code"),
    [("bg-BG", "el-GR", "locale_known"), (NEW, "xx-XX", "neighbour_unknown"), (NEW, "af-ZA", "neighbour_untrained")],
)
def test_a_wish_that_makes_no_sense_is_refused_before_any_work(ws: Workspace, locale: str, neighbour: str, code: str) -> None:
    """Trap 3.3: a slot that was never trained gives garbled output without any error."""
    with pytest.raises(AsrtuneError, match=code):
        registry.call("add_locale", {"locale": locale, "neighbour": neighbour, "manifest": transcripts(ws, "test")}, ws)
