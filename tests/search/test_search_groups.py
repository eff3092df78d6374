"""An index that groups its rows is exact, and certifies what lies together."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import (
    DATA,
    assert_exact,
    assert_exact_through,
    crowds,
    grouped,
    make,
    queries,
    unit,
)
from torch import Tensor

from fuzzing import examples
from rootspace.search import CertifiedIndex, Found, _groups, index
from rootspace.search._groups import Groups


class TestGroups:
    @pytest.mark.parametrize("data", [*DATA, "crowds"])
    @pytest.mark.parametrize(("number", "dim"), [(1, 3), (30, 4), (700, 16), (5000, 40)])
    def test_data(self, data: str, number: int, dim: int) -> None:
        vectors = crowds(number, dim) if data == "crowds" else DATA[data](number, dim)
        made, z = grouped(vectors), queries(vectors)
        for k in (1, 2, 7, 100):
            assert_exact(made.search(z, k), z, vectors, k)

    def test_what_lies_together_is_certified(self) -> None:
        vectors = crowds(6000, 48)
        made = grouped(vectors)
        z = vectors[1::7] + 0.2 * unit(torch.randn(len(vectors[1::7]), 48))
        for k in (1, 10):
            found = made.search(z, k)
            assert float(found.certified.float().mean()) > 0.95
            assert_exact(found, z, vectors, k)
        with mock.patch.object(index, "scan") as scan:
            near = made.search(z, 5, exact=False)
        assert not scan.called
        share = (near.index == made.search(z, 5).index).float().mean()
        assert 0.9 < float(share) <= 1

    def test_none_where_nothing_lies_together(self) -> None:
        vectors = unit(torch.randn(3000, 48))
        made = grouped(vectors)
        assert made.pending == 3000
        z = queries(vectors)
        assert_exact(made.search(z, 2), z, vectors, 2)

    def test_levels(self) -> None:
        levels = torch.randint(-1, 2, (40, 32), dtype=torch.int8)
        levels[:, :16] = levels[:, 16:].abs() - 1
        levels = levels.repeat(50, 1)
        made = CertifiedIndex.of_levels(levels, 4.0, least=1)
        made.build("groups")
        z = queries(levels.float() / 4)
        assert made.pending == 0 and bool(made.search(z[-3:], 3).certified.all())
        assert_exact_up_to_copies(made.search(z, 3), z, levels.float(), 3)

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.03, 0.3, 0.9, 1.0])
    def test_filter(self, share: float) -> None:
        vectors = crowds(4000, 24)
        made, z = grouped(vectors), queries(vectors)
        allowed = torch.rand(4000) < share
        for k in (1, 5):
            assert_exact(made.search(z, k, allowed=allowed), z, vectors, k, allowed)

    @settings(max_examples=examples(30))
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["add", "delete", "groups", "links", "compact"]),
                st.integers(1, 300),
            ),
            min_size=1,
            max_size=12,
        ),
        st.integers(0, 2**16),
    )
    def test_any_order_of_changes(self, steps: list[tuple[str, int]], seed: int) -> None:
        torch.manual_seed(seed)
        centers = unit(torch.randn(40, 12))

        def some(number: int) -> Tensor:
            return unit(centers[torch.randint(40, (number,))] + 0.05 * torch.randn(number, 12))

        vectors = some(1500)
        made = grouped(vectors)
        assert made.pending == 0
        assert_exact_through(steps, made, vectors, some)

    def test_no_row_is_farther_than_the_radius(self) -> None:
        vectors = crowds(3000, 24)
        made = grouped(vectors[:2000])
        made.add(vectors[2000:])
        made.build("groups")
        groups = made._state.built
        assert isinstance(groups, Groups) and len(groups) == 3000
        assert groups.centers.exact is not None
        own = groups.centers.exact[torch.from_numpy(groups.owner).long()].double()
        angle = (unit(vectors.double()) * own).sum(-1).clamp(-1, 1).arccos()
        assert bool((angle <= torch.from_numpy(groups.radius[groups.owner])).all())
        assert sorted(groups.order.tolist()) == list(range(3000))

    def test_saved_and_loaded_after_changes(self, tmp_path: Path) -> None:
        vectors, path = crowds(3000, 16), tmp_path / "groups.npz"
        made = grouped(vectors[:2500])
        names = 3 * torch.arange(3000) + 7
        made.save(path, names[:2500])
        kept = torch.rand(3000) < 0.8
        now = CertifiedIndex(16, least=1)
        now.add(vectors[kept])
        now.load(path, names[kept])
        assert now.pending == int(kept[2500:].sum())
        z = queries(vectors)
        assert_exact(now.search(z, 3), z, vectors[kept], 3)
        assert float(now.search(vectors[kept][1::9]).certified.float().mean()) > 0.8
        now.load(path, names[: len(now)])  # of other rows: slower, not wrong
        assert_exact(now.search(z, 3), z, vectors[kept], 3)
        for keys in (names[kept] + 1, torch.arange(len(now))):
            with pytest.raises(ValueError, match="its keys are not those of the rows"):
                now.load(path, keys)
        made.save(path)
        with pytest.raises(ValueError, match="does not hold what an index has built"):
            now.load(path, names[kept])
        arrays = dict(np.load(path))
        for change in ({"centers": arrays["owner"]}, {"owner": arrays["owner"] + 10**6}):
            np.savez(path, **{**arrays, **change})
            with pytest.raises(ValueError, match="does not hold what an index has built: its arr"):
                now.load(path)

    def test_two_may_save_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        vectors, path, savez = crowds(3000, 16), tmp_path / "groups.npz", np.savez
        made = grouped(vectors)

        def interrupted(*arguments: Any, **content: Any) -> None:
            monkeypatch.setattr(np, "savez", savez)
            made.save(path)
            savez(*arguments, **content)

        monkeypatch.setattr(np, "savez", interrupted)
        made.save(path)
        now = make(vectors)
        now.load(path)
        assert now.pending == 0 and list(tmp_path.iterdir()) == [path]

    def test_kind(self) -> None:
        with pytest.raises(ValueError, match="'kind' must be 'links' or 'groups', not 'cells'"):
            make(torch.randn(50, 8)).build("cells")  # pyright: ignore[reportArgumentType]


def assert_exact_up_to_copies(found: Found, z: Tensor, vectors: Tensor, k: int) -> None:
    best = (unit(z.double()) @ unit(vectors.double()).T).topk(k, dim=-1).values
    assert torch.allclose(found.cosine.double(), best, rtol=0, atol=3e-7)


def test_equal_scores_of_many_groups() -> None:
    """The nearest few of them need not be among the nearest many."""
    torch.manual_seed(0)
    number, each, dim, k = 2560, 8, 64, 12
    centers = torch.randn(number, dim)
    centers[:, 0] = 0
    centers = unit(centers)
    heights = torch.tensor([0.15, 0.15, 0.19, 0.19, -0.2, -0.2, -0.14, -0.14])
    wide = torch.where(torch.arange(number) < 1920, 0.002, 1.0) * (1 + 1e-3 * torch.rand(number))
    vectors = centers.repeat_interleave(each, dim=0)
    vectors[:, 0] = (wide[:, None] * heights).flatten()
    vectors = unit(vectors)
    made = CertifiedIndex.of_unit(vectors, least=1)
    owner = np.arange(number, dtype=np.int32).repeat(each)
    groups = _groups._measured(made._state.rows, owner, centers, 0.94)
    made._state = replace(made._state, built=groups)
    z = torch.zeros(1, dim)
    z[0, 0] = 1
    scores = groups._scores(z.numpy())
    few, many = (scores.best_groups(np.arange(1), n)[0].tolist() for n in (k, 64))
    passed_over = [group for group in few if group not in many][:1]
    place = torch.from_numpy(groups.owner).argsort(stable=True).view(number, each)
    allowed = torch.zeros(number * each, dtype=torch.bool)
    allowed[place[:, :2]] = True
    allowed[place[few]] = False  # so that a look into these is not enough
    allowed[place[passed_over, 2:4]] = True
    assert_exact(made.search(z, k, allowed=allowed), z, vectors, k, allowed)
