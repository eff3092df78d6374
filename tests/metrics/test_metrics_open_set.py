"""AUROC, FPR at 95 % TPR, OSCR and DIR at FAR against libraries and their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_roc

from rootspace.metrics import auroc, dir_at_far, fpr_at_tpr, open_set_metrics, oscr

# Few levels: many ties.
SCORES = st.lists(st.integers(0, 20), min_size=1, max_size=60)


def together(known: Tensor, unknown: Tensor) -> tuple[Tensor, Tensor]:
    target = torch.cat([torch.ones(len(known)), torch.zeros(len(unknown))]).long()
    return torch.cat([known, unknown]), target


def first_fpr(fpr: np.ndarray, tpr: np.ndarray, wanted: float) -> float:
    return float(fpr[np.argmax(tpr >= wanted - 1e-9)])


@given(known=SCORES, unknown=SCORES, percent=st.integers(1, 100))
def test_against_the_libraries(known: list[int], unknown: list[int], percent: int):
    k, u = torch.tensor(known) / 20, torch.tensor(unknown) / 20
    scores, target = together(k.double(), u.double())
    expected = roc_auc_score(target, scores)
    assert auroc(k, u) == pytest.approx(expected, abs=1e-12)
    assert float(binary_auroc(scores, target)) == pytest.approx(expected, abs=1e-6)
    fpr, tpr, _ = roc_curve(target, scores, drop_intermediate=False)
    found = fpr_at_tpr(k, u, percent / 100)
    assert found == pytest.approx(first_fpr(fpr, tpr, percent / 100), abs=1e-12)
    fpr, tpr, _ = binary_roc(scores, target)
    # In float32 a share that is met exactly may read as a little less.
    assert found == pytest.approx(
        first_fpr(fpr.double().numpy(), tpr.double().numpy() + 1e-6, percent / 100), abs=1e-6
    )


def test_extremes():
    low, high = torch.arange(50.0), torch.arange(100.0, 120.0)
    assert auroc(high, low) == 1 and fpr_at_tpr(high, low) == 0
    assert auroc(low, high) == 0 and fpr_at_tpr(low, high) == 1
    same = torch.zeros(9)
    assert auroc(same, same) == 0.5 and fpr_at_tpr(same, same) == 1
    never = torch.full((10,), -torch.inf)
    assert auroc(low, never) == 1 and auroc(never, never) == 0.5
    assert fpr_at_tpr(torch.cat([never, low, low]), never) == 1


def test_large_samples_of_half_precision():
    torch.manual_seed(0)
    known, unknown = torch.randn(100_000).half() + 1, torch.randn(80_000).half()
    scores, target = together(known.double(), unknown.double())
    assert auroc(known, unknown) == pytest.approx(roc_auc_score(target, scores), abs=1e-10)


@pytest.mark.parametrize(
    ("known", "unknown", "tpr", "message"),
    [
        ([], [1.0], 0.95, r"'known' must hold scores of shape \[N\], not \(0,\)"),
        ([1.0], [[1.0]], 0.95, r"'unknown' must hold scores of shape \[N\], not \(1, 1\)"),
        ([float("nan")], [1.0], 0.95, "'known' must not hold NaN"),
        ([1.0], [1.0], 0.0, r"'tpr' must lie in \(0, 1\], not 0"),
        ([1.0], [1.0], 1.1, r"'tpr' must lie in \(0, 1\], not 1.1"),
    ],
)
def test_bad_input(known, unknown, tpr: float, message: str):
    with pytest.raises(ValueError, match=message):
        fpr_at_tpr(torch.tensor(known), torch.tensor(unknown), tpr)


def curve_area(known: Tensor, correct: Tensor, unknown: Tensor) -> float:
    """The area under the curve of its definition: one point for each threshold."""
    thresholds = torch.cat([known, unknown]).unique().flip(0)
    points = [(0.0, 0.0)]
    for threshold in thresholds:
        accepted = (unknown >= threshold).double().mean()
        right = ((known >= threshold) & correct).double().mean()
        points.append((float(accepted), float(right)))
    x, y = np.array(points).T
    return float(np.trapezoid(y, x))


@given(known=SCORES, unknown=SCORES, percent=st.integers(1, 99), seed=st.integers(0, 99))
def test_oscr_and_dir_are_their_definitions(
    known: list[int], unknown: list[int], percent: int, seed: int
):
    k, u = torch.tensor(known) / 20, torch.tensor(unknown) / 20
    correct = torch.rand(len(k), generator=torch.Generator().manual_seed(seed)) < 0.7
    assert oscr(k, correct, u) == pytest.approx(curve_area(k, correct, u), abs=1e-6)
    assert oscr(k, torch.ones_like(correct), u) == pytest.approx(auroc(k, u), abs=1e-12)
    assert oscr(k, correct, u) <= float(correct.double().mean()) + 1e-9
    far = percent / 100
    if far * len(u) < 1:
        with pytest.raises(ValueError, match=f"'far' must be at least 1/{len(u)}"):
            dir_at_far(k, correct, u, far)
        return
    allowed = [
        float(((k >= t) & correct).double().mean())
        for t in [*torch.cat([k, u]).tolist(), 2.0]
        if float((u >= t).double().mean()) <= far + 1e-9
    ]
    assert dir_at_far(k, correct, u, far) == pytest.approx(max(allowed), abs=1e-12)


def test_all_of_them():
    known, unknown = torch.tensor([0.9, 0.8, 0.4, 0.2]), torch.tensor([0.5, 0.1])
    correct = torch.tensor([True, False, True, True])
    found = open_set_metrics(known, correct, unknown, [0.5])
    assert (found.accuracy, found.known, found.unknown) == (0.75, 4, 2)
    assert found.auroc == auroc(known, unknown) == 0.75
    assert found.fpr95 == fpr_at_tpr(known, unknown) == 0.5
    assert found.oscr == pytest.approx((2 + 1 + 1) / 8)
    # One unknown input may pass, so all above 0.1 is accepted.
    assert found.dir == {0.5: 0.75}
    assert open_set_metrics(known, correct, unknown).dir == {}
    assert oscr(known, torch.zeros(4).bool(), unknown) == 0
    with pytest.raises(ValueError, match=r"'correct' must be bool of shape \[4\], as 'known'"):
        open_set_metrics(known, correct[:3], unknown)
    with pytest.raises(ValueError, match=r"'correct' must be bool .* not torch.float32 \[4\]"):
        oscr(known, correct.float(), unknown)
