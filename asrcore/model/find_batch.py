"""Child process `python -m asrcore.model.find_batch request.json`: tries training steps until the largest batch that fits is known.

NeMo's OOMptimizer (docs, "ASR datasets", 2D bucketing and OOMptimizer) does so for a model's declared input types; this class takes five inputs with the
prompt, which it does not know. Here a step is the trainer's own, on noise, with the optimiser's moments in place, all utterances as long as the
longest. Upwards from what the formulas say: twice as many while it fits, then the middle between what fits and what does not, to about 6 %.

Out of memory is what CUDA raises above the asked share of the GPU. On a CPU it is what the allocator raises at a limit of the process's data
(`RLIMIT_DATA`), so that the kernel has nobody to kill.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from asrcore.batch_requests import BatchRequest, BatchResult, Trial
from asrcore.checkpoint import read_checkpoint
from asrcore.fingerprint import check_ref, require_unchanged
from asrcore.jobs.child import Reporter, main
from asrcore.memory import Load, Moves, Network, largest_batch, training_memory
from asrcore.model.loader import Batch
from asrcore.model.restore import restore
from asrcore.model.surfaces import select
from asrcore.model.train_loop import Loop
from asrcore.model.train_ranks import ALONE, keep_apart

NARROW = 16
"""The search ends when what does not fit is at most a 16th above what does."""
STEPS = 2


def run(request: BatchRequest, reporter: Reporter) -> BatchResult:
    """Raises `fingerprint_mismatch`, and what opening the base raises. Writes nothing but its result."""
    started = time.monotonic()
    require_unchanged(check_ref(request.train.base), next_step="put the original file back, or plan_finetune again.")
    with Device.of(ALONE.device, request.memory_gb) as device:
        steps = Steps(request, device)
        tried: list[Trial] = []

        def fits(batch_size: int) -> bool:
            reporter.stop_if_asked()
            reporter.event("find_batch", len(tried), 0, f"two steps of {batch_size} utterances of {request.longest_seconds:.0f} s")
            tried.append(steps.trial(batch_size))
            return tried[-1].fits

        found = search(fits, steps.expected(), request.most)
    return BatchResult(
        device=device.name, base_sha256=request.train.base.sha256, surface=request.train.surface, averaged=request.train.ema_decay > 0,
        longest_seconds=request.longest_seconds, labels=request.labels, memory_gb=request.memory_gb, batch_size=found, tried=tuple(tried),
        seconds=round(time.monotonic() - started, 2),
    )  # fmt: skip


def search(fits: Callable[[int], bool], first: int, most: int) -> int:
    """The largest number from 1 to `most` that fits, to within a 16th; 0 when 1 does not. Larger ones are taken not to fit where a smaller one does not."""
    good, bad, now = 0, most + 1, min(max(1, first), most)
    while bad - good > max(1, good // NARROW):
        if fits(now):
            good = now
            now = min(2 * now, most) if bad > most else (good + bad) // 2
        else:
            bad = now
            now = (good + bad) // 2
    return good


class Steps:
    """The trainer's own steps on noise."""

    def __init__(self, request: BatchRequest, device: Device) -> None:
        self.request, self.device = request, device
        self.model: Any = restore(Path(request.train.base.path), device=ALONE.device)
        keep_apart(self.model)
        parameters = select(self.model, request.train.surface, request.train.seed).parameters
        self.loop = Loop(self.model, request.train, parameters)
        info = read_checkpoint(Path(request.train.base.path))
        self.network = Network(sum(p.numel() for p in self.model.parameters()), info.n_layers, info.d_model, info.vocabulary_size + 1)
        kept = {name.split(".")[2] for name in parameters if name.startswith("encoder.layers.")}
        self.moves = Moves(sum(p.numel() for p in parameters.values()), len(kept), any(name.startswith("encoder.pre_encode.") for name in parameters))

    def expected(self) -> int:
        """What the formulas say."""
        request = self.request
        return largest_batch(self.network, self.moves, request.longest_seconds, request.labels, request.memory_gb * 1e9 - self.device.other_bytes,
                             bf16=self.loop.precision.bf16, averaged=request.train.ema_decay > 0)  # fmt: skip

    def trial(self, batch_size: int) -> Trial:
        request = self.request
        load = Load(batch_size, request.longest_seconds, request.labels)
        expected = training_memory(self.network, self.moves, load, bf16=self.loop.precision.bf16, averaged=request.train.ema_decay > 0).training
        self.device.begin()
        fits = True
        try:
            for _ in range(STEPS):
                self.loop.step(self.noise(batch_size))
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            fits = False
        self.loop.optimiser.zero_grad(set_to_none=True)
        peak = self.device.peak()
        return Trial(batch_size=batch_size, fits=fits, peak_gb=round(peak / 1e9, 3), predicted_gb=round((expected + self.device.other_bytes) / 1e9, 3))

    def noise(self, rows: int) -> Batch:
        request, samples = self.request, int(self.request.longest_seconds * int(self.model.cfg.sample_rate))
        return Batch(
            audio=torch.randn(rows, samples) * 0.05, audio_lens=torch.full((rows,), samples), tokens=torch.randint(1, self.network.classes - 1, (rows, request.labels)),
            token_lens=torch.full((rows,), request.labels), slots=torch.zeros(rows, dtype=torch.long), sources=("noise",) * rows, locales=("",) * rows,
            seconds=(request.longest_seconds,) * rows,
        )  # fmt: skip


def out_of_memory(error: BaseException) -> bool:
    """CUDA's own error, Python's, and the one that torch's CPU allocator has no class for."""
    return isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


class Device:
    """What is asked of the memory a step runs in. `other_bytes`: what a process holds there before it has a model."""

    name = "cpu"
    other_bytes = 0.0

    @staticmethod
    def of(device: str, memory_gb: float) -> Device:
        return Cuda(memory_gb) if device.startswith("cuda") else Cpu(memory_gb)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None: ...

    def begin(self) -> None:
        """Forgets the peak so far."""
        raise NotImplementedError

    def peak(self) -> float:
        raise NotImplementedError


class Cuda(Device):
    """The allocator of this process on its GPU, held to a share of the memory."""

    def __init__(self, memory_gb: float) -> None:
        self.name = torch.cuda.get_device_name()
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, memory_gb * 1e9 / total))

    def __exit__(self, *_: object) -> None:
        torch.cuda.set_per_process_memory_fraction(1.0)

    def begin(self) -> None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def peak(self) -> float:
        return float(torch.cuda.max_memory_allocated())


class Cpu(Device):
    """Resident memory of this process; its data may grow to `memory_gb`."""

    def __init__(self, memory_gb: float) -> None:
        self.limit, self.before = int(memory_gb * 1e9), resource.getrlimit(resource.RLIMIT_DATA)
        self.other_bytes = self.peak()

    def __enter__(self) -> Device:
        hard = self.before[1]
        resource.setrlimit(resource.RLIMIT_DATA, (self.limit if hard == resource.RLIM_INFINITY else min(self.limit, hard), hard))
        return self

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_DATA, self.before)

    def begin(self) -> None:
        # 5 resets the peak of resident memory (man 5 proc, clear_refs).
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peak(self) -> float:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main(BatchRequest, run)
