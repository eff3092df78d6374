"""The micro-batcher: what a batch holds, and what becomes of one that fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from rootspace.serve.batching import MicroBatcher, OverloadedError


class Doubling:
    """Doubles numbers, and remembers the batches; waits for `go` where that is given."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go = threading.Event(), threading.Event()
        if not held:
            self.go.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.begun.set()
        assert self.go.wait(20)
        if 13 in items:
            raise RuntimeError("13 is not liked")
        return [2 * item for item in items]


def run(
    work: Callable[[MicroBatcher[int, int]], Coroutine[Any, Any, Any]],
    function: Callable[[Sequence[int]], Sequence[int]],
    **settings: Any,
) -> Any:
    """Do some work with a batcher, which is closed in the end."""

    async def whole() -> Any:
        batcher = MicroBatcher(function, **settings)
        try:
            return await work(batcher)
        finally:
            await batcher.close()

    return asyncio.run(whole())


async def held(batcher: MicroBatcher[int, int], function: Doubling) -> asyncio.Task[int]:
    """A task whose batch of one is being answered now, until `function.go` is set."""
    task = asyncio.create_task(batcher.submit(0))
    while not function.begun.is_set():
        await asyncio.sleep(0.001)
    return task


def test_batches_are_full_and_in_order():
    function = Doubling(held=True)

    async def work(batcher: MicroBatcher[int, int]) -> list[int]:
        first = await held(batcher, function)
        others = [asyncio.create_task(batcher.submit(i)) for i in range(1, 11)]
        await asyncio.sleep(0)
        assert batcher.waiting == 10
        function.go.set()
        return await asyncio.gather(first, *others)

    assert run(work, function, max_batch=4) == [2 * i for i in range(11)]
    assert function.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_a_lone_item_waits_for_nobody():
    function = Doubling()
    assert run(lambda batcher: batcher.submit(4), function, max_wait=60) == 8


def test_a_batch_waits_for_announced_items():
    function = Doubling()

    async def late(batcher: MicroBatcher[int, int], item: int) -> int:
        with batcher.coming():
            await asyncio.sleep(0.02)
        return await batcher.submit(item)

    async def work(batcher: MicroBatcher[int, int]) -> list[int]:
        task = asyncio.create_task(late(batcher, 2))
        await asyncio.sleep(0)
        return [*await asyncio.gather(batcher.submit(1), task)]

    assert run(work, function, max_wait=60, max_batch=2) == [2, 4]
    assert function.batches == [[1, 2]]


def test_one_that_fails_harms_no_other():
    function = Doubling(held=True)

    async def work(batcher: MicroBatcher[int, int]) -> list[Any]:
        first = await held(batcher, function)
        others = [asyncio.create_task(batcher.submit(i)) for i in (12, 13, 14)]
        await asyncio.sleep(0)
        function.go.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    zero, twelve, thirteen, fourteen = run(work, function)
    assert (zero, twelve, fourteen) == (0, 24, 28)
    assert isinstance(thirteen, RuntimeError)
    assert function.batches == [[0], [12, 13, 14], [12], [13], [14]]


def test_what_nobody_waits_for_is_left_out():
    function = Doubling(held=True)

    async def work(batcher: MicroBatcher[int, int]) -> int:
        first = await held(batcher, function)
        given_up, kept = (asyncio.create_task(batcher.submit(i)) for i in (1, 2))
        await asyncio.sleep(0)
        given_up.cancel()
        first.cancel()  # its batch runs already: the result is for nobody
        function.go.set()
        return await kept

    assert run(work, function) == 4
    assert function.batches == [[0], [2]]


def test_closing_finishes_what_waits():
    function = Doubling(held=True)

    async def whole() -> list[Any]:
        batcher = MicroBatcher(function, max_batch=2)
        first = await held(batcher, function)
        others = [asyncio.create_task(batcher.submit(i)) for i in range(1, 6)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="stopping"):
            await batcher.submit(7)
        with pytest.raises(OverloadedError, match="stopping"), batcher.coming():
            pass
        function.go.set()
        await closing
        return await asyncio.gather(first, *others)

    assert asyncio.run(whole()) == [0, 2, 4, 6, 8, 10]


def test_a_full_queue_refuses():
    function = Doubling(held=True)

    async def work(batcher: MicroBatcher[int, int]) -> None:
        first = await held(batcher, function)
        with batcher.coming(2):
            with pytest.raises(OverloadedError, match="2 images to answer already, of at most 3"):
                batcher.coming(2).__enter__()
            with batcher.coming():
                pass
        function.go.set()
        await first

    run(work, function, max_queue=3)


def test_sizes_and_seconds_are_told():
    told: list[tuple[int, float]] = []
    run(lambda b: b.submit(1), Doubling(), observe=lambda *batch: told.append(batch))
    ((size, seconds),) = told
    assert size == 1 and seconds >= 0


@pytest.mark.parametrize(("name", "value"), [("max_batch", 0), ("max_wait", -1), ("max_queue", 0)])
def test_wrong_settings(name: str, value: int):
    with pytest.raises(ValueError, match=f"Argument '{name}' must be at least"):
        MicroBatcher[int, int](Doubling(), **{name: value})  # pyright: ignore[reportArgumentType]
