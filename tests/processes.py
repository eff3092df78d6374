"""Processes that begin at once, and threads that go on meanwhile."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# A server that has imported everything forks the processes: a start takes milliseconds. It is one
# for all tests.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        *("hypothesis", "jsonargparse", "plotly.graph_objects", "rootspace.continual"),
        *("rootspace.cli.extend", "rootspace.cli.distill", "rootspace.cli.compare"),
        *("rootspace.cli.predict", "rootspace.cli.evaluate", "rootspace.cli.embed"),
        *("rootspace.cli.classes", "rootspace.cli.calibrate", "rootspace.cli.report"),
        *("lightning.pytorch.loggers", "torch.utils.tensorboard", "torchmetrics"),
        *("rootspace.gallery", "pyarrow"),
        *("safetensors.torch", "scipy.optimize", "filelock", "rich.progress"),
    ]
)


@contextmanager
def repeating(act: Callable[[], None]) -> Iterator[None]:
    """Calls `act` again and again in a thread; what it raises is raised at the end."""
    stop, errors, calls = threading.Event(), list[BaseException](), 0

    def work() -> None:
        nonlocal calls
        while not (stop.is_set() and calls):
            try:
                act()
            except BaseException as error:
                errors.append(error)
                return
            calls += 1

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]
