"""Threads for calls that may wait for a disk, a lock or a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

from .batching import OverloadedError

T = TypeVar("T")


class Workers:
    """Some threads of their own, so that calls which wait hold up no others.

    Args:
        name: of the threads.
        threads: how many calls run at once.
        most: calls that run or wait; more are refused.
    """

    def __init__(self, name: str, threads: int, most: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._places = BoundedSemaphore(most)

    async def do(self, function: Callable[[], T]) -> T:
        """What a call gives. One that nobody waits for any more is left out if it has not begun.

        Raises:
            OverloadedError: too many are there already.
        """
        if not self._places.acquire(blocking=False):
            raise OverloadedError("The gallery has too much to do: try again in a moment.")
        future = self._pool.submit(function)
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish what has begun, and end the threads."""
        self._pool.shutdown(cancel_futures=True)
