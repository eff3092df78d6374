"""Strings in two arrays behave as the list they stand for."""

from __future__ import annotations

import copy
import pickle
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootspace.data.strings import Strings

TEXTS = st.lists(st.text(max_size=8), max_size=20)


@given(TEXTS, st.integers(-25, 25), st.integers(-25, 25))
def test_a_list_is_the_oracle(texts: list[str], start: int, stop: int) -> None:
    strings = Strings.of(iter(texts))
    assert list(strings) == texts and len(strings) == len(texts)
    assert strings[start:stop] == texts[start:stop]
    assert strings[start::-1] == texts[start::-1]
    if -len(texts) <= start < len(texts):
        assert strings[start] == texts[start]
    else:
        with pytest.raises(IndexError):
            strings[start]


@given(TEXTS, st.randoms())
def test_take(texts: list[str], random: Random) -> None:
    places = [random.randrange(len(texts)) for _ in range(9)] if texts else []
    taken = Strings.of(texts).take(np.array(places, dtype=np.int64))
    assert list(taken) == [texts[place] for place in places]


def test_names_that_are_no_utf8_survive() -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")  # as os.listdir gives it
    assert list(Strings.of([name, "b"])) == [name, "b"]


def test_copies() -> None:
    strings = Strings.of(["a", "", "ccc"])
    for twin in (copy.deepcopy(strings), pickle.loads(pickle.dumps(strings))):
        assert list(twin) == ["a", "", "ccc"]


def test_names_are_little_more_than_their_letters() -> None:
    strings = Strings.of(f"n{i:08d}/n{i:08d}_{i}.JPEG" for i in range(100_000))
    letters = sum(map(len, strings))
    assert strings.data.nbytes + strings.ends.nbytes == letters + 8 * len(strings)
