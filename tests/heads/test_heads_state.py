"""What `state_dict` of a head keeps, and where it may be loaded."""

import copy
import io
import pickle
from functools import partial

import pytest
import torch
from made_heads import (
    DIM,
    STAGES,
    C,
    chosen,
    means,
    same,
    through_file,
)
from torch import nn

from rootspace import ClassMap, PrototypeHead
from rootspace.heads import LinearHead
from rootspace.losses import CosineLoss, InBatchSoftmaxLoss
from rootspace.systems import RootA


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
        with pytest.raises(ValueError, match="a PrototypeHead of format 3, not 99"):
            head.load_state_dict(state)
    small = PrototypeHead(C, 8)
    for _ in range(2):
        with pytest.raises(ValueError, match="prototypes of dimension 16, not 8"):
            head.load_state_dict(small.state_dict())
        small.choose(means(dim=8))
    with pytest.raises(ValueError, match="'state' must be of a PrototypeHead, and has no 'format'"):
        PrototypeHead.from_state_dict(LinearHead(2, 3).state_dict())
    checkpoint = {"state_dict": {f"head.{key}": value for key, value in head.state_dict().items()}}
    for state in ({}, checkpoint, checkpoint["state_dict"]):
        with pytest.raises(
            ValueError, match=r"no '_extra_state'; of a Lightning .* begin with 'head"
        ):
            PrototypeHead.from_state_dict(state)


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


@pytest.mark.parametrize(
    "head",
    [
        PrototypeHead.from_map(ClassMap(RootA(DIM), 50)),
        chosen(loss=partial(InBatchSoftmaxLoss, scale=30.0, margin=0.2), temperature=0.3),
        chosen(loss=CosineLoss, contrastive_weight=0.1, rotate=False, seed=3),
    ],
    ids=["formula", "margin", "cosine"],
)
def test_a_head_from_its_state_has_its_settings(head: PrototypeHead) -> None:
    again = PrototypeHead.from_state_dict(through_file(head.state_dict()))
    same(head, again)
    z, labels = torch.randn(24, DIM), torch.arange(24) % 12
    assert again(z, labels).equal(head(z, labels))
    assert again.probability(z, labels[:, None]).equal(head.probability(z, labels[:, None]))
    assert (again.seed, again.rotate) == (head.seed, head.rotate)
    other = PrototypeHead.from_state_dict(head.state_dict(), temperature=0.5, loss=CosineLoss)
    assert other.temperature == 0.5 and isinstance(other.loss, CosineLoss)


def test_a_loss_that_a_state_cannot_hold_is_asked_for() -> None:
    class Mine(CosineLoss):
        pass

    head = chosen(loss=Mine)
    with pytest.raises(ValueError, match="Argument 'loss' must be given"):
        PrototypeHead.from_state_dict(head.state_dict())
    same(head, PrototypeHead.from_state_dict(head.state_dict(), loss=CosineLoss))


def test_prototypes_that_followed_are_held_under_another_loss() -> None:
    head = chosen()
    head.follow()
    head(torch.randn(24, DIM), torch.arange(24) % 12)
    other = PrototypeHead.from_state_dict(head.state_dict(), loss=CosineLoss)
    assert head.follows and not other.follows
    other(torch.randn(24, DIM), torch.arange(24) % 12)
    head.settle()
    labels = torch.arange(C)
    assert other.vectors(labels).equal(head.vectors(labels))
