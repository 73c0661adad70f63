"""Candidates of a run: weights saved whole, ranked by a standalone streaming eval at the deployment latency, and the best one as `.nemo`.

In-training `val_wer` ranks checkpoints by an offline pass over raw text with random prompts (trap 3.6), and a run whose validation interval
is too long saves nothing at all (trap 3.5). Here a candidate is made at fixed integer steps and at the end, and its folder exists only
together with its score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from asrcore import io
from asrcore.model.decode import decode_manifest
from asrcore.model.surfaces import PlainTensors
from asrcore.model.tensor_file import read_tensor, tensor_names, write_tensors
from asrcore.requests import Candidate, CheckpointRef, TrainRequest
from asrcore.score.wer import score_wer

KEEP = 3
"""Candidates whose weights are kept besides the last one; `candidate.json` of all stays."""
WEIGHTS = "weights.safetensors"
RECORD = "candidate.json"
DECODE_BATCH = 32


def dev_error_rate(model: Any, request: TrainRequest, on_progress: Callable[[int], None]) -> float:
    """Normalised WER (CER for ja, zh, ko, th) of the dev manifest in percent: streaming decode at the request's att_context_size.

    Prompts as in deployment: `auto` when only `auto` is trained, else each utterance's own tag. Several locales: the mean of their rates.
    """
    training = model.training
    model.eval()
    try:
        mode = "auto" if request.prompt_mode == "auto" else "langID"
        hypotheses = decode_manifest(model, Path(request.dev.path), request.att_context_size, mode, DECODE_BATCH, on_progress)
    finally:
        model.train(training)
    rates: list[float] = []
    for locale in sorted({h.locale for h in hypotheses}):
        rows = [h for h in hypotheses if h.locale == locale]
        rates.append(score_wer([h.reference for h in rows], [h.text for h in rows], locale, normalised=True).percent)
    return sum(rates) / len(rates)


class CandidateStore:
    """The folder `candidates/` of one run."""

    def __init__(self, out: Path) -> None:
        self.folder = out / "candidates"

    def path(self, step: int) -> Path:
        return self.folder / f"step_{step}"

    def all(self) -> tuple[Candidate, ...]:
        """By step, pruned ones too."""
        records = (Candidate.model_validate_json(file.read_bytes()) for file in self.folder.glob(f"step_*/{RECORD}"))
        return tuple(sorted(records, key=lambda candidate: candidate.step))

    def add(self, model: Any, step: int, dev_wer: float, train_loss: float) -> Candidate:
        """Saves the weights with their score; an interrupted save leaves nothing. Then drops weights that are neither best nor newest."""
        candidate = Candidate(step=step, path=str(self.path(step)), dev_wer=dev_wer, train_loss=train_loss)
        with io.atomic_folder(self.path(step)) as part:
            write_tensors(part / WEIGHTS, PlainTensors(model))
            io.write_json(part / RECORD, candidate)
        self.prune()
        return candidate

    def best(self) -> Candidate:
        """The lowest dev error rate; of equals the earlier one, which has moved less from the base."""
        return min(self.all(), key=lambda candidate: (candidate.dev_wer, candidate.step))

    def prune(self) -> None:
        ranked = sorted(self.all(), key=lambda candidate: (candidate.dev_wer, candidate.step))
        newest = max(ranked, key=lambda candidate: candidate.step)
        for candidate in ranked[KEEP:]:
            if candidate.step != newest.step:
                (self.path(candidate.step) / WEIGHTS).unlink(missing_ok=True)

    def best_few(self) -> tuple[Candidate, ...]:
        """The up to `KEEP` best candidates, best first."""
        return tuple(sorted(self.all(), key=lambda candidate: (candidate.dev_wer, candidate.step))[:KEEP])

    def load(self, model: Any, candidates: tuple[Candidate, ...]) -> None:
        """Puts the mean of the candidates' weights into the model; of one candidate, its very weights."""
        own = model.state_dict()
        with torch.no_grad():
            for name, tensor in mean_tensors([self.path(candidate.step) / WEIGHTS for candidate in candidates]):
                own[name].copy_(tensor)


def mean_tensors(files: list[Path]) -> Iterator[tuple[str, Any]]:
    """Name and mean of each tensor of safetensors files with the same names; one of each file is in memory at a time."""
    for name in tensor_names(files[0]):
        yield name, mean_tensor([read_tensor(file, name) for file in files])


def mean_tensor(tensors: list[Any]) -> Any:
    """Mean in float64, in the tensors' own type; of integers (counters), which have no mean, the first."""
    first = tensors[0]
    if len(tensors) == 1 or not first.is_floating_point():
        return first
    total: Any = sum(tensor.double() for tensor in tensors)
    return (total / len(tensors)).to(first.dtype)


def write_nemo(model: Any, target: Path, name: str) -> CheckpointRef:
    """`.nemo` of the model's present weights with the base's own config, complete or not at all."""
    with io.atomic_file(target) as file:
        model.save_to(file.name)
    return CheckpointRef(name=name, path=str(target), sha256=io.sha256_file(target))
