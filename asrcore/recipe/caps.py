"""What a launched plan may really use: the supervisor stops the run there, whatever was estimated.

Without a yes the caps are the person's limits themselves. With one they are what the person was shown: the hours that a cluster's time limit
allows, or twice the estimate here, which is rough. The larger of limit and yes counts; a limit that is not set is no cap.
"""

from __future__ import annotations

import math

from asrcore.jobs import Limits
from asrcore.jobs.backends import CLUSTERS, settings_of
from asrcore.recipe.approval import is_paid, over_on
from asrcore.recipe.spec import Plan
from asrcore.workspace import BackendName, Config

MARGIN = 2.0
"""An approved run may take so many times the hours that were shown."""


def caps_of(plan: Plan, config: Config, backend: BackendName) -> Limits:
    """For a launch that needs no approval or has it."""
    budgets, estimates = config.budgets, plan.summary.estimates
    if backend in CLUSTERS:
        cluster = settings_of(config, backend)
        shown, gpus = cluster.time_hours, cluster.gpus
    else:
        shown, gpus = math.inf if estimates.seconds is None else MARGIN * estimates.seconds / 3600, estimates.gpus
    said_yes = shown if over_on(plan, config, backend) else 0.0
    hours = math.inf if budgets.max_run_hours is None else max(budgets.max_run_hours, said_yes)
    gpu_hours = max(budgets.max_gpu_hours, said_yes * gpus) if gpus and is_paid(plan, config, backend) else math.inf
    return Limits(
        walltime_s=3600 * hours if math.isfinite(hours) else None, gpu_hours=gpu_hours if math.isfinite(gpu_hours) else None,
        memory_gb=0.0 if backend in CLUSTERS else estimates.memory_gb, disk_gb=estimates.disk_gb,
    )  # fmt: skip
