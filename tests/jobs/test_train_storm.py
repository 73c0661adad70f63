"""Twenty real trainings of the embedded base, launched by a server, a shell or a Python program, each hit up to three times at random moments.

Whoever is killed, the run that is finished in the end is the run that nobody killed: same data consumed, same scores, same weights.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from asrcore.errors import NotReadyError
from asrcore.jobs import ENDED, JobView, Ledger, get_job, list_jobs, resume_job
from asrcore.recipe import FinetuneSpec, Plan, launch_plan, make_plan
from asrcore.requests import TrainResult
from asrcore.workspace import Workspace
from tests.jobs.conftest import Jobs
from tests.jobs.storm import Surface, finished, left_running, strike, zombies
from tests.recipe.corpora import build, corpus

pytestmark = [pytest.mark.heavy, pytest.mark.slow]

TRIALS = 20
STEPS = 6


class Undisturbed(NamedTuple):
    result: TrainResult
    seconds: float
    """From its launch to its end."""


@pytest.fixture(autouse=True)
def patient(jobs: Jobs) -> None:
    jobs.waits = 900


def planned(ws: Workspace) -> Plan:
    """The same plan in every workspace: two candidates, the second at the end."""
    folder = ws.base_folder
    shards = build(ws, [corpus(folder, "greek", "el-GR", 10)], [corpus(folder, "bulgarian", "bg-BG", 6)], share=0.4)
    dev = corpus(folder, "dev", "el-GR", 2, seed=1)
    plan = make_plan(FinetuneSpec(shards_id=shards.shards_id, dev_manifest=str(dev), max_steps=STEPS, batch_size=4), ws).plan
    request = plan.request.model_copy(update={"candidate_every": STEPS // 2})
    plan = plan.model_copy(update={"request": request})
    Ledger.open(ws).put("plan", plan.summary.plan_id, plan)
    return plan


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    jobs = Jobs(Workspace.open(tmp_path_factory.mktemp("undisturbed")))
    jobs.waits = 900
    started = time.monotonic()
    view = jobs.ended(launch_plan(jobs.ws, planned(jobs.ws).summary.plan_id).job_id)
    assert view.state == "succeeded", view
    return Undisturbed(TrainResult.model_validate(view.result), time.monotonic() - started)


def weights(result: TrainResult) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(Path(result.candidates[-1].path) / "weights.safetensors")


def let_pass(jobs: Jobs, job_id: str, seconds: float) -> JobView:
    """The job after so long, or at its end."""
    until = time.monotonic() + seconds
    view = get_job(jobs.ws, job_id)
    while view.state not in ENDED and (left := until - time.monotonic()) > 0:
        view = get_job(jobs.ws, job_id, wait_s=min(left, 45.0), wake_on_event=False)
    return view


@pytest.mark.parametrize("seed", range(TRIALS), ids=lambda seed: f"seed_{seed}_")
def test_a_real_training_hit_at_random_moments_ends_as_the_run_that_nobody_hit(
    jobs: Jobs, surface: Callable[..., Surface], tally: Counter[str], undisturbed: Undisturbed, seed: int
) -> None:
    import numpy as np

    rng = random.Random(seed)
    plan = planned(jobs.ws)
    plan_id = plan.summary.plan_id
    opened = surface(("mcp", "cli")[seed % 2], plan, module="asrtune") if seed % 3 else None
    if opened is not None and seed % 2 == 0:
        opened.ask_for_launch()
    if opened is None:
        launch_plan(jobs.ws, plan_id)
    victims = ["surface", "supervisor", "child", "both", "all"]
    for number in range(rng.randint(1, 3)):
        victim = victims[(seed + number) % len(victims)]
        known = list_jobs(jobs.ws)
        if opened is not None and not known:
            opened.wait(rng.uniform(0.0, undisturbed.seconds / 4))
        elif known:
            let_pass(jobs, known[0].job_id, rng.uniform(0.0, undisturbed.seconds))
        if opened is not None and victim in ("surface", "all"):
            tally[("mcp", "cli")[seed % 2]] += opened.kill()
            opened = None
        for view in list_jobs(jobs.ws):
            strike(jobs, view.job_id, {"surface": "nobody", "all": "both"}.get(victim, victim), tally)
        known = list_jobs(jobs.ws)
        view = launch_plan(jobs.ws, plan_id) if not known else let_pass(jobs, known[0].job_id, 1.0)
        if view.state in ENDED and view.state != "succeeded":
            with contextlib.suppress(NotReadyError):  # a shell that still lives was faster
                resume_job(jobs.ws, view.job_id)
    if opened is not None:
        opened.kill()
    view = finished(jobs, launch_plan(jobs.ws, plan_id).job_id)
    result = TrainResult.model_validate(view.result)
    assert [known.job_id for known in list_jobs(jobs.ws)] == [view.job_id]
    assert [row.id for row in Ledger.open(jobs.ws).list("run")] == [plan.request.run_id]
    assert (result.steps, result.consumed, result.best_step) == (STEPS, undisturbed.result.consumed, undisturbed.result.best_step)
    assert [one.dev_wer for one in result.candidates] == [one.dev_wer for one in undisturbed.result.candidates]
    expected, found = weights(undisturbed.result), weights(result)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(tensor, found[name]) for name, tensor in expected.items())
    assert not list(Path(plan.request.out).rglob("*.part*"))
    assert zombies() == []
    assert left_running(jobs.ws.home) == []
    shutil.rmtree(plan.request.out)  # 20 runs of weights would fill a small disk
