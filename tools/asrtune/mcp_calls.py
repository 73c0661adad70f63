"""Calls that take longer than hosts wait: each is answered in time, goes on, and the same call again gets its answer.

Hosts give a call up after about a minute, some of them whatever progress it reports. Jobs answer at once; reading a large data set may take longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

import anyio

LONGEST_S = 48.0
"""After which every call is answered; get_job waits up to 45 s by itself."""
MOST_AT_WORK = 32
"""Calls that are waited for at a time; more wait for their turn."""
MOST_KEPT = 64
"""Calls nobody came back for; the oldest are forgotten first, and do their work all the same."""

T = TypeVar("T")


class Calls(Generic[T]):
    """The calls of one server, used by its event loop alone. A call that was left at work is found again by its tool and arguments."""

    def __init__(self) -> None:
        self._going_on: dict[str, Future[T]] = {}
        self._turns = anyio.CapacityLimiter(MOST_AT_WORK)

    async def answer(self, name: str, arguments: Mapping[str, Any], work: Callable[[], T]) -> T | None:
        """What `work` gives, or None when there is nothing after LONGEST_S. `work` must not raise.

        It is not begun where the same call is still at work: a client that timed out and asks again would else never get to the end.
        """
        key = json.dumps([name, arguments], sort_keys=True, default=str)
        future = self._going_on.pop(key, None)
        try:
            with anyio.move_on_after(LONGEST_S):
                async with self._turns:
                    future = future or _begin(work)
                    await _end_of(future)
        finally:  # a client that gave up cancels this task
            if future is not None and not future.done():
                self._keep(key, future)
        return future.result() if future is not None and future.done() else None

    def _keep(self, key: str, future: Future[T]) -> None:
        self._going_on[key] = future
        while len(self._going_on) > MOST_KEPT:
            del self._going_on[next(iter(self._going_on))]


async def _end_of(future: Future[T]) -> None:
    """Returns once the future is done. No thread waits here, so that a call nobody waits for any more does not hold up the server's exit."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def tell(_: Future[T]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server is gone
            loop.call_soon_threadsafe(done.set)

    future.add_done_callback(tell)
    await done.wait()


def _begin(work: Callable[[], T]) -> Future[T]:
    """Runs `work` in a thread that does not keep the process alive: files are written whole or not at all, so a server may leave at any moment."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # it belongs to whoever awaits the answer
            future.set_exception(error)

    threading.Thread(target=run, name="asrtune call", daemon=True).start()
    return future
