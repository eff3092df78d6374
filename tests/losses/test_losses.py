"""Losses against dense computations, their gradients, memory, dtypes and errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import cross_entropy, normalize
from torch.utils._python_dispatch import TorchDispatchMode

from rootspace import ClassMap
from rootspace.losses import (
    ClassLoss,
    CombinedLoss,
    CosineLoss,
    DistanceLoss,
    GaussianLoss,
    InBatchSoftmaxLoss,
    SystemSoftmaxLoss,
    functional,
)
from rootspace.systems import Circle, Orbit, RootA

CLASSES = ClassMap(RootA(12), 100)
LOSSES = [
    CosineLoss(CLASSES),
    DistanceLoss(CLASSES, radius=0.5, norm=3.0),
    CombinedLoss(CLASSES, weight=2.0),
    GaussianLoss(CLASSES, std=0.1, weight=2.0),
    GaussianLoss(CLASSES, std=0.1, match="kld"),
    SystemSoftmaxLoss(CLASSES),
    SystemSoftmaxLoss(CLASSES, scale=30.0, margin=0.2),
    InBatchSoftmaxLoss(CLASSES),
    InBatchSoftmaxLoss(CLASSES, margin=0.3),
]


def ids(loss: ClassLoss) -> str:
    return (
        type(loss).__name__
        + ("-margin" if getattr(loss, "margin", 0) else "")
        + (f"-{loss.match}" if isinstance(loss, GaussianLoss) else "")
    )


def batch(size: int = 20, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(4)
    z = 3 * torch.randn(size, 12, generator=generator, dtype=torch.float64)
    labels = torch.randint(40, (size,), generator=generator)
    return z.to(dtype).requires_grad_(), labels


def dense(loss: ClassLoss, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The definition, with all class vectors written out."""
    system = loss.classes.system
    table = system.vectors(torch.arange(system.size), dtype=z.dtype)
    own = loss.classes.indices(labels)
    cosines = normalize(z, dim=-1) @ table.T
    cosine = (1 - cosines.gather(1, own[:, None])).mean()
    if isinstance(loss, DistanceLoss):
        distance = (z - loss.norm * table[own]).norm(dim=-1)
        value = (torch.exp(torch.relu(distance - loss.radius)) - 1).mean()
        return value + loss.weight * cosine if isinstance(loss, CombinedLoss) else value
    if isinstance(loss, GaussianLoss):
        return cosine + loss.weight * gaussian_term(loss, normalize(z, dim=-1), labels)
    if isinstance(loss, SystemSoftmaxLoss | InBatchSoftmaxLoss):
        margin = torch.zeros_like(cosines).scatter(1, own[:, None], loss.margin)
        logits = loss.scale * (cosines - margin)
        if isinstance(loss, SystemSoftmaxLoss):
            return cross_entropy(logits, own)
        present = own.unique()
        return cross_entropy(logits[:, present], torch.searchsorted(present, own))
    return cosine


