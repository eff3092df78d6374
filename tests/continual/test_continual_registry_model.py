"""The class registry against a model in plain dictionaries, under random operations."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fuzzing import examples
from rootspace.continual import ClassEntry, ClassRegistry, StaleRegistryError

NAMES = st.sampled_from([*"abcdefgh", "字", "É", "É", " a", "'; --", "7"])
VECTORS = st.integers(0, 12) | st.binary(min_size=1, max_size=1)
WHICH = NAMES | st.integers(-1, 6)


@dataclass
class Model:
    classes: list[dict] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    generation: int = 1

    def resolve(self, which: int | str) -> int | None:
        if isinstance(which, str):
            return self.names.get(which)
        return which if 0 <= which < len(self.classes) else None

    def entries(self) -> list[ClassEntry]:
        return [
            ClassEntry(
                label,
                c["name"],
                tuple(sorted(n for n, o in self.names.items() if o == label and n != c["name"])),
                c["vector"],
                c["images"],
                c["retired"],
                c["added"],
            )
            for label, c in enumerate(self.classes)
        ]


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model = Model()

    @initialize(names=st.lists(NAMES, max_size=3, unique=True))
    def create(self, names: list[str]) -> None:
        vectors = list(range(100, 100 + len(names)))
        self.registry = ClassRegistry.create(self.folder / "r", names, vectors)
        self._add(names, vectors, 1)

    def _add(self, names, vectors, generation) -> None:
        for name, vector in zip(names, vectors, strict=True):
            self.model.names[name] = len(self.model.classes)
            self.model.classes.append(
                {"name": name, "vector": vector, "images": 0, "retired": False, "added": generation}
            )

    @rule(names=st.dictionaries(st.integers(-1, 5), NAMES, max_size=4))
    def name_all(self, names: dict[int, str]) -> None:
        number = len(self.model.classes)
        taken = {n: o for n, o in self.model.names.items() if self.model.classes[o]["name"] != n}
        old = [str(c["name"]) for c in self.model.classes]
        new = {label: names.get(label, name) for label, name in enumerate(old)}
        fits = all(0 <= label < number for label in names)
        fits = fits and len({*new.values()}) == number
        # An alias of its own may become the name of a class.
        fits = fits and all(taken.get(name, label) == label for label, name in new.items())
        if not fits:
            with pytest.raises(ValueError):
                self.registry.name_all(names)
            return
        changed = [label for label, c in enumerate(self.model.classes) if c["name"] != new[label]]
        assert self.registry.name_all(names) == len(changed)
        for label in changed:
            self.model.classes[label]["name"] = new[label]
        aliases = {n: o for n, o in taken.items() if new[o] != n}
        self.model.names = {**{name: label for label, name in new.items()}, **aliases}
        self.model.generation += len(changed)

    def _expect(self, allowed: bool, act) -> bool:
        """Run it; it must succeed where the model allows it, else raise and change nothing."""
        if allowed:
            act()
            self.model.generation += 1
        else:
            with pytest.raises(ValueError):
                act()
        return allowed

    @rule(new=st.lists(st.tuples(NAMES, VECTORS), max_size=3))
    def add(self, new) -> None:
        names, vectors = [n for n, _ in new], [v for _, v in new]
        used = {c["vector"] for c in self.model.classes}
        allowed = (
            len(set(names)) == len(set(vectors)) == len(new)
            and not set(names) & set(self.model.names)
            and not set(vectors) & used
        )
        if self._expect(allowed, lambda: self.registry.add(names, vectors)):
            self._add(names, vectors, self.model.generation)

    @rule(which=WHICH, name=NAMES)
    def rename(self, which, name) -> None:
        label = self.model.resolve(which)
        owner = self.model.names.get(name)
        allowed = label is not None and (
            owner is None or (owner == label and self.model.classes[label]["name"] != name)
        )
        if self._expect(allowed, lambda: self.registry.rename(which, name)):
            assert label is not None
            del self.model.names[self.model.classes[label]["name"]]
            self.model.names[name] = label
            self.model.classes[label]["name"] = name

    @rule(which=WHICH, name=NAMES)
    def alias(self, which, name) -> None:
        label = self.model.resolve(which)
        allowed = label is not None and name not in self.model.names
        if self._expect(allowed, lambda: self.registry.alias(which, name)):
            assert label is not None
            self.model.names[name] = label

    @rule(name=NAMES)
    def remove_alias(self, name) -> None:
        owner = self.model.names.get(name)
        allowed = owner is not None and self.model.classes[owner]["name"] != name
        if self._expect(allowed, lambda: self.registry.remove_alias(name)):
            del self.model.names[name]

    @rule(which=WHICH, retired=st.booleans())
    def retire_or_restore(self, which, retired) -> None:
        label = self.model.resolve(which)
        allowed = label is not None and self.model.classes[label]["retired"] != retired
        act = self.registry.retire if retired else self.registry.restore
        if self._expect(allowed, lambda: act(which)):
            assert label is not None
            self.model.classes[label]["retired"] = retired

    @rule(which=WHICH, number=st.integers(0, 5))
    def count(self, which, number) -> None:
        label = self.model.resolve(which)
        numbers = {which: number}
        if self._expect(label is not None, lambda: self.registry.count_images(numbers)):
            assert label is not None
            self.model.classes[label]["images"] += number

    @rule(which=WHICH, behind=st.integers(0, 1))
    def retire_if_unchanged(self, which, behind) -> None:
        label = self.model.resolve(which)
        allowed = label is not None and not self.model.classes[label]["retired"] and not behind

        def act() -> None:
            with self.registry.change(expected=self.model.generation - behind):
                self.registry.retire(which)

        if behind:
            with pytest.raises(StaleRegistryError):
                act()
        elif self._expect(allowed, act):
            assert label is not None
            self.model.classes[label]["retired"] = True

    @rule()
    def reopen(self) -> None:
        self.registry.close()
        self.registry = ClassRegistry(self.folder / "r")

    @invariant()
    def same_as_the_model(self) -> None:
        if not hasattr(self, "registry"):
            return
        entries = self.model.entries()
        assert list(self.registry.entries()) == entries
        assert len(self.registry) == len(entries)
        assert self.registry.generation == self.model.generation
        assert self.registry.retired().tolist() == [e.label for e in entries if e.retired]
        for name, label in self.model.names.items():
            assert self.registry.label(name) == label

    def teardown(self) -> None:
        if hasattr(self, "registry"):
            self.registry.close()
            connection = sqlite3.connect(self.folder / "r")
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            connection.close()
        shutil.rmtree(self.folder)


TestRegistry = Machine.TestCase
TestRegistry.settings = settings(max_examples=examples(25), stateful_step_count=25)
