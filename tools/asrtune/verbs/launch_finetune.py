"""Start the training that a plan describes, as a job, and answer at once with its job_id.
Use it when a plan from plan_finetune is agreed; what is trained comes from the plan_id alone, so what runs is what was shown.
backend says where, among those that asrtune.toml allows: this machine, a Slurm cluster, a cloud or Kubernetes through SkyPilot; the states are the same everywhere.
It refuses when the base, the dev manifest or a shard has changed since the plan; the same plan again finds the same run, and force_new trains it anew.
The job proves itself in its first steps, scores candidates by streaming decode of the dev set, and ends with the best one as a checkpoint.
Watch it with get_job; it takes minutes on the embedded base and hours to days on the full model.
"""

from __future__ import annotations

from pydantic import Field

from asrcore.jobs import JobView, answer
from asrcore.recipe import launch_plan
from asrcore.results import Frozen, Result
from asrcore.workspace import BackendName, Workspace


class Input(Frozen):
    plan_id: str = Field(pattern=r"^plan_[0-9a-f]{12}$", description="The plan to run, from plan_finetune.")
    backend: BackendName = Field(default="local", description="Where it runs: local, torchrun (here), slurm, or sky. What is submitted lies in the job's folder.")
    force_new: bool = Field(default=False, description="Train again under a new run id even if this plan has run.")


Output = JobView


def run(request: Input, ws: Workspace) -> Result[Output]:
    return answer(launch_plan(ws, request.plan_id, force_new=request.force_new, backend=request.backend))
