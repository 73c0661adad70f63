"""The stock paths on which traps are shown: NeMo's model as its fine-tuning script opens it, NeMo's loader, and Lightning runs of a module with one number.

A test that shows one asserts what a user would expect, and is marked with `trap`: it has to fail, or the trap is gone and its guard can go too.
"""

from __future__ import annotations

import logging
import warnings
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from asrcore.checkpoint import embedded_base


def trap(number: str, what: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(strict=True, raises=AssertionError, reason=f"trap {number}: {what}")


@cache
def embedded() -> Any:
    """The embedded base by NeMo's own `restore_from`. One for all tests of a process: they must not change it."""
    return restored()


def restored() -> Any:
    from nemo.collections.asr.models import ASRModel
    from nemo.utils import logging as nemo_logging

    nemo_logging.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ASRModel.restore_from(str(embedded_base()), map_location="cpu")


def prompt_dataset(model: Any, **settings: Any) -> Any:
    """NeMo's dataset of this model class under its default settings, but for those given."""
    from nemo.collections.asr.data.audio_to_text_lhotse_prompt_index import LhotseSpeechToTextBpeDatasetWithPromptIndex

    prompts = dict(model.cfg.model_defaults.prompt_dictionary)
    return LhotseSpeechToTextBpeDatasetWithPromptIndex(model.tokenizer, {"prompt_dictionary": prompts, **settings})


class Fitted(NamedTuple):
    """`weight` counts the optimiser steps that the module's last state has behind it; `saved` are checkpoint files."""

    rows_seen: list[int]
    weight: float
    saved: list[Path]


def fit(folder: Path, *, rows: int, **trainer: Any) -> Fitted:
    """Lightning's Trainer on `rows` batches of one row, with a checkpoint callback that keeps the best by validation. Each step adds one to the module's
    only weight, and validation likes 1 best."""
    import lightning.pytorch as lightning
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint

    seen: list[int] = []

    class OneNumber(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def training_step(self, batch: Any, index: int) -> Any:
            seen.append(int(batch))
            return -self.weight

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", (self.weight - 1).abs())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=1.0)

    module, best = OneNumber(), ModelCheckpoint(folder / "checkpoints", monitor="val_loss")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runner = lightning.Trainer(accelerator="cpu", devices=1, logger=False, callbacks=[best], enable_progress_bar=False, enable_model_summary=False,
                                   num_sanity_val_steps=0, default_root_dir=folder, **trainer)  # fmt: skip
        runner.fit(module, torch.utils.data.DataLoader(range(rows)), torch.utils.data.DataLoader(range(1)))  # pyright: ignore[reportArgumentType]
    return Fitted(seen, float(module.weight.detach()), sorted((folder / "checkpoints").glob("*.ckpt")))
