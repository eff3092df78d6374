"""Retrieval metrics against pytorch-metric-learning, a plain loop and FastReID's rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn.functional import normalize

from fuzzing import examples
from rootspace.metrics import (
    LabeledEmbeddings,
    match_ranks,
    retrieval_metrics,
    verification,
    verify_all,
)
from rootspace.metrics import embeddings as module
from rootspace.testing._memory import LargestTensor


def data(count: int, classes: int, seed: int, *, cameras: int = 0) -> LabeledEmbeddings:
    """Embeddings in clusters that overlap."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    centers = torch.randn(classes, 8, generator=torch.Generator().manual_seed(99))
    z = centers[labels] + torch.randn(count, 8, generator=generator)
    taken = torch.randint(cameras, (count,), generator=generator) if cameras else None
    return LabeledEmbeddings(z, labels, taken)


def corners(count: int, classes: int, seed: int, *, cameras: int = 0) -> LabeledEmbeddings:
    """Embeddings whose cosines are multiples of 1/2, exactly: most of them are tied."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randint(2, (count, 4), generator=generator) * 2.0 - 1
    labels = torch.randint(classes, (count,), generator=generator)
    taken = torch.randint(cameras, (count,), generator=generator) if cameras else None
    return LabeledEmbeddings(z, labels, taken)


def plain(queries: LabeledEmbeddings, gallery: LabeledEmbeddings | None) -> list[list[int]]:
    """The ranks of the matches of each query, nearest first, by sorting its row."""
    items = queries if gallery is None else gallery
    cosines = normalize(queries.embeddings, dim=1) @ normalize(items.embeddings, dim=1).T
    found = []
    for i, row in enumerate(cosines.tolist()):
        ranked = []
        for j, cosine in enumerate(row):
            same = bool(queries.labels[i] == items.labels[j])
            cameras = queries.cameras, items.cameras
            one = cameras[0] is not None and cameras[1] is not None
            junk = one and same and bool(cameras[0][i] == cameras[1][j])  # pyright: ignore[reportOptionalSubscript]
            if not junk and not (gallery is None and i == j):
                ranked.append((-cosine, same))
        ranked.sort()  # of equal cosines False, other classes, first
        found.append([rank for rank, (_, same) in enumerate(ranked, 1) if same])
    return found


def check(queries: LabeledEmbeddings, gallery: LabeledEmbeddings | None) -> None:
    """All figures of each query by their definitions, from the ranks of a plain loop."""
    found = match_ranks(queries, gallery)
    for i, ranks in enumerate(plain(queries, gallery)):
        r = len(ranks)
        assert int(found.matches[i]) == r
        if not r:
            continue
        precisions = [(n + 1) / rank for n, rank in enumerate(ranks)]
        near = [p for p, rank in zip(precisions, ranks, strict=True) if rank <= r]
        assert (int(found.first[i]), int(found.last[i])) == (ranks[0], ranks[-1])
        assert float(found.r_precision[i]) == pytest.approx(len(near) / r, abs=1e-12)
        assert float(found.map_at_r[i]) == pytest.approx(sum(near) / r, abs=1e-12)
        assert float(found.average_precision[i]) == pytest.approx(sum(precisions) / r, abs=1e-12)


@settings(max_examples=examples(60))
@given(
    count=st.integers(1, 30),
    classes=st.integers(1, 8),
    seed=st.integers(0, 10_000),
    cameras=st.sampled_from([0, 1, 3]),
    items=st.none() | st.integers(1, 40),
    block=st.sampled_from([1, 50, 1 << 22]),
)
def test_ties_exclusions_and_blocks(count, classes, seed, cameras, items, block):
    queries = corners(count, classes, seed, cameras=cameras)
    gallery = None if items is None else corners(items, classes + 1, seed + 1, cameras=cameras)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        check(queries, gallery)


@pytest.mark.parametrize("alone", [True, False])
def test_against_pytorch_metric_learning(alone: bool):
    queries = data(300, 20, 0)
    gallery = None if alone else data(400, 22, 1)
    found = retrieval_metrics(queries, gallery, top=(1,))
    unit = [normalize(some.embeddings, dim=1) for some in (queries, gallery or queries)]
    wanted = AccuracyCalculator(
        include=(
            "precision_at_1",
            "r_precision",
            "mean_average_precision_at_r",
        ),
        k="max_bin_count",
    ).get_accuracy(
        unit[0],
        queries.labels,
        *(() if alone else (unit[1], (gallery or queries).labels)),
        ref_includes_query=alone,
    )
    everything = AccuracyCalculator(include=("mean_average_precision",), k=None).get_accuracy(
        unit[0],
        queries.labels,
        *(() if alone else (unit[1], (gallery or queries).labels)),
        ref_includes_query=alone,
    )
    assert found.recall[1] == pytest.approx(wanted["precision_at_1"], abs=1e-6)
    assert found.r_precision == pytest.approx(wanted["r_precision"], abs=1e-6)
    assert found.map_at_r == pytest.approx(wanted["mean_average_precision_at_r"], abs=1e-6)
    assert found.mean_average_precision == pytest.approx(
        everything["mean_average_precision"], abs=1e-6
    )


def fast_reid(
    distances: np.ndarray, labels: tuple[Tensor, Tensor], cameras: tuple[Tensor, Tensor]
) -> tuple[np.ndarray, float, float]:
    """CMC, mAP and mINP as `fastreid/evaluation/rank.py` has them (Market-1501)."""
    (q_pids, g_pids), (q_camids, g_camids) = (
        [t.numpy() for t in pair] for pair in (labels, cameras)
    )
    order = np.argsort(distances, axis=1)
    matches = (g_pids[order] == q_pids[:, None]).astype(np.int32)
    all_cmc, all_ap, all_inp = [], [], []
    for i in range(len(q_pids)):
        remove = (g_pids[order[i]] == q_pids[i]) & (g_camids[order[i]] == q_camids[i])
        raw = matches[i][~remove]
        if not raw.any():
            continue
        cmc = raw.cumsum()
        last = np.flatnonzero(raw == 1).max()
        all_inp.append(cmc[last] / (last + 1.0))
        all_cmc.append(cmc.clip(max=1))
        precision = raw.cumsum() / (np.arange(len(raw)) + 1)
        all_ap.append((precision * raw).sum() / raw.sum())
    shortest = min(map(len, all_cmc))
    cmc = np.stack([c[:shortest] for c in all_cmc]).mean(0)
    return cmc, float(np.mean(all_ap)), float(np.mean(all_inp))


def test_the_camera_rule_is_that_of_fast_reid():
    queries, gallery = data(120, 15, 2, cameras=4), data(300, 18, 3, cameras=4)
    assert queries.cameras is not None and gallery.cameras is not None
    found = retrieval_metrics(queries, gallery, top=(1, 5, 10, 20))
    cosines = queries.unit() @ gallery.unit().T
    cmc, mean_ap, mean_inp = fast_reid(
        -cosines.numpy(), (queries.labels, gallery.labels), (queries.cameras, gallery.cameras)
    )
    for k, share in found.recall.items():
        assert share == pytest.approx(cmc[k - 1], abs=1e-6)
    assert found.mean_average_precision == pytest.approx(mean_ap, abs=1e-9)
    assert found.mean_inverse_negative_penalty == pytest.approx(mean_inp, abs=1e-9)


def test_average_precision_is_that_of_scikit_learn():
    queries, gallery = data(40, 6, 4), data(200, 6, 5)
    found = match_ranks(queries, gallery)
    cosines = queries.unit() @ gallery.unit().T
    for i, row in enumerate(cosines):
        wanted = average_precision_score(gallery.labels == queries.labels[i], row)
        assert float(found.average_precision[i]) == pytest.approx(wanted, abs=1e-9)


@given(seed=st.integers(0, 1000))
@settings(max_examples=examples(20))
def test_order_scale_and_names_of_classes_do_not_matter(seed: int):
    queries = corners(25, 5, seed)
    before = match_ranks(queries)
    shuffled = torch.randperm(25, generator=torch.Generator().manual_seed(seed))
    lengths = torch.tensor([0.25, 2.0, 8.0])[shuffled % 3, None]
    names = torch.tensor([70, -3, 12, 5, 0])
    after = match_ranks(
        LabeledEmbeddings(queries.embeddings[shuffled] * lengths, names[queries.labels[shuffled]])
    )
    assert torch.equal(after.matches, before.matches[shuffled])
    assert torch.equal(after.first, before.first[shuffled])
    assert torch.equal(after.average_precision, before.average_precision[shuffled])


def test_kinds_of_numbers_do_not_matter():
    queries, gallery = corners(20, 4, 0, cameras=2), corners(30, 4, 1, cameras=2)
    assert queries.cameras is not None
    other = LabeledEmbeddings(
        queries.embeddings.half(), queries.labels.to(torch.uint8), queries.cameras.short()
    )
    assert retrieval_metrics(other, gallery) == retrieval_metrics(queries, gallery)
    assert verify_all(other, gallery) == verify_all(queries, gallery)


def test_equal_embeddings_earn_nothing():
    labels = torch.arange(20) // 2
    found = retrieval_metrics(LabeledEmbeddings(torch.ones(20, 4), labels), top=(1, 18, 19))
    assert found.recall == {1: 0, 18: 0, 19: 1}
    assert found.r_precision == 0 and found.map_at_r == 0
    assert found.mean_average_precision == pytest.approx(1 / 19)


def test_perfect_embeddings_earn_all():
    labels = torch.arange(30) % 5
    found = retrieval_metrics(LabeledEmbeddings(torch.eye(5)[labels], labels), top=(1,))
    assert found.recall == {1: 1} and found.queries == 30 and found.without_match == 0
    assert found.r_precision == found.map_at_r == found.mean_average_precision == 1
    assert found.mean_inverse_negative_penalty == 1


def test_queries_without_a_match_are_counted_apart():
    z = torch.tensor([[1.0, 0], [1, 0.1], [0, 1]])
    found = retrieval_metrics(LabeledEmbeddings(z, torch.tensor([0, 0, 1])))
    assert (found.queries, found.without_match, found.gallery) == (2, 1, 3)
    only = LabeledEmbeddings(z, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="'queries' must hold a query whose class is in the gal"):
        retrieval_metrics(only)


@pytest.mark.parametrize("measure", [match_ranks, verify_all])
def test_there_is_never_a_tensor_of_all_cosines(measure, monkeypatch: pytest.MonkeyPatch):
    """90,000 cosines, and no tensor is larger than the embeddings but for what is counted in."""
    monkeypatch.setattr(module, "BLOCK", 2000)
    monkeypatch.setattr(verification, "STEPS", 500)
    queries = corners(300, 60, 0, cameras=2)
    with LargestTensor() as largest:
        measure(queries)
    assert largest.elements <= 2100, largest.operation


@pytest.mark.parametrize(
    ("embeddings", "labels", "cameras", "message"),
    [
        (torch.ones(3), [0, 0, 1], None, r"'embeddings' must be float of shape \[N, dim\], not .*"),
        (torch.ones(0, 3), [], None, r"'embeddings' must be float of shape .*\(0, 3\)"),
        (torch.ones(2, 3).int(), [0, 0], None, r"must be float .* not torch.int32 \(2, 3\)"),
        (torch.tensor([[1.0, math.nan]]), [0], None, "'embeddings' must be finite"),
        (torch.ones(2, 3), [0, 1, 2], None, r"'labels' must hold an integer for each of the 2"),
        (torch.ones(2, 3), [0.0, 1.0], None, r"'labels' must .* not torch.float32 \(2,\)"),
        (torch.ones(2, 3), [0, 1], [1], r"'cameras' must hold an integer for each of the 2"),
    ],
)
def test_bad_embeddings(embeddings, labels, cameras, message: str):
    taken = None if cameras is None else torch.tensor(cameras)
    with pytest.raises(ValueError, match=message):
        LabeledEmbeddings(
            embeddings, torch.tensor(labels, dtype=None if labels else torch.int64), taken
        )


def test_sides_that_do_not_fit():
    queries = corners(4, 2, 0, cameras=2)
    with pytest.raises(ValueError, match="must have embeddings of dimension 4, as the queries"):
        match_ranks(queries, LabeledEmbeddings(torch.ones(2, 3), torch.arange(2)))
    with pytest.raises(ValueError, match="'cameras' must be given for queries and gallery"):
        match_ranks(queries, corners(4, 2, 0))
    with pytest.raises(ValueError, match="'top' must hold numbers of at least 1, not 0"):
        retrieval_metrics(corners(9, 2, 0), top=(0,))
