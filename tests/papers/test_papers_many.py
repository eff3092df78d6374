"""Very many different pictures, and the network that tells them apart."""

from __future__ import annotations

import pytest
import torch

from papers.lsc2510 import many
from papers.lsc2510.many import ManyPictures, varied
from papers.lsc2510.networks import PatchNetwork
from rootspace.data.errors import DataError
from rootspace.models import num_parameters


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Three pictures take the place of the originals, one of them there twice."""
    images = torch.randint(0, 256, (3, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    sources = [("a", images[[0, 1, 0]]), ("b", images[1:])]
    monkeypatch.setattr(many, "_originals", lambda: iter(sources))
    return images


def test_no_two_are_equal(three: torch.Tensor):
    content = ManyPictures(200).read()
    images, labels = content.train.batch(range(200))[:2]
    assert images.shape == (200, 1, 32, 32) and images.dtype == torch.uint8
    assert len({image.numpy().tobytes() for image in images}) == 200
    assert torch.equal(images[:3], three)
    assert content.class_names == ["a", "b", "variants"]
    assert torch.bincount(labels).tolist() == [2, 1, 197]


def test_they_are_one_sequence(three: torch.Tensor):
    few, more, other = (ManyPictures(*arguments).read() for arguments in ((9,), (30,), (9, 1)))
    rows = range(9)
    assert torch.equal(few.train.batch(rows)[0], more.train.batch(rows)[0])
    assert not torch.equal(few.train.batch(rows)[0], other.train.batch(rows)[0])
    assert few.class_names[:2] == ManyPictures(3).read().class_names
    with pytest.raises(DataError, match="'count' must be at least 2, not 1"):
        ManyPictures(1)


def test_variants_are_of_their_pictures():
    image = torch.zeros(50, 1, 32, 32, dtype=torch.uint8)
    image[:, :, 10:22, 14:18] = 255
    found = varied(image, torch.Generator().manual_seed(0)).float()
    assert found.shape == image.shape
    ink = found.sum((1, 2, 3)) / image[0].float().sum()
    assert 0.6 < ink.min() < ink.max() < 1.5
    assert found.mean(0)[0, 16, 16] / 255 > 0.75


def test_the_network():
    network = PatchNetwork(384)
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 384)
    assert 2.4e6 < num_parameters(network) < 2.6e6
    assert PatchNetwork(5, in_channels=3, image_size=16)(torch.rand(2, 3, 16, 16)).shape == (2, 5)
