"""Child process `python -m asrcore.model.add_locale request.json`: a base that has a prompt slot for a language it was never trained on.

Two ways (public fine-tunes used the first; which is better is a question for measurements):
  alias      the new tag points to a trained neighbour's slot: the start is as good as the neighbour, and training will overwrite the neighbour
  own_slot   the tag gets a slot of its own whose column of `prompt_kernel` is a copy of the neighbour's, so nothing else is touched
Either way the first decode is, to the bit, what the neighbour's tag gives; training moves it from there.

New letters change the tokenizer's files and no weight: the id that a letter takes over is written as often as before until training teaches it (asrcore.spelling).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf, open_dict

from asrcore import io
from asrcore.checkpoint import read_checkpoint, tokenizer_bytes
from asrcore.errors import NotReadyError
from asrcore.fingerprint import check_ref, require_unchanged
from asrcore.jobs.child import Reporter, main
from asrcore.model.restore import prompt_slots, restore
from asrcore.requests import AddLocaleRequest, AddLocaleResult, CheckpointRef
from asrcore.spelling import pieces_of, respell

FILE = "base.nemo"


def run(request: AddLocaleRequest, reporter: Reporter) -> AddLocaleResult:
    """Raises `fingerprint_mismatch`, `no_free_slot`, `disk_full`."""
    started, out = time.monotonic(), Path(request.out)
    require_unchanged(check_ref(request.base), next_step="put the original base back and call add_locale again.")
    reporter.event("add locale", 0, 1)
    slot = slot_of(request, read_checkpoint(Path(request.base.path)).prompt_dictionary)
    if not out.exists():
        io.require_disk(out.parent, 2 * Path(request.base.path).stat().st_size)
        model = restore(Path(request.base.path))
        give_slot(model, request, slot)
        with tempfile.TemporaryDirectory() as files, io.atomic_folder(out) as part:
            if request.letters:
                set_tokenizer(model, respell(tokenizer_bytes(Path(request.base.path)), request.letters), Path(files))
            model.save_to(str(part / FILE))
    ref = CheckpointRef(name=f"{request.base.name} with {request.locale}", path=str(out / FILE), sha256=io.sha256_file(out / FILE))
    reporter.event("add locale", 1, 1)
    return AddLocaleResult(checkpoint=ref, base=request.base, locale=request.locale, neighbour=request.neighbour, way=request.way,
                           slot=slot, letters=request.letters, seconds=round(time.monotonic() - started, 2))  # fmt: skip


def give_slot(model: Any, request: AddLocaleRequest, slot: int) -> None:
    """Edits the model in place: dictionaries, and for `own_slot` the column of the prompt layer."""
    neighbour = prompt_slots(model)[request.neighbour]
    # Decoding reads model_defaults; NeMo's loaders read the copy in their own section (NeMo 3.0, rnnt_bpe_models_prompt.py).
    with open_dict(model.cfg):
        for section in (model.cfg.model_defaults, *(model.cfg.get(name) for name in ("train_ds", "validation_ds", "test_ds"))):
            if section is not None and section.get("prompt_dictionary") is not None:
                section.prompt_dictionary[request.locale] = slot
    if request.way == "own_slot":
        weight = model.prompt_kernel[0].weight
        first = weight.shape[1] - model.num_prompts
        with torch.no_grad():
            weight[:, first + slot] = weight[:, first + neighbour]


def set_tokenizer(model: Any, tokenizer: bytes, folder: Path) -> None:
    """Makes this the tokenizer that `save_to` will pack; `folder` has to live until then. The model itself stays tied to the old one: open what was saved.

    Its files are `vocab.txt` and `tokenizer.vocab` besides the SentencePiece model; nothing of NeMo 3.0 reads the two, but it packs them.
    """
    pieces = pieces_of(tokenizer)
    io.write_bytes(folder / "tokenizer.model", tokenizer)
    io.write_text(folder / "vocab.txt", "".join(f"{piece}\n" for piece, _ in pieces))
    io.write_text(folder / "tokenizer.vocab", "".join(f"{piece}\t{score:g}\n" for piece, score in pieces))
    before = model.cfg.tokenizer.dir
    # The first half of NeMo's change_vocabulary; the other half builds decoder, joint and loss anew (trap 3.15).
    model._setup_tokenizer(OmegaConf.create({"dir": str(folder), "type": "bpe"}))
    names = [piece for piece, _ in pieces]
    with open_dict(model.cfg):
        model.cfg.tokenizer.dir = before
        model.cfg.labels, model.cfg.joint.vocabulary = names, names


def slot_of(request: AddLocaleRequest, slots: Mapping[str, int]) -> int:
    """The neighbour's slot, or the one the dictionary has for the tag, or the first that no tag has. Raises `no_free_slot`."""
    if request.way == "alias":
        return slots[request.neighbour]
    if request.locale in slots:
        return slots[request.locale]
    free = sorted(set(range(request.num_prompts)) - set(slots.values()))
    if not free:
        raise NotReadyError("no_free_slot", f"all {request.num_prompts} prompt slots have a tag.",
                            next_step='call add_locale with way "alias", which re-uses the neighbour\'s slot.')  # fmt: skip
    return free[0]


if __name__ == "__main__":
    main(AddLocaleRequest, run)
