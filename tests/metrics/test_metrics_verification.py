"""TAR at FAR, EER and AUROC of pairs against torchmetrics, scikit-learn and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from test_metrics_retrieval import corners, data
from torchmetrics.functional.classification import binary_sensitivity_at_specificity

from fuzzing import examples
from rootspace.metrics import LabeledEmbeddings, verification, verify_all, verify_pairs
from rootspace.metrics import embeddings as module

SCORES = st.lists(st.integers(0, 20), min_size=1, max_size=60)


@given(genuine=SCORES, impostor=SCORES, percent=st.integers(1, 99))
def test_against_the_libraries(genuine: list[int], impostor: list[int], percent: int):
    assume(percent * len(impostor) >= 100)
    same, other = torch.tensor(genuine) / 32, torch.tensor(impostor) / 32
    far = percent / 100
    found = verify_pairs(same, other, [far])
    scores = torch.cat([same, other])
    target = torch.cat([torch.ones(len(same)), torch.zeros(len(other))]).long()
    assert found.auroc == pytest.approx(roc_auc_score(target, scores), abs=1e-12)
    fpr, tpr, _ = roc_curve(target, scores, drop_intermediate=False)
    assert found.tar[far] == pytest.approx(tpr[fpr <= far + 1e-9].max(), abs=1e-12)
    # In float32 a share that is met exactly may read as a little less.
    sensitivity, _ = binary_sensitivity_at_specificity(scores, target, 1 - far - 1e-6)
    assert found.tar[far] == pytest.approx(float(sensitivity), abs=1e-6)
    gap = np.abs(fpr - (1 - tpr))
    rates = (fpr + 1 - tpr)[gap <= gap.min() + 1e-9] / 2
    assert np.abs(rates - found.eer).min() < 1e-9
    accepted = [float((some >= found.threshold[far]).float().mean()) for some in (same, other)]
    assert accepted[0] == pytest.approx(found.tar[far]) and accepted[1] <= far + 1e-6


def pairs(
    queries: LabeledEmbeddings, gallery: LabeledEmbeddings | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of all genuine and impostor pairs, by a matrix of them all."""
    items = queries if gallery is None else gallery
    cosines = queries.unit() @ items.unit().T
    same = queries.labels[:, None] == items.labels
    kept = torch.ones_like(same)
    if gallery is None:
        kept = torch.triu(kept, 1)
    if queries.cameras is not None and items.cameras is not None:
        kept &= ~(same & (queries.cameras[:, None] == items.cameras))
    return cosines[kept & same], cosines[kept & ~same]


@settings(max_examples=examples(60))
@given(
    count=st.integers(2, 30),
    seed=st.integers(0, 10_000),
    cameras=st.sampled_from([0, 3]),
    items=st.none() | st.integers(1, 40),
    block=st.sampled_from([1, 50, 1 << 22]),
)
def test_all_pairs_are_those_of_the_whole_matrix(count, seed, cameras, items, block):
    """Multiples of 1/2 are not rounded: the figures are the same to the last bit."""
    queries = corners(count, 3, seed, cameras=cameras)
    gallery = None if items is None else corners(items, 3, seed + 1, cameras=cameras)
    genuine, impostor = pairs(queries, gallery)
    assume(len(genuine) and len(impostor))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        patch.setattr(verification, "STEPS", 8)
        assert verify_all(queries, gallery) == verify_pairs(genuine, impostor)


def test_rounding_is_small():
    queries = data(400, 12, 0)
    found, exact = verify_all(queries), verify_pairs(*pairs(queries, None))
    assert set(found.tar) == {1e-1, 1e-2, 1e-3, 1e-4}
    for far, share in exact.tar.items():
        assert found.tar[far] == pytest.approx(share, abs=2e-3)
        assert found.threshold[far] == pytest.approx(exact.threshold[far], abs=2e-6)
    assert found.eer == pytest.approx(exact.eer, abs=1e-4)
    assert found.auroc == pytest.approx(exact.auroc, abs=1e-6)


def test_extremes():
    low, high = torch.arange(50.0), torch.arange(100.0, 120.0)
    apart = verify_pairs(high, low, [0.02])
    assert apart.tar == {0.02: 1} and apart.eer == 0 and apart.auroc == 1
    assert apart.threshold[0.02] == 49  # one impostor in fifty may pass, and does
    swapped = verify_pairs(low, high, [0.5])
    assert swapped.tar == {0.5: 0} and swapped.eer == 1 and swapped.auroc == 0
    same = verify_pairs(torch.zeros(9), torch.zeros(9))
    assert same.tar == {} and same.auroc == 0.5 and same.eer == 0.5
    assert verify_pairs(torch.zeros(9), torch.zeros(10)).threshold == {0.1: float("inf")}


def test_bad_input():
    scores = torch.arange(10.0)
    with pytest.raises(ValueError, match=r"'genuine' must hold scores of shape \[N\], not \(0,\)"):
        verify_pairs(scores[:0], scores)
    with pytest.raises(ValueError, match="'impostor' must not hold NaN"):
        verify_pairs(scores, scores * float("nan"))
    with pytest.raises(ValueError, match=r"'fars' must be at least 1/10, .* not 0\.01"):
        verify_pairs(scores, scores, [0.01])
    with pytest.raises(ValueError, match="'fars' must lie between 0 and 1, not 1"):
        verify_pairs(scores, scores, [1])
    one = LabeledEmbeddings(torch.ones(3, 2), torch.zeros(3).long())
    with pytest.raises(ValueError, match="'queries' must make pairs of two classes"):
        verify_all(one)
    with pytest.raises(ValueError, match="'queries' must make pairs of one class"):
        verify_all(LabeledEmbeddings(torch.ones(3, 2), torch.arange(3)))
