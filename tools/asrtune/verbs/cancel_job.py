"""Stop a queued or running job; a training saves a checkpoint first.

Use it when the health is nan or diverging, or when the work is no longer wanted; a slow job is no reason, since it goes on without anyone watching.
It asks at once and answers at once: the job ends by itself within its grace period (30 seconds), then it is killed with all its processes.
What was finished stays, and resume_job goes on from there. A job that has ended already is left as it is, so calling twice does no harm;
for a lost job on a cluster the call takes out what may be left of it there.
"""

from __future__ import annotations

from pydantic import Field

from asrcore.jobs import ENDED, JobView, answer
from asrcore.jobs import cancel_job as cancel
from asrcore.results import Frozen, Result
from asrcore.workspace import Workspace


class Input(Frozen):
    job_id: str = Field(pattern=r"^job_[0-9a-f]{12}$", description="The job to stop.")


Output = JobView


def run(request: Input, ws: Workspace) -> Result[Output]:
    view = cancel(ws, request.job_id)
    result = answer(view)
    if view.state in ENDED and view.state != "cancelled":
        return result.model_copy(update={"summary": f"Nothing to cancel. {result.summary}"})
    return result
