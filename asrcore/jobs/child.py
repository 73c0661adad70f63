"""The child's side of a job: read one request, report progress, leave one result or one error.

A job module is started as `python -m <module> request.json` and ends with

    if __name__ == "__main__":
        child.main(ShardsRequest, run)          # def run(request: ShardsRequest, reporter: Reporter) -> ShardsResult

`run` returns its result only when the work is complete; it is then written to `result.json` and the process exits 0. An `AsrtuneError`
goes to `error.json` and exits with that error's code. Anything else is a bug: the traceback goes to the log and the process exits 1.
When asked to stop (SIGTERM), `run` saves what a later attempt can go on from in its `out` folder and calls `reporter.stop_if_asked()`.
Of several processes that do one job (torchrun), rank 0 alone reports and leaves the result; an error may come from any.
This module is light: it loads no torch and no nemo.
"""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from asrcore import io
from asrcore.errors import AsrtuneError, ErrorView, Problem, Stopped, UsageError
from asrcore.jobs.process import die_with_parent, wait_at_gate
from asrcore.requests import Event

REQUEST = "request.json"
EVENTS = "events.jsonl"
RESULT = "result.json"
ERROR = "error.json"
LOGGERS = "loggers.json"
LOG = "log.txt"
"""What the work itself prints; on a cluster too."""

STOPPED_EXIT = 128 + signal.SIGTERM
"""Exit code of a child that stopped because it was asked to."""

RequestT = TypeVar("RequestT", bound=BaseModel)


def rank_of(source: Mapping[str, str] | None = None) -> int:
    """Number of this process among those that do one job, as torchrun sets it; 0 without torchrun."""
    return int((os.environ if source is None else source).get("RANK", "0"))


class Reporter:
    """Progress of one child: appends `Event`s to `events.jsonl` of the job's folder and knows whether a stop was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """True once SIGTERM came; the grace period (30 s unless the job says otherwise) ends in SIGKILL."""
        return self._stopping

    def stop(self) -> None:
        """Asks the work to stop at its next safe point."""
        self._stopping = True

    def stop_if_asked(self) -> None:
        """Raises `Stopped` once a stop was asked for; call it at points where a later attempt can go on."""
        if self._stopping:
            raise Stopped

    def event(self, stage: str, step: int = 0, total: int = 0, message: str = "", **metrics: float) -> None:
        """Appends one line. `step` of `total` in units of the stage (utterances, steps). Non-finite metrics are kept and show as health `nan`.

        Raises `disk_full`. A line is appended in one write, so a reader sees whole lines or an unfinished last one. Ranks but the first say nothing.
        """
        if rank_of():
            return
        values = {name: float(value) for name, value in metrics.items()}
        event = Event(time=time.time(), stage=stage, step=step, total=total, message=message, metrics=values)
        line = event.model_dump(mode="json")
        # JSON has no NaN, and null would lose which kind it was; pydantic reads these strings back as floats.
        line["metrics"] = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
        io.append_line(self.folder / EVENTS, json.dumps(line, ensure_ascii=False, separators=(",", ":")))


def main(request_type: type[RequestT], run: Callable[[RequestT, Reporter], BaseModel | None], argv: Sequence[str] | None = None) -> NoReturn:
    """Runs one child to its end and exits: 0 with `result.json`, an error's own code with `error.json`, 143 when stopped, 1 on a bug.

    `argv` is the one path of the request (default: the command line). `run` may return None instead of raising `Stopped`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) != 1:
        _log(f"usage: python -m MODULE {REQUEST}")
        raise SystemExit(UsageError.exit_code)
    if not wait_at_gate():
        _log("its supervisor died before it could write down who this process is; nothing was done")
        raise SystemExit(STOPPED_EXIT)
    if "LOCAL_RANK" in os.environ:  # started by torchrun
        die_with_parent()
    path = Path(arguments[0]).resolve()
    reporter = Reporter(path.parent)
    previous = signal.signal(signal.SIGTERM, _stopper(reporter))
    try:
        code = _run(path, request_type, run, reporter)
    finally:
        signal.signal(signal.SIGTERM, previous)
    raise SystemExit(code)


def _run(path: Path, request_type: type[RequestT], run: Callable[[RequestT, Reporter], BaseModel | None], reporter: Reporter) -> int:
    folder = path.parent
    try:
        for stale in () if rank_of() else (RESULT, ERROR):
            (folder / stale).unlink(missing_ok=True)
        result = run(_read(path, request_type), reporter)
        if result is None:
            return STOPPED_EXIT
        if not rank_of():
            io.write_json(folder / RESULT, result)
    except Stopped:
        return STOPPED_EXIT
    except AsrtuneError as error:
        return _leave(error, folder)
    except OSError as error:
        coded = _coded(error, folder)
        if isinstance(coded, AsrtuneError):
            return _leave(coded, folder)
        raise
    return 0


def _read(path: Path, request_type: type[RequestT]) -> RequestT:
    try:
        return request_type.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError("request_missing", f"no request at {path}.", next_step="start the job through its tool again.") from error
    except ValidationError as error:
        problems = [Problem(code="request_invalid", message=f"{'.'.join(map(str, e['loc']))}: {e['msg']}", file=str(path)) for e in error.errors()]
        raise UsageError(
            "request_invalid", f"the request is not a valid {request_type.__name__} ({len(problems)} problems).",
            next_step="start the job through its tool again; requests are written by the tools.", problems=problems,
        ) from error  # fmt: skip


def _leave(error: AsrtuneError, folder: Path) -> int:
    """The log gets the error first: on a full disk it may be the only place that still takes it."""
    _log(str(error))
    try:
        io.write_json(folder / ERROR, ErrorView.of(error))
    except (AsrtuneError, OSError) as second:
        _log(f"{ERROR} could not be written: {second}")
    return error.exit_code


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _coded(error: OSError, folder: Path) -> Exception:
    return io.disk_full(folder) if error.errno in (errno.ENOSPC, errno.EDQUOT) else error


def _stopper(reporter: Reporter) -> Callable[[int, FrameType | None], None]:
    def handle(_signal: int, _frame: FrameType | None) -> None:
        reporter.stop()

    return handle
