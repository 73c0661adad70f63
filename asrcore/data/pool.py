"""Many pieces of work at once, their results in the order of the pieces: what comes out does not depend on how many hands there were."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import TypeVar

from asrcore.errors import Stopped, ToolFault

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_AHEAD = 16
"""Pieces under way for each thread: enough that one long recording does not leave the others without work."""
_LOOK_S = 0.5
"""Seconds between two looks whether somebody asked to stop."""

_stopping: Event | None = None
"""Of a worker process: set when its parent gives up."""


def cores() -> int:
    """Cores that this process may use; OMP_NUM_THREADS, where set, says it for everything that computes here."""
    return int(os.environ.get("OMP_NUM_THREADS") or 0) or len(os.sched_getaffinity(0))


def threaded(function: Callable[[ItemT], ResultT], items: Iterable[ItemT], workers: int) -> Iterator[tuple[ItemT, ResultT]]:
    """Each item with its result, in order. For work that waits for disks or runs in C (decoding, transforms, digests), where threads do not queue.

    Items are drawn in the caller's thread, at most 16 a worker ahead. What `function` raises is raised at its item's turn.
    """
    if workers <= 1:
        yield from ((item, function(item)) for item in items)
        return
    with ThreadPoolExecutor(workers) as executor:
        try:
            yield from in_order(executor, function, items, _AHEAD * workers, _never)
        finally:
            executor.shutdown(cancel_futures=True)


def in_processes(function: Callable[[ItemT], ResultT], items: Iterable[ItemT], workers: int, tick: Callable[[], None]) -> Iterator[tuple[ItemT, ResultT]]:
    """As `threaded`, in processes of their own: `function` and items are pickled, and `function` calls `stop_if_asked` now and then.

    `tick` is called about twice a second; what it raises ends the workers too. They end as well when this process is killed, and leave SIGTERM and
    SIGINT to it. Raises `worker_died`.
    """
    # Workers are forked from a server that has imported the function's module and has one thread: imports are paid for once, and no lock of ours is held.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    stopping = context.Event()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(stopping,)) as executor:
        try:
            yield from in_order(executor, function, items, 2 * workers, tick)
        except BrokenProcessPool as error:
            tick()
            raise ToolFault("worker_died", "a worker process ended before its work was done, perhaps for want of memory.",
                            next_step="free memory, or set OMP_NUM_THREADS=1 for one process, then call the tool again: what is finished is kept.",
                            retryable=True) from error  # fmt: skip
        finally:
            stopping.set()
            executor.shutdown(cancel_futures=True)


def stop_if_asked() -> None:
    """In a worker of `in_processes`: raises `Stopped` once the parent gives up."""
    if _stopping is not None and _stopping.is_set():
        raise Stopped


def in_order(executor: Executor, function: Callable[[ItemT], ResultT], items: Iterable[ItemT], ahead: int,
             tick: Callable[[], None]) -> Iterator[tuple[ItemT, ResultT]]:  # fmt: skip
    """Each item with its result, in order; at most `ahead` items are under way."""
    waiting: deque[tuple[ItemT, Future[ResultT]]] = deque()
    for item in items:
        waiting.append((item, executor.submit(function, item)))
        if len(waiting) >= ahead:
            yield _first(waiting, tick)
    while waiting:
        yield _first(waiting, tick)


def _first(waiting: deque[tuple[ItemT, Future[ResultT]]], tick: Callable[[], None]) -> tuple[ItemT, ResultT]:
    item, future = waiting.popleft()
    while True:
        tick()
        try:
            return item, future.result(timeout=None if tick is _never else _LOOK_S)
        except TimeoutError:
            if future.done():
                raise  # the work's own


def _never() -> None:
    """Nobody can ask to stop."""


def _begin(stopping: Event) -> None:
    """In a new worker: the parent decides about stopping, and without it there is nothing to do."""
    global _stopping  # noqa: PLW0603  # a worker process has one pool
    _stopping = stopping
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
