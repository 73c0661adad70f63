"""Trap 3.17: a batch size that typical clips fit into runs out of GPU memory when the rare long ones come, many good steps later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asrcore.batch_requests import BatchRequest
from tests.model.runs import Bench, Watch
from tests.traps.stock import restored, trap

pytestmark = [pytest.mark.heavy, pytest.mark.slow]

MEMORY_GB = 2.0
"""What the allocator may hold. By asrcore.memory 32 clips of 2 s need about 0.4 GB of it, and 32 of 30 s about 9 GB."""
BATCH, TYPICAL, LONGEST, LABELS_A_SECOND = 32, 2.0, 30.0, 3.3


@pytest.fixture
def gpu() -> Iterator[None]:
    """A GPU whose allocator is held to `MEMORY_GB`."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(MEMORY_GB * 1e9 / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def stock_step(model: Any, clips: int, seconds: float) -> None:
    """Forward and backward pass as NeMo 3.0's `training_step` of this class does them, on noise, without what it logs."""
    import torch

    device, samples, labels = model.device, int(seconds * 16_000), max(1, int(seconds * LABELS_A_SECOND))
    lengths = torch.full((clips,), samples, device=device)
    targets, target_lengths = torch.randint(1, 600, (clips, labels), device=device), torch.full((clips,), labels, device=device)
    encoded, encoded_lengths = model(
        input_signal=0.05 * torch.randn(clips, samples, device=device), input_signal_length=lengths, prompt_indices=torch.zeros(clips, dtype=torch.long, device=device)
    )
    predicted, target_lengths, _ = model.decoder(targets=targets, target_length=target_lengths)
    if model.joint.fuse_loss_wer:
        loss = model.joint(encoder_outputs=encoded, decoder_outputs=predicted, encoder_lengths=encoded_lengths, transcripts=targets,
                           transcript_lengths=target_lengths, compute_wer=False)[0]  # fmt: skip
    else:
        joint = model.joint(encoder_outputs=encoded, decoder_outputs=predicted)
        loss = model.loss(log_probs=joint, targets=targets, input_lengths=encoded_lengths, target_lengths=target_lengths)
    loss.backward()
    model.zero_grad(set_to_none=True)


@trap("3.17", "nothing tells how long a batch may get, and it was tried on typical ones")
def test_a_batch_size_that_typical_clips_fit_into_holds_the_longest_too(gpu: None) -> None:
    import torch

    model = restored().train().cuda()
    for _ in range(3):
        stock_step(model, BATCH, TYPICAL)
    try:
        stock_step(model, BATCH, LONGEST)
    except torch.OutOfMemoryError:
        fits = False
    else:
        fits = True
    assert fits


def test_the_batch_that_was_searched_for_holds_the_longest_again_and_again(gpu: None, tmp_path: Path) -> None:
    from asrcore.model import find_batch

    labels = int(LONGEST * LABELS_A_SECOND)
    request = BatchRequest(train=Bench(tmp_path).request("search"), longest_seconds=LONGEST, labels=labels, memory_gb=MEMORY_GB, most=BATCH)
    found = find_batch.run(request, Watch(tmp_path / "job"))
    assert found.device != "cpu"
    assert 1 <= found.batch_size < BATCH
    with find_batch.Device.of("cuda:0", MEMORY_GB) as device:
        steps = find_batch.Steps(request, device)
        assert all(steps.trial(found.batch_size).fits for _ in range(3))
