"""An exponential moving average of the trained weights (Polyak and Juditsky 1992; with the warm-up of TensorFlow's ExponentialMovingAverage).

With a decay every candidate is the average and not the last step's weights; the optimiser goes on from the latter. A few hundred steps of a
small rate move so little that it rarely matters; long runs at a high rate are what it is for.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch


class MovingAverage:
    """The average of `trainable`; with decay 0 it holds nothing and changes nothing."""

    def __init__(self, trainable: Mapping[str, Any], decay: float) -> None:
        self.trainable, self.decay = trainable, decay
        self.tensors: dict[str, torch.Tensor] = {name: p.detach().clone() for name, p in trainable.items()} if decay else {}

    def update(self, step: int) -> None:
        """Takes in the weights after `step` (from 1). Early steps count more, so that the base does not linger: decay min(d, (1 + n) / (10 + n))."""
        if self.tensors:
            decay = min(self.decay, (1 + step) / (10 + step))
            with torch.no_grad():
                for name, average in self.tensors.items():
                    average.lerp_(self.trainable[name], 1 - decay)

    @contextmanager
    def in_place(self) -> Generator[None]:
        """The average stands in the model's parameters; afterwards the trained weights again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        with torch.no_grad():
            for name, average in self.tensors.items():
                kept = self.trainable[name].detach().clone()
                self.trainable[name].copy_(average)
                average.copy_(kept)
