"""The classes of a run as they change: names, aliases, retired ones, counts and where from."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path

import numpy as np

from rootspace._files import replacing

from ._store import (
    TABLES,
    VECTORS_STAY,
    Change,
    ClassEntry,
    StaleRegistryError,
    Store,
    check_count,
    check_name,
    check_new_name,
    check_text,
    check_vector,
    check_whole,
)

PAGE = 4096
"""Classes read together."""

Vectors = Sequence[int] | Sequence[bytes]


class ClassRegistry:
    """The label set of a run, in one SQLite file that several processes may change.

    Labels are 0, 1, 2, ... in the order of adding and are never given away again, nor is a
    vector: a class is retired, not deleted, and the database itself refuses anything else. Only a
    run that trains on chooses other vectors for its classes.
    Names and aliases are all different, those of retired classes included, and compare by
    code points.

    Every change is one transaction: after a crash at any point the registry is as before it or
    as after it. Writers follow one another (`BEGIN IMMEDIATE`, waiting up to `timeout` seconds),
    and each change has a number, the generation. A writer that decided by what it read passes
    `change(expected=generation)` and is refused if another was faster. Use one object in one
    thread; processes open the file each for themselves.

    Cost: about 100 bytes of file a class with numbered vectors and short names, plus twice the
    packed code where vectors have no number. Every method looks up what it needs in indices,
    O(log classes) a class; nothing is held in memory but a cache of at most 64 MB.

    Args:
        path: of a file that `create` wrote.
        timeout: seconds to wait for other processes.

    Raises:
        FileNotFoundError: there is no such file, or an empty one that a crash in `create` left.
        ValueError: it is no registry, or of a newer version.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "registry.sqlite"
        >>> with ClassRegistry.create(path, ["cat", "dog"], [5, 3]) as registry:
        ...     registry.rename("cat", "house cat")
        ...     registry.retire("dog")
        ...     registry.names([0]), registry.retired(), registry.generation
        (['house cat'], array([1]), 3)
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 30.0) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path} does not exist; expected a class registry.")
        self._store = Store(self.path, "rw", timeout)
        self._command = self._source = ""
        try:
            if self._store.version() == 0:
                raise ValueError(
                    f"{self.path} is empty or damaged. Copy it again, or remove it to begin anew."
                )
        except BaseException:
            self._store.close()
            raise

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        names: Sequence[str],
        vectors: Vectors | None = None,
        images: Sequence[int] | None = None,
        *,
        system: str | None = None,
        command: str = "",
        source: str = "",
        timeout: float = 30.0,
    ) -> ClassRegistry:
        """A new registry of the classes 0 to len(names) - 1, written all or nothing.

        Args:
            path: of the new file.
            names: one for each class, all different.
            vectors: of each class, as `ClassMap.vector_ids` gives them; None for a learned head.
            images: of each class that were trained on; zeros if None.
            system: `repr` of the vector system, to recognize it by.
            command: that makes it, for the history.
            source: data that the classes are from, for the history.
            timeout: seconds to wait for other processes.

        Raises:
            FileExistsError: there is such a file already.
            ValueError: equal names or vectors, wrong counts.
        """
        path = Path(path)
        if path.exists():  # before the work
            raise FileExistsError(f"{path} exists already.")
        with replacing(path, shared=True, existing=False) as temporary:
            registry = cls.__new__(cls)
            registry.path = path
            registry._store = Store(temporary, "rwc", timeout)
            registry._command = registry._source = ""
            try:
                with registry.change(command=command, source=source):
                    for statement in TABLES:
                        registry._store.run(statement)
                    registry._store.run("INSERT INTO about VALUES ('system', ?)", (system,))
                    registry._add(names, vectors, images, "create")
            finally:
                registry.close()
        return cls(path, timeout=timeout)

    def check(self) -> None:
        """Read all of the file and hold its tables against their indices.

        A name, a label, a vector or a mark of retirement stands in both, so that a bit that has
        turned is noticed. 0.2 s for 100,000 classes.

        Raises:
            ValueError: it is damaged.
        """
        found = self._store.value("PRAGMA integrity_check(1)")
        if found != "ok":
            raise ValueError(
                f"{self.path} is damaged: {found}. Copy it again, or remove it to begin anew."
            )

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    def __enter__(self) -> ClassRegistry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ClassRegistry({str(self.path)!r})"

    # ---------------------------------------------------------------- reading

    def __len__(self) -> int:
        """Number of classes, retired ones included."""
        return self._store.value("SELECT coalesce(max(label), -1) + 1 FROM classes")

    @property
    def generation(self) -> int:
        """Number of the last change."""
        return self._store.value("SELECT coalesce(max(generation), 0) FROM changes")

    @property
    def system(self) -> str | None:
        """`repr` of the vector system, None for a learned head."""
        return self._store.value("SELECT value FROM about WHERE key = 'system'")

    def find(self, name: str) -> int | None:
        """The label of the class with this name or alias; None if there is none."""
        row = self._store.row("SELECT label FROM names WHERE name = ?", (check_text(name),))
        return None if row is None else row[0]

    def label(self, which: int | str) -> int:
        """The label of a class.

        Args:
            which: its name, an alias, or its label.

        Raises:
            ValueError: there is no such class.
        """
        if isinstance(which, str):
            found = self.find(which)
            if found is None:
                raise ValueError(
                    f"Argument 'which' must be the name or an alias of a class, not {which!r}."
                )
            return found
        label, number = check_whole(which, "which"), len(self)
        if not 0 <= label < number:
            raise ValueError(f"Argument 'which' must be a label in [0, {number}), not {label}.")
        return label

    def entry(self, which: int | str) -> ClassEntry:
        """All about one class.

        Raises:
            ValueError: there is no such class.
        """
        with self.snapshot():
            return self._page(self.label(which), 1)[0]

    def entries(self, start: int = 0) -> Iterator[ClassEntry]:
        """All classes from a label on, in order.

        Read a page at a time, between which others may write; inside `snapshot` they may not.
        """
        while page := self._page(start, PAGE):
            yield from page
            start = page[-1].label + 1

    def names(self, labels: Sequence[int]) -> list[str]:
        """The names of these classes.

        Raises:
            ValueError: there is no such class.
        """
        found = []
        with self.snapshot():
            for label in labels:
                row = self._store.row(
                    "SELECT name FROM names WHERE label = ? AND alias = 0", (label,)
                )
                if row is None:
                    raise ValueError(
                        f"Argument 'labels' must hold labels in [0, {len(self)}), not {label}."
                    )
                found.append(row[0])
        return found

    def all_names(self) -> list[tuple[str, int, bool]]:
        """Names and aliases: each with its label, and whether it is an alias; O(classes)."""
        rows = self._store.rows("SELECT name, label, alias FROM names")
        return [(name, label, bool(alias)) for name, label, alias in rows]

    def retired(self) -> np.ndarray:
        """`[R]` int64 labels of the retired classes, ascending; O(R)."""
        rows = self._store.rows("SELECT label FROM classes WHERE retired = 1 ORDER BY label")
        return np.array([row[0] for row in rows], dtype=np.int64)

    def history(self, which: int | str | None = None) -> list[Change]:
        """The changes of a class, from its addition on, or with None of the registry.

        Raises:
            ValueError: there is no such class.
        """
        if which is None:
            rows = self._store.rows("SELECT * FROM changes ORDER BY generation")
        else:
            label = self.label(which)
            rows = self._store.rows(
                "SELECT * FROM changes WHERE generation = (SELECT added FROM classes WHERE "
                "label = ?1) UNION SELECT * FROM changes WHERE label = ?1 ORDER BY generation",
                (label,),
            )
        return [Change(*row) for row in rows]

    def snapshot(self) -> AbstractContextManager[None]:
        """What is read inside belongs to one generation; writers wait meanwhile."""
        return self._store.reading()

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the registry, as it is at one moment, into a file that has no tables yet.

        Args:
            path: of the copy, whole only when this returns.
        """
        copy = Store(Path(path), "rwc", self._store.timeout)
        try:
            self._store.copy_to(copy)
        finally:
            copy.close()

    # ---------------------------------------------------------------- writing

    @contextmanager
    def change(
        self, *, expected: int | None = None, command: str = "", source: str = ""
    ) -> Iterator[None]:
        """Several changes as one: all of them, or none after an error or a crash.

        Args:
            expected: the generation that the changes were decided by.
            command: that makes them, for the history.
            source: data or reason behind them, for the history.

        Raises:
            StaleRegistryError: the registry has another generation than `expected`.
            TimeoutError: another process held the registry for too long.
            PermissionError: the file cannot be written.
        """
        before = self._command, self._source
        with self._store.writing():
            if expected is not None and expected != self.generation:
                raise StaleRegistryError(
                    f"Argument 'expected' must be {self.generation}, the generation of "
                    f"{self.path}, not {expected}: it has changed since it was read."
                )
            self._command, self._source = command, source
            try:
                yield
            finally:
                self._command, self._source = before

    def add(
        self,
        names: Sequence[str],
        vectors: Vectors | None = None,
        images: Sequence[int] | None = None,
    ) -> range:
        """New classes after the present ones.

        Args:
            names: one for each.
            vectors: of each, as `ClassMap.vector_ids` gives them; None for a learned head.
            images: of each that were trained on; zeros if None.

        Returns:
            Their labels.

        Raises:
            ValueError: a name or a vector belongs to another class, or counts do not fit.
        """
        with self._store.writing():
            return self._add(names, vectors, images, "add")

    def give_vectors(self, classes: Mapping[int, int | bytes]) -> None:
        """Vectors for classes that have none yet; each keeps its own from then on.

        Args:
            classes: label -> vector, as `ClassMap.vector_ids` gives it.

        Raises:
            ValueError: no such class, a class has a vector, or a vector belongs to another class.
        """
        with self._store.writing():
            number = len(self)
            for label in classes:
                if not 0 <= check_whole(label, "classes") < number:
                    raise ValueError(
                        f"Argument 'classes' must hold labels in [0, {number}), not {label}."
                    )
            self._give_vectors(classes)
            self._record("choose", None, f"vectors for {len(classes)} classes")

    def without_vectors(self) -> list[int]:
        """Labels of the classes that have no vector."""
        rows = self._store.rows("SELECT label FROM classes WHERE vector IS NULL ORDER BY label")
        return [row[0] for row in rows]

    def choose_anew(self, vectors: Vectors) -> None:
        """Other vectors for all classes, of a run that has trained on and has chosen again.

        Args:
            vectors: of each class, as `ClassMap.vector_ids` gives them.

        Raises:
            ValueError: not one a class, or two are equal.
        """
        with self._store.writing():
            if len(vectors) != len(self):
                raise ValueError(
                    f"Argument 'vectors' must hold {len(self)} values, one a class, not "
                    f"{len(vectors)}."
                )
            self._store.run("DROP TRIGGER vectors_stay")
            # First none: a class may get what was another's.
            self._store.run("UPDATE classes SET vector = NULL")
            self._store.run(VECTORS_STAY)
            self._give_vectors(dict(enumerate(vectors)))
            self._record("choose", None, f"other vectors for {len(vectors)} classes")

    def rename(self, which: int | str, name: str) -> None:
        """Give a class another name; one of its own aliases may become it. The old one is free.

        Raises:
            ValueError: no such class, the name belongs to another, or cannot be seen.
        """
        check_new_name(name, "name")
        with self._store.writing():
            label = self.label(which)
            old = self.names([label])[0]
            owner = self._owner(name)
            if owner not in (None, (label, 1)):
                raise self._taken(name, owner)
            self._store.run("DELETE FROM names WHERE name = ?", (name,))
            self._store.run(
                "UPDATE names SET name = ? WHERE label = ? AND alias = 0", (name, label)
            )
            self._record("rename", label, f"{old!r} to {name!r}")

    def alias(self, which: int | str, alias: str) -> None:
        """Another name by which a class is found.

        Raises:
            ValueError: no such class, the name belongs to one, or cannot be seen.
        """
        check_new_name(alias, "alias")
        with self._store.writing():
            label = self.label(which)
            owner = self._owner(alias)
            if owner is not None:
                raise self._taken(alias, owner)
            self._store.run("INSERT INTO names VALUES (?, ?, 1)", (alias, label))
            self._record("alias", label, repr(alias))

    def name_all(
        self, names: Mapping[int, str], aliases: Mapping[int, Sequence[str]] | None = None
    ) -> int:
        """Give many classes other names at once; they may be those of one another.

        Args:
            names: label -> name.
            aliases: label -> all of its aliases; those of other classes stay.

        Returns:
            How many classes have other names or aliases now.

        Raises:
            ValueError: no such class; a name that cannot be seen, or of two classes.
        """
        aliases = {} if aliases is None else aliases
        with self._store.writing():
            number = len(self)
            wrong = [label for label in (*names, *aliases) if not 0 <= label < number]
            if wrong:
                raise ValueError(
                    f"Argument 'names' must hold labels in [0, {number}), not {wrong[0]}."
                )
            old: dict[int, ClassEntry] = {}
            new: dict[int, tuple[str, tuple[str, ...]]] = {}
            for entry in self.entries():
                name = names.get(entry.label, entry.name)
                # One of its own aliases may become its name, as with `rename`.
                kept = [a for a in entry.aliases if a != name]
                others = tuple(sorted({*aliases.get(entry.label, kept)}))
                if (name, others) != (entry.name, entry.aliases):
                    old[entry.label], new[entry.label] = entry, (name, others)
                    for text in {name, *others} - {entry.name, *entry.aliases}:
                        check_new_name(text, "names")
            self._store.run_many(
                "DELETE FROM names WHERE name = ?",
                ((text,) for entry in old.values() for text in (entry.name, *entry.aliases)),
            )
            row: tuple[str, int, int] = ("", 0, 0)

            def rows() -> Iterator[tuple[str, int, int]]:
                nonlocal row
                for label, (name, others) in new.items():
                    for alias, text in enumerate((name, *others)):
                        row = text, label, min(alias, 1)
                        yield row

            try:
                self._store.run_many("INSERT INTO names VALUES (?, ?, ?)", rows())
            except sqlite3.IntegrityError as error:
                raise self._taken(row[0], self._owner(row[0]), "names") from error
            self._record_all(
                (
                    "rename" if new[label][0] != entry.name else "alias",
                    label,
                    f"{entry.name!r}, aliases {list(entry.aliases)} to {new[label][0]!r}, "
                    f"{list(new[label][1])}",
                )
                for label, entry in old.items()
            )
        return len(new)

    def remove_alias(self, alias: str) -> None:
        """Take an alias back; the name is free.

        Raises:
            ValueError: it is not an alias.
        """
        with self._store.writing():
            owner = self._owner(alias)
            if owner is None or not owner[1]:
                what = "that of no class" if owner is None else f"the name of class {owner[0]}"
                raise ValueError(f"Argument 'alias' must be an alias, {alias!r} is {what}.")
            self._store.run("DELETE FROM names WHERE name = ?", (alias,))
            self._record("remove alias", owner[0], repr(alias))

    def retire(self, which: int | str) -> None:
        """Leave a class out of predictions; its label, names and vector stay its own.

        Raises:
            ValueError: no such class, or it is retired.
        """
        self._set_retired(which, True)

    def restore(self, which: int | str) -> None:
        """Take a retired class back into predictions.

        Raises:
            ValueError: no such class, or it is not retired.
        """
        self._set_retired(which, False)

    def count_images(self, numbers: Mapping[int, int] | Mapping[str, int]) -> None:
        """More images of some classes were trained on.

        Args:
            numbers: class -> how many more.

        Raises:
            ValueError: no such class, or a negative number.
        """
        with self._store.writing():
            for which, number in numbers.items():
                check_count(number, "numbers")
                self._store.run(
                    "UPDATE classes SET images = images + ? WHERE label = ?",
                    (int(number), self.label(which)),
                )
            total = sum(map(int, numbers.values()))
            self._record("count", None, f"{total} images of {len(numbers)} classes")

    # ---------------------------------------------------------------- inside a transaction

    def _add(
        self,
        names: Sequence[str],
        vectors: Vectors | None,
        images: Sequence[int] | None,
        action: str,
    ) -> range:
        for argument, values in (("vectors", vectors), ("images", images)):
            if values is not None and len(values) != len(names):
                raise ValueError(
                    f"Argument '{argument}' must hold {len(names)} values, one a class, not "
                    f"{len(values)}."
                )
        first, row = len(self), 0
        labels = range(first, first + len(names))
        self._record(action, None, f"labels {first} to {labels[-1]}" if labels else "no classes")
        generation = self.generation

        def classes() -> Iterator[tuple[int, int | bytes | None, int, int]]:
            nonlocal row
            given = repeat(None) if vectors is None else vectors
            counts = repeat(0) if images is None else images
            for row, (_, vector, number) in enumerate(zip(names, given, counts, strict=False)):
                yield first + row, check_vector(vector), check_count(number, "images"), generation

        def own_names() -> Iterator[tuple[str, int]]:
            nonlocal row
            for row, name in enumerate(names):
                yield check_name(name, "names"), first + row

        try:
            self._store.run_many("INSERT INTO classes VALUES (?, ?, ?, 0, ?)", classes())
            self._store.run_many("INSERT INTO names VALUES (?, ?, 0)", own_names())
        except sqlite3.IntegrityError as error:
            # Rows are drawn one at a time: the last one is the one that was refused.
            vector = None if vectors is None else check_vector(vectors[row])
            raise self._repeated(names[row], vector, first + row) from error
        return labels

    def _give_vectors(self, classes: Mapping[int, int | bytes]) -> None:
        try:
            self._store.run_many(
                "UPDATE classes SET vector = ? WHERE label = ?",
                ((check_vector(vector), int(label)) for label, vector in classes.items()),
            )
        except sqlite3.IntegrityError as error:
            raise ValueError(f"Argument 'classes': {error}.") from error

    def _repeated(self, name: str, vector: int | bytes | None, label: int) -> ValueError:
        """Which value of a new class is in use already, once an insert has said that one is."""
        owner = self._store.row("SELECT label FROM classes WHERE vector = ?", (vector,))
        if owner is not None and owner[0] != label:
            shown = vector.hex() if isinstance(vector, bytes) else vector
            return ValueError(
                f"Argument 'vectors' must hold vectors that are free and all different; {shown} "
                f"belongs to class {owner[0]}."
            )
        return self._taken(name, self._owner(name), "names")

    def _set_retired(self, which: int | str, retired: bool) -> None:
        action = "retire" if retired else "restore"
        with self._store.writing():
            entry = self.entry(which)
            if entry.retired == retired:
                state = "retired already" if retired else "not retired"
                raise ValueError(f"Class {entry.label} ({entry.name!r}) is {state}.")
            self._store.run(
                "UPDATE classes SET retired = ? WHERE label = ?", (int(retired), entry.label)
            )
            self._record(action, entry.label, repr(entry.name))

    def _owner(self, name: str) -> tuple[int, int] | None:
        """Label of the class that has this name, and whether it is an alias."""
        return self._store.row(
            "SELECT label, alias FROM names WHERE name = ?", (check_name(name, "name"),)
        )

    def _taken(
        self, name: str, owner: tuple[int, int] | None, argument: str = "name"
    ) -> ValueError:
        assert owner is not None
        what = "an alias" if owner[1] else "the name"
        return ValueError(
            f"Argument '{argument}' must be free; {name!r} is {what} of class {owner[0]}."
        )

    def _record(self, action: str, label: int | None, detail: str) -> None:
        self._record_all([(action, label, detail)])

    def _record_all(self, changes: Iterable[tuple[str, int | None, str]]) -> None:
        at, last = datetime.now(UTC).isoformat(timespec="seconds"), self.generation
        self._store.run_many(
            "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (generation, at, action, label, detail, self._command, self._source)
                for generation, (action, label, detail) in enumerate(changes, last + 1)
            ),
        )

    def _page(self, start: int, count: int) -> list[ClassEntry]:
        """Up to `count` classes from a label on."""
        with self.snapshot():
            rows = self._store.rows(
                # CROSS: classes in their order, each with its name, rather than all names sorted.
                "SELECT classes.label, name, vector, images, retired, added FROM classes CROSS "
                "JOIN names ON names.label = classes.label AND alias = 0 "
                "WHERE classes.label >= ? ORDER BY classes.label LIMIT ?",
                (start, count),
            )
            aliases: dict[int, list[str]] = {}
            if rows:
                for label, name in self._store.rows(
                    "SELECT label, name FROM names WHERE alias = 1 AND label BETWEEN ? AND ? "
                    "ORDER BY label, name",
                    (rows[0][0], rows[-1][0]),
                ):
                    aliases.setdefault(label, []).append(name)
        return [
            ClassEntry(label, name, tuple(aliases.get(label, ())), vector, images, bool(off), added)
            for label, name, vector, images, off, added in rows
        ]
