"""Trap 3.15: `change_vocabulary` starts decoder and joint anew and drops FastEmit, even for the tokenizer that the model has."""

from __future__ import annotations

from pathlib import Path

import pytest

from asrcore.checkpoint import embedded_base, tokenizer_bytes
from tests.traps.stock import embedded, restored, trap

pytestmark = pytest.mark.heavy


@trap("3.15", "the loss is built anew without its settings")
def test_the_stock_way_to_set_a_tokenizer_keeps_fastemit(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(tokenizer_bytes(embedded_base()))
    model = restored()
    pieces = [str(model.tokenizer.ids_to_tokens([index])[0]) for index in range(model.tokenizer.vocab_size)]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    before = model.loss._loss.fastemit_lambda
    assert before == 0.005, "the base has it, or this shows nothing"
    model.change_vocabulary(str(tmp_path), "bpe")
    assert model.loss._loss.fastemit_lambda == before


def test_what_we_save_has_the_bases_tokenizer_and_loss(tmp_path: Path) -> None:
    from asrcore.model.candidates import write_nemo
    from asrcore.model.restore import restore

    write_nemo(embedded(), tmp_path / "best.nemo", "run")
    assert tokenizer_bytes(tmp_path / "best.nemo") == tokenizer_bytes(embedded_base())
    assert restore(tmp_path / "best.nemo", threads=1).loss._loss.fastemit_lambda == 0.005
