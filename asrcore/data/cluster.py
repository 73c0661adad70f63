"""Pieces of work on the workers of a Dask cluster, their results in the order of the pieces: `pool.in_processes`, on machines that share our files.

Every piece first makes sure that its worker would give the bytes that this process gives: the same code, the same versions of the libraries that decode
and encode, and the workspace at the same path. When a worker dies, Dask gives its piece to another; the pieces are such that doing one twice, or at the
same time, leaves the same files. Who may be asked is in `asrtune.toml` (`jobs.backends`): a scheduler's answers are unpickled here.

`distributed` is an optional extra and imported only here (docs/decisions/0006-dask-cluster.md).
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
import platform
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from asrcore import io
from asrcore.data.pool import in_order
from asrcore.errors import EnvironmentFault, ToolFault

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

CONNECT_S = 30.0
"""Seconds until a scheduler that says nothing counts as not there."""
LOOK_S = 5.0
"""Seconds between two questions to the scheduler whether there are workers."""
NO_WORKERS_S = 120.0
"""Seconds without a single worker after which the work gives up: a batch system may take as long to start the next one."""
_AHEAD, _LEAST_AHEAD = 2, 64
"""Pieces under way for each thread of the cluster, and the least of them, so that a cluster that grows while it works finds work."""


class Same(NamedTuple):
    """What a worker has to see and to be. `token`: a file that this process has just written, and what it holds."""

    token: Path
    text: str
    versions: dict[str, str]


def on_workers(function: Callable[[ItemT], ResultT], items: Iterable[ItemT], scheduler: str, shared: Path,
               tick: Callable[[], None]) -> Generator[tuple[ItemT, ResultT]]:  # fmt: skip
    """Each item with its result, in order. `function` and items are pickled; `shared` is a folder that the workers have to see at the same path.

    `tick` is called about twice a second; what it raises takes back the pieces that no worker has begun, and those begun are finished and forgotten.
    What `function` raises is raised at its item's turn. Raises `scheduler_unreachable`, `scheduler_lost`, `workers_missing`, `workers_differ`, `worker_died`.
    """
    distributed: Any = importlib.import_module("distributed")
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise EnvironmentFault("scheduler_unreachable", f"no Dask scheduler answers at {scheduler} ({type(error).__name__}).",
                               next_step="start it with `dask scheduler`, or call the tool again without scheduler.", retryable=True) from error  # fmt: skip
    with client:
        watch = _Watch(client, tick)
        token = shared / f".seen_by_workers_{uuid.uuid4().hex}"
        same = Same(token, uuid.uuid4().hex, versions())
        io.write_text(token, same.text)
        executor = client.get_executor(pure=False)
        ahead = max(_LEAST_AHEAD, _AHEAD * sum(client.nthreads().values()))
        try:
            sent = deque[ItemT]()
            for _, result in in_order(executor, _do, _pickled(function, items, same, sent), ahead, watch):
                yield sent.popleft(), result
        except distributed.scheduler.KilledWorker as error:
            raise ToolFault("worker_died", "workers of the cluster died over the same piece of work again and again, perhaps for want of memory.",
                            next_step="give the workers more memory, then call the tool again: what is finished is kept.", retryable=True) from error  # fmt: skip
        except CancelledError as error:
            raise _lost() from error
        except TypeError as error:
            if client.status == "running":
                raise
            raise _lost() from error  # Dask's executor trips over a future that is cancelled while it looks
        except ImportError as error:
            raise _differ(f"a worker has no {error.name}") from error
        except RuntimeError as error:
            if isinstance(error.__cause__, ImportError):  # the scheduler looks at what it hands on
                raise _differ("its scheduler cannot import asrtune") from error
            raise
        finally:
            executor.shutdown(wait=False)
            token.unlink(missing_ok=True)


@cache
def versions() -> dict[str, str]:
    """What the bytes of a shard depend on besides its input: our code, and the libraries that decode, resample, filter and encode."""
    import numpy
    import scipy
    import soundfile
    import soxr

    code, root = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted([*root.glob("audio*.py"), root / "manifest.py", *root.glob("data/*.py")]):
        code.update(path.read_bytes())
    return {
        "asrtune": code.hexdigest()[:12], "python": ".".join(map(str, sys.version_info[:2])), "machine": platform.machine(),
        "numpy": numpy.__version__, "scipy": str(scipy.__version__), "soxr": str(soxr.__version__),
        "soundfile": str(soundfile.__version__), "libsndfile": str(soundfile.__libsndfile_version__),
    }  # fmt: skip


def _pickled(function: Callable[[ItemT], Any], items: Iterable[ItemT], same: Same, sent: deque[ItemT]) -> Iterator[bytes]:
    """What goes to the workers; `sent` keeps the items. Pickled by us, as Dask would look into our tuples for tasks of its own."""
    for item in items:
        sent.append(item)
        yield pickle.dumps((function, item, same))


def _do(piece: bytes) -> Any:
    """On a worker."""
    function, item, same = pickle.loads(piece)  # noqa: S301  # of the client, which the scheduler let in
    require_same(same)
    return function(item)


def require_same(same: Same) -> None:
    """On a worker: raises `workers_differ` unless it sees the client's files and has its code and libraries."""
    try:
        seen = same.token.read_text(encoding="utf-8")
    except OSError:
        seen = ""
    if seen != same.text:
        raise _differ(f"{platform.node()} does not see {same.token.parent}")
    mine = versions()
    other = ", ".join(f"{name} {mine.get(name, 'none')} (here {version})" for name, version in same.versions.items() if mine.get(name) != version)
    if other:
        raise _differ(f"{platform.node()} has {other}")


def _lost() -> ToolFault:
    return ToolFault("scheduler_lost", "the Dask scheduler went away, and the work in hand with it.",
                     next_step="start it again, or call the tool without scheduler: what is finished is kept.", retryable=True)  # fmt: skip


def _differ(how: str) -> EnvironmentFault:
    return EnvironmentFault("workers_differ", f"the cluster cannot do this machine's work: {how}.",
                            next_step="give its scheduler and all workers this machine's installation and the workspace at the same path, or call the tool without scheduler.")  # fmt: skip


class _Watch:
    """A tick that also notices when the cluster has had no worker for long: the work would wait for ever."""

    def __init__(self, client: Any, tick: Callable[[], None]) -> None:
        self.client = client
        self.tick = tick
        self.seen = self.looked = time.monotonic()

    def __call__(self) -> None:
        self.tick()
        now = time.monotonic()
        if now - self.looked < LOOK_S:
            return
        self.looked = now
        if self.client.status != "running":
            raise _lost()
        if self.client.scheduler_info(n_workers=1).get("workers"):
            self.seen = now
        elif now - self.seen > NO_WORKERS_S:
            raise EnvironmentFault("workers_missing", f"the Dask cluster has had no worker for {NO_WORKERS_S:.0f} s.",
                                   next_step="start workers with `dask worker`, then call the tool again: what is finished is kept.", retryable=True)  # fmt: skip
