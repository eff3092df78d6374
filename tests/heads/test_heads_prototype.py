"""`PrototypeHead` against brute force: its loss, predictions and new classes."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import pytorch_metric_learning.losses as pml
import torch
from made_heads import DIM, C, batch, chosen, gradient, means, rotation, table
from torch import Tensor, nn
from torch.nn.functional import normalize

from rootspace import ClassMap, PrototypeHead
from rootspace.heads import Head, LinearHead, NormalizedHead
from rootspace.losses import (
    ClassLoss,
    CosineLoss,
    DistanceLoss,
    InBatchSoftmaxLoss,
    SystemSoftmaxLoss,
    functional,
)
from rootspace.systems import PermutationCode, RootA, system_from


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
        (lambda: PrototypeHead(2, temperature=0), "'temperature' must be positive and .*, not 0"),
        (lambda: PrototypeHead(2, temperature=math.inf), "'temperature' must be .*, not inf"),
        (lambda: PrototypeHead(2, contrastive_weight=-1), "'contrastive_weight' must not be .* -1"),
        (lambda: PrototypeHead(2, contrastive_weight=math.inf), "and be finite, not inf"),
        (lambda: PrototypeHead(2, contrastive_weight=math.nan), "and be finite, not nan"),
        (lambda: PrototypeHead(2, loss=partial(InBatchSoftmaxLoss, scale=-1)), "'scale' must be"),
        (lambda: PrototypeHead(2, loss=SystemSoftmaxLoss), "take InBatchSoftmaxLoss"),
        (lambda: head(z[:, :4], labels), "'embeddings' must have last dimension 16"),
        (lambda: head(z, labels[:2]), "must have shapes"),
        (lambda: head(z[:0], labels[:0]), "B > 0"),
        (lambda: head.predict(z * torch.nan), "'embeddings' must be finite; row 0 holds NaN"),
        (lambda: head.predict(z, C + 1), "'k' must be an integer in"),
        (lambda: head.predict(z, "2"), "'k' must be an integer in .*, not '2'"),  # pyright: ignore[reportArgumentType]
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


@pytest.mark.parametrize("training", [False, True])
def test_embeddings_that_are_no_tensors(training: bool) -> None:
    head = chosen()
    head.follow()
    head(torch.randn(2, DIM), torch.tensor([0, 1]))  # directions, to be searched while it trains
    head.train(training)
    for find in (head.predict, head.search):
        with pytest.raises(ValueError, match="'embeddings' must not hold zero embeddings"):
            find((head.center if find == head.predict else torch.zeros(DIM))[None])
        with pytest.raises(
            TypeError, match="'embeddings' must be a floating-point tensor, not nda"
        ):
            find(np.ones((2, DIM)))  # pyright: ignore[reportArgumentType]


MADE: Any = PrototypeHead
"""With arguments of any type."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MADE(2, system=RootA), "'system' must be a vector system .* class RootA"),
        (lambda: MADE(2, system=128), "'system' must be a vector system .*, not 128"),
        (
            lambda: MADE(2, loss="CosineLoss"),
            "'loss' must be a class .*, not 'CosineLoss'",
        ),
        (lambda: MADE(2, loss=nn.CrossEntropyLoss()), ", not CrossEntropyLoss"),
        (lambda: MADE(2, loss=nn.CrossEntropyLoss), "not the class CrossEntropyLoss"),
        (lambda: MADE(2, loss=partial(nn.MSELoss)), "not the class MSELoss"),
        (lambda: MADE.from_map(RootA(9)), "'class_map' must be a ClassMap, not RootA"),
        (lambda: MADE(names=np.array(["a", "b"])), "a list of texts, not ndarray"),
        (lambda: MADE(names=(c for c in "ab")), "a list of texts, not generator"),
        (lambda: MADE(names={"a": 1, "b": 2}), "a list of texts, not dict"),
        (lambda: MADE(names=["a", 2]), "'names' must hold texts only, not 2"),
        (lambda: ClassMap(RootA(4), 3, names="abc"), "'names' must be a list of texts, not 'abc'"),
    ],
)
def test_arguments_of_the_wrong_kind(make: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("number", [np.int64(3), np.array(3), torch.tensor(3)])
def test_numbers_of_classes_from_labels(number: Any) -> None:
    head = PrototypeHead(number, 8)
    assert type(head.num_classes) is int and head.num_classes == 3


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


@pytest.mark.parametrize("head", [chosen(), NormalizedHead(C, DIM)])
@pytest.mark.parametrize("label", [-1, C])
def test_there_are_no_vectors_of_other_labels(head: Head, label: int) -> None:
    with pytest.raises(IndexError, match=r"'labels' must lie in \[0, 20\)"):
        head.vectors(torch.tensor([0, label]))


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


def test_half_of_a_frame_leaves_the_other_as_it_is() -> None:
    head = chosen()
    turned, center = head.rotation.clone(), torch.ones(DIM)
    head.choose(means(), center)
    assert head.center.equal(center) and head.rotation.equal(turned)
    head.choose(means(), rotation=torch.eye(DIM))
    assert head.center.equal(center) and head.rotation.equal(torch.eye(DIM))


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.tensor([0, 0, C, C]), IndexError, rf"must lie in \[0, {C}\), not {C}"),
        (torch.tensor([0, 0, -1, -1]), IndexError, "not -1"),
        (torch.tensor([0.0, 0.0, 1.0, 1.0]), TypeError, "integer tensor, not torch.float32"),
        (torch.tensor([True, True, False, False]), TypeError, "not torch.bool"),
    ],
)
def test_labels_are_checked_in_every_stage(
    ready: bool, labels: Tensor, error: type[Exception], message: str
) -> None:
    head = chosen() if ready else PrototypeHead(C, DIM)
    if ready:
        head.follow()
    with pytest.raises(error, match=message):
        head(torch.randn(4, DIM), labels)


