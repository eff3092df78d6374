"""Prototypes from any network and loader: means, frame, modes, errors, memory."""

import copy
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import BatchSampler as TorchBatchSampler
from torch.utils.data import DataLoader, IterableDataset, SequentialSampler, TensorDataset

from rootspace import ClassBatchSampler, PrototypeHead, choose_prototypes
from rootspace.choosing import (
    class_means,
    device_of,
    evaluation_mode,
    random_isometry,
    to_device,
)
from rootspace.heads import LinearHead
from rootspace.sampling import InOrder
from rootspace.systems import RootA

C, DIM, N = 6, 16, 60


class Named(NamedTuple):
    image: Tensor
    mask: Tensor


def data(num_classes: int = C, count: int = N) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(count) % num_classes
    return torch.randn(num_classes, 5, generator=generator)[y] + 0.3 * torch.randn(
        count, 5, generator=generator
    ), y


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, DIM))


def batches(size: int = 7) -> list[tuple[Tensor, Tensor]]:
    x, y = data()
    return list(zip(x.split(size), y.split(size), strict=True))


def embedded(net: nn.Module) -> Tensor:
    with evaluation_mode(net), torch.no_grad():
        return net(data()[0])


def means_of(z: Tensor, y: Tensor, num_classes: int = C) -> Tensor:
    return torch.stack([z[y == label].double().mean(0) for label in range(num_classes)]).float()


# -------------------------------------------------------------------- what comes out


def test_first_choice_finds_the_frame_and_later_ones_keep_it() -> None:
    net, (_, y) = network(), data()
    head = PrototypeHead(C, DIM)
    found = choose_prototypes(head, net, batches())
    z = embedded(net)
    assert found.classes is head.class_map
    assert found.classes.num_classes == C
    torch.testing.assert_close(head.center, z.mean(0))
    torch.testing.assert_close(head.rotation @ head.rotation.T, torch.eye(DIM))
    assert not head.rotation.isclose(torch.eye(DIM), atol=0.1).all()
    torch.testing.assert_close(head.rotation, random_isometry(DIM, DIM, 0))
    framed = (means_of(z, y) - head.center) @ head.rotation.T
    assert head.vectors(torch.arange(C)).equal(head.system.quantize(framed))
    assert found.mean_cosine == pytest.approx(
        float((normalize(framed, dim=-1) * head.vectors(torch.arange(C))).sum(-1).mean()), abs=1e-5
    )
    center, turn = head.center.clone(), head.rotation.clone()
    other = network()
    choose_prototypes(head, other, batches())
    assert head.center.equal(center)
    assert head.rotation.equal(turn)
    framed = (means_of(embedded(other), y) - center) @ turn.T
    assert head.vectors(torch.arange(C)).equal(head.system.quantize(framed))


def test_rotation_and_its_seed() -> None:
    net = network()
    heads = [PrototypeHead(C, DIM, seed=seed) for seed in (0, 0, 5)]
    for head in heads:
        choose_prototypes(head, net, batches())
    assert heads[0].rotation.equal(heads[1].rotation)
    assert not heads[0].rotation.equal(heads[2].rotation)
    plain = PrototypeHead(C, DIM, rotate=False)
    choose_prototypes(plain, net, batches())
    assert plain.rotation.equal(torch.eye(DIM))
    assert plain.framed
    assert not plain.center.eq(0).any()


@pytest.mark.parametrize(("dim", "old"), [(8, 8), (8, 20), (20, 8)])
def test_random_isometry(dim: int, old: int) -> None:
    turn = random_isometry(dim, old, 3)
    assert turn.shape == (dim, old)
    least = turn @ turn.T if dim <= old else turn.T @ turn
    torch.testing.assert_close(least, torch.eye(min(dim, old)))
    assert random_isometry(dim, old, None).equal(torch.eye(dim, old))


def test_refining_a_head_without_a_frame_is_a_choice_and_another() -> None:
    net = network()
    once, twice = PrototypeHead(C, DIM), PrototypeHead(C, DIM)
    choose_prototypes(once, net, batches(), refine=4)
    choose_prototypes(twice, net, batches())
    choose_prototypes(twice, net, batches(), refine=4)
    torch.testing.assert_close(once.center, twice.center)
    assert once.rotation.equal(twice.rotation)
    assert once.vectors(torch.arange(C)).equal(twice.vectors(torch.arange(C)))


