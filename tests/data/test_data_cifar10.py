"""CIFAR-10 through torchvision, which checks its files before it reads them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rootspace.data import CIFAR10, ArrayImages, Content, DataError


def pixels(content: Content) -> torch.Tensor:
    assert isinstance(content.train, ArrayImages)
    return content.train.images


def test_images_and_labels_are_those_of_the_files(make_cifar: Callable[[], Path]) -> None:
    folder = make_cifar()
    content = CIFAR10(folder).read()
    assert len(content.class_names) == 10 and content.class_names[9] == "truck"
    assert len(content.train) == 20 and [*content.tests] == ["test"]
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    batches = [pickle.loads((folder / name).read_bytes()) for name in names]
    images = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    assert np.array_equal(pixels(content).numpy(), images[:20])
    test = content.tests["test"]
    assert isinstance(test, ArrayImages) and np.array_equal(test.images.numpy(), images[20:])
    assert test.labels.tolist() == batches[5]["labels"] and test.labels.dtype == torch.int64
    shape = content.preprocessing
    assert shape is not None and (shape.channels, shape.size, len(shape.mean)) == (3, 32, 3)


def test_the_root_may_be_the_folder_or_that_above(
    make_cifar: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_cifar()
    expected = pixels(CIFAR10(folder).read())
    monkeypatch.chdir(folder)
    for root in (tmp_path, str(folder), f"{folder}/", ".", ".."):
        assert torch.equal(pixels(CIFAR10(root).read()), expected)


def test_a_test_image_comes_back_from_a_file(
    make_cifar: Callable[[], Path], tmp_path: Path
) -> None:
    content = CIFAR10(make_cifar()).read()
    image, _ = content.tests["test"][1]
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    assert content.preprocessing is not None
    assert torch.equal(content.preprocessing(tmp_path / "a.png"), image)


@pytest.mark.parametrize("name", ["data_batch_4", "test_batch", "batches.meta"])
def test_a_missing_file(make_cifar: Callable[[], Path], name: str) -> None:
    folder = make_cifar()
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"'root' must be the folder .* not '{folder}': unpack"):
        CIFAR10(folder).read()


def test_a_missing_root(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(DataError, match=f"must be the folder 'cifar-10-.* not '{root}'"):
            CIFAR10(root).read()


class Attack:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
@pytest.mark.parametrize("content", [b"", b"no pickle", None])
def test_another_file_is_not_even_read(
    make_cifar: Callable[[], Path], tmp_path: Path, name: str, content: bytes | None
) -> None:
    """A pickle may run any code: only files with the published sums are opened."""
    folder = make_cifar()
    attack = pickle.dumps({"data": Attack(tmp_path / "owned")})
    (folder / name).write_bytes(attack if content is None else content)
    with pytest.raises(DataError, match="with the files as they are published"):
        CIFAR10(folder).read()
    assert not (tmp_path / "owned").exists()


def test_without_a_test_the_published_sums_hold(
    make_cifar: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_cifar()
    monkeypatch.undo()
    with pytest.raises(DataError, match="with the files as they are published"):
        CIFAR10(folder).read()
