"""Nothing about an epoch may depend on whether worker processes load it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from rootspace.data import ArrayImages, ImagePreprocessing, Transformed
from rootspace.data.datasets import Batches, as_is
from rootspace.data.transforms import ImageTransform
from rootspace.sampling import ClassBatchSampler, InOrder, ResumableLoader

LABELS = torch.arange(4).repeat(3)
SHAPE = ImagePreprocessing(3, 8, (0.5,) * 3, (0.2,) * 3)


def numbers(num_workers: int) -> ResumableLoader:
    """Batches of the numbers of the samples."""
    return ResumableLoader(
        TensorDataset(torch.arange(12)),
        batch_sampler=ClassBatchSampler(LABELS, 4, seed=1),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )


def passed(loader: ResumableLoader) -> list[list[int]]:
    return [batch.tolist() for (batch,) in loader]


def test_passes_are_the_same_epochs_with_and_without_workers():
    plain, workers = numbers(0), numbers(2)
    expected = [passed(plain) for _ in range(3)]
    assert expected[0] != expected[1] != expected[2]
    assert [passed(workers) for _ in range(3)] == expected
    for loader in (plain, workers):
        loader.batches.set_epoch(1)
        assert passed(loader) == expected[1]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("seen", [1, 2])
def test_an_epoch_resumes_where_it_was(num_workers: int, seen: int):
    whole, after = passed(numbers(0)), numbers(num_workers)
    after.load_state_dict({"epoch": 0, "seen": 4 * seen})
    assert passed(after) == whole[seen:]
    assert after.state_dict() == {"epoch": 1, "seen": 0}
    following = numbers(0)
    following.batches.set_epoch(1)
    assert passed(after) == passed(following)


def test_an_iterator_that_nobody_uses_is_no_pass():
    sampler = InOrder(5, 2)
    sampler.start = 2
    for _ in range(2):
        iter(sampler)
    assert list(sampler) == [[2, 3], [4]]
    assert list(sampler) == [[0, 1], [2, 3], [4]]


# ---------------------------------------------------------------- draws of a transform


class Pipeline:
    """Draws as albumentations' pipelines do: from a generator of its own, for `image=`."""

    def __init__(self) -> None:
        self.set_random_seed(None)

    def set_random_seed(self, seed: int | None) -> None:
        self.generator = np.random.default_rng(seed)

    def __call__(self, *, image: np.ndarray) -> dict[str, np.ndarray]:
        return {"image": image ^ self.generator.integers(256, dtype=np.uint8)}


def global_generators(image: Tensor) -> Tensor:
    """Draws from those of torch, numpy and Python."""
    torch_s = int(torch.randint(256, ()))
    numpy_s = np.random.randint(256)  # noqa: NPY002 - what other people's transforms draw from
    return image ^ (torch_s ^ numpy_s ^ random.getrandbits(8))


@pytest.mark.parametrize("make", [Pipeline, lambda: global_generators])
def test_draws_depend_on_seed_epoch_and_image_alone(make):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (12, 3, 8, 8), dtype=torch.uint8, generator=generator)

    def epoch(number: int, num_workers: int = 0, seed: int = 0, size: int = 4) -> list[Tensor]:
        data = Transformed(ArrayImages(pixels, LABELS), ImageTransform(make(), SHAPE), seed)
        sampler = ClassBatchSampler(LABELS, size, numbered=True)
        loader = ResumableLoader(
            Batches(data),
            batch_sampler=sampler,
            num_workers=num_workers,
            collate_fn=as_is,
            generator=torch.Generator(),  # or it draws from the global one
        )
        sampler.set_epoch(number)
        return list(torch.cat([x for x, _ in loader]))

    state = torch.get_rng_state(), random.getstate()
    first = epoch(2)
    assert torch.equal(torch.get_rng_state(), state[0]) and random.getstate() == state[1]
    for again in (epoch(2, num_workers=2), epoch(2, size=3)):
        assert all(map(torch.equal, again, first))
    for other in (epoch(3), epoch(2, seed=1)):
        assert not all(map(torch.equal, other, first))


def test_albumentations():
    """The package itself, where it is installed."""
    package = pytest.importorskip("albumentations")
    pixels = torch.randint(0, 256, (4, 3, 12, 12), dtype=torch.uint8)

    def batch(samples: list[int]) -> Tensor:
        flips = package.Compose([package.RandomCrop(8, 8), package.HorizontalFlip()])
        data = ArrayImages(pixels, torch.arange(4))
        return Transformed(data, ImageTransform(flips, SHAPE), 0).batch(samples)[0]

    together = batch([3, 4, 9])
    assert together.shape == (3, 3, 8, 8) and together.dtype == torch.uint8
    assert torch.equal(together, torch.cat([batch([3]), batch([4]), batch([9])]))
