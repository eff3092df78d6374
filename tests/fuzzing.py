"""How many examples the property tests try."""

from __future__ import annotations

import os

FUZZ = os.environ.get("ROOTSPACE_FUZZ")
"""So many for every test, drawn anew; None: the test's own number, the same ones each time."""


def examples(number: int) -> int:
    return int(FUZZ or number)
