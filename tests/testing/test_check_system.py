"""The contract kit accepts a correct system and names the property that a broken one lacks."""

import math

import pytest
import torch
from torch import Tensor

from cases import name_of
from rootspace.systems import Orbit, VectorSystem
from rootspace.testing import (
    LargestTensor,
    SystemCase,
    check_property,
    check_system,
    properties_of,
)

LARGE = 510
"""Dimension in which there are 259,590 roots, enough for a table to be noticed."""


class Sound(VectorSystem):
    """The roots of A_{dim-1} by delegation, as a user might write a system; correct."""

    def __init__(self, dim: int = 5) -> None:
        self._inner = Orbit(dim, {1: 1, -1: 1})

    @property
    def dim(self) -> int:
        return self._inner.dim

    @property
    def size(self) -> int:
        return self._inner.size

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.dim})"

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return self._inner._vectors(index, dtype)

    def _index(self, vectors: Tensor) -> Tensor:
        return self._inner._index(vectors)

    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        return self._inner._nearest(z, k)

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        return self._inner._log_partition(u, length)

    def _largest_cosine(self) -> float:
        return self._inner._largest_cosine()

    def _representatives(self) -> tuple[Tensor, list[int]]:
        return self._inner._representatives()


class OneTooMany(Sound):
    @property
    def size(self) -> int:
        return self._inner.size + 1

    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return super()._vectors(index % self._inner.size, dtype)


class OneTooFew(Sound):
    @property
    def size(self) -> int:
        return self._inner.size - 1


class Longer(Sound):
    def _vectors(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return 1.001 * super()._vectors(index, dtype)


class Shuffled(Sound):
    def _index(self, vectors: Tensor) -> Tensor:
        index = super()._index(vectors)
        return torch.where(index >= 0, (index * 3) % self.size, index)


class AcceptsEverything(Sound):
    def _index(self, vectors: Tensor) -> Tensor:
        return super()._index(vectors).clamp_min(0)


class NextNeighbor(Sound):
    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        score, index = super()._nearest(z, k)
        return score, (index + 1) % self.size


class SecondBest(Sound):
    """Wrong only now and then: where the best two are close."""

    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        score, index = super()._nearest(z, min(k + 1, self.size))
        close = score[:, 0] - score[:, 1] < 0.1 * score[:, 0].abs()
        first = (close & (score[:, 1] > 0) & (score[:, 0] > score[:, 1])).long()
        columns = torch.arange(k) + first[:, None]
        return score.gather(1, columns), index.gather(1, columns)


class Unsorted(Sound):
    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        score, index = super()._nearest(z, k)
        return score.flip(-1), index.flip(-1)


class Repeats(Sound):
    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        score, index = super()._nearest(z, k)
        columns = torch.arange(k).clamp(max=max(k - 2, 0))
        return score[:, columns], index[:, columns]


class TiesByLargerIndex(Sound):
    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        table = self._vectors(torch.arange(self.size), z.dtype).flip(0)
        score, index = (z @ table.T).sort(dim=-1, descending=True, stable=True)
        return score[:, :k], self.size - 1 - index[:, :k]


class WrongQuantize(Sound):
    def _quantize(self, z: Tensor) -> Tensor:
        return super()._quantize(z.roll(1, dims=-1))


class Rounded(Sound):
    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        return super()._log_partition(u.float(), length).to(u.dtype)


class Halved(Sound):
    """An error that only the budget of float32 sees."""

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        coarse = u if u.dtype == torch.float64 else u.half().to(u.dtype)
        return super()._log_partition(coarse, length)


class ForgetsOne(Sound):
    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        table = self._vectors(torch.arange(1, self.size), u.dtype)
        return torch.logsumexp(u @ table.T, dim=-1)


class Overflows(Sound):
    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        table = self._vectors(torch.arange(self.size), u.dtype)
        return (8 * u @ table.T).exp().sum(-1).log() / 8 + math.log(self.size) * 7 / 8


class Detached(Sound):
    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        return super()._log_partition(u.detach(), length)


class HalfDetached(Sound):
    """A gradient, but not of all that was computed."""

    def _log_partition(self, u: Tensor, length: float) -> Tensor:
        return super()._log_partition(0.5 * u + 0.5 * u.detach(), length)


class WrongAngle(Sound):
    def _largest_cosine(self) -> float:
        return 0.25


class WrongRepresentatives(Sound):
    def _representatives(self) -> tuple[Tensor, list[int]]:
        vectors, _ = super()._representatives()
        return torch.cat([vectors, torch.ones(1, self.dim).double()]), [1, 1]


class WrongRepr(Sound):
    def __repr__(self) -> str:
        return f"WrongRepr({self.dim + 1})"


class ForgetsOnCopy(Sound):
    def __getstate__(self) -> dict:
        return {"_inner": Orbit(self.dim, {2: 1, -1: 1})}


class HiddenTable(Sound):
    def __init__(self, dim: int = 5) -> None:
        super().__init__(dim)
        self._order = torch.randperm(self._inner.size)


class HiddenList(Sound):
    def __init__(self, dim: int = 5) -> None:
        super().__init__(dim)
        self._order = list(range(self._inner.size))


class ScansAllPairs(Sound):
    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        differences = z[:, :, None] - z[:, None]
        assert differences.isfinite().all()
        return super()._nearest(z, k)


class StoredQuietly(Sound):
    """Filled after the constructor, where the recording of tensors does not see it."""

    def __init__(self, dim: int = 5) -> None:
        super().__init__(dim)
        self._seen: dict[int, int] = {}

    def fill(self) -> "StoredQuietly":
        self._seen = dict.fromkeys(range(self.size), 0)
        return self


class OneShapeOnly(Sound):
    def _nearest(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if not len(z):
            raise IndexError("no rows")
        return super()._nearest(z, k)


BROKEN = [
    (OneTooMany, 5, "distinct", "21 indices have 20 different vectors"),
    (OneTooFew, 5, "nearest", "an index is out of range"),
    (OneTooFew, 5, "partition_no_scale", r"is 2\.99573, not log\(size\) = 2\.94444"),
    (Longer, 5, "unit_length", r"has length 1 \+0\.001"),
    (Shuffled, 5, "rank", r"index\(vectors\(i\)\) == i fails for \d+ of 20 indices in"),
    (AcceptsEverything, 5, "non_members", "a zero vector must raise ValueError"),
    (NextNeighbor, 5, "nearest", r"a neighbor is \S+ worse than the best \(k=1"),
    (NextNeighbor, 80, "nearest_sampled", "worse than the best"),
    (NextNeighbor, 5, "nearest_itself", "fails for 20 of 20 indices"),
    (SecondBest, 5, "nearest", "worse than the best"),
    (Unsorted, 5, "nearest", "cosines do not descend"),
    (Repeats, 5, "nearest", "an index is repeated"),
    (TiesByLargerIndex, 5, "ties", "the smallest index is 0, not 19"),
    (WrongQuantize, 5, "quantize", "worse than the nearest"),
    (Rounded, 5, "partition_float64", r"is off by \S+ in float64"),
    (Halved, 5, "partition_float32", r"is off by \S+ in float32, the dense computation by"),
    (ForgetsOne, 5, "partition_float64", "log_partition at scale 1 is off"),
    (Overflows, 5, "partition_float64", r"off by (inf|nan|\d)"),
    (Detached, 5, "gradient", "log_partition has no gradient"),
    (HalfDetached, 5, "gradient", "at scale 1 in torch.float32"),
    (HalfDetached, 5, "gradient_in_numbers", "Jacobian mismatch"),
    (WrongAngle, 5, "min_angle", r"is 75\.5\d+ degrees, the smallest angle is 60$|60 \("),
    (WrongAngle, 80, "min_angle_sampled", "but 60 occurs"),
    (WrongRepresentatives, 5, "scale_rule", r"scale_for\(0\.5\) gives probability"),
    (WrongRepr, 5, "repr", "repr gives 30 vectors"),
    (ForgetsOnCopy, 5, "copies", "pickle gives other vectors"),
    (HiddenTable, LARGE, "lazy", "the constructor makes a tensor of 259,590 elements"),
    (HiddenList, LARGE, "lazy", r"the constructor allocates \S+ bytes in Python for 259,590"),
    (ScansAllPairs, LARGE, "lazy", "makes a tensor of 520,200 elements"),
    (OneShapeOnly, 5, "shapes", "IndexError: no rows"),
]


SOUND = [SystemCase(Sound(dim), permutations=True) for dim in (5, 80, LARGE)]


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name}-{name_of(case)}")
        for case in SOUND
        for name in properties_of(case)
    ],
)
def test_a_sound_system_has_every_property_that_applies(name: str, case: SystemCase) -> None:
    check_property(name, case)


