"""Go on with a job that failed, was cancelled or was lost, as a new attempt of the same job.

The work takes up what it had saved: a training its last checkpoint, an eval the passes already decoded, a shard build the shards already written.
Mend the cause named in the job's error first, else it fails again; do not use it to change settings (plan or call the starting tool anew).
It answers at once with the job and its new attempt number; a job that succeeded is returned as it is, and a live one is refused with job_running.
"""

from __future__ import annotations

from pydantic import Field

from asrcore.jobs import JobView, answer
from asrcore.jobs import resume_job as resume
from asrcore.results import Frozen, Result
from asrcore.workspace import Workspace


class Input(Frozen):
    job_id: str = Field(pattern=r"^job_[0-9a-f]{12}$", description="The job to go on with.")


Output = JobView


def run(request: Input, ws: Workspace) -> Result[Output]:
    view = resume(ws, request.job_id)
    result = answer(view)
    if view.deduplicated:
        return result.model_copy(update={"summary": f"Nothing to resume. {result.summary}"})
    return result
