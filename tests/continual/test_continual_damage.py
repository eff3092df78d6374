"""Damaged files of a run's classes: what they held, or a ValueError that names the file."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rootspace.continual import ClassRegistry, KnownScore, Rejector

SCORE = KnownScore("probability", 3.5, 4)
REJECTOR = Rejector(SCORE, 0.5, "false_reject", 0.05, 0.04, None, 100, 0, 0.8, "known: 100")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def loaded(content: bytes) -> Rejector | None:
    """None where it is refused by name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rejector.json")
        path.write_bytes(content)
        try:
            return Rejector.load(path)
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            return None


def test_a_rejector_comes_back():
    with tempfile.TemporaryDirectory() as folder:
        REJECTOR.save(Path(folder, "r.json"))
        assert Rejector.load(Path(folder, "r.json")) == REJECTOR


@given(st.data())
def test_a_rejector_with_other_values(data: st.DataObject):
    with tempfile.TemporaryDirectory() as folder:
        REJECTOR.save(Path(folder, "r.json"))
        content = json.loads(Path(folder, "r.json").read_text(encoding="utf-8"))
    place = content if data.draw(st.booleans()) else content["score"]
    key = data.draw(st.sampled_from([*place, "other"]))
    if data.draw(st.booleans()):
        place.pop(key, None)
    else:
        place[key] = data.draw(JSON)
    found = loaded(json.dumps(content).encode())
    if found is not None:
        assert found.threshold == found.threshold and 0 < found.rate < 1
        assert isinstance(str(found), str) and found.score.width >= 1


@given(st.data())
def test_a_rejector_with_other_bytes(data: st.DataObject):
    with tempfile.TemporaryDirectory() as folder:
        REJECTOR.save(Path(folder, "r.json"))
        content = bytearray(Path(folder, "r.json").read_bytes())
    place = data.draw(st.integers(0, len(content) - 5))
    content[place] = data.draw(st.integers(0, 255))
    loaded(bytes(content))
    assert loaded(bytes(content[:place])) is None
    assert loaded(b"[" * 100_000) is None


@given(st.data())
def test_a_registry_with_other_bytes(data: st.DataObject):
    """SQLite has no checksums: another value may come back, but no other kind of error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "registry.sqlite")
        with ClassRegistry.create(path, ["cat", "dog"], [5, 3]):
            pass
        content = bytearray(path.read_bytes())
        start = data.draw(st.integers(0, len(content) - 1))
        part = data.draw(st.binary(min_size=1, max_size=16))
        content[start : start + len(part)] = part
        path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
        try:
            with ClassRegistry(path, timeout=0.1) as registry:
                registry.retired()
                list(registry.entries())
                registry.history()
        except (ValueError, OSError) as error:
            assert str(path) in str(error), repr(error)