def gaussian_term(loss: GaussianLoss, unit: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Class by class; the divergence by torch's own distributions."""
    terms = []
    for label in labels.unique():
        rows = unit[labels == label]
        if len(rows) < 2:
            continue
        vector = loss.classes.vectors(label, dtype=unit.dtype)
        mean, std = rows.mean(0), rows.std(0, correction=0)
        if loss.match == "moments":
            terms.append((mean - vector).square().sum() + (std - loss.std).square().sum())
        else:
            target = Normal(vector, torch.full_like(vector, loss.std))
            terms.append(kl_divergence(Normal(mean, std), target).mean())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
def test_value_and_gradient(loss: ClassLoss):
    z, labels = batch()
    value, expected = loss(z, labels), dense(loss, z, labels)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
    (gradient,) = torch.autograd.grad(value, z)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, z)[0], rtol=1e-8, atol=1e-9)
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), z)


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision(loss: ClassLoss, dtype: torch.dtype):
    z, labels = batch(dtype=dtype)
    value = loss(z, labels)
    assert value.dtype == torch.float32, "no loss is rounded to half precision"
    expected = loss(z.detach().double(), labels)
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-5)
    value.backward()
    assert z.grad is not None and z.grad.dtype == dtype
    if not (dtype == torch.float16 and isinstance(loss, DistanceLoss)):  # exp leaves its range
        assert bool(torch.isfinite(z.grad).all())


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
def test_autocast_changes_nothing(loss: ClassLoss):
    z, labels = batch(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(z, labels)
    torch.testing.assert_close(inside, loss(z, labels), rtol=0, atol=0)


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
def test_compiles_in_one_graph(loss: ClassLoss):
    torch._dynamo.reset()
    z, labels = batch(dtype=torch.float32)
    compiled = torch.compile(loss.compute, fullgraph=True, backend="eager")
    vectors = loss.classes.vectors(labels)
    torch.testing.assert_close(
        compiled(z, vectors, labels), loss.compute(z, vectors, labels), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
def test_no_state(loss: ClassLoss):
    assert not list(loss.parameters()) and not loss.state_dict()
    assert repr(CLASSES) in repr(loss)
    assert loss.to(torch.float64)(*batch()).ndim == 0


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that an operation returned."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(part, torch.Tensor):
                self.numel = max(self.numel, part.numel())
        return out


@pytest.mark.parametrize(
    "make", [CosineLoss, DistanceLoss, GaussianLoss, SystemSoftmaxLoss, InBatchSoftmaxLoss]
)
def test_memory_does_not_grow_with_the_classes(make):
    largest = []
    for num_classes in (1_000, 50_000_000):
        loss = make(ClassMap(RootA(384, interpolations=1), num_classes))
        z = torch.randn(8, 384, requires_grad=True)
        labels = torch.randint(num_classes, (8,))
        with Largest() as seen:
            loss(z, labels).backward()
        largest.append(seen.numel)
    assert largest[0] == largest[1] < 20 * 8 * 384


def test_perfect_embeddings():
    labels = torch.arange(50)
    vectors = CLASSES.vectors(labels)
    assert float(CosineLoss(CLASSES)(4 * vectors, labels)) == pytest.approx(0, abs=1e-6)
    assert float(DistanceLoss(CLASSES, norm=4)(4 * vectors, labels)) == 0
    probability = torch.exp(-SystemSoftmaxLoss(CLASSES)(vectors, labels))
    assert 0.85 < float(probability) < 0.95, "the default scale gives 0.9 on average"


@pytest.mark.parametrize("match", ["moments", "kld"])
def test_gaussian_term_of_few_images(match):
    """Classes with one image add nothing, and equal images give finite gradients."""
    loss, cosine = GaussianLoss(CLASSES, match=match), CosineLoss(CLASSES)
    z = torch.randn(3, 12)
    torch.testing.assert_close(loss(z, torch.tensor([1, 2, 3])), cosine(z, torch.tensor([1, 2, 3])))
    same = z[:1].repeat(4, 1).requires_grad_()
    loss(same, torch.tensor([5, 5, 5, 6])).backward()
    assert same.grad is not None and bool(torch.isfinite(same.grad).all())


def test_gaussian_term_is_nothing_on_its_target():
    """Unit embeddings are not quite Gaussian; the smaller the deviation, the nearer they are."""
    vector = CLASSES.vectors(torch.tensor([7]), dtype=torch.float64)
    z = vector + 1e-4 * torch.randn(4000, 12, dtype=torch.float64)
    labels = torch.full((4000,), 7)
    assert float(functional.moments_loss(z, vector.expand_as(z), labels, 1e-4)) < 1e-7
    assert float(functional.kld_loss(z, vector.expand_as(z), labels, 1e-4)) < 0.2
    assert float(functional.kld_loss(z, vector.expand_as(z), labels, 1e-3)) > 1.5


def test_far_embeddings_have_finite_distance_loss():
    z = torch.full((2, 12), 1e4, requires_grad=True)
    loss = DistanceLoss(CLASSES)(z, torch.tensor([0, 1]))
    loss.backward()
    assert z.grad is not None
    assert bool(torch.isfinite(loss)) and bool(torch.isfinite(z.grad).all())


def test_two_dimensions_with_the_papers_circle():
    classes = ClassMap(Circle(2), 10, "natural")
    loss = DistanceLoss(classes, radius=Circle(2).cluster_radius(1.0), norm=5.0)
    z = 5 * classes.vectors(torch.arange(10))
    assert loss.radius == 0.25
    inside = z + 0.2 * normalize(torch.ones(10, 2))
    assert float(loss(inside, torch.arange(10))) == 0
    assert float(loss(z + 1.0, torch.arange(10))) > 0.1


@pytest.mark.parametrize("loss", LOSSES, ids=ids)
def test_each_row_has_its_own_target(loss: ClassLoss):
    z, labels = batch()
    labels = labels % 4  # several rows of a class
    targets = torch.randn_like(z)
    if isinstance(loss, SystemSoftmaxLoss):
        with pytest.raises(ValueError, match="SystemSoftmaxLoss is a softmax over the vectors of"):
            loss(z, labels, targets=targets)
        return
    torch.testing.assert_close(
        loss(z, labels, targets=CLASSES.vectors(labels, dtype=z.dtype)), loss(z, labels)
    )
    before = loss(z, labels, targets=targets)
    for row in range(len(z)):
        other = targets.clone()
        other[row] *= -1
        assert not loss(z, labels, targets=other).isclose(before, rtol=1e-9), row


def test_in_batch_softmax_towards_targets():
    z, labels = batch()
    labels = labels % 4
    targets = normalize(torch.randn_like(z), dim=-1)
    first = torch.stack([targets[labels == c][0] for c in range(4)])
    logits = 16 * normalize(z, dim=-1) @ first.T
    own = 16 * (normalize(z, dim=-1) * targets).sum(-1)
    expected = cross_entropy(logits.scatter(1, labels[:, None], own[:, None]), labels)
    torch.testing.assert_close(InBatchSoftmaxLoss(CLASSES)(z, labels, targets=targets), expected)


def test_margin_is_the_dense_margin_near_the_target():
    """Where the target holds nearly all the mass, its term must leave the sum exactly."""
    classes = ClassMap(Orbit(8, {1: 2}, signed=True), 50)
    labels = torch.arange(50)
    z = classes.vectors(labels, dtype=torch.float64)
    for scale, margin in ((30.0, 0.5), (50.0, 0.35), (100.0, 0.2)):
        loss = SystemSoftmaxLoss(classes, scale=scale, margin=margin)
        expected = dense(loss, z, labels)
        torch.testing.assert_close(loss(z, labels), expected, rtol=1e-6, atol=1e-6)
        single = loss(z.float(), labels)
        torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("z", "labels", "error", "message"),
    [
        (torch.ones(2, 11), [0, 1], ValueError, "'embeddings' must have last dimension 12"),
        (torch.ones(2, 12), [0, 100], IndexError, r"'labels' must lie in \[0, 100\), not 100"),
        (torch.ones(2, 12), [-1, 0], IndexError, "not -1"),
        (torch.ones(2, 12), [0, 1, 2], ValueError, r"shapes \[B, dim\] and \[B\]"),
        (torch.ones(0, 12), [], ValueError, "with B > 0"),
        (torch.ones(2, 3, 12), [0, 1], ValueError, r"shapes \[B, dim\] and \[B\]"),
        (torch.zeros(2, 12), [0, 1], ValueError, "zero embeddings"),
        (torch.full((2, 12), torch.nan), [0, 1], ValueError, "'embeddings' must be finite; row 0"),
        (torch.full((2, 12), torch.inf), [0, 1], ValueError, "'embeddings' must be finite"),
        (torch.ones(2, 12, dtype=torch.int64), [0, 1], TypeError, "floating-point"),
        (torch.ones(2, 12), [0.0, 1.0], TypeError, "'labels' must be an integer tensor"),
    ],
)
@pytest.mark.parametrize("loss", LOSSES[:1] + LOSSES[3:4], ids=ids)
def test_bad_batches(loss: ClassLoss, z, labels, error, message: str):
    labels = torch.tensor(labels, dtype=torch.int64 if not labels else None)
    with pytest.raises(error, match=message):
        loss(z, labels)


def test_bad_settings():
    with pytest.raises(ValueError, match="'indices_tuple' must be None"):
        CosineLoss(CLASSES)(torch.ones(1, 12), torch.tensor([0]), (1, 2, 3))
    unknown: Any = "mean"
    for make, message in (
        (lambda: DistanceLoss(CLASSES, radius=0), "'radius' must be positive"),
        (lambda: DistanceLoss(CLASSES, norm=-1), "'norm' must be positive"),
        (lambda: SystemSoftmaxLoss(CLASSES, scale=0), "'scale' must be positive"),
        (lambda: SystemSoftmaxLoss(CLASSES, margin=-0.1), "'margin' must not be negative"),
        (lambda: InBatchSoftmaxLoss(CLASSES, scale=-3), "'scale' must be positive"),
        (lambda: InBatchSoftmaxLoss(CLASSES, margin=-1), "'margin' must not be negative"),
        (lambda: GaussianLoss(CLASSES, std=0), "'std' must be positive"),
        (lambda: GaussianLoss(CLASSES, match=unknown), "'match' must be one of moments, kld"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    system: Any = RootA(9)
    for loss in (CosineLoss, SystemSoftmaxLoss):
        with pytest.raises(TypeError, match="'classes' must be a ClassMap, not RootA"):
            loss(system)


def test_call_shape_of_metric_learning_losses():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    z, labels = batch(dtype=torch.float32)
    both = losses.MultipleLosses([CosineLoss(CLASSES), losses.NTXentLoss()])
    assert both(z, labels).ndim == 0


def test_equation_7_up_to_the_tangent():
    z = torch.tensor([[0.0, 0.0], [3.0, 0.0], [30.0, 0.0]], dtype=torch.float64)
    values = [
        float(functional.distance_loss(row[None], torch.zeros(1, 2).double(), 1.0)) for row in z
    ]
    assert values[0] == 0
    assert values[1] == pytest.approx(torch.expm1(torch.tensor(2.0).double()).item())
    top = torch.exp(torch.tensor(20.0).double()).item()
    assert values[2] == pytest.approx(top - 1 + 9 * top)


@pytest.mark.parametrize("negatives", [1, 12, 40, 99])
def test_in_batch_softmax_with_further_negatives(negatives: int):
    """The dense softmax over the classes of the batch and those that were drawn."""
    classes = ClassMap(RootA(8), 40)
    loss = InBatchSoftmaxLoss(classes, scale=5.0, margin=0.2, negatives=negatives)
    z, labels = torch.randn(6, 8, dtype=torch.float64), torch.tensor([3, 3, 7, 39, 0, 12])
    torch.manual_seed(1)
    found = loss(z, labels)
    torch.manual_seed(1)
    drawn = torch.arange(40) if negatives >= 40 else torch.randint(40, (negatives,))
    competing = sorted({*drawn.tolist(), *labels.tolist()})
    logits = (
        5
        * torch.nn.functional.normalize(z, dim=-1)
        @ classes.vectors(torch.tensor(competing), dtype=z.dtype).T
    )
    place = torch.tensor([competing.index(label) for label in labels.tolist()])
    logits[torch.arange(6), place] -= 5 * 0.2
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits, place))
    with pytest.raises(ValueError, match="'negatives' must be an integer of at least 0, not -1"):
        InBatchSoftmaxLoss(classes, negatives=-1)
