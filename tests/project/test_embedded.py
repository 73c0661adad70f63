"""What the README says of the embedded base and the embedded synthetic sets."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest
import soundfile as sf

from asrcore.embedded import grammar, shipped, voices
from asrcore.manifest import Utterance, kept_rows


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, list[Utterance]]]:
    manifests = shipped.unpack(tmp_path_factory.mktemp("sets"))
    return {name: (path, [row.utterance for row in kept_rows(path)]) for name, path in manifests.items()}


def test_the_base_is_at_most_16_mb_and_the_sets_together_at_most_15() -> None:
    folder = resources.files("asrcore.embedded")
    assert Path(str(folder.joinpath("base.nemo"))).stat().st_size <= 16_000_000
    assert sum(file.stat().st_size for file in Path(str(folder.joinpath("sets"))).iterdir()) <= 15_000_000


def test_the_stated_facts_are_those_of_the_files(sets: dict[str, tuple[Path, list[Utterance]]]) -> None:
    for facts in shipped.set_facts():
        rows = sets[facts.set][1]
        assert {row.target_lang for row in rows} == {facts.locale}
        assert (len(rows), sum(len(row.text.split()) for row in rows)) == (facts.utterances, facts.words)
        assert len({row.speaker for row in rows}) == facts.voices
        assert sum(row.duration for row in rows) / 3600 == pytest.approx(facts.hours, abs=1e-3)


def test_every_test_set_holds_1500_words_and_no_voice_or_sentence_of_training(sets: dict[str, tuple[Path, list[Utterance]]]) -> None:
    heard = {row.speaker for name, (_, rows) in sets.items() if "test" not in name for row in rows}
    read = {row.text for name, (_, rows) in sets.items() if "test" not in name for row in rows}
    for name, (_, rows) in sets.items():
        if "test" in name:
            assert sum(len(row.text.split()) for row in rows) >= 1_500
            assert heard.isdisjoint({row.speaker for row in rows})
            assert read.isdisjoint({row.text for row in rows})
            assert all(grammar.part_of(row.text) == "test" for row in rows)


def test_telephone_sets_went_through_gsm_at_8_khz_and_wideband_sets_are_opus(sets: dict[str, tuple[Path, list[Utterance]]]) -> None:
    for name, (manifest, rows) in sets.items():
        info = sf.info(str(manifest.parent / rows[0].audio_filepath))
        assert (info.subtype, info.samplerate) == (("GSM610", 8_000) if "telephone" in name else ("OPUS", 16_000))


def test_a_drawn_voice_is_the_same_every_time_and_no_test_voice() -> None:
    names = voices.drawn_train("el-GR")
    assert voices.drawn_voice(names[0]) == voices.drawn_voice(names[0]) != voices.drawn_voice(names[1])
    assert set(voices.TEST).isdisjoint((*voices.NAMED_TRAIN, *names))
