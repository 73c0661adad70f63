"""One training in several processes, one a GPU (or a share of a CPU): who this process is, what all agree on, how gradients become one.

torchrun starts the same module once a rank and says who is who in the environment. Every rank reads the same stream of global batches and
trains on its own rows of each (asrcore/model/loader.py), so N ranks take the steps that one process with the same `batch_size` takes, to
rounding. Each weighs its loss by its share of the rows; the sum of the gradients is then the mean over all rows, also where shares differ.
Only rank 0 writes, scores and decides; the others wait for what it made. Source of the method: Li et al. 2020, arXiv:2006.15704, section 2.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from asrcore.errors import EnvironmentFault, Stopped, ToolFault
from asrcore.jobs.child import rank_of

T = TypeVar("T")

PIECE = 16_000_000
"""Numbers in one sum over the ranks: 64 MB in fp32, so that the copy stays small beside the model."""
WAIT = timedelta(hours=12)
"""Ranks wait for rank 0 through a whole dev eval. A rank that died is noticed at once, by torchrun, and not by this."""
_SEED_STEP = 1 << 40


@dataclass(frozen=True)
class Ranks:
    """Place of this process among `world_size`, which share the work of one run. Alone, every call is what it would be without it."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def of_environment(cls, source: Mapping[str, str] | None = None) -> Ranks:
        """As torchrun set it; alone without torchrun."""
        source = os.environ if source is None else source
        return cls(rank_of(source), int(source.get("WORLD_SIZE", "1")), int(source.get("LOCAL_RANK", "0")))

    @contextmanager
    def together(self) -> Generator[None]:
        """Joins the other ranks. Raises `too_few_gpus`. After an error nobody takes leave: torchrun ends whoever still waits."""
        if self.world_size == 1:
            yield
            return
        cuda = torch.cuda.is_available()
        if cuda and self.local_rank >= torch.cuda.device_count():
            raise EnvironmentFault("too_few_gpus", f"{self.world_size} processes were started, and this machine shows {torch.cuda.device_count()} GPU(s).",
                                   next_step="ask the person to set processes under [torchrun] (or gpus of the cluster) to that number, then resume_job.")  # fmt: skip
        if cuda:
            torch.cuda.set_device(self.local_rank)
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=WAIT)
        yield
        dist.destroy_process_group()

    @property
    def device(self) -> str:
        return f"cuda:{self.local_rank}" if torch.cuda.is_available() else "cpu"

    def rows(self, rows: Sequence[T]) -> Sequence[T]:
        """This rank's rows of a global batch: every `world_size`-th, so that the parts differ by one row at most."""
        return rows[self.rank :: self.world_size]

    def seed(self, seed: int) -> int:
        """A seed of this rank's own; rank 0 keeps the one it was given."""
        return (seed + self.rank * _SEED_STEP) % 2**63

    def first(self, work: Callable[[], T]) -> T:
        """What rank 0 made of `work`, in every rank; the others wait. Where rank 0 stops or fails, it raises that, and the others `Stopped`."""
        if self.world_size == 1:
            return work()
        failure: BaseException | None = None
        made: list[Any] = [None, False]
        if self.rank == 0:
            try:
                made = [work(), True]
            except BaseException as error:  # noqa: BLE001 - the others must not wait for ever
                failure = error
        dist.broadcast_object_list(made, src=0, device=torch.device("cpu"))
        if failure is not None:
            raise failure
        if not made[1]:
            raise Stopped
        return made[0]

    def any(self, flag: bool) -> bool:
        """Whether one of the ranks says yes; all learn it at the same step, so none runs ahead."""
        if self.world_size == 1:
            return flag
        vote = torch.tensor([float(flag)])
        dist.all_reduce(vote, op=dist.ReduceOp.MAX)
        return bool(vote.item())

    def sum(self, value: float) -> float:
        if self.world_size == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(total)
        return float(total.item())

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Adds up the gradients of all ranks, in place. A parameter that no rank used keeps none, so the optimiser leaves it alone as it would here."""
        if self.world_size == 1:
            return
        parameters = list(parameters)
        used = torch.tensor([float(p.grad is not None) for p in parameters])
        dist.all_reduce(used, op=dist.ReduceOp.MAX)
        for piece in pieces([p for p, u in zip(parameters, used.tolist(), strict=True) if u]):
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in piece])
            dist.all_reduce(flat)
            for parameter, part in zip(piece, flat.split([p.numel() for p in piece]), strict=True):
                parameter.grad = part.view_as(parameter).clone()

    def require_same(self, tensors: Iterable[Tensor]) -> None:
        """Raises `ranks_diverged` unless every rank holds the same weights, by the sum of each tensor in float64."""
        if self.world_size == 1:
            return
        sums = torch.stack([t.detach().double().sum().cpu() for t in tensors])
        low, high = sums.clone(), sums.clone()
        dist.all_reduce(low, op=dist.ReduceOp.MIN)
        dist.all_reduce(high, op=dist.ReduceOp.MAX)
        if not torch.equal(low, high):
            raise ToolFault("ranks_diverged", f"the processes of this run hold different weights in {int((low != high).sum())} tensor(s).",
                            next_step="plan again and launch with backend local; report this with the job's log.")  # fmt: skip


def keep_apart(model: Any) -> None:
    """NeMo's encoder asks all ranks for the longest input in every forward pass; rank 0, alone in a dev eval, would wait for ever (trap 3.19).

    It only sizes a table of positions, which each rank can do for itself (NeMo 3.0, conformer_encoder.py, update_max_seq_length).
    """
    model.encoder.sync_max_audio_length = False


def pieces(tensors: Sequence[Tensor], limit: int = PIECE) -> list[list[Tensor]]:
    """In order, as many at a time as hold up to `limit` numbers, at least one."""
    found: list[list[Tensor]] = []
    held = limit
    for tensor in tensors:
        if held + tensor.numel() > limit:
            found.append([])
            held = 0
        found[-1].append(tensor)
        held += tensor.numel()
    return found


ALONE = Ranks()