def test_refining_reads_more_inputs_than_the_means_do() -> None:
    torch.manual_seed(0)
    y = torch.arange(40).repeat(20)
    x = torch.randn(40, DIM)[y] * torch.rand(40, 1)[y] + 0.7 * torch.randn(len(y), DIM)
    loader = [(x, y)]
    right: list[float] = []
    for refine in (0, 8):
        head = PrototypeHead(40, DIM)
        choose_prototypes(head, nn.Identity(), loader, refine=refine)
        right.append(float((head.predict(x).label[:, 0] == y).float().mean()))
    assert right[1] > right[0]


@pytest.mark.parametrize("dim", [4, DIM, 24])
def test_teacher_of_any_dimension(dim: int) -> None:
    head = PrototypeHead(C, DIM)
    teacher = nn.Linear(5, dim)
    found = choose_prototypes(head, teacher, batches(), teacher=True)
    assert head.ready
    assert not head.framed
    z, y = teacher(data()[0]), data()[1]
    turned = (means_of(z, y) - z.mean(0)) @ random_isometry(DIM, dim, 0).T
    nearest = (found.classes.vectors(torch.arange(C)) == head.system.quantize(turned)).all(-1)
    assert int(nearest.sum()) >= C - found.collisions
    if dim <= DIM:  # nothing of the teacher's geometry is lost
        theirs = normalize(means_of(z, y) - z.mean(0), dim=-1)
        torch.testing.assert_close(
            normalize(turned, dim=-1) @ normalize(turned, dim=-1).T, theirs @ theirs.T
        )
    with pytest.raises(ValueError, match="'refine' must be 0 with a teacher, not 2"):
        choose_prototypes(head, teacher, batches(), teacher=True, refine=2)


def test_choosing_for_a_head_with_a_formula_gives_it_chosen_ones() -> None:
    from rootspace import ClassMap  # noqa: PLC0415

    head = PrototypeHead.from_map(ClassMap(RootA(DIM), C, names=list("abcdef")))
    choose_prototypes(head, network(), batches())
    assert head.class_map is not None
    assert head.class_map.order == "assigned"
    assert head.names == list("abcdef")
    assert head.framed


# -------------------------------------------------------------------- any loader, any network


class _Dict(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Any) -> Tensor:
        return self.net(x["image"] if isinstance(x, dict) else x[0])


class _Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(TensorDataset(*data()))


def _generator() -> Iterator[tuple[Tensor, Tensor]]:
    yield from batches()


def _pairs() -> TensorDataset:
    return TensorDataset(*data())


LOADERS: dict[str, Callable[[], Iterable[Any]]] = {
    "list": batches,
    "lists": lambda: [list(batch) for batch in batches()],
    "longer": lambda: [(x, y, ["path"] * len(y), 3) for x, y in batches()],
    "generator": _generator,
    "labels as a list": lambda: [(x, y.tolist()) for x, y in batches()],
    "labels int8": lambda: [(x, y.to(torch.int8)) for x, y in batches()],
    "loader": lambda: DataLoader(_pairs(), 7),
    "shuffled": lambda: DataLoader(_pairs(), 7, shuffle=True),
    "worker": lambda: DataLoader(_pairs(), 7, num_workers=1),
    "stream": lambda: DataLoader(_Stream(), 7),
    "in order": lambda: DataLoader(_pairs(), batch_sampler=InOrder(N, 7)),
    "by class": lambda: DataLoader(_pairs(), batch_sampler=ClassBatchSampler(data()[1], 7)),
    "batch sampler": lambda: DataLoader(
        _pairs(), batch_sampler=TorchBatchSampler(SequentialSampler(range(N)), 7, False)
    ),
    "dict": lambda: [({"image": x, "size": 3}, y) for x, y in batches()],
    "tuple": lambda: [((x, x), y) for x, y in batches()],
    "named": lambda: [(Named(x, x), y) for x, y in batches()],
}

COUNTED = [name for name in LOADERS if name not in ("generator", "stream")]


