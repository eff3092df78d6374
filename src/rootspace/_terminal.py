"""What the library prints: lines and progress bars on stderr, and tables of text."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from rootspace._extras import require
from rootspace._files import is_helper

T = TypeVar("T")

# Characters that turn the direction of what follows them.
_DIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BREAKS = frozenset("\n\t\u2028\u2029")


def visible(text: str) -> str:
    """The text with control characters escaped, but for line ends and tabs.

    Names of classes and files come from anywhere: none may send a command to the terminal.
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    hidden = character in _DIRECTIONAL or unicodedata.category(character) in ("Cc", "Cs")
    return _escaped(character) if hidden and character not in "\n\t" else character


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def one_line(text: str) -> str:
    """The text with all that would end a line escaped too, and tabs: a name in a line of others."""
    return "".join(_escaped(c) if c in _BREAKS else c for c in visible(text))


def say(text: str) -> None:
    """Print text on stderr, as it is but for its control characters.

    Of a distributed run the first process speaks. A progress bar that is shown meanwhile stays
    below the text.
    """
    if not is_helper():
        print(visible(text), file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------- progress bars


@dataclass(frozen=True)
class Bar:
    """A progress bar, or nothing where none is shown."""

    _progress: Any = None
    _task: Any = None

    @property
    def is_shown(self) -> bool:
        return self._progress is not None

    def advance(self, steps: float = 1) -> None:
        """So many steps more are done; any thread may say so."""
        if self._progress is not None:
            self._progress.advance(self._task, steps)

    def show(self, done: float, note: str = "") -> None:
        """So many steps are done in all; the note stands behind the bar."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, note=visible(note))


@contextmanager
def bar(title: str, total: float | None = None, *, long: bool = False) -> Iterator[Bar]:
    """A progress bar on stderr while the block runs; on a terminal it vanishes with it.

    Args:
        title: what is being done.
        total: number of steps, None where it is not known.
        long: the work takes seconds. Without a terminal, as in a log file, only then there is a
            bar, and it is printed once.
    """
    rich_console = require("rich.console", extra="data", purpose="The progress bar")
    console = rich_console.Console(stderr=True)
    if not (console.is_terminal or long):
        yield Bar()
        return
    progress = require("rich.progress", extra="data", purpose="The progress bar")
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}", markup=False),
    )
    with progress.Progress(*columns, console=console, transient=console.is_terminal) as shown:
        yield Bar(shown, shown.add_task(visible(title), total=total, note=""))


def tracked(steps: Iterable[T], title: str, total: int) -> Iterator[T]:
    """The steps themselves; a bar shows how many are done."""
    with bar(title, total) as shown:
        for step in steps:
            yield step
            shown.advance()


# -------------------------------------------------------------------------------------- tables


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """A table as text with aligned columns, the first to the left and the others to the right.

    Args:
        header: names of the columns.
        rows: each as long as the header; a line end within a cell becomes a space.
        markdown: as Markdown instead.
    """
    lines = [[" ".join(visible(cell).splitlines()) for cell in line] for line in (header, *rows)]
    if markdown:
        lines = [[cell.replace("|", "&#124;") for cell in line] for line in lines]
        lines.insert(1, ["---"] * len(header))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])
