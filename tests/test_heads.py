"""Heads against other implementations and brute force; what `state_dict` keeps."""

import copy
import io
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_metric_learning.losses as pml
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.functional import cross_entropy, normalize

from rootspace import ClassMap, PrototypeHead
from rootspace.heads import ArcFaceHead, CosFaceHead, Head, LearnedHead, LinearHead, NormalizedHead
from rootspace.losses import (
    ClassLoss,
    CosineLoss,
    DistanceLoss,
    InBatchSoftmaxLoss,
    SystemSoftmaxLoss,
    functional,
)
from rootspace.systems import PermutationCode, RootA, Table, VectorSystem, system_from

C, DIM = 20, 16

LEARNED: list[type[LearnedHead]] = [LinearHead, NormalizedHead, CosFaceHead, ArcFaceHead]


def means(num_classes: int = C, dim: int = DIM, seed: int = 1) -> Tensor:
    return torch.randn(num_classes, dim, generator=torch.Generator().manual_seed(seed))


def rotation(dim: int = DIM) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.linalg.qr(torch.randn(dim, dim, generator=generator)).Q


def chosen(names: bool = False, framed: bool = True, **arguments: Any) -> PrototypeHead:
    """A head with prototypes from random means."""
    classes = {"names": [f"c{i}" for i in range(C)]} if names else {"num_classes": C}
    head = PrototypeHead(**classes, dim=DIM, **arguments)  # pyright: ignore[reportArgumentType]
    frame = (torch.linspace(-1, 1, DIM), rotation()) if framed else (None, None)
    head.choose(means(), *frame)
    return head


def batch(count: int = 24, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    return torch.randn(count, DIM).to(dtype).requires_grad_(), torch.arange(count) % (C // 2)


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(loss, of, retain_graph=True)[0]


def table(head: Head) -> Tensor:
    return head.vectors(torch.arange(head.num_classes)).double()


# -------------------------------------------------------------------- the contrastive loss


def test_contrastive_loss_is_supcon_of_pytorch_metric_learning() -> None:
    z, labels = batch()
    labels[0] = 11  # a row without a positive
    ours = functional.supervised_contrastive_loss(z, labels, 0.15)
    theirs = pml.SupConLoss(temperature=0.15)(z, labels)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, z), gradient(theirs, z))


def test_contrastive_loss_of_rows_without_positives_is_zero() -> None:
    for count in (1, 2, 5):
        z = torch.randn(count, DIM, requires_grad=True)
        loss = functional.supervised_contrastive_loss(z, torch.arange(count), 0.1)
        assert loss.item() == 0.0
        assert gradient(loss, z).eq(0).all()


@pytest.mark.parametrize("framed", [False, True])
def test_losses_of_half_precision_embeddings_are_not_rounded(framed: bool) -> None:
    head = chosen(framed=framed)
    z, labels = batch(dtype=torch.bfloat16)
    expected = head(z.float(), labels)
    assert head(z, labels).dtype == torch.float32
    torch.testing.assert_close(head(z, labels), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(head(z, labels), expected)
        found = head.predict(z.float())
    assert found.label.equal(head.predict(z.float()).label)
    first = PrototypeHead(C, DIM)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = first(z, labels)
    torch.testing.assert_close(loss, first(z.float(), labels))
    wide = head(z.double(), labels)
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), expected)


# -------------------------------------------------------------------- learned heads


@pytest.mark.parametrize(
    ("head", "loss"),
    [
        (NormalizedHead(C, DIM, scale=10), pml.NormalizedSoftmaxLoss(C, DIM, temperature=0.1)),
        (CosFaceHead(C, DIM), pml.CosFaceLoss(C, DIM, margin=0.2, scale=16)),
        (ArcFaceHead(C, DIM), pml.ArcFaceLoss(C, DIM, margin=10, scale=16)),
        # A margin so large that targets lie beyond 180 degrees.
        (ArcFaceHead(C, DIM, margin=120.0), pml.ArcFaceLoss(C, DIM, margin=120, scale=16)),
    ],
    ids=["normalized", "cosface", "arcface", "arcface-120"],
)
def test_normalized_heads_are_those_of_pytorch_metric_learning(
    head: LearnedHead, loss: Any
) -> None:
    loss.W.data = head.weight.detach().T.clone()
    z, labels = batch()
    ours, theirs = head(z, labels), loss(z, labels)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, z), gradient(theirs, z))
    weight = gradient(ours, head.weight)
    torch.testing.assert_close(weight, gradient(theirs, loss.W).T, rtol=1e-4, atol=1e-6)


