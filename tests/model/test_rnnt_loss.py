"""The CPU RNNT loss against NeMo's numba loss: value and gradient."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("fastemit", [0.0, 0.005])
@pytest.mark.parametrize("shape", [(1, 1, 0, 5), (2, 7, 3, 11), (3, 4, 9, 30), (4, 20, 12, 65)])
def test_value_and_gradient_equal_nemos(shape: tuple[int, int, int, int], fastemit: float) -> None:
    """Shapes are (B, T, U, V); (3, 4, 9, 30) has more tokens than frames, which a transducer allows."""
    import torch
    from nemo.collections.asr.losses.rnnt import resolve_rnnt_loss

    from asrcore.model.rnnt_loss import rnnt_loss

    batch, frames, labels, vocabulary = shape
    generator = torch.Generator().manual_seed(sum(shape))
    logits = torch.randn(batch, frames, labels + 1, vocabulary, generator=generator)
    targets = torch.randint(0, vocabulary - 1, (batch, labels), generator=generator)
    frame_lengths = torch.randint(max(1, frames // 2), frames + 1, (batch,), generator=generator)
    label_lengths = torch.randint(0, labels + 1, (batch,), generator=generator)
    frame_lengths[0], label_lengths[0] = frames, labels

    ours = logits.clone().requires_grad_()
    value = rnnt_loss(ours, targets, frame_lengths, label_lengths, vocabulary - 1, fastemit)
    value.sum().backward()
    theirs = logits.clone().requires_grad_()
    nemo = resolve_rnnt_loss("warprnnt_numba", vocabulary - 1, {"fastemit_lambda": fastemit, "clamp": -1.0})
    expected = nemo(theirs, targets, frame_lengths, label_lengths)
    expected.sum().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(value, expected.reshape(-1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_padding_does_not_reach_the_loss() -> None:
    import torch

    from asrcore.model.rnnt_loss import rnnt_loss

    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(1, 6, 4, 9, generator=generator)
    targets = torch.randint(0, 8, (1, 3), generator=generator)
    alone = rnnt_loss(logits, targets, torch.tensor([6]), torch.tensor([3]), blank=8)
    wide = torch.randn(1, 9, 7, 9, generator=generator)
    wide[:, :6, :4] = logits
    padded = rnnt_loss(wide, torch.cat([targets, targets], 1), torch.tensor([6]), torch.tensor([3]), blank=8)
    torch.testing.assert_close(alone, padded)


@pytest.mark.parametrize(
    ("frames", "labels", "token", "said"),
    [(0, 2, 3, "frames are not in 1 to 6"), (7, 2, 3, "frames are not"), (6, 4, 3, "labels are not in 0 to 3"), (6, 3, 8, "a label is blank"), (6, 3, -1, "a label is")],
)
def test_what_has_no_loss_is_refused_and_not_computed(frames: int, labels: int, token: int, said: str) -> None:
    """Trap 3.18: an empty clip or a length from elsewhere would give a number too."""
    import torch

    from asrcore.errors import ToolFault
    from asrcore.model.rnnt_loss import rnnt_loss

    with pytest.raises(ToolFault, match=rf"loss_input_invalid.*{said}"):
        rnnt_loss(torch.zeros(1, 6, 4, 9), torch.tensor([[1, 2, token]]), torch.tensor([frames]), torch.tensor([labels]), blank=8)


def test_a_label_behind_the_end_is_padding_whatever_it_holds() -> None:
    import torch

    from asrcore.model.rnnt_loss import rnnt_loss

    logits = torch.randn(1, 6, 4, 9, generator=torch.Generator().manual_seed(2))
    first, second = (rnnt_loss(logits, torch.tensor([[1, 2, last]]), torch.tensor([6]), torch.tensor([2]), blank=8) for last in (8, 0))
    assert torch.equal(first, second)
