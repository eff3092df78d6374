"""Prototypes that follow the network in training."""

import copy
from typing import Any

import pytest
import torch
from made_heads import (
    DIM,
    C,
    batch,
    chosen,
    means,
    table,
    through_file,
)
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from rootspace import ClassMap, PrototypeHead
from rootspace.losses import (
    CosineLoss,
    InBatchSoftmaxLoss,
    functional,
)
from rootspace.systems import RootA


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
    state = through_file(head.state_dict())
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
    assert moving.shape == (3, DIM), "nothing is kept of the others but their codes"
    assert after[C:].equal(head.system.quantize(moving).double())
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
    with pytest.raises(ValueError, match=r"'k' must be an integer in \[1, 20\], not 21"):
        head.predict(torch.randn(1, DIM), 21)


def test_a_loss_of_ones_own_is_called_and_its_prototypes_stay() -> None:
    class Mine(InBatchSoftmaxLoss):
        def compute(self, z: Tensor, vectors: Tensor, labels: Tensor) -> Tensor:
            return super().compute(z, vectors, labels) + 1000

    head = chosen(loss=Mine)
    head.follow()
    assert not head.follows and head(*batch()).item() > 1000
