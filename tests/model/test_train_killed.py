"""SIGKILL in the middle of a training, at a random write or step: the next attempt ends with the run that nobody killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asrcore import io
from asrcore.requests import Candidate, TrainRequest, TrainResult
from tests.model.runs import Bench, weights

pytestmark = [pytest.mark.heavy, pytest.mark.slow]

KILLED_AT = """
import os, signal, sys
from asrcore.jobs.child import main
from asrcore.model import train
from asrcore.model.train_loop import Loop
from asrcore.requests import TrainRequest

left = int(sys.argv[2])

def counted(original):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)
    return call

os.fsync, os.replace, Loop.step = counted(os.fsync), counted(os.replace), counted(Loop.step)
main(TrainRequest, train.run, [sys.argv[1]])
"""
MOMENTS = 28
"""Steps, fsyncs and renames of the run below before its last candidate; each may be its last."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("killed"))


def attempt(request: TrainRequest, folder: Path, kill_at: int) -> int:
    """Exit code of one attempt in a process of its own; it kills itself at its `kill_at`-th moment (0: never)."""
    path = folder / "request.json"
    io.write_json(path, request)
    with open(folder / "log.txt", "ab") as log:
        return subprocess.run([sys.executable, "-c", KILLED_AT, str(path), str(kill_at)], stdout=log, stderr=log, check=False,
                              env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(bench: Bench) -> TrainResult:
    folder = bench.folder / "whole.job"
    folder.mkdir()
    assert attempt(bench.request("whole", max_steps=8, candidate_every=2), folder, 0) == 0
    return TrainResult.model_validate_json((folder / "result.json").read_bytes())


@pytest.mark.parametrize("seed", range(10))
def test_a_run_killed_twice_at_random_moments_ends_like_one_that_was_not(bench: Bench, undisturbed: TrainResult, seed: int) -> None:
    """Trap 3.21: nothing is repeated, skipped or half-written."""
    import torch

    rng = random.Random(seed)
    folder = bench.folder / f"killed_{seed}.job"
    folder.mkdir()
    request = bench.request(f"killed_{seed}", max_steps=8, candidate_every=2)
    for _ in range(2):
        assert attempt(request, folder, rng.randint(1, MOMENTS)) == -signal.SIGKILL
        for record in Path(request.out).glob("candidates/step_*/candidate.json"):
            Candidate.model_validate_json(record.read_bytes())
            assert weights(record.parent)
    assert attempt(request, folder, 0) == 0
    result = TrainResult.model_validate_json((folder / "result.json").read_bytes())
    assert (result.steps, result.consumed, result.best_step) == (8, undisturbed.consumed, undisturbed.best_step)
    assert [c.dev_wer for c in result.candidates] == [c.dev_wer for c in undisturbed.candidates]
    expected, found = (weights(Path(one.candidates[-1].path)) for one in (undisturbed, result))
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    assert not list(Path(request.out).rglob("*.part*"))
