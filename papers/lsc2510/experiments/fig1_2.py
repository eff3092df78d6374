"""Figures 1 and 2, Table 1: the roots of A_2 and A_3, and what leaving out a coordinate does.

The roots of A_2 lie on a plane in three dimensions, 60 degrees apart. Leaving out the last
coordinate disturbs the angles of A_n: the smallest becomes 45 degrees while the mean stays near 60.
An orthonormal basis of the plane that the roots span keeps 60 degrees throughout. Exact at both
scales.

    python -m papers.lsc2510 --only fig1_2

A second on any machine.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rootspace.systems import Orbit, RootA

from ..experiment import Criterion, Experiment, Figures, Job, Outcome, Part, Picture, Row
from ..pictures import draw_vectors

RIGHT = 1e-6
"""Degrees, or length, by which float64 may be off."""


def roots(n: int) -> Tensor:
    """`[n(n + 1), n + 1]` the vectors e_i - e_j, float64."""
    system = Orbit(n + 1, {1: 1, -1: 1})
    return 2**0.5 * system.vectors(torch.arange(system.size), dtype=torch.float64)


def angles(vectors: Tensor, pairs: Tensor) -> Tensor:
    """Degrees between the vectors of the pairs that a boolean matrix marks."""
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    return torch.rad2deg(torch.acos((unit @ unit.T).clamp(-1, 1)))[pairs]


def measure(job: Job) -> Outcome:
    """Smallest and mean angle between roots that are neighbors, at 60 degrees, in A_n."""
    n = job.settings["n"]
    full = roots(n)
    pairs = (full @ full.T - 1).abs() < RIGHT  # cosine 1/2 at squared length 2
    dropped = angles(full[:, :-1], pairs)
    system = RootA(n, projection="isometric")
    kept = system.vectors(torch.arange(system.size), dtype=torch.float64)
    cosines = kept @ kept.T
    values = {
        "off_plane": float(full.sum(-1).abs().max()),
        "full_angle": float(angles(full, pairs).mean()),
        "dropped_smallest": float(dropped.min()),
        "dropped_mean": float(dropped.mean()),
        "isometric_smallest": float(angles(kept, cosines < 1 - RIGHT).min()),
        "roots": float(system.size),
    }
    pictures = [
        draw_vectors(job.picture(name), np.asarray(vectors), title)
        for name, vectors, title in (
            ("full", full, f"A_{n} in {n + 1} dimensions"),
            ("dropped", full[:, :-1], f"A_{n}, last coordinate left out"),
            ("isometric", kept, f"A_{n}, angles kept"),
        )
        if vectors.shape[1] <= 3
    ]
    return Outcome(values, pictures=[job.relative(path) for path in pictures])


def part(n: int) -> Part:
    return Part(f"a{n}", {"desk": {"n": n}, "paper": {"n": n}}, measure, minutes=0.05)


def near(name: str, measure_name: str, value: float, tolerance: float):
    def holds(figures: Figures) -> bool:
        return abs(figures.mean(name, measure_name) - value) <= tolerance

    return holds


PLANE = Criterion(
    "The coordinates of every root of A_2 sum up to 0, to 1e-6.", near("a2", "off_plane", 0, RIGHT)
)
SIXTY = Criterion(
    "Neighbors among the roots of A_2 are at 60 degrees, to 1e-6.",
    near("a2", "full_angle", 60, RIGHT),
)
FORTY_FIVE = Criterion(
    "The smallest angle after leaving out a coordinate is 45 degrees, to 1e-6.",
    near("a3", "dropped_smallest", 45, RIGHT),
)
MEAN = Criterion(
    "The mean angle between neighbors stays within 5 degrees of 60, in A_3 and in A_9.",
    lambda f: all(abs(f.mean(name, "dropped_mean") - 60) <= 5 for name in ("a3", "a9")),
)
KEPT = Criterion(
    "The smallest angle in the orthonormal basis is 60 degrees, to 1e-6.",
    near("a3", "isometric_smallest", 60, RIGHT),
)

EXPERIMENT = Experiment(
    "fig1_2",
    __doc__ or "",
    [part(2), part(3), part(9)],
    [
        Row("A_2", "largest sum of coordinates", 0, "Fig. 1", "a2", "off_plane", PLANE),
        Row("A_2", "angle of neighbors, deg", 60, "Fig. 1", "a2", "full_angle", SIXTY),
        Row(
            "A_3, dropped", "smallest angle, deg", 45, "Fig. 2a, Table 1", "a3",
            "dropped_smallest", FORTY_FIVE,
        ),
        Row("A_3, dropped", "mean angle, deg", 60, "Fig. 2a, Table 1", "a3", "dropped_mean", MEAN),
        Row("A_9, dropped", "mean angle, deg", 60, "Table 1", "a9", "dropped_mean", MEAN),
        Row(
            "A_3, isometric", "smallest angle, deg", 60, "Fig. 2b", "a3", "isometric_smallest",
            KEPT,
        ),
    ],
    figures=[
        Picture("Fig. 1: the roots of A_2 in three dimensions; one left out; angles kept", ["a2"]),
        Picture("Fig. 2: the roots of A_3, (a) a coordinate left out, (b) angles kept", ["a3"]),
    ],
)  # fmt: skip
