"""Long work: start it, watch it, stop it, go on with it; and the ledger of everything that exists. See `ledger.py` and `api.py`."""

from __future__ import annotations

from asrcore.jobs.answer import answer
from asrcore.jobs.api import ask_for_yes, cancel_job, follow, get_job, list_jobs, resume_job, submit
from asrcore.jobs.health import Health
from asrcore.jobs.ledger import ALL_ROWS, KINDS, Kind, Ledger, LedgerObject
from asrcore.jobs.store import ENDED, LIVE, Limits, State
from asrcore.jobs.view import JobView

__all__ = [
    "ALL_ROWS",
    "ENDED",
    "KINDS",
    "LIVE",
    "Health",
    "JobView",
    "Kind",
    "Ledger",
    "LedgerObject",
    "Limits",
    "State",
    "answer",
    "ask_for_yes",
    "cancel_job",
    "follow",
    "get_job",
    "list_jobs",
    "resume_job",
    "submit",
]