def test_a_table_filled_later_is_noticed() -> None:
    with pytest.raises(AssertionError, match=r"^lazy: the object stores \S+ bytes"):
        check_property("lazy", StoredQuietly(LARGE).fill())


@pytest.mark.parametrize(
    ("kind", "dim", "name", "message"),
    BROKEN,
    ids=[f"{kind.__name__}-{name}" for kind, _, name, _ in BROKEN],
)
def test_a_broken_system_is_rejected(kind: type[Sound], dim: int, name: str, message: str) -> None:
    with pytest.raises(AssertionError, match=f"^{name}: .*({message})"):
        check_property(name, kind(dim))


@pytest.mark.parametrize("kind", [Shuffled, NextNeighbor, WrongAngle])
def test_check_system_reports_the_first_property_that_fails(kind: type[Sound]) -> None:
    with pytest.raises(AssertionError, match=rf"^[a-z_0-9]+: .* \({kind.__name__}\(5\)\)"):
        check_system(kind(5))


@pytest.mark.parametrize("name", ["permutations", "sign_flips"])
def test_a_symmetry_that_is_not_there_is_rejected(name: str) -> None:
    case = SystemCase(Orbit(5, {2: 1, -1: 1}), permutations=True, sign_flips=True)
    if name == "permutations":
        check_property(name, case)
    else:
        with pytest.raises(AssertionError, match=r"^sign_flips: "):
            check_property(name, case)


def test_capabilities_and_size_select_the_properties() -> None:
    plain = set(properties_of(Sound(5)))
    assert "permutations" not in plain and "lazy" not in plain and "nearest" in plain
    assert "permutations" in properties_of(SystemCase(Sound(5), permutations=True))
    assert "lazy" in properties_of(Sound(LARGE))
    assert "lazy" not in properties_of(SystemCase(Sound(LARGE), stored=True))
    assert "repr" not in properties_of(SystemCase(Sound(5), repr_round_trip=False))
    assert {"too_large"} <= set(properties_of(Orbit(100, {1: 30})))


class TestLargestTensor:
    def test_counts_results_and_names_the_operation(self) -> None:
        with LargestTensor() as largest:
            (torch.zeros(7, 11) + 1).sum()
        assert largest.elements == 77
        assert "aten" in largest.operation

    def test_an_expanded_view_counts_as_what_it_stores(self) -> None:
        base = torch.zeros(5)
        with LargestTensor() as largest:
            base.expand(1000, 5)
        assert largest.elements == 5

    def test_sees_results_in_tuples(self) -> None:
        z = torch.arange(12.0)
        with LargestTensor() as largest:
            z.expand(3, 12).sort(dim=-1)
        assert largest.elements == 36
