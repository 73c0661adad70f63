"""Child process `python -m asrcore.model.blend request.json`: checkpoints between a base and the mean of tuned ones.

Weights are interpolated tensor by tensor, base + alpha * (mean of the tuned - base): a smaller alpha gives back what the other languages lost
and some of the gain (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903); alpha 1 of several candidates is their average (model soups,
arXiv 2203.05482). Only checkpoints of one family can be mixed: same tensors, same tokenizer, same prompt dictionary.
"""

from __future__ import annotations

import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from asrcore import io
from asrcore.checkpoint import read_checkpoint, tokenizer_bytes
from asrcore.errors import NotReadyError, Problem
from asrcore.fingerprint import check_ref, require_unchanged
from asrcore.jobs.child import Reporter, main
from asrcore.model.blend_gate import choose
from asrcore.model.candidates import write_nemo
from asrcore.model.restore import restore
from asrcore.requests import Blend, BlendRequest, BlendResult, CheckpointRef

WEIGHTS_MEMBER = "model_weights.ckpt"


def run(request: BlendRequest, reporter: Reporter) -> BlendResult:
    """Raises `fingerprint_mismatch`, `blend_mismatch`, `disk_full`, and with guards what evals and the replay check raise."""
    started, alphas, out = time.monotonic(), sorted(set(request.alphas)), Path(request.out)
    reporter.event("blend", 0, len(alphas), "compare the checkpoints")
    require_unchanged(
        [p for ref in (request.base, *request.tuned) for p in check_ref(ref)], next_step="put the original files back and blend again."
    )
    _require_one_family(request)
    if not out.exists():  # an attempt that died after this point has left it whole
        write_blends(request, alphas, out, reporter)
    blends = tuple(
        Blend(
            alpha=alpha, base=request.base, tuned=request.tuned,
            checkpoint=CheckpointRef(name=f"alpha {alpha:g}", path=str(file_of(out, alpha)), sha256=io.sha256_file(file_of(out, alpha))),
        )
        for alpha in alphas
    )  # fmt: skip
    guarded, cells = choose(blends, request.guards, reporter) if request.guards is not None else ((), ())
    chosen = next((one.blend_id for one in guarded if one.verdict == "kept"), None)
    return BlendResult(blends=blends, chosen=chosen, guarded=guarded, cells=cells, seconds=round(time.monotonic() - started, 2))


def write_blends(request: BlendRequest, alphas: list[float], out: Path, reporter: Reporter) -> None:
    """One `.nemo` for each alpha in `out`, which appears as a whole."""
    io.require_disk(out.parent, (len(alphas) + 1) * Path(request.base.path).stat().st_size)
    model = restore(Path(request.base.path))
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    mean = mean_of(request.tuned, base)
    with io.atomic_folder(out) as part:
        for number, alpha in enumerate(alphas, start=1):
            reporter.stop_if_asked()
            with torch.no_grad():
                for name, tensor in model.state_dict().items():
                    tensor.copy_(between(base[name], mean[name], alpha))
            write_nemo(model, file_of(part, alpha), f"alpha {alpha:g}")
            reporter.event("blend", number, len(alphas), f"alpha {alpha:g} written")


def file_of(folder: Path, alpha: float) -> Path:
    return folder / f"alpha_{alpha:g}.nemo"


def between(base: torch.Tensor, tuned: torch.Tensor, alpha: float) -> torch.Tensor:
    """base + alpha * (tuned - base) in float64, in base's type. The ends are exact copies; integers are the base's below alpha 1."""
    if alpha == 1.0:
        return tuned
    if not base.is_floating_point():
        return base
    return torch.lerp(base.double(), tuned.double(), alpha).to(base.dtype)


def mean_of(refs: Sequence[CheckpointRef], base: dict[str, Any]) -> dict[str, Any]:
    """Mean of the tuned checkpoints, summed in float64 in their order; of integers (counters), which have no mean, the first one's.

    One checkpoint is in memory at a time, besides the sum. Raises `blend_mismatch` for all whose tensors are not the base's.
    """
    total: dict[str, Any] = {}
    problems: list[Problem] = []
    for ref in refs:
        weights = read_weights(Path(ref.path))
        if weights.keys() != base.keys() or any(weights[name].shape != tensor.shape for name, tensor in base.items()):
            problems.append(_differs(ref, "set of tensors"))
        elif len(refs) == 1:
            total = weights
        elif not problems:
            for name, tensor in weights.items():
                if not tensor.is_floating_point():
                    total.setdefault(name, tensor)
                else:
                    total[name] = total[name] + tensor.double() if name in total else tensor.double()
    _refuse(problems)
    if len(refs) > 1:
        for name, tensor in total.items():
            if tensor.is_floating_point():
                total[name] = (tensor / len(refs)).to(base[name].dtype)
    return total


def read_weights(path: Path) -> dict[str, Any]:
    """The tensors of a `.nemo`, read where they lie in the archive, without unpickling anything but tensors."""
    with tarfile.open(path) as archive:
        member = next((m for m in archive if Path(m.name).name == WEIGHTS_MEMBER and m.isfile()), None)
        file = archive.extractfile(member) if member is not None else None
        if file is None:
            raise NotReadyError(
                "checkpoint_not_nemo", f"{path} holds no {WEIGHTS_MEMBER}.", next_step="pass a .nemo that NeMo or asrtune saved."
            )
        return torch.load(file, map_location="cpu", weights_only=True)


def _require_one_family(request: BlendRequest) -> None:
    first, tokenizer = read_checkpoint(Path(request.base.path)), tokenizer_bytes(Path(request.base.path))
    problems: list[Problem] = []
    for ref in request.tuned:
        other = read_checkpoint(Path(ref.path))
        differs = [
            what for what, same in (
                ("prompt dictionary", other.prompt_dictionary == first.prompt_dictionary),
                ("tokenizer", tokenizer_bytes(Path(ref.path)) == tokenizer),
                ("encoder size", (other.n_layers, other.d_model) == (first.n_layers, first.d_model)),
            ) if not same
        ]  # fmt: skip
        problems += [_differs(ref, what) for what in differs]
    _refuse(problems)


def _differs(ref: CheckpointRef, what: str) -> Problem:
    return Problem(
        code="blend_mismatch", message=f"its {what} is not the base's", file=ref.path, fix="blend only checkpoints tuned from this base"
    )


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise NotReadyError("blend_mismatch", f"the checkpoints cannot be mixed: {len(problems)} difference(s) that weights cannot bridge.",
                            next_step="call blend_checkpoints with a base and runs that were tuned from it.", problems=problems)  # fmt: skip


if __name__ == "__main__":
    main(BlendRequest, run)
