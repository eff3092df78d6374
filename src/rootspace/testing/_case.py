"""A system under test, and what may be expected of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rootspace.systems import VectorSystem


@dataclass(frozen=True)
class SystemCase:
    """A system, its capabilities and its tolerances. The defaults ask for everything.

    Attributes:
        system: under test.
        permutations: permuting the coordinates maps the system to itself.
        sign_flips: changing the sign of any coordinate maps the system to itself.
        exact_ties: embeddings with small integer coordinates tie exactly, so the smallest of the
            tied indices must be found; False where rounding decides.
        repr_round_trip: the `repr` is a constructor call.
        stored: the system keeps its vectors, so it need not be lazy.
        precision: the vectors have length 1 to its rounding; float32 for a table in float32.
        index_dtypes: precisions in which the vectors can be told apart.
        ulps: error of a cosine, in units of the machine precision of the dtype.
        partition_error: of `log_partition` in float64, relative.
        scale_error: of the probability that `scale_for` promises, where that is an average over a
            sample of the vectors.
        exhaustive: systems up to this size are compared with all of their vectors, larger ones
            with samples.
        samples: how many embeddings of each kind, and how many indices of a large system.
        max_k: largest number of neighbors asked for.
    """

    system: VectorSystem
    permutations: bool = False
    sign_flips: bool = False
    exact_ties: bool = True
    repr_round_trip: bool = True
    stored: bool = False
    precision: torch.dtype = torch.float64
    index_dtypes: tuple[torch.dtype, ...] = (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
    )
    ulps: float = 16.0
    partition_error: float = 1e-10
    scale_error: float = 1e-6
    exhaustive: int = 5000
    samples: int = 16
    max_k: int = 50
