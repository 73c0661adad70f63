"""The end of an attempt: its state and the objects it made enter the ledger in one transaction, once, whoever notices the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from asrcore.batch_requests import BatchResult
from asrcore.jobs.backends.base import Seen
from asrcore.jobs.ledger import Kind, Ledger, put_object
from asrcore.jobs.outcome import Outcome, Why, attempt_folder, judge
from asrcore.jobs.store import ENDED, Job, advance
from asrcore.requests import Blend


def finalise(ledger: Ledger, home: Path, job: Job, exit_code: int | None, why: Why | None, seen: Seen | None = None) -> Outcome | None:
    """Ends the attempt in `job`; `seen` is what its cluster said. None: it had ended already or its state changed meanwhile, and this call did nothing."""
    if job.state in ENDED:
        return None
    outcome = judge(job, attempt_folder(home, job.id, job.attempt), exit_code, why, seen)
    with ledger.transaction() as connection:
        done = advance(connection, job, outcome.state, reason=outcome.reason, error=outcome.error, exit_code=exit_code)
        if done and outcome.result is not None:
            for kind, object_id, data in objects_of(job.kind, job.request, outcome.result):
                put_object(connection, kind, object_id, data)
    return outcome if done else None


def objects_of(job_kind: str, request: Mapping[str, Any], result: dict[str, Any]) -> Iterator[tuple[Kind, str, dict[str, Any]]]:
    """The ledger rows of a valid result. A base's and an export's id is the name of its folder."""
    match job_kind:
        case "build_shards":
            yield "shards", result["shards_id"], result
        case "train":
            yield "run", result["run_id"], result
        case "find_batch":
            yield "batch", BatchResult.model_validate(result).batch_id, result
        case "eval":
            for cell in result["cells"]:
                yield "eval", cell["eval_id"], cell
        case "blend":
            for blend in result["blends"]:
                yield "blend", Blend.model_validate(blend).blend_id, blend
            for cell in result.get("cells", ()):
                yield "eval", cell["eval_id"], cell
        case "add_locale":
            yield "base", Path(request["out"]).name, result
        case "export":
            yield "export", Path(request["out"]).name, result
        case _:
            return
