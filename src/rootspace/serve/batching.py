"""Inputs of many requests, put into batches for a function that is faster on many."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class OverloadedError(Exception):
    """There is no place left in the queue, or the server is stopping."""


@dataclass(frozen=True)
class _Waiting(Generic[In, Out]):
    item: In
    future: asyncio.Future[Out]


class MicroBatcher(Generic[In, Out]):
    """Calls a function on batches of what several tasks ask for, in a thread of its own.

    A batch begins when the function is free. It waits for others only while some are announced
    (`coming`), so that a lone request waits for nobody. Where the function fails on a batch it is
    called for each item alone: one that it cannot bear harms no other. What a task no longer waits
    for is left out.

    All methods belong to one event loop.

    Args:
        function: of a batch, to one result for each item; runs in one thread.
        max_batch: items in a batch.
        max_wait: seconds for which a batch waits for announced items.
        max_queue: items that are announced or wait; more are refused.
        observe: told the size and the seconds of each batch.
    """

    def __init__(
        self,
        function: Callable[[Sequence[In]], Sequence[Out]],
        *,
        max_batch: int = 32,
        max_wait: float = 0.005,
        max_queue: int = 512,
        observe: Callable[[int, float], None] | None = None,
    ) -> None:
        for name, value, least in (
            ("max_batch", max_batch, 1),
            ("max_wait", max_wait, 0),
            ("max_queue", max_queue, 1),
        ):
            if not value >= least:
                raise ValueError(f"Argument '{name}' must be at least {least}, not {value}.")
        self.max_batch, self.max_wait, self.max_queue = max_batch, max_wait, max_queue
        self._function = function
        self._observe = observe
        self._queue: asyncio.Queue[_Waiting[In, Out] | None] = asyncio.Queue()
        self._coming = 0
        self._closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Items that are announced, or wait for a batch."""
        return self._coming + self._queue.qsize()

    async def close(self) -> None:
        """Take no more items, finish those that wait, and end the thread."""
        self._closed = True
        self._queue.put_nowait(None)
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    @contextmanager
    def coming(self, count: int = 1) -> Iterator[None]:
        """Announce items that will be submitted when the block has ended.

        Raises:
            OverloadedError: there is no place for them.
        """
        if self._closed or self.waiting + count > self.max_queue:
            raise OverloadedError(
                "The server is stopping."
                if self._closed
                else f"The server has {self.waiting} images to answer already, of at most "
                f"{self.max_queue}: try again in a moment, or with fewer."
            )
        self._coming += count
        try:
            yield
        finally:
            self._coming -= count

    async def submit(self, item: In) -> Out:
        """The result of the function for an item.

        Raises:
            OverloadedError: the batcher was closed.
            Exception: whatever the function raises for this item alone.
        """
        if self._closed:
            raise OverloadedError("The server is stopping.")
        if self._task is None:
            # Not in the lifespan of an application: one that is mounted in another has none.
            self._task = asyncio.get_running_loop().create_task(self._work())
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Waiting(item, future))
        return await future

    async def _work(self) -> None:
        stopping = False
        while not (stopping and self._queue.empty()):
            batch, stopping = await self._collect(stopping)
            await self._answer([waiting for waiting in batch if not waiting.future.done()])

    async def _collect(self, stopping: bool) -> tuple[list[_Waiting[In, Out]], bool]:
        """The next batch, and whether the last item has come."""
        batch: list[_Waiting[In, Out]] = []
        end = 0.0
        while len(batch) < self.max_batch:
            try:
                if not batch:
                    waiting = await self._queue.get()
                    end = time.monotonic() + self.max_wait
                elif self._queue.empty() and self._coming and not stopping:
                    async with asyncio.timeout(max(0.0, end - time.monotonic())):
                        waiting = await self._queue.get()
                else:
                    waiting = self._queue.get_nowait()
            except (TimeoutError, asyncio.QueueEmpty):
                break
            if waiting is None:
                stopping = True
                break
            batch.append(waiting)
        return batch, stopping

    async def _answer(self, batch: Sequence[_Waiting[In, Out]]) -> None:
        if not batch:
            return
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._thread, self._function, [waiting.item for waiting in batch]
            )
        except Exception as error:
            if len(batch) == 1:
                if not batch[0].future.done():
                    batch[0].future.set_exception(error)
                return
            for waiting in batch:
                await self._answer([waiting])
            return
        if self._observe is not None:
            self._observe(len(batch), time.perf_counter() - began)
        for waiting, result in zip(batch, found, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(result)
