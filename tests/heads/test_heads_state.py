"""What `state_dict` of a head keeps, and where it may be loaded."""

import copy
import io
import pickle

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

from rootspace import PrototypeHead
from rootspace.heads import LinearHead
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
