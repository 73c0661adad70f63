"""What a launch may cost without asking, and a person's yes to more.

Limits stand in `asrtune.toml`, which no tool writes; a yes is a ledger row that only `asrtune approve` makes, at a terminal, after the person
typed the digest of exactly the plan that was shown (docs/concepts/safety.md says what this stops and what not). One yes is one run: launching
that run again, to find it or to go on with it, needs no other; training the plan anew under another run id does.
"""

from __future__ import annotations

import getpass

from asrcore import io
from asrcore.errors import ApprovalNeeded, NotReadyError
from asrcore.jobs import Ledger
from asrcore.jobs.backends import CLUSTERS, settings_of
from asrcore.jobs.ledger import put_object
from asrcore.recipe.spec import Plan
from asrcore.results import Frozen
from asrcore.workspace import BackendName, Budgets, Config, Workspace

DIGEST_CHARACTERS = 8


class Approval(Frozen):
    """A ledger row of kind `approval`, under the plan's id. It holds for the plan with this digest, and for the limits that were shown."""

    plan_id: str
    digest: str
    approved_by: str
    """Login name of the person at the terminal."""
    over: tuple[str, ...]
    """The limits that the plan exceeds, in words, as they were shown."""
    runs: tuple[str, ...] = ()
    """Ids of the runs that a yes to this plan went to, oldest first."""
    unspent: bool = True
    """Whether the last yes still allows a run that is not in `runs`. Two in a row, before a run, are one."""

    def covers(self, plan: Plan, over: tuple[str, ...]) -> bool:
        """Whether the plan is the one that was shown, and everything it exceeds now was shown with it."""
        return self.digest == plan_digest(plan) and set(over) <= set(self.over)


def plan_digest(plan: Plan) -> str:
    """First characters of the sha256 of everything the plan holds, its estimates too."""
    return io.sha256_json(plan)[:DIGEST_CHARACTERS]


def over_limits(plan: Plan, budgets: Budgets) -> tuple[str, ...]:
    """The limits that this plan exceeds, or cannot be shown to keep. Empty: it may be launched without asking."""
    estimates, found = plan.summary.estimates, list[str]()
    hours = None if estimates.seconds is None else estimates.seconds / 3600
    if budgets.max_run_hours is not None and (hours is None or hours > budgets.max_run_hours):
        found.append(f"{_amount(hours)} h of wall-clock time, max_run_hours is {budgets.max_run_hours:g}")
    if estimates.gpus and budgets.price_per_gpu_hour > 0:
        paid = None if hours is None else hours * estimates.gpus
        if paid is None or paid > budgets.max_gpu_hours:
            cost = "" if paid is None else f" (about {paid * budgets.price_per_gpu_hour:.2f} at {budgets.price_per_gpu_hour:g} an hour)"
            found.append(f"{_amount(paid)} paid GPU-hours{cost}, max_gpu_hours is {budgets.max_gpu_hours:g}")
    return tuple(found)


def over_on(plan: Plan, config: Config, backend: BackendName) -> tuple[str, ...]:
    """The limits that a launch there exceeds. A cluster's machines are not this one, so its hard time limit counts and not the estimate;
    SkyPilot's are paid for unless the person says otherwise."""
    if backend not in CLUSTERS:
        return over_limits(plan, config.budgets)
    cluster, budgets, found = settings_of(config, backend), config.budgets, list[str]()
    if budgets.max_run_hours is not None and cluster.time_hours > budgets.max_run_hours:
        found.append(f"up to {cluster.time_hours:g} h of wall-clock time on {backend}, max_run_hours is {budgets.max_run_hours:g}")
    price = price_on(config, backend)
    hours = cluster.gpus * cluster.time_hours
    if is_paid(plan, config, backend) and hours > budgets.max_gpu_hours:
        cost = f" (up to {hours * price:.2f} at {price:g} an hour)" if price else ""
        found.append(f"up to {hours:g} paid GPU-hours on {backend}{cost}, max_gpu_hours is {budgets.max_gpu_hours:g}")
    return tuple(found)


def price_on(config: Config, backend: BackendName) -> float:
    """Of a GPU-hour there, in the person's currency; 0: nothing, or nobody said."""
    own = settings_of(config, backend).price_per_gpu_hour if backend in CLUSTERS else None
    return config.budgets.price_per_gpu_hour if own is None else own


def is_paid(plan: Plan, config: Config, backend: BackendName) -> bool:
    """Whether GPU-hours there count against `max_gpu_hours`."""
    if backend not in CLUSTERS:
        return bool(plan.summary.estimates.gpus) and config.budgets.price_per_gpu_hour > 0
    return price_on(config, backend) > 0 or (backend == "sky" and config.sky.price_per_gpu_hour is None)


def over_anywhere(plan: Plan, config: Config) -> tuple[str, ...]:
    """What a person is shown and says yes to: the limits that a launch on any allowed backend exceeds, each once."""
    return tuple(dict.fromkeys(limit for backend in config.backends for limit in over_on(plan, config, backend)))


def require_approval(ws: Workspace, ledger: Ledger, plan: Plan, backend: BackendName = "local", *, run_id: str | None = None) -> None:
    """Spends the yes on this run of the plan (default: its first), or finds that the run had it already.

    Raises `approval_needed` for a launch over limits that no person approved as they are now, or whose yes went to another run.
    """
    over, run_id = over_on(plan, ws.config, backend), run_id or plan.request.run_id
    if not over:
        return
    with ledger.transaction() as connection:  # reading and spending in one: of two launches at once, one gets the yes
        approval = approval_of(ledger, plan.summary.plan_id)
        covered = approval is not None and approval.covers(plan, over)
        if approval is not None and covered and run_id in approval.runs:
            return
        if approval is not None and covered and approval.unspent:
            spent = approval.model_copy(update={"runs": (*approval.runs, run_id), "unspent": False})
            put_object(connection, "approval", approval.plan_id, spent)
            return
    went = f" The yes to it went to {approval.runs[-1]}; one yes is one run." if approval is not None and covered else ""
    raise ApprovalNeeded(
        "approval_needed", f"the plan is over a limit that a person set: {'; '.join(over)}.{went}",
        next_step=f"show the person the plan and ask them to run `asrtune approve {plan.summary.plan_id}` in a terminal; "
        "or plan_finetune with fewer max_steps.",
    )  # fmt: skip


def approval_of(ledger: Ledger, plan_id: str) -> Approval | None:
    row = ledger.get("approval", plan_id)
    return Approval.model_validate(row) if row is not None else None


def approve(ws: Workspace, ledger: Ledger, plan: Plan, typed: str) -> Approval:
    """Records the yes. Raises `approval_mistyped` unless `typed` is the plan's digest."""
    if typed.strip().lower() != plan_digest(plan):
        raise NotReadyError("approval_mistyped", "what was typed is not the plan's digest; nothing was approved.",
                            next_step=f"run `asrtune approve {plan.summary.plan_id}` again.")  # fmt: skip
    over = over_anywhere(plan, ws.config)
    with ledger.transaction() as connection:
        earlier = approval_of(ledger, plan.summary.plan_id)
        # Runs of another plan, or under limits that were not shown then, had no yes to what is shown now.
        runs = earlier.runs if earlier is not None and earlier.covers(plan, over) else ()
        approval = Approval(plan_id=plan.summary.plan_id, digest=plan_digest(plan), approved_by=getpass.getuser(), over=over, runs=runs)
        put_object(connection, "approval", approval.plan_id, approval)
    return approval


def _amount(hours: float | None) -> str:
    return "an unknown number of" if hours is None else f"about {hours:.1f}"