@pytest.mark.parametrize("name", LOADERS)
def test_any_loader(name: str) -> None:
    net, loader = network(), LOADERS[name]
    whole: nn.Module = _Dict(net) if name in ("dict", "tuple", "named") else net
    head, expected = PrototypeHead(C, DIM), PrototypeHead(C, DIM)
    choose_prototypes(expected, net, [data()])
    choose_prototypes(head, whole, loader())
    torch.testing.assert_close(head.center, expected.center)
    assert head.vectors(torch.arange(C)).equal(expected.vectors(torch.arange(C)))
    if name in COUNTED:
        choose_prototypes(head, whole, loader(), refine=3)
        choose_prototypes(expected, net, [data()], refine=3)
        assert head.vectors(torch.arange(C)).equal(expected.vectors(torch.arange(C)))
    else:
        with pytest.raises(ValueError, match=r"of known length, or a list of batches.*not"):
            choose_prototypes(head, whole, loader(), refine=3)


def test_a_loader_that_cannot_be_counted_is_refused_before_any_pass() -> None:
    def loader() -> Iterator[Any]:
        raise AssertionError("was begun")
        yield

    with pytest.raises(ValueError, match="known length"):
        choose_prototypes(PrototypeHead(C, DIM), network(), loader(), refine=2)


def test_class_means_are_the_means() -> None:
    net, (_, y) = network(), data()
    z = embedded(net)
    torch.testing.assert_close(class_means(net, batches(), C).means(), means_of(z, y))
    unit = class_means(net, batches(), C, unit=True).means()
    torch.testing.assert_close(unit, means_of(normalize(z, dim=-1), y))


def test_network_may_be_a_method_or_a_function() -> None:
    net = network()
    net.eval()
    expected = class_means(net, batches(), C).means()
    net.train()
    assert class_means(net.forward, batches(), C).means().equal(expected)
    assert net.training
    assert net(data()[0]).grad_fn is not None
    assert device_of(net.forward) == device_of(net) == torch.device("cpu")
    assert device_of(lambda x: x, "meta") == device_of(nn.ReLU(), "meta") == torch.device("meta")
    double = class_means(lambda x: torch.cat([x, x], -1), batches(), C).means()
    assert double.shape == (C, 10)


def test_half_precision_network() -> None:
    net = network().to(torch.bfloat16)
    head = PrototypeHead(C, DIM)
    choose_prototypes(head, lambda x: net.eval()(x.bfloat16()), batches(), refine=2)
    assert head.center.dtype == torch.float32
    assert head(net(data()[0].bfloat16()), data()[1]).dtype == torch.float32


def test_each_part_of_the_network_is_in_its_own_mode_afterwards() -> None:
    net = network()
    frozen = nn.Sequential(nn.BatchNorm1d(5), net, nn.Dropout(0.5))
    frozen[0].eval()
    modes = [part.training for part in frozen.modules()]
    before = copy.deepcopy(frozen.state_dict())
    seen: list[bool] = []
    frozen.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    frozen[2].register_forward_hook(lambda part, *_: seen.append(part.training))
    choose_prototypes(PrototypeHead(C, DIM), frozen, batches())
    assert seen
    assert not any(seen)
    assert [part.training for part in frozen.modules()] == modes
    for name, value in frozen.state_dict().items():
        assert value.equal(before[name]), name
    broken = [*batches(), (torch.ones(3, 4), torch.zeros(3, dtype=torch.int64))]
    with pytest.raises(RuntimeError, match="should contain 4 elements"):
        choose_prototypes(PrototypeHead(C, DIM), frozen, broken)
    assert [part.training for part in frozen.modules()] == modes
    assert torch.is_grad_enabled()


def test_to_device_keeps_what_things_are() -> None:
    x = {"a": [torch.ones(1), "text"], "b": Named(torch.ones(1), torch.ones(2)), "c": (3, None)}
    moved = to_device(x, torch.device("meta"))
    assert isinstance(moved["b"], Named)
    assert moved["a"][1:] == ["text"]
    assert moved["c"] == (3, None)
    assert moved["a"][0].is_meta
    assert moved["b"].mask.is_meta


# -------------------------------------------------------------------- errors


