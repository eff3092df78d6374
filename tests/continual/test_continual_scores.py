"""Scores of how known an input is, and the scale of their probabilities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import normalize

from rootspace.classes import ClassMap, Prediction
from rootspace.continual import KnownScore, fit_scale, fit_score
from rootspace.systems import PermutationCode, RootA, VectorSystem


def noisy(classes: ClassMap, number: int, noise: float) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings around class vectors, their labels and cosines to their vectors."""
    labels = torch.randint(classes.num_classes, (number,))
    z = classes.vectors(labels) + noise * torch.randn(number, classes.dim)
    own = (normalize(z, dim=-1) * classes.vectors(labels)).sum(-1)
    return z, labels, own


def scores(classes: ClassMap, score: KnownScore, z: Tensor, **more: Tensor) -> Tensor:
    return score(classes.predict(z, score.width), z, classes, **more)


def test_scale_is_where_the_likelihood_is_largest():
    classes = ClassMap(RootA(9), 60)
    z, labels, own = noisy(classes, 400, 0.35)
    prediction = classes.predict(z, 60)
    scale = fit_scale(prediction.cosine, own, prediction.label == labels[:, None])
    smooth = 1 / 402
    cosines = normalize(z, dim=-1).double() @ classes.vectors(torch.arange(60)).double().T
    target = (1 - smooth) * torch.nn.functional.one_hot(labels, 60) + smooth / 60

    def loss(scale: float) -> float:
        return float(torch.nn.functional.cross_entropy(scale * cosines, target))

    best: Any = minimize_scalar(loss, bounds=(0.1, 200), method="bounded", options={"xatol": 1e-6})
    assert scale == pytest.approx(best.x, rel=1e-4)


def test_probabilities_are_calibrated():
    """Where labels follow a softmax of the cosines, its scale is found."""
    classes = ClassMap(RootA(6), 42)
    z = torch.randn(20_000, 6)
    cosines = normalize(z, dim=-1) @ classes.vectors(torch.arange(42)).T
    labels = torch.distributions.Categorical(logits=12 * cosines).sample()
    own = cosines.gather(1, labels[:, None])[:, 0]
    prediction = classes.predict(z, 42)
    score = fit_score("probability", prediction, z, labels, own)
    assert score.scale == pytest.approx(12, rel=0.03) and score.k == 42
    system = fit_score("system_probability", prediction, z, labels, own, classes=classes)
    assert system.scale == pytest.approx(score.scale, rel=1e-3)  # all vectors have a class
    p = scores(classes, score, z)
    right = (prediction.label[:, 0] == labels).double()
    for low in (0.2, 0.4, 0.6):
        some = (p >= low) & (p < low + 0.2)
        assert float(right[some].mean()) == pytest.approx(float(p[some].mean()), abs=0.03)
    torch.testing.assert_close(scores(classes, system, z), p, atol=1e-3, rtol=0)


def test_scale_stays_finite_without_errors():
    cosines = torch.tensor([[0.9, 0.1], [0.8, 0.3]]).repeat(50, 1)
    is_own = torch.tensor([[True, False]]).expand(100, 2)
    assert 1 < fit_scale(cosines, cosines[:, 0], is_own) < 20


def test_the_true_class_counts_though_it_is_not_among_the_best():
    classes = ClassMap(RootA(9), 60)
    z, labels, own = noisy(classes, 300, 0.35)
    found = classes.predict(z, 5)
    is_own = found.label == labels[:, None]
    assert not bool(is_own.any(-1).all())
    # The same with the true class put in the last place where it is missing.
    six = torch.cat([found.cosine, torch.where(is_own.any(-1), -1e6, own)[:, None]], -1).double()
    target = (301 / 302) * own.double() + found.cosine.double().mean(-1) / 302

    def loss(scale: float) -> float:
        return float((torch.logsumexp(scale * six, -1) - scale * target).mean())

    best: Any = minimize_scalar(loss, bounds=(0.1, 200), method="bounded", options={"xatol": 1e-6})
    assert fit_scale(found.cosine, own, is_own) == pytest.approx(best.x, rel=1e-4) and best.x > 1


def test_probability_of_the_system_against_a_table():
    classes = ClassMap(RootA(7), 20)
    z = torch.randn(50, 7).double()
    cosines = normalize(z, dim=-1) @ classes.system.vectors(torch.arange(56)).double().T
    best = classes.predict(z)
    expected = torch.exp(9 * best.cosine[:, 0] - torch.logsumexp(9 * cosines, -1))
    found = scores(classes, KnownScore("system_probability", 9.0), z)
    torch.testing.assert_close(found, expected)
    of_classes = cosines[:, classes.indices(torch.arange(20))]
    expected = torch.softmax(9 * of_classes.topk(5, dim=-1).values, -1)[:, 0]
    torch.testing.assert_close(scores(classes, KnownScore("probability", 9.0, 5), z), expected)
    torch.testing.assert_close(scores(classes, KnownScore(), z), best.cosine[:, 0])


@pytest.mark.parametrize("system", [RootA(6), PermutationCode(32)], ids=repr)
def test_vectors_without_a_class(system: VectorSystem):
    z = torch.randn(40, system.dim)
    assigned = system.quantize(z[:20])
    classes = ClassMap.assigned(system, torch.unique(assigned, dim=0))
    score = KnownScore(reject_unassigned=True)
    found = scores(classes, score, z)
    nearest = system.quantize(z)
    has_class = (nearest[:, None] - assigned[None]).abs().amax(-1).amin(-1) < 1e-6
    assert bool(has_class[:20].all()) and not bool(has_class.all())
    assert torch.equal(found > -torch.inf, has_class)
    retired = classes.predict(z[:1]).label[0]
    found = scores(classes, score, z, retired=retired)
    gone = classes.predict(z).label[:, 0] == retired
    assert torch.equal(found > -torch.inf, has_class & ~gone)


def test_bad_input():
    cases: list[tuple[tuple[Any, ...], str]] = [
        (("softmax",), "'kind' must be one of .*, not 'softmax'"),
        (("cosine", 3.0), "'scale' must be None for cosine: 3.0"),
        (("probability",), "'scale' must be a positive number for probability: None"),
        (("probability", -1.0), "'scale' must be positive, not -1.0"),
        (("probability", 1.0, 1), "'k' must be at least 2, not 1"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            KnownScore(*arguments)
    z, prediction = torch.ones(1, 3), Prediction(torch.zeros(1, 2).long(), torch.ones(1, 2))
    own, labels = torch.ones(1), torch.zeros(1).long()
    for score in (KnownScore(reject_unassigned=True), KnownScore("system_probability", 1.0)):
        with pytest.raises(ValueError, match="'classes' must be a ClassMap"):
            score(prediction, z)
    with pytest.raises(ValueError, match="'classes' must be a ClassMap"):
        fit_score("system_probability", prediction, z, labels, own)
    system = PermutationCode(128)
    classes = ClassMap.assigned(system, system.quantize(torch.randn(4, 128)))
    with pytest.raises(ValueError, match="too large to be numbered"):
        fit_score("system_probability", prediction, z, labels, own, classes=classes)
    for shape in ((0, 3), (2, 1), (2,)):
        with pytest.raises(ValueError, match="'cosines' must have shape"):
            fit_scale(torch.ones(shape), torch.ones(2), torch.ones(shape).bool())