def test_batches_without_pairs_are_told_once() -> None:
    head = PrototypeHead(C, DIM)
    z, alone = torch.randn(4, DIM), torch.arange(4)
    for labels in (alone, alone, torch.tensor([0, 1, 2, 2]), alone, alone):
        head(z, labels)  # warnings are errors here
    with pytest.warns(UserWarning, match="In 3 batches in a row .* ClassBatchSampler"):
        assert float(head(z, alone)) == 0
    for _ in range(5):
        head(z, alone)  # and not again


@pytest.mark.parametrize("head", [chosen(), LinearHead(C, DIM)])
def test_probability_wants_several_labels_for_each_input(head: Head) -> None:
    with pytest.raises(ValueError, match=r"shapes \[..., dim\] and \[..., k\], not"):
        head.probability(torch.randn(3, DIM), torch.arange(3))


def test_prototypes_keep_names_and_number() -> None:
    head = chosen(names=True)
    nameless = ClassMap.assigned(head.system, head.system.quantize(means(seed=3)))
    head.set_prototypes(nameless)
    assert head.names == [f"c{i}" for i in range(C)] and nameless.names is None
    assert head.class_map is not None and head.class_map.names == head.names
    with pytest.raises(ValueError, match=f"the {C} classes of the head, not 7"):
        head.set_prototypes(ClassMap(RootA(DIM), 7))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: PrototypeHead(10, dim=1),
            "must be at least 4 where no 'system' is given, not 1.$",
        ),
        (lambda: PrototypeHead(10, dim=3), r"not 3; for pictures .* system='Sphere\(3, 10\)'"),
        (lambda: PrototypeHead(10, dim="8"), "'dim' must be a positive integer, not '8'"),  # pyright: ignore[reportArgumentType]
        (lambda: PrototypeHead(names=["cat", "dog", "cat"], dim=DIM), "'cat' is there twice"),
        (lambda: LinearHead(names=["cat", "cat"]), "'cat' is there twice"),
        (lambda: chosen(names=True).extend(["c0"], means(1)), "'c0' is there twice"),
        (lambda: chosen().choose(torch.zeros(C, DIM)), "'means' must not hold zero rows"),
        (lambda: LinearHead(2, 4).extend(1, torch.zeros(1, 4)), "'means' must not hold zero"),
        (lambda: LinearHead(2, 4).extend(1, torch.full((1, 4), torch.nan)), "must be finite"),
    ],
)
def test_what_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