def _wrong(name: str) -> tuple[nn.Module, Any]:
    x, y = data()
    bad = x.clone()
    bad[8] = torch.nan  # of class 2
    net = network()
    return {
        "missing": (net, [(x[y != 3], y[y != 3])]),
        "dim": (nn.Linear(5, 7), batches()),
        "nan": (net, [(bad, y)]),
        "float labels": (net, [(x, y.float())]),
        "one-hot": (net, [(x, nn.functional.one_hot(y))]),
        "empty": (net, []),
        "tensors": (net, [x]),
        "dicts": (net, [{"x": x, "y": y}]),
        "alone": (net, [(x,)]),
        "sequence": (nn.Unflatten(1, (5, 1)), batches()),
        "pooled": (nn.Sequential(net, nn.Unflatten(0, (10, 6)), nn.Flatten(1)), [(x, y)]),
        "few labels": (net, [(x, y[:5])]),
        "nothing": (_Nothing(), batches()),
    }[name]


class _Nothing(nn.Module):
    def forward(self, x: Tensor) -> None:
        return None


@pytest.mark.parametrize("refine", [0, 2])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "1 of the 6 classes have none: 3"),
        ("dim", "of 16 dimensions, as the head has, not 7"),
        ("nan", "must be finite; row 8, of class 2, holds NaN"),
        ("float labels", "integer labels of shape [B], not [60] of torch.float32"),
        ("one-hot", "integer labels of shape [B], not [60, 6]"),
        ("empty", "must give batches of inputs and labels, not none"),
        ("tensors", "must give batches (x, y), not Tensor"),
        ("dicts", "must give batches (x, y), not dict"),
        ("alone", "must give batches (x, y), not tuple"),
        ("sequence", "embeddings of shape [7, dim], not [7, 5, 1]"),
        ("pooled", "must give as many embeddings as labels, not 10 and 60"),
        ("few labels", "must give as many embeddings as labels, not 60 and 5"),
        ("nothing", "embeddings of shape [7, dim], not NoneType"),
    ],
)
def test_errors(name: str, message: str, refine: int) -> None:
    net, loader = _wrong(name)
    if refine and name in ("tensors", "dicts", "alone"):
        wrong = loader[0]  # what cannot even be counted, from a loader that can
        loader = DataLoader(_pairs(), 7, collate_fn=lambda _: wrong)
    head = PrototypeHead(C, DIM)
    with pytest.raises(ValueError, match=re.escape(message)):
        choose_prototypes(head, net, loader, refine=refine)
    assert not head.ready
    assert not head.framed


def test_arguments_of_the_wrong_kind() -> None:
    net, loader = network(), DataLoader(_pairs(), 7)
    head, choose = PrototypeHead(C, DIM), cast(Any, choose_prototypes)
    for arguments, message in (
        ((net, net, loader), "'head' must be a PrototypeHead, not Sequential"),
        ((LinearHead(C, DIM), net, loader), "'head' must be a PrototypeHead, not LinearHead"),
        ((PrototypeHead, net, loader), "'head' must be a PrototypeHead, not the class Prototype"),
        ((head, loader, net), "'network' must be a module or a function .*, not DataLoader"),
        (
            (head, net, nn.Linear(5, DIM)),
            r"'loader' must be an iterable of batches \(x, y\), not Linear",
        ),
    ):
        with pytest.raises(TypeError, match=message):
            choose(*arguments)
    with pytest.raises(ValueError, match=r"'refine' must be an integer of at least 0, not 8\.0"):
        choose(head, net, loader, refine=8.0)


@pytest.mark.parametrize("label", [-1, C])
def test_labels_out_of_range(label: int) -> None:
    x, y = data()
    y[5] = label
    with pytest.raises(IndexError, match=r"'labels' must lie in \[0, 6\)"):
        choose_prototypes(PrototypeHead(C, DIM), network(), [(x, y)])


def test_dimension_of_a_framed_head() -> None:
    head = PrototypeHead(C, DIM)
    choose_prototypes(head, network(), batches())
    with pytest.raises(ValueError, match="'embeddings' must have last dimension 16"):
        choose_prototypes(head, nn.Linear(5, 7), batches())
    with pytest.raises(ValueError, match="'refine' must be an integer of at least 0, not -1"):
        choose_prototypes(head, network(), batches(), refine=-1)


def test_a_loader_that_repeats_inputs_is_refused_where_they_are_kept() -> None:
    class Twice(TorchBatchSampler):
        def __iter__(self) -> Iterator[list[int]]:
            for _ in range(2):
                yield from super().__iter__()

    sampler = Twice(SequentialSampler(range(N)), 7, False)
    loader = DataLoader(_pairs(), batch_sampler=sampler)
    head = PrototypeHead(C, DIM)
    choose_prototypes(head, network(), loader)
    with pytest.raises(ValueError, match="at most num_images = 63"):
        choose_prototypes(head, network(), loader, refine=2)


