"""What the index refuses, and how."""

import pytest
import torch
from search_cases import make
from torch import Tensor

from rootspace.search import CertifiedIndex


class TestArguments:
    @pytest.mark.parametrize(
        ("z", "k", "error", "message"),
        [
            (torch.ones(2, 7), 1, ValueError, r"'z' must have last dimension 8, not \[2, 7\]"),
            (torch.tensor(1.0), 1, ValueError, r"'z' must have last dimension 8, not \[\]"),
            (torch.ones(2, 8), 0, ValueError, "'k' must be a positive integer, not 0"),
            (torch.ones(2, 8), True, ValueError, "'k' must be a positive integer, not True"),
            (torch.zeros(2, 8), 1, ValueError, "'z' must not hold zero.*row 0"),
            (torch.full((2, 8), torch.nan), 1, ValueError, "'z' must be finite; row 0 holds NaN"),
            (torch.full((2, 8), -torch.inf), 1, ValueError, "'z' must be finite"),
            (torch.ones(2, 8, dtype=torch.int64), 1, TypeError, "'z' must be of a float dtype"),
        ],
    )
    def test_search(self, z: Tensor, k: int, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            make(torch.randn(50, 8)).search(z, k)

    def test_allowed(self) -> None:
        made, z = make(torch.randn(50, 8)), torch.ones(1, 8)
        with pytest.raises(ValueError, match=r"'allowed' must have shape \[50\], not \[49\]"):
            made.search(z, allowed=torch.ones(49, dtype=torch.bool))
        with pytest.raises(TypeError, match=r"'allowed' must be bool, not torch\.int64"):
            made.search(z, allowed=torch.arange(50))

    @pytest.mark.parametrize(
        ("vectors", "error", "message"),
        [
            (torch.ones(2, 7), ValueError, r"'vectors' must have shape \[M, 8\], not \[2, 7\]"),
            (torch.ones(8), ValueError, r"'vectors' must have shape \[M, 8\], not \[8\]"),
            (torch.zeros(2, 8), ValueError, "'vectors' must not hold zero"),
            (torch.full((2, 8), torch.nan), ValueError, "'vectors' must be finite"),
            (torch.ones(2, 8, dtype=torch.int8), TypeError, "'vectors' must be floats"),
        ],
    )
    def test_add(self, vectors: Tensor, error: type[Exception], message: str) -> None:
        made = make(torch.randn(50, 8))
        with pytest.raises(error, match=message):
            made.add(vectors)
        assert len(made) == 50

    def test_others(self) -> None:
        made = make(torch.randn(50, 8))
        for places in (torch.tensor([3, 50]), torch.tensor([-1])):
            with pytest.raises(IndexError, match=r"'places' must lie in \[0, 50\), not (50|-1)"):
                made.delete(places)
        for wrong in (torch.arange(50) == 3, torch.tensor([3.0])):
            with pytest.raises(TypeError, match="'places' must be integers, not"):
                made.delete(wrong)
        levels = CertifiedIndex.of_levels(torch.ones(3, 8, dtype=torch.int8), 8**0.5)
        with pytest.raises(TypeError, match="'vectors' must be int8 levels"):
            levels.add(torch.ones(2, 8))
        with pytest.raises(ValueError, match=r"length 2\.82843; that of row 1 is 5\.65685"):
            levels.add(torch.tensor([[1], [2]], dtype=torch.int8).expand(-1, 8))
        with pytest.raises(TypeError, match=r"'levels' must be int8 .*, not torch\.float32 of"):
            CertifiedIndex.of_levels(torch.ones(3, 8), 8**0.5)
        with pytest.raises(IndexError, match=r"'places' must lie in \[0, 50\), not 50"):
            made.vectors(torch.tensor([50]))
        for name in ("dim", "width", "least"):
            with pytest.raises(ValueError, match=f"'{name}' must be a positive integer, not 0"):
                CertifiedIndex(**{"dim": 4, name: 0})

    def test_empty(self) -> None:
        made = CertifiedIndex(8)
        made.build()
        made.compact()
        assert made.add(torch.empty(0, 8)).shape == (0,)
        found = made.search(torch.ones(2, 8), 3)
        assert found.index.tolist() == [[-1] * 3] * 2 and len(made) == 0
        made.add(torch.ones(1, 8))
        made.delete(torch.tensor([0]))
        assert made.search(torch.ones(2, 8)).index.tolist() == [[-1], [-1]]
        assert repr(made) == "<CertifiedIndex: 0 vectors, dim 8, 1 pending>"
