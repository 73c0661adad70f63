"""The study's own sets and bookkeeping: what is trained on is not tested on, groups differ in nothing but what is studied, work is asked for once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from asrcore.checkpoint import embedded_base, tokenizer_bytes
from bench import study, study_accents, study_locale, study_terms
from bench.study_runs import Scores, Study, row_of

pytest.importorskip("espeakng_loader", reason="synthesis needs the extra synth")

MODULES = (study_accents, study_locale, study_terms)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Rows by module and set."""
    folder = tmp_path_factory.mktemp("sets")
    return {
        module.__name__: {name: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for name, path in module.make(folder).items()} for module in MODULES
    }


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rsplit("_", 1)[-1])
def test_no_sentence_and_no_voice_of_a_test_set_is_trained_on(module: Any, sets: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    found = sets[module.__name__]
    train, dev, test = ({row["text"] for row in found[name]} for name in ("train", "dev", "test"))
    assert not (train | dev) & test
    assert not train & dev
    voices = [{row["speaker"].rsplit("-", 1)[-1] for row in found[name]} for name in ("train", "test")]
    assert not voices[0] & voices[1]


def test_every_term_is_trained_on_and_tested(sets: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    for name in ("train", "test"):
        words = {word.strip(".,?") for row in sets[study_terms.__name__][name] for word in row["text"].split()}
        assert set(study_terms.TERMS) <= words


def test_accents_say_the_same_sentences_with_the_same_voices_and_only_unheard_ones_are_trained_on(sets: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    found = sets[study_accents.__name__]
    said = {
        accent: [(row["text"], row["speaker"].removeprefix(f"espeak-{accent}-")) for row in found["test"] if row["accent"] == accent]
        for accent in (study_accents.HEARD, *study_accents.ACCENTS)
    }
    assert all(rows == said[study_accents.HEARD] for rows in said.values())
    assert len({row["speaker"] for row in found["test"]}) >= 20, "fewer speakers cannot carry an interval"
    counts = Counter(row["accent"] for row in found["train"])
    assert counts.keys() == set(study_accents.ACCENTS)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_the_new_language_can_be_spelled_by_the_base(sets: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    import sentencepiece

    pieces: Any = sentencepiece.SentencePieceProcessor(model_proto=tokenizer_bytes(embedded_base()))
    for rows in sets[study_locale.__name__].values():
        assert not [row["text"] for row in rows if pieces.unk_id() in pieces.encode(row["text"])]
    assert {row["target_lang"] for row in sets[study_locale.__name__]["test_zero"]} == {study_locale.NEVER_TRAINED}


def test_the_same_work_is_asked_for_once_and_a_few_rows_stand_for_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(Study, "evaluate", lambda self, checkpoint: made.append(checkpoint))
    one = Study(tmp_path, steps=1, jobs=1)
    first = one.later(one.evaluate, "run_1")
    assert one.later(one.evaluate, "run_1") is first
    first.result()
    assert made == ["embedded", "run_1"]
    whole = one.sets["el-GR_telephone_dev"]
    assert one.first(whole, None) == whole
    assert one.first(whole, 3).read_text(encoding="utf-8").splitlines() == whole.read_text(encoding="utf-8").splitlines()[:3]
    one.stop()


def test_a_row_of_a_table_shows_each_seed_and_counts_verdicts() -> None:
    scored = [Scores(30.0, 10.0, (5.0, 6.0), 1, 0), Scores(32.0, 12.0, (7.0, 8.0), 0, 2)]
    assert row_of(scored) == "31.0 (30.0, 32.0) | 11.0 | 6.0 7.0 | 2 kept, 1 forgotten of 4 |"


def test_the_short_study_holds_what_the_bars_name() -> None:
    assert study.SHORT.surfaces["full"] == study.SHORT.surfaces["lora:8"] == (1, 2, 3)
    assert {"decoder_joint", "prompt", "top_layers:2", "lora:64"} <= study.SHORT.surfaces.keys()
    assert study.REPLAY_SHARES == (0.0, 0.1, 0.3)
    assert set(study.PARTS) == {"surfaces", "replay", "alpha", "terms", "accents", "locale", "speed"}
