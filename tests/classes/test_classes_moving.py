"""Moving prototypes against autograd; many classes, resumed runs, several processes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn.functional import cross_entropy, normalize

from rootspace.classes import ClassMap, MovingPrototypes, assign, means, moving
from rootspace.classes.moving import COMPETITORS, MOST, RATE
from rootspace.systems import PermutationCode
from rootspace.testing import LargestTensor

C, DIM, B, SCALE = 30, 12, 20, 7.0


def directions(count: int = C) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(1))


def code_map(count: int) -> ClassMap:
    """Classes on different vectors of a code of three levels."""
    system = PermutationCode(DIM)
    return assign(system, directions(count)).classes


def batch(seed: int = 2, count: int = B, classes: int = C) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, DIM, generator=generator)
    return z, torch.randint(classes, (count,), generator=generator)


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_loss_and_step_are_those_of_a_learned_softmax(margin: float) -> None:
    ours = MovingPrototypes(directions())
    z, labels = batch()
    z.requires_grad_()
    weight = normalize(directions(), dim=-1).requires_grad_()
    lowered = SCALE * margin * torch.nn.functional.one_hot(labels, C)
    logits = SCALE * normalize(z, dim=-1) @ weight.T - lowered
    theirs = cross_entropy(logits, labels)
    wanted, slope = torch.autograd.grad(theirs, (z, weight))
    loss = ours.loss(z, labels, SCALE, margin)
    torch.testing.assert_close(loss, theirs)
    torch.testing.assert_close(torch.autograd.grad(loss, z)[0], wanted)
    # A step of gradient descent on the sum over the batch, on the sphere; of a class of which more
    # than one input's worth is mistaken, as if it were one.
    mistaken = (logits.softmax(dim=-1) - torch.nn.functional.one_hot(labels, C)).detach().abs()
    most = (mistaken.sum(dim=0) / MOST).clamp(min=1)
    assert float(most.min()) == 1 < float(most.max())
    moved = normalize(weight.detach() - RATE / SCALE * B * slope / most[:, None], dim=-1)
    torch.testing.assert_close(ours.directions, moved)
    assert ours.steps == 1


@pytest.mark.parametrize("count", [C, COMPETITORS + 100])
@pytest.mark.parametrize("held", [1, 17, C - 1])
def test_the_first_classes_may_stay(count: int, held: int) -> None:
    """They compete as where all move, and nothing is kept of them but their codes."""
    classes = code_map(count)
    some, all_ = (MovingPrototypes.of_classes(classes, n, seed=1) for n in (held, 0))
    assert some.directions.equal(all_.directions[held:])
    z, labels = batch(classes=count)
    assert some.loss(z, labels, SCALE).equal(all_.loss(z, labels, SCALE))
    torch.testing.assert_close(some.directions, all_.directions[held:])
    again = MovingPrototypes.from_state(some.state(), classes)
    assert again.num_held == held and again.state()["directions"].shape == (count - held, DIM)
    z, labels = batch(3, classes=count)
    assert again.loss(z, labels, SCALE).equal(some.loss(z, labels, SCALE))
    assert again.directions.equal(some.directions)
    vectors = classes.vectors(torch.arange(held), dtype=torch.float32)
    best = (normalize(z, dim=-1) @ torch.cat([vectors, some.directions]).T).topk(5)
    label, cosine = some.nearest(z, 5)
    torch.testing.assert_close(cosine, best.values)
    assert label.equal(best.indices)


def test_batches_with_many_inputs_of_a_class_turn_no_direction_around() -> None:
    """All inputs of two classes are taken for the other one: the sum would be 100 times as long."""
    ours = MovingPrototypes(torch.tensor([[1.0, 0.1, 0.0], [1.0, -0.1, 0.0]]))
    labels = torch.arange(512) % 2
    before = ours.directions.clone()
    ours.loss(before[1 - labels], labels, 50.0)
    moved = (before * ours.directions).sum(dim=-1)
    assert bool((moved < 0.9999).all()), "they have moved"
    assert bool((moved >= (1 - (RATE * MOST) ** 2) ** 0.5).all())


def test_given_directions_are_left_alone_and_made_unit() -> None:
    given = 3 * directions()
    before = given.clone()
    ours = MovingPrototypes(given)
    torch.testing.assert_close(ours.directions.norm(dim=-1), torch.ones(C))
    ours.loss(*batch(), SCALE)
    assert given.equal(before)


def test_class_vectors_are_not_all_unpacked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    system = PermutationCode(DIM)
    classes = ClassMap.assigned(system, system.quantize(directions(300)))
    expected = classes.vectors(torch.arange(300), dtype=torch.float32)
    monkeypatch.setattr(means, "BLOCK", 7 * DIM)  # seven classes at a time
    with LargestTensor() as largest:
        ours = MovingPrototypes.of_classes(classes, 5, seed=2)
    assert largest.elements == 295 * DIM, largest.operation  # the directions; bits are twice that
    torch.testing.assert_close(ours.directions, expected[5:])
    assert (ours.num_held, ours.seed, ours.steps) == (5, 2, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_of_the_embeddings(dtype: torch.dtype) -> None:
    ours = MovingPrototypes(directions())
    z, labels = batch()
    assert ours.loss(z.to(dtype), labels.int(), SCALE).dtype == dtype
    assert ours.directions.dtype == torch.float32


def test_embeddings_end_on_their_own_directions() -> None:
    ours = MovingPrototypes(directions())
    z, _ = batch(count=C)
    labels = torch.arange(C)
    losses = [float(ours.loss(z, labels, SCALE)) for _ in range(60)]
    assert losses[-1] < losses[0] / 2
    assert ours.nearest(z)[0][:, 0].equal(labels)


def test_of_many_classes_some_compete() -> None:
    count = 3 * COMPETITORS
    ours = MovingPrototypes(directions(count), seed=5)
    z, labels = batch(classes=count)
    numbers = ours._competing(labels)
    assert len(numbers) <= COMPETITORS and len(numbers) > COMPETITORS // 2
    assert numbers.equal(numbers.unique()) and torch.isin(labels, numbers).all()
    before = ours.directions.clone()
    loss = ours.loss(z, labels, SCALE)
    moved = (ours.directions != before).any(dim=-1)
    # What moves is among those that compete, and the classes of the batch are there.
    assert torch.isin(moved.nonzero()[:, 0], numbers).all()
    assert moved[labels].all()
    logits = SCALE * normalize(z, dim=-1) @ before[numbers].T
    theirs = cross_entropy(logits, torch.searchsorted(numbers, labels))
    torch.testing.assert_close(loss, theirs)
    # The next step meets others.
    assert not ours._competing(labels).equal(numbers)


def test_a_batch_of_more_classes_than_may_compete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "COMPETITORS", 8)
    ours = MovingPrototypes(directions())
    labels = torch.arange(B)
    assert ours._competing(labels).equal(labels)


def test_goes_on_to_the_bit() -> None:
    count = COMPETITORS + 100
    whole = MovingPrototypes(directions(count), seed=3)
    for step in range(3):
        whole.loss(*batch(step, classes=count), SCALE)
    parts = MovingPrototypes.from_state(whole.state())
    for step in range(3, 6):
        for each in (whole, parts):
            each.loss(*batch(step, classes=count), SCALE)
    assert whole.directions.equal(parts.directions)
    assert whole.steps == parts.steps == 6


def test_state_of_another_is_its_own() -> None:
    first = MovingPrototypes(directions())
    second = MovingPrototypes.from_state(first.state())
    second.loss(*batch(), SCALE)
    assert not first.directions.equal(second.directions)


@pytest.mark.parametrize("k", [1, 4, C])
def test_nearest_is_brute_force(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    monkeypatch.setattr(means, "BLOCK", 7 * DIM)  # seven classes at a time
    ours = MovingPrototypes(directions())
    z, _ = batch()
    label, cosine = ours.nearest(z, k)
    best = (normalize(z, dim=-1) @ normalize(directions(), dim=-1).T).topk(k)
    assert label.equal(best.indices)
    torch.testing.assert_close(cosine, best.values)


def _process(rank: int, folder: str, classes: int) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    ours = MovingPrototypes(directions(classes), seed=4)
    for step in range(3):
        z, labels = batch(step, classes=classes)
        own = slice(0, 12) if rank == 0 else slice(12, B)  # not equally many
        ours.loss(z[own], labels[own], SCALE)
    torch.save(ours.directions, Path(folder, f"{classes}-{rank}.pt"))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("classes", [C, COMPETITORS + 500])
def test_two_processes_move_as_one_with_the_whole_batch(tmp_path: Path, classes: int) -> None:
    spawn(_process, (str(tmp_path), classes), nprocs=2)
    first, second = (
        torch.load(tmp_path / f"{classes}-{rank}.pt", weights_only=True) for rank in range(2)
    )
    assert first.equal(second)
    alone = MovingPrototypes(directions(classes), seed=4)
    for step in range(3):
        alone.loss(*batch(step, classes=classes), SCALE)
    torch.testing.assert_close(first, alone.directions)
