"""Threads for calls that may wait for a disk, a lock or a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import Any, Generic, TypeVar

from .batching import OverloadedError

T = TypeVar("T")


@dataclass(frozen=True)
class _Call(Generic[T]):
    function: Callable[[], T]
    future: Future[T] = field(default_factory=Future[T])

    def __call__(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.function()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Workers:
    """Some threads of their own, so that calls which wait hold up no others.

    The process may end while they wait: unlike those of a `ThreadPoolExecutor`, which it would wait
    for as long as somebody else keeps a lock.

    Args:
        name: of the threads.
        threads: how many calls run at once.
        most: calls that run or wait; more are refused.
    """

    def __init__(self, name: str, threads: int, most: int) -> None:
        self._calls = SimpleQueue[_Call[Any] | None]()
        self._places = BoundedSemaphore(most)
        self._closed = False
        self._threads = [
            Thread(target=self._work, name=f"{name} {i}", daemon=True) for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # and what it holds, while the next one is waited for

    async def do(self, function: Callable[[], T]) -> T:
        """What a call gives. One that nobody waits for any more is left out if it has not begun.

        Raises:
            OverloadedError: too many are there already, or the threads are to end.
        """
        if self._closed:
            raise OverloadedError("The server is stopping.")
        if not self._places.acquire(blocking=False):
            raise OverloadedError("The gallery has too much to do: try again in a moment.")
        call = _Call(function)
        call.future.add_done_callback(lambda _: self._places.release())
        self._calls.put(call)
        return await asyncio.wrap_future(call.future)

    def close(self, seconds: float) -> bool:
        """Finish what has begun, and end the threads.

        Args:
            seconds: to wait at most.

        Returns:
            Whether all threads have ended in this time.
        """
        self._closed = True
        end = time.monotonic() + seconds
        try:
            while True:
                call = self._calls.get_nowait()
                if call is not None:
                    call.future.cancel()
        except Empty:
            pass
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)