@pytest.mark.parametrize("refine", [0, 2])
def test_a_training_loader_gives_all_samples_and_stays_in_its_epoch(refine: int) -> None:
    """Its sampler leaves out a last batch of one sample in training."""
    y = torch.cat([torch.arange(8).repeat(2), torch.tensor([8])])
    x = nn.functional.one_hot(y, 9).float()
    sampler = ClassBatchSampler(y, 16)
    loader = DataLoader(TensorDataset(x, y), batch_sampler=sampler)
    for epoch in range(40):  # in some of them the last is the only sample of class 8
        sampler.set_epoch(epoch)
        head = PrototypeHead(9, 9)
        choose_prototypes(head, nn.Identity(), loader, refine=refine)
        assert head.ready and sampler.epoch == epoch
    assert sum(len(batch) for batch in sampler) == 16


# -------------------------------------------------------------------- memory


class OnMeta(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make on the device "meta"."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.is_meta:
                self.largest = max(self.largest, leaf.untyped_storage().nbytes())
        return result


def test_nothing_on_the_device_grows_with_the_classes() -> None:
    # The network's part runs on "meta", in the place of a device; its results are made up.
    classes, size = 3000, 50

    class Device(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(5, DIM, device="meta"))

        def forward(self, x: Tensor) -> Tensor:
            assert x.is_meta
            assert (x @ self.weight).is_meta
            return torch.randn(len(x), DIM)

    y = torch.arange(classes)
    loader = [(torch.zeros(size, 5), part) for part in y.split(size)]
    head = PrototypeHead(classes, DIM)
    with OnMeta() as seen:
        choose_prototypes(head, Device(), loader)
    assert 0 < seen.largest <= max(size, DIM) * DIM * 4


# ------------------------------------------------------------- prototypes that follow the network


@pytest.mark.parametrize("refine", [0, 2])
def test_chosen_prototypes_follow_unless_they_shall_not(refine: int) -> None:
    for follow in (True, False):
        head = PrototypeHead(C, DIM)
        choose_prototypes(head, network(), batches(), refine=refine, follow=follow)
        assert head.follows is follow
    head = PrototypeHead(C, DIM)
    choose_prototypes(head, network(), batches(), teacher=True)
    assert not head.follows


def test_a_loop_by_hand_ends_with_the_vectors_nearest_to_where_prototypes_moved() -> None:
    torch.manual_seed(0)
    head, net = PrototypeHead(C, DIM), network()
    choose_prototypes(head, net, batches())
    first = head.vectors(torch.arange(C))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(5):
        for x, y in batches():
            optimizer.zero_grad()
            head(net(x), y).backward()
            optimizer.step()
    y = data()[1]
    right = head.eval().predict(embedded(net)).label[:, 0] == y
    assert right.float().mean() > 0.9
    assert not head.vectors(torch.arange(C)).equal(first)
    choose_prototypes(head, net, batches(), refine=2, follow=False)
    refined = head.predict(embedded(net)).label[:, 0] == y
    assert refined.sum() >= right.sum()


def test_classes_without_an_input_are_named() -> None:
    x, y = torch.randn(8, 8), torch.arange(8) % 4
    for refine, names in ((0, None), (2, None), (2, list("abcdef"))):
        head = PrototypeHead(None if names else 6, 8, names=names)
        shown = "'e', 'f'" if names else "4, 5"
        message = f"'loader' must give an input of every class; 2 of the 6 classes .*: {shown}"
        with pytest.raises(ValueError, match=message):
            choose_prototypes(head, nn.Identity(), [(x, y)], refine=refine)


def test_a_network_that_tells_nothing_apart_is_named() -> None:
    x, y = torch.ones(8, 8), torch.arange(8) % 4
    with pytest.raises(ValueError, match="'network' must tell inputs apart"):
        choose_prototypes(PrototypeHead(4, 8), nn.Identity(), [(x, y)])


def test_a_single_class_has_a_prototype() -> None:
    """Its mean would be the center of all inputs."""
    head = PrototypeHead(1, 8)
    choose_prototypes(head, nn.Identity(), [(torch.randn(1, 8), torch.tensor([0]))])
    assert head.predict(torch.randn(3, 8)).label.tolist() == [[0]] * 3