def test_linear_head_is_a_linear_layer() -> None:
    head, layer = LinearHead(C, DIM), nn.Linear(DIM, C)
    layer.weight.data, layer.bias.data = head.weight.detach().clone(), head.bias.detach().clone()
    z, labels = batch()
    ours, theirs = head(z, labels), cross_entropy(layer(z), labels)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, z), gradient(theirs, z))
    torch.testing.assert_close(gradient(ours, head.weight), gradient(theirs, layer.weight))
    best = layer(z).topk(3)
    found = head.predict(z, 3)
    assert found.label.equal(best.indices)
    own = normalize(z, dim=-1)[:, None] * normalize(layer.weight, dim=-1)[best.indices]
    torch.testing.assert_close(found.cosine, own.sum(-1))
    share = layer(z).softmax(-1)
    asked = torch.tensor([[3, 0, -1]]).expand(len(z), 3)
    expected = torch.stack([share[:, 3], share[:, 0], torch.zeros(len(z))], dim=-1)
    torch.testing.assert_close(head.probability(z, asked), expected)


def test_arcface_gradient_is_finite_on_the_class_vectors() -> None:
    head = ArcFaceHead(C, DIM)
    z = head.weight.detach().clone().requires_grad_()
    for sign in (1, -1):
        assert gradient(head(sign * z, torch.arange(C)), z).isfinite().all()


