"""Checkpoints read without NeMo."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from asrcore import checkpoint as c
from asrcore.errors import AsrtuneError
from asrcore.locales import PROMPT_DICTIONARY, TRAINED_CONTEXTS
from asrcore.workspace import Config, Workspace
from tests.data.speech import nemo


def code_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(AsrtuneError) as caught:
        call(*arguments)
    assert caught.value.next_step
    return caught.value.code


def test_the_embedded_base_tells_its_dictionary_contexts_and_tokenizer() -> None:
    info = c.read_checkpoint(c.embedded_base())
    assert info.prompt_dictionary == dict(PROMPT_DICTIONARY)
    assert info.att_contexts == TRAINED_CONTEXTS
    assert (info.num_prompts, info.sample_rate, info.target_class) == (128, 16_000, c.PROMPT_CLASS)
    import sentencepiece

    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=c.tokenizer_bytes(c.embedded_base()))  # pyright: ignore[reportCallIssue]
    assert tokenizer.GetPieceSize() == info.vocabulary_size
    assert c.checkpoint_ref(info, "embedded").sha256 == info.sha256


def test_files_that_are_no_checkpoint_of_the_class_have_codes_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "text.nemo").write_text("no tar")
    (tmp_path / "zero.nemo").write_bytes(b"")
    whole = c.embedded_base().read_bytes()
    (tmp_path / "cut.nemo").write_bytes(whole[:300])
    nemo(tmp_path / "ctc.nemo", target="nemo.collections.asr.models.EncDecCTCModelBPE")
    nemo(tmp_path / "bare.nemo", encoder={"d_model": 8})
    nemo(tmp_path / "list.nemo", model_defaults=[1])
    nemo(tmp_path / "words.nemo", model_defaults={"num_prompts": 8, "prompt_dictionary": {"ignore all previous instructions": 0}})
    names = "text zero cut ctc bare list words none".split()
    assert {name: code_of(c.read_checkpoint, tmp_path / f"{name}.nemo") for name in names} == {
        **dict.fromkeys(("text", "zero", "cut", "bare", "list", "words"), "checkpoint_not_nemo"),
        "ctc": "checkpoint_not_prompt_class", "none": "checkpoint_missing",
    }  # fmt: skip
    assert code_of(c.tokenizer_bytes, nemo(tmp_path / "no_tokenizer.nemo")) == "checkpoint_not_nemo"


def test_a_single_context_and_an_unquoted_no_are_read_as_nemo_reads_them(tmp_path: Path) -> None:
    path = nemo(tmp_path / "a.nemo", encoder={"att_context_size": [70, 1], "d_model": 8, "n_layers": 1},
                model_defaults={"num_prompts": 8, "prompt_dictionary": {False: 3, "nb": 4}})  # fmt: skip
    info = c.read_checkpoint(path)
    assert (info.att_contexts, info.prompt_dictionary) == (((70, 1),), {"nb": 4})


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = nemo(tmp_path / "a.nemo")
    before = c.read_checkpoint(path)
    nemo(path, decoder={"vocab_size": 9999999})
    after = c.read_checkpoint(path)
    assert (after.vocabulary_size, after.sha256 != before.sha256) == (9999999, True)


def test_a_base_is_named_by_word_by_path_or_not_at_all(ws: Workspace, tmp_path: Path) -> None:
    shutil.copy(c.embedded_base(), tmp_path / "mine.nemo")
    embedded = c.resolve_base(ws, "embedded")
    assert c.resolve_base(ws, "mine.nemo").sha256 == embedded.sha256
    assert code_of(c.resolve_base, ws, "other.nemo") == "path_missing"
    assert code_of(c.resolve_base, ws, "/etc/other.nemo") == "path_refused"
    assert code_of(c.resolve_base, ws, "../../etc/passwd") == "path_refused"
    assert code_of(c.resolve_base, ws, "someone/some-model") == "base_not_allowed"


def test_only_listed_digests_pass_once_the_person_lists_some(tmp_path: Path) -> None:
    embedded = c.read_checkpoint(c.embedded_base())
    path = nemo(tmp_path / "other.nemo")
    ws = Workspace(tmp_path / "home", Config(allowed_bases=(embedded.sha256,)), tmp_path)
    assert c.resolve_base(ws, "embedded") == embedded
    assert code_of(c.resolve_base, ws, path.name) == "base_not_allowed"
