"""A progress bar for work that may take a while before training begins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rootspace._extras import require


@contextmanager
def progress_bar(title: str, total: int, long_work: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, as the function that advances it.

    A terminal shows it for any work, a log file only for work that takes seconds.

    Args:
        title: what is being done.
        total: number of steps.
        long_work: so many steps take seconds.
    """
    progress = require("rich.progress", extra="data", purpose="The progress bar")
    console = require("rich.console", extra="data", purpose="The progress bar")
    interactive = sys.stderr.isatty()
    with progress.Progress(
        console=console.Console(stderr=True),
        transient=interactive,
        disable=not interactive and total < long_work,
    ) as bar:
        task = bar.add_task(title, total=total)
        yield lambda steps: bar.advance(task, steps)