@pytest.mark.parametrize("kind", LEARNED)
def test_learned_heads(kind: type[LearnedHead]) -> None:
    head = kind(C, DIM)
    z, labels = batch(dtype=torch.bfloat16)
    assert head.ready
    assert not head.needs_pairs
    assert head.class_map is None
    assert head.search_cost == 0
    assert head.transform(z) is z
    expected = head(z.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(head(z, labels.int()), expected)
    for dtype in (torch.bfloat16, torch.float64):
        other = copy.deepcopy(head).to(dtype)
        assert other.predict(z.to(dtype)).label.shape == (24, 1)
        assert other(z.to(dtype), labels).dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(table(head).norm(dim=-1), torch.ones(C).double())
    wrong: list[tuple[Any, str]] = [
        (lambda: head(z, labels, targets=z), "'targets' must be left out"),
        (lambda: head(z, labels[:3]), "must have shapes"),
        (lambda: head.predict(z, 0), r"'k' must lie in \[1, 20\], not 0"),
        (lambda: head.predict(z, C + 1), "'k' must lie in"),
        (lambda: head.predict(z[:, :3]), r"'z' must have shape \[..., 16\]"),
        (lambda: head.predict(0 * z), "must not hold zero embeddings"),
        (lambda: head.predict(z * torch.nan), "NaN"),
        (lambda: head.extend(True), "'new' must be a number"),
        (lambda: head.extend(-1), "'new' must be a number"),
        (lambda: head.extend(["a"]), "have no names: give a number"),
        (lambda: head.extend(2, means(3)), r"'means' must have shape \[2, 16\], not \[3, 16\]"),
        (kind, "'num_classes' or 'names' must be given"),
        (lambda: kind(3, names=["a"]), "must agree, not 3 and 1 names"),
        (lambda: kind(0), "must be a positive integer, not 0"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("head", [chosen(), NormalizedHead(C, DIM)])
@pytest.mark.parametrize("label", [-1, C])
def test_there_are_no_vectors_of_other_labels(head: Head, label: int) -> None:
    with pytest.raises(IndexError, match=r"'labels' must lie in \[0, 20\)"):
        head.vectors(torch.tensor([0, label]))


@pytest.mark.parametrize("kind", LEARNED)
def test_learned_heads_extend_and_come_back(kind: type[LearnedHead]) -> None:
    head = kind(dim=DIM, names=[f"c{i}" for i in range(C)])
    before = head.weight.detach().clone()
    head.extend(["x", "y"], means(2))
    head.extend(["z"])
    assert head.num_classes == len(head.names or []) == len(head.weight) == C + 3
    assert head.weight[:C].equal(before)
    torch.testing.assert_close(head.vectors(torch.tensor([C, C + 1])), normalize(means(2), dim=-1))
    assert head.predict(means(2)).label.shape == (2, 1)
    again = kind.from_state_dict(through_file(head.state_dict()), lr_factor=3.0)
    assert (again.names, again.num_classes, again.lr_factor) == (head.names, C + 3, 3.0)
    z, labels = batch()
    assert again(z, labels).equal(head(z, labels))


# -------------------------------------------------------------------- PrototypeHead: loss


def test_loss_by_stage() -> None:
    head = PrototypeHead(C, DIM, temperature=0.2, contrastive_weight=0.3)
    z, labels = batch()
    assert (head.ready, head.needs_pairs, head.scale, head.class_map) == (False, True, None, None)
    torch.testing.assert_close(
        head(z, labels), functional.supervised_contrastive_loss(z, labels, 0.2)
    )
    center, turn = torch.linspace(-1, 1, DIM), rotation()
    head.choose(means(), center, turn)
    assert head.class_map is not None
    assert (head.ready, head.framed, head.scale) == (True, True, 16.0)
    framed = (z - center) @ turn.T
    torch.testing.assert_close(head.transform(z), framed)
    expected = InBatchSoftmaxLoss(head.class_map)(framed, labels)
    expected = expected + 0.3 * functional.supervised_contrastive_loss(framed, labels, 0.2)
    loss = head(z, labels)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient(loss, z), gradient(expected, z))
    assert not list(head.parameters())


def test_targets_take_the_place_of_the_prototypes() -> None:
    head = chosen(contrastive_weight=0.0)
    z, labels = batch()
    targets = head.vectors(labels)
    torch.testing.assert_close(head(z, labels, targets=targets), head(z, labels))
    assert not head(z, labels, targets=targets.flip(0)).isclose(head(z, labels))
    with pytest.raises(ValueError, match="'targets' must be left out until"):
        PrototypeHead(C, DIM)(z, labels, targets=targets)


def test_loss_may_be_any_of_a_class_map() -> None:
    z, labels = batch()
    for kind, scale in (
        (partial(InBatchSoftmaxLoss, scale=5.0), 5.0),
        (CosineLoss, None),
        (partial(DistanceLoss, radius=0.5), None),
    ):
        head = chosen(loss=kind, contrastive_weight=0.0)
        assert head.class_map is not None
        assert head.scale == scale
        assert not head.needs_pairs
        expected = kind(head.class_map)(head.transform(z), labels)
        torch.testing.assert_close(head(z, labels), expected)


@pytest.mark.parametrize(
    ("system", "kind"),
    [
        ("RootA(8)", SystemSoftmaxLoss),
        ("RootA(8, interpolations=1)", SystemSoftmaxLoss),
        ("RootD(8)", SystemSoftmaxLoss),
        ("RootE8()", SystemSoftmaxLoss),
        ("PermutationSystem(12, 2, 2)", SystemSoftmaxLoss),
        ("Hypercube(8)", SystemSoftmaxLoss),
        ("Simplex(30)", SystemSoftmaxLoss),
        ("Sphere(8, 50)", SystemSoftmaxLoss),
        ("PermutationCode(16)", SystemSoftmaxLoss),
        ("PermutationCode(256)", InBatchSoftmaxLoss),
    ],
)
def test_from_map_takes_the_best_loss_there_is(system: str, kind: type[ClassLoss]) -> None:
    vectors = system_from(system)
    if vectors.size < 2**63:
        class_map = ClassMap(vectors, C, names=[f"c{i}" for i in range(C)])
    else:
        class_map = ClassMap.assigned(vectors, vectors.quantize(means(C, vectors.dim)))
    head = PrototypeHead.from_map(class_map)
    assert type(head.loss) is kind
    assert (head.ready, head.needs_pairs, head.framed) == (True, False, False)
    assert (head.class_map, head.names, head.num_classes) == (class_map, class_map.names, C)
    z, labels = torch.randn(6, vectors.dim), torch.arange(6)
    torch.testing.assert_close(head(z, labels), kind(class_map)(z, labels))
    assert head.predict(table(head).float()).label[:, 0].equal(torch.arange(C))
    assert type(PrototypeHead.from_map(class_map, CosineLoss).loss) is CosineLoss
    assert PrototypeHead.from_map(class_map, contrastive_weight=0.5).needs_pairs


def test_search_cost_counts_cosines() -> None:
    assert chosen().search_cost == C
    assert PrototypeHead.from_map(ClassMap(RootA(20), 400)).search_cost == 0
    # Few of the 420 vectors have a class: an embedding far from these may need a search.
    assert PrototypeHead.from_map(ClassMap(RootA(20), 27)).search_cost == 0
    assert PrototypeHead.from_map(ClassMap(RootA(20), 26)).search_cost == 26


# -------------------------------------------------------------------- PrototypeHead: prediction


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("framed", [True, False])
def test_predict_is_brute_force_over_all_prototypes(framed: bool, dtype: torch.dtype) -> None:
    head = chosen(framed=framed)
    z = torch.randn(4, 7, DIM).to(dtype)
    framed_z = (z.double() - head.center.double()) @ head.rotation.double().T
    cosine = normalize(framed_z, dim=-1) @ table(head).T
    found = head.predict(z, 3)
    assert found.label.shape == found.cosine.shape == (4, 7, 3)
    best = cosine.topk(3)
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(
        found.cosine.double(), best.values, atol=tolerance, rtol=0, check_dtype=False
    )
    own = cosine.gather(-1, found.label)  # equal ones may come in another order
    torch.testing.assert_close(own, best.values, atol=tolerance, rtol=0)


@pytest.mark.parametrize("loss", [InBatchSoftmaxLoss, CosineLoss])
def test_probability_of_chosen_prototypes_is_a_dense_softmax(
    loss: type[ClassLoss], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = chosen(loss=loss)
    z = torch.randn(2, 5, DIM)
    labels = torch.tensor([0, 19, -1, 7]).expand(2, 5, 4)
    share = (16.0 * normalize(head.transform(z), dim=-1) @ table(head).float().T).softmax(-1)
    expected = share.gather(-1, labels.clamp(min=0)).masked_fill(labels < 0, 0.0)
    torch.testing.assert_close(head.probability(z, labels), expected)
    monkeypatch.setattr("rootspace.heads.prototype.SCORES", 64)  # some classes at once
    torch.testing.assert_close(head.probability(z, labels), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(head.probability(z, labels), expected)
    wide = head.probability(z.double(), labels)
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), expected)
    with pytest.raises(IndexError, match="must lie in"):
        head.probability(z, labels - 1)
    with pytest.raises(ValueError, match="'embeddings' must not hold zero"):
        head.probability(head.center.expand(2, DIM), labels[0, :2])


def test_probability_of_a_formula_is_over_the_whole_system() -> None:
    head = PrototypeHead.from_map(ClassMap(RootA(DIM), C))
    assert head.class_map is not None
    z, labels = torch.randn(5, DIM), torch.tensor([[0, 3]]).expand(5, 2)
    found = head.probability(z, labels)
    torch.testing.assert_close(found, head.class_map.probability(z, labels, head.scale))
    everything = RootA(DIM).vectors(torch.arange(RootA(DIM).size))
    assert head.scale is not None
    share = head.scale * normalize(z, dim=-1)
    total = (share @ everything.T).logsumexp(-1, keepdim=True)
    own = (share[:, None] * head.vectors(labels)).sum(-1)
    torch.testing.assert_close(found, (own - total).exp())
    with pytest.raises(ValueError, match="zero embeddings"):
        head.probability(torch.zeros(5, DIM), labels)


def test_before_the_choice_there_is_nothing_to_predict() -> None:
    head = PrototypeHead(C, DIM)
    for call in (
        lambda: head.predict(torch.randn(2, DIM)),
        lambda: head.vectors(torch.arange(2)),
        lambda: head.probability(torch.randn(2, DIM), torch.zeros(2, 1, dtype=torch.int64)),
        lambda: head.search_cost,
    ):
        with pytest.raises(RuntimeError, match="call choose_prototypes"):
            call()


def test_wrong_arguments_of_a_prototype_head() -> None:
    head = chosen()
    z, labels = batch()
    small = RootA(4)  # 20 vectors
    wrong: list[tuple[Any, str]] = [
        (PrototypeHead, "'num_classes' or 'names' must be given"),
        (lambda: PrototypeHead(2, names=["a"]), "must agree, not 2 and 1 names"),
        (lambda: PrototypeHead(True), "positive integer, not True"),
        (lambda: PrototypeHead(2, 8, system=small), r"RootA\(4\) has dimension 4, not 8"),
        (lambda: PrototypeHead(21, system=small), "at least 21 vectors"),
        (lambda: PrototypeHead(2, system="Root(4)"), "Unknown vector system 'Root'"),
        (lambda: PrototypeHead(2, temperature=0), "'temperature' must be positive, not 0"),
        (lambda: PrototypeHead(2, contrastive_weight=-1), "must not be negative, not -1"),
        (lambda: PrototypeHead(2, loss=partial(InBatchSoftmaxLoss, scale=-1)), "'scale' must be"),
        (lambda: PrototypeHead(2, loss=SystemSoftmaxLoss), "take InBatchSoftmaxLoss"),
        (lambda: head(z[:, :4], labels), r"'embeddings' must have shape \[..., 16\]"),
        (lambda: head(z, labels[:2]), "must have shapes"),
        (lambda: head(z[:0], labels[:0]), "B > 0"),
        (lambda: head.predict(z * torch.nan), "NaN"),
        (lambda: head.predict(z, C + 1), "'k' must lie in"),
        (lambda: head.choose(means(C + 1)), r"'means' must have shape \[20, 16\], not \[21, 16\]"),
        (lambda: head.choose(means() * torch.nan), "finite"),
        (lambda: head.choose(means(), torch.zeros(3)), r"'center' must have shape \[16\]"),
        (lambda: head.choose(means(), None, torch.eye(3)), r"'rotation' must have shape"),
        (lambda: head.set_prototypes(ClassMap(small, 4)), "must have dimension 16, not 4"),
        (lambda: head.fold_into(nn.Linear(3, 4)), "a linear layer of 16 outputs with a bias"),
        (lambda: head.fold_into(nn.Linear(3, DIM, bias=False)), "with a bias"),
    ]
    for call, message in wrong:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(IndexError):
        head(z, labels + C)


def test_what_the_loss_refuses_leaves_the_head_as_it_was() -> None:
    head = PrototypeHead(C, system=RootA(256), loss=SystemSoftmaxLoss)
    code = PermutationCode(256)
    with pytest.raises(ValueError, match="states"):
        head.set_prototypes(ClassMap.assigned(code, code.quantize(means(C, 256))))
    assert (head.ready, head.num_classes, repr(head.system)) == (False, C, "RootA(256)")


def test_choose_keeps_the_frame_unless_it_is_given() -> None:
    head = chosen()
    center, turn = head.center.clone(), head.rotation.clone()
    found = head.choose(means(seed=3))
    assert head.center.equal(center)
    assert head.rotation.equal(turn)
    assert found.classes is head.class_map
    assert head.vectors(torch.arange(C)).equal(head.system.quantize(means(seed=3)))


# -------------------------------------------------------------------- PrototypeHead: extend


def test_what_is_refused_leaves_the_head_as_it_was() -> None:
    def picky(classes: ClassMap) -> ClassLoss:
        if classes.num_classes in (3, C + 2):
            raise ValueError("other classes")
        return InBatchSoftmaxLoss(classes)

    head = chosen(loss=picky, framed=False)
    head.follow()
    for refused in (
        lambda: head.extend(2),
        lambda: head.extend(["a"], means(1)),
        lambda: head.extend(2, means(3)),
        lambda: head.extend(2, means(2)),
        lambda: head.set_prototypes(ClassMap(RootA(DIM), 3), torch.ones(DIM)),
    ):
        with pytest.raises(ValueError):
            refused()
        assert head.follows and not head.framed and head.num_classes == C
    z = torch.randn(4, DIM)
    assert head.transform(z).equal(z)


def test_whole_numbers_as_scale() -> None:
    head = chosen(loss=partial(InBatchSoftmaxLoss, scale=5))
    assert head.scale == 5.0
    other = chosen(loss=partial(InBatchSoftmaxLoss, scale=5.0))
    z, labels = torch.randn(3, DIM), torch.tensor([[0, 1]])
    assert head.probability(z, labels.expand(3, 2)).equal(other.probability(z, labels.expand(3, 2)))


def test_extend_before_the_choice() -> None:
    head = PrototypeHead(names=["a", "b"], system=RootA(2))  # 6 vectors
    head.extend(["c"])
    assert (head.num_classes, head.names) == (3, ["a", "b", "c"])
    for new, some, message in (
        (2, None, "have names: give names"),
        (["d"], torch.ones(1, 2), "not chosen yet"),
        (["d", "e", "f", "g"], None, "at most 3"),
    ):
        with pytest.raises(ValueError, match=message):
            head.extend(new, some)  # pyright: ignore[reportArgumentType]
    head.choose(torch.randn(3, 2))
    assert head.class_map is not None
    assert head.class_map.names == ["a", "b", "c"]


def test_extend_by_formula() -> None:
    head = PrototypeHead.from_map(ClassMap(RootA(DIM), C))
    before = table(head)
    with pytest.raises(ValueError, match="go by a formula"):
        head.extend(2, means(2))
    head.extend(5)
    assert head.num_classes == C + 5
    assert table(head)[:C].equal(before)
    with pytest.raises(ValueError, match="names"):
        head.extend(["a"])


@pytest.mark.parametrize("names", [True, False])
def test_extend_of_chosen_prototypes(names: bool) -> None:
    head = chosen(names=names)
    before = table(head)
    new = torch.randn(3, DIM)
    count: Any = ["x", "y", "z"] if names else 3
    with pytest.raises(ValueError, match="'means' must hold a mean embedding for each new class"):
        head.extend(count)
    with pytest.raises(ValueError, match=r"'means' must have shape \[3, 16\]"):
        head.extend(count, means(2))
    with pytest.raises(ValueError, match="names"):
        head.extend(3 if names else ["x", "y", "z"], new)
    head.extend(count, new.requires_grad_())
    assert head.num_classes == C + 3
    assert head.names == ([f"c{i}" for i in range(C)] + count if names else None)
    assert table(head)[:C].equal(before)
    nearest = head.system.quantize(head.transform(new))
    assert head.vectors(torch.arange(C, C + 3)).equal(nearest)


def test_extend_takes_the_nearest_free_vector() -> None:
    system = RootA(6)
    head = PrototypeHead(4, system=system)
    head.choose(system.vectors(torch.arange(4)), torch.ones(6), torch.eye(6))
    mean = system.vectors(torch.tensor([2])) + 0.1 * torch.randn(1, 6)
    head.extend(1, mean + 1)
    near = [i for i in system.nearest(mean, 6).index[0].tolist() if i >= head.num_classes - 1]
    assert head.vectors(torch.tensor([4])).equal(system.vectors(torch.tensor(near[:1])))


# -------------------------------------------------------------------- PrototypeHead: fold_into


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_fold_into(dtype: torch.dtype) -> None:
    head, linear = chosen(), nn.Linear(5, DIM).to(dtype)
    x = torch.randn(50, 5, dtype=dtype)
    expected = head.transform(linear(x))
    labels = head.predict(linear(x)).label
    head.fold_into(linear)
    assert not head.framed
    assert head.center.eq(0).all()
    assert head.rotation.equal(torch.eye(DIM))
    z = linear(x)
    assert head.transform(z) is z
    atol, rtol = (0.05, 0.02) if dtype == torch.bfloat16 else (1e-5, 0.0)
    torch.testing.assert_close(z.to(expected.dtype), expected, atol=atol, rtol=rtol)
    if dtype != torch.bfloat16:
        assert head.predict(z).label.equal(labels)
    again = PrototypeHead.from_state_dict(head.state_dict())
    assert not again.framed
    assert again.predict(z).label.equal(head.predict(z).label)


# -------------------------------------------------------------------- state


def through_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(first: PrototypeHead, second: PrototypeHead) -> None:
    """Both give the same losses and predictions, to the bit."""
    assert first.extra_repr() == second.extra_repr()
    assert (first.names, first.num_classes) == (second.names, second.num_classes)
    assert (first.ready, first.framed, first.dim) == (second.ready, second.framed, second.dim)
    assert first.center.equal(second.center)
    assert first.rotation.equal(second.rotation)
    z = torch.randn(12, first.dim)
    labels = torch.arange(12) % 4
    assert first(z, labels).equal(second(z, labels))
    if first.ready:
        assert table(first).equal(table(second))
        for ours, theirs in zip(first.predict(z, 3), second.predict(z, 3), strict=True):
            assert ours.equal(theirs)


STAGES = {
    "first": lambda: PrototypeHead(C, DIM),
    "first, names": lambda: PrototypeHead(names=[f"c{i}" for i in range(C)], dim=DIM),
    "first, table": lambda: PrototypeHead(C, system=Table(means(30))),
    "chosen": chosen,
    "chosen, names": lambda: chosen(names=True),
    "chosen, no frame": lambda: chosen(framed=False),
    "chosen, roots": lambda: chosen(system=RootA(DIM)),
    "chosen, table": lambda: chosen(system=Table(means(30))),
    "formula": lambda: PrototypeHead.from_map(ClassMap(RootA(DIM), C), InBatchSoftmaxLoss),
    "formula, table": lambda: PrototypeHead.from_map(
        ClassMap(Table(means(30)), C), InBatchSoftmaxLoss
    ),
}


@pytest.mark.parametrize("stage", STAGES)
def test_state_goes_into_any_head_of_the_dimension(stage: str) -> None:
    source = STAGES[stage]()
    state = through_file(source.state_dict())
    weight = source.contrastive_weight
    others = [
        PrototypeHead(C, DIM, contrastive_weight=weight),
        PrototypeHead(3, DIM, contrastive_weight=weight),
        PrototypeHead(names=["a", "b"], system=RootA(DIM), contrastive_weight=weight),
        chosen(names=True, contrastive_weight=weight),
        chosen(system=RootA(DIM), contrastive_weight=weight),
    ]
    for other in others:
        assert str(other.load_state_dict(state)) == "<All keys matched successfully>"
        same(source, other)
    again = PrototypeHead.from_state_dict(state, contrastive_weight=weight)
    same(source, again)
    # And as part of a module that was saved.
    net = nn.ModuleDict({"net": nn.Linear(3, DIM), "head": source})
    other = PrototypeHead(3, DIM, contrastive_weight=weight)
    fresh = nn.ModuleDict({"net": nn.Linear(3, DIM), "head": other})
    fresh.load_state_dict(through_file(net.state_dict()))
    same(source, other)


@pytest.mark.parametrize("stage", STAGES)
def test_copies_are_independent_and_alike(stage: str) -> None:
    head = STAGES[stage]()
    for other in (copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        same(head, other)
        other.choose(means(seed=5) if "table" not in stage else means(30)[10:], torch.ones(DIM))
        assert not other.center.equal(head.center)


def test_state_that_does_not_fit() -> None:
    head = chosen()
    for state in (PrototypeHead(C, 8).state_dict(), STAGES["formula"]().state_dict()):
        state["_extra_state"] = {**state["_extra_state"], "format": 99}
        with pytest.raises(ValueError, match="a PrototypeHead of format 2, not 99"):
            head.load_state_dict(state)
    small = PrototypeHead(C, 8)
    for _ in range(2):
        with pytest.raises(ValueError, match="prototypes of dimension 16, not 8"):
            head.load_state_dict(small.state_dict())
        small.choose(means(dim=8))
    with pytest.raises(ValueError, match="a PrototypeHead of format 2, not None"):
        PrototypeHead.from_state_dict(LinearHead(2, 3).state_dict())


def test_state_holds_no_more_than_the_codes() -> None:
    head = PrototypeHead(5000, 256)
    head.choose(torch.randn(5000, 256))
    file = io.BytesIO()
    torch.save(head.state_dict(), file)
    assert len(file.getvalue()) < 5000 * 100 + 256 * 257 * 4 + 20_000


def test_frame_stays_in_float32() -> None:
    head = chosen()
    center, turn = head.center.clone(), head.rotation.clone()
    net = nn.Sequential(nn.Linear(4, DIM), head)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        net.to(dtype)
        assert next(net.parameters()).dtype == dtype
        assert head.center.equal(center)
        assert head.rotation.equal(turn)
    net.half().float()
    assert head.rotation.equal(turn)


def test_meta_device() -> None:
    head = chosen()
    state = head.state_dict()
    empty = copy.deepcopy(head).to("meta")
    assert empty.center.device.type == empty.rotation.device.type == "meta"
    assert empty.half().center.dtype == torch.float32
    back = empty.to_empty(device="cpu")
    back.load_state_dict(state)
    same(head, back)
    with torch.device("meta"):
        made = PrototypeHead(C, DIM)
    made.to_empty(device="cpu").load_state_dict(state)
    same(head, made)


# -------------------------------------------------------------------- compiled, inference mode


@pytest.mark.parametrize("stage", ["first", "chosen", "formula"])
def test_compiled_is_eager(stage: str) -> None:
    head = STAGES[stage]()
    z, labels = batch()
    torch.compiler.reset()
    compiled = torch.compile(head, backend="eager", fullgraph=True)
    expected, found = head(z, labels), compiled(z, labels)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient(found, z), gradient(expected, z))
    if head.ready:
        predict = torch.compile(head.predict, backend="eager", fullgraph=True)
        assert predict(z.detach(), 2).label.equal(head.predict(z.detach(), 2).label)


def test_compiled_head_notices_the_choice() -> None:
    head = PrototypeHead(C, DIM)
    z, labels = batch()
    torch.compiler.reset()
    compiled = torch.compile(head, backend="eager")
    first = compiled(z, labels)
    head.choose(means(), torch.ones(DIM), rotation())
    second = compiled(z, labels)
    assert not second.isclose(first)
    torch.testing.assert_close(second, head(z, labels))


@pytest.mark.parametrize(
    "system", [PermutationCode(DIM), RootA(DIM), Table(means(30))], ids=["code", "roots", "table"]
)
def test_inference_mode_then_training(system: VectorSystem) -> None:
    linear = nn.Linear(4, DIM)
    head = PrototypeHead(C, system=system)
    with torch.inference_mode():
        head.choose(means(30)[:C], torch.ones(DIM), rotation())
        head.predict(linear(torch.randn(3, 4)))
        head.probability(torch.randn(3, DIM), torch.zeros(3, 1, dtype=torch.int64))
    head(linear(torch.randn(8, 4)), torch.arange(8) % 3).backward()
    assert linear.weight.grad is not None
    assert linear.weight.grad.isfinite().all()
    with torch.inference_mode():
        head.extend(2, means(2)) if not isinstance(system, Table) else None
    head(linear(torch.randn(8, 4)), torch.arange(8) % 3).backward()
    head.fold_into(linear)
    assert through_file(head.state_dict())


# -------------------------------------------------------------------- processes and devices


# ------------------------------------------------------------- prototypes that follow the network


def following(**arguments: Any) -> PrototypeHead:
    """A head whose prototypes have followed random embeddings for three steps."""
    head = chosen(**arguments)
    head.follow()
    for seed in range(3):
        torch.manual_seed(seed)
        head(*batch())
    return head


def test_prototypes_follow_and_are_found_again_in_evaluation_mode() -> None:
    head = following()
    before = table(head)  # in training mode as they were
    assert head.follows and before.equal(table(chosen()))
    moving = head.state_dict()["_extra_state"]["moving"]["directions"]
    z = head.center + (3 * moving) @ head.rotation
    # While it trains the nearest of the directions is found, for inputs of any shape.
    found = head.predict(z.reshape(4, 5, DIM), 2)
    assert found.label[..., 0].flatten().equal(torch.arange(C))
    torch.testing.assert_close(found.cosine[..., 0], torch.ones(4, 5))
    head.eval()
    after = table(head)
    assert not after.equal(before)
    assert after.equal(head.system.quantize(moving).double())
    assert head.class_map is not None
    assert head.predict(z).label.equal(head.class_map.predict(moving).label)
    assert head.train().follows


def test_loss_of_prototypes_that_follow() -> None:
    head = chosen(contrastive_weight=0.5)
    z, labels = batch()
    unit = normalize(head.transform(z), dim=-1)
    softmax = cross_entropy(16 * unit @ table(head).float().T, labels)
    contrastive = functional.supervised_contrastive_loss(head.transform(z), labels, 0.15)
    head.follow()
    torch.testing.assert_close(head(z, labels), softmax + 0.5 * contrastive)


def test_prototypes_stay_without_training() -> None:
    head = chosen()
    head.follow()
    z, labels = batch()
    expected = chosen()(z, labels)
    with torch.no_grad():
        torch.testing.assert_close(head(z, labels), expected)
    torch.testing.assert_close(head.eval()(z, labels), expected)
    head.train()(z, labels, targets=torch.randn(24, DIM))  # a teacher's
    assert head.state_dict()["_extra_state"]["moving"] is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_prototypes_follow_embeddings_of_any_dtype(dtype: torch.dtype) -> None:
    head = chosen()
    head.follow()
    loss = head(*batch(dtype=dtype))
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    loss.backward()


def test_settle_holds_prototypes() -> None:
    head = following()
    head.settle()
    held = table(head)
    assert held.equal(table(following().eval())) and not head.follows
    head(*batch())
    assert table(head).equal(held) and table(head.eval()).equal(held)
    head.settle()
    assert table(head).equal(held)


@pytest.mark.parametrize("how", ["choose", "set_prototypes", "extend"])
def test_what_ends_following(how: str) -> None:
    head = following()
    held = table(following().eval())
    if how == "choose":
        head.choose(means())
    elif how == "set_prototypes":
        class_map = chosen().class_map
        assert class_map is not None
        head.set_prototypes(class_map)
    else:
        head.extend(2, torch.randn(2, DIM))
        assert table(head)[:C].equal(held)
    assert not head.follows
    before = table(head)
    head(*batch())
    assert table(head.eval()).equal(before)


def test_a_head_that_follows_goes_on_from_its_state() -> None:
    head = following(names=True)
    state = torch.load(_saved(head.state_dict()), weights_only=True)
    other, fresh = PrototypeHead(C, DIM), PrototypeHead.from_state_dict(state)
    other.load_state_dict(state)
    for seed in range(3, 6):
        for each in (head, other, fresh):
            torch.manual_seed(seed)
            each(*batch())
    for each in (other, fresh):
        assert each.follows
        assert table(each).equal(table(head))
        assert table(each.eval()).equal(table(copy.deepcopy(head).eval()))


def _saved(state: dict[str, Any]) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("names", [False, True])
def test_only_new_classes_follow(names: bool) -> None:
    head = chosen(names=names)
    head.extend(["d", "e", "f"] if names else 3, torch.randn(3, DIM))
    held = table(head)
    head.follow(since=C)
    for seed in range(4):
        torch.manual_seed(seed)
        z, _ = batch()
        head(z, torch.arange(24) % (C + 3))
    moving = head.state_dict()["_extra_state"]["moving"]["directions"]
    state = head.state_dict()
    after = table(head.eval())
    assert after[:C].equal(held[:C])
    assert not after[C:].equal(held[C:])
    assert after[C:].equal(head.system.quantize(moving[C:]).double())
    assert len(after.unique(dim=0)) == C + 3
    assert head.names == (None if not names else [*(f"c{i}" for i in range(C)), "d", "e", "f"])
    assert table(PrototypeHead.from_state_dict(state).eval()).equal(after)


def test_what_cannot_follow() -> None:
    with pytest.raises(RuntimeError, match="no prototypes yet"):
        PrototypeHead(C, DIM).follow()
    with pytest.raises(ValueError, match="Prototypes by a formula cannot follow"):
        PrototypeHead.from_map(ClassMap(RootA(DIM), C)).follow()
    for since in (-1, C):
        with pytest.raises(ValueError, match=rf"'since' must lie in \[0, 20\), not {since}"):
            chosen().follow(since)
    head = chosen(loss=CosineLoss)
    head.follow()  # a loss that has no gradient for prototypes
    assert not head.follows
    head = following()
    with pytest.raises(IndexError, match="'labels' must lie in"):
        head(batch()[0], torch.full((24,), C))
    with pytest.raises(ValueError, match="zero"):
        head(torch.zeros(2, DIM) + head.center, torch.tensor([0, 0]))
    with pytest.raises(ValueError, match=r"'k' must lie in \[1, 20\], not 21"):
        head.predict(torch.randn(1, DIM), 21)


def _train(net: nn.Module, head: PrototypeHead, model: nn.Module, x: Tensor, y: Tensor) -> None:
    from rootspace import choose_prototypes  # noqa: PLC0415

    choose_prototypes(head, net, [(x, y)], refine=2)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    model(x, y).backward()
    optimizer.step()


class _WithHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.net, self.head = nn.Linear(6, DIM), PrototypeHead(C, DIM)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(self.net(x), y)


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    y = torch.arange(C).repeat(8)[torch.randperm(8 * C, generator=generator)]
    return torch.randn(C, 6, generator=generator)[y] + 0.1, y


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    model = _WithHead()
    parallel = nn.parallel.DistributedDataParallel(model)
    x, y = (part.chunk(2)[rank] for part in _data())
    _train(model.net, model.head, parallel, x, y)
    torch.save(model.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_distributed_data_parallel(tmp_path: Path) -> None:
    spawn(_process, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name, value in first.items():
        if isinstance(value, Tensor):
            assert value.equal(second[name]), name
    codes = [state["head._extra_state"]["classes"]["codes"] for state in (first, second)]
    assert codes[0].equal(codes[1])
    model = _WithHead()
    _train(model.net, model.head, model, *_data())
    alone = model.state_dict()
    torch.testing.assert_close(first["head.center"], alone["head.center"])
    assert codes[0].equal(alone["head._extra_state"]["classes"]["codes"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda() -> None:
    head = chosen()
    z, labels = batch()
    expected, found = head(z, labels), head.predict(z, 3)
    other = copy.deepcopy(head).cuda()
    on = z.detach().cuda()
    for head_ in (other, head):  # the frame follows the embeddings where the head was left behind
        found_loss = head_(on, labels.cuda()).cpu()
        torch.testing.assert_close(found_loss, expected, atol=1e-4, rtol=1e-4)
        assert head_.predict(on, 3).label.cpu().equal(found.label)
        assert head_.predict(on).label.is_cuda
        asked = labels.cuda()[:, None]
        assert head_.probability(on, asked).is_cuda
    assert other.class_map is not None
    before = torch.cuda.memory_allocated()
    large = PrototypeHead(60_000, 256).cuda()
    large.choose(torch.randn(60_000, 256))
    large(torch.randn(8, 256, device="cuda"), torch.arange(8, device="cuda")).item()
    assert torch.cuda.memory_allocated() - before < 2**23  # 6 MB of codes stay on the host
    other.extend(2, means(2))
    assert other.predict(on, 2).label.is_cuda
    same(other.cpu(), PrototypeHead.from_state_dict(through_file(other.state_dict())))
