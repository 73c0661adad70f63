"""Plan -> job: the stored request is submitted unchanged, after proof that its inputs are still the ones that were planned with."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from asrcore.batch_requests import BatchRequest
from asrcore.errors import ApprovalNeeded, EnvironmentFault
from asrcore.fingerprint import check_ref, check_shards, require_unchanged
from asrcore.jobs import JobView, Ledger, ask_for_yes, submit
from asrcore.recipe.approval import plan_digest, require_approval
from asrcore.recipe.caps import caps_of
from asrcore.recipe.estimates import labels_of, usable_memory
from asrcore.recipe.overlap import scan_shards
from asrcore.recipe.plan import load_plan
from asrcore.requests import TrainRequest
from asrcore.workspace import BackendName, Workspace

GRACE_S = 30.0
STATE_BYTES_PER_S = 50e6
"""Slowest disk that a state must fit through between SIGTERM and SIGKILL."""


def launch_plan(ws: Workspace, plan_id: str, *, force_new: bool = False, backend: BackendName = "local") -> JobView:
    """Starts the run of a plan, or finds it: the same plan is one run unless `force_new`, which trains it again under a new run id.

    A plan over a limit needs a person's yes for each of its runs.
    Raises `plan_unknown`, `approval_needed`, `fingerprint_mismatch` with every changed or missing file, and what `submit` raises.
    """
    plan = load_plan(ws, plan_id)
    request = _fresh(plan.request) if force_new else plan.request
    with Ledger.open(ws) as ledger:
        try:
            require_approval(ws, ledger, plan, backend, run_id=request.run_id)
        except ApprovalNeeded:
            ask_for_yes(ws, ledger, plan_id, f"{plan_digest(plan)} {request.run_id}")
            raise
    require_unchanged([*check_ref(request.base), *check_ref(request.dev), *check_shards(request.shards)],
                      next_step="put the original files back, or call plan_finetune again.")  # fmt: skip
    size = Path(request.base.path).stat().st_size
    return submit(ws, "train", request, grace_s=GRACE_S + 3 * size / STATE_BYTES_PER_S, limits=caps_of(plan, ws.config, backend), backend=backend)


def find_batch(ws: Workspace, plan_id: str) -> JobView:
    """Starts the search for the largest batch that this plan could step with on this device, or finds it; the result enters the ledger.

    Raises `plan_unknown`, `memory_unknown`, and what `submit` raises.
    """
    request, usable = load_plan(ws, plan_id).request, usable_memory()
    if usable is None:
        raise EnvironmentFault("memory_unknown", "the GPU's driver does not say how much memory it has.", next_step="run nvidia-smi; then call find-batch again.")
    rows = scan_shards(request.shards, (), Path(request.dev.path), request.max_duration)
    return submit(ws, "find_batch", BatchRequest(train=request, longest_seconds=rows.longest_seconds, labels=labels_of(rows), memory_gb=round(usable, 1)))


def _fresh(request: TrainRequest) -> TrainRequest:
    """The same training in the first run folder that is not taken."""
    for number in count(2):
        run_id, out = f"{request.run_id}_{number}", f"{request.out}_{number}"
        if not Path(out).exists():
            return request.model_copy(update={"run_id": run_id, "out": out})
    raise AssertionError
