from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rootspace.data import ArrayImages, DataError, FashionMNIST
from rootspace.data import fashion_mnist as module


@pytest.mark.parametrize("compressed", [False, True])
def test_files_are_read_and_padded(make_idx: Callable[..., Path], compressed: bool) -> None:
    root = make_idx(compressed)
    content = FashionMNIST(root).read()
    arrays = np.load(root / "arrays.npz")
    shape = content.preprocessing
    assert shape is not None
    assert (shape.channels, shape.size, shape.inner, shape.background) == (1, 32, 28, 0)
    assert [*content.tests] == ["test"]
    for part, dataset in (("train", content.train), ("t10k", content.tests["test"])):
        assert isinstance(dataset, ArrayImages)
        assert dataset.images.shape[1:] == (1, 32, 32)
        assert np.array_equal(dataset.images[:, 0, 2:30, 2:30].numpy(), arrays[f"{part}_images"])
        assert np.array_equal(dataset.labels.numpy(), arrays[f"{part}_labels"])
        border = dataset.images.clone()
        border[..., 2:30, 2:30] = 0
        assert not border.any()
    assert len(content.class_names) == 10 and content.class_names[9] == "Ankle boot"


def test_a_test_image_comes_back_from_a_file(make_idx: Callable[..., Path], tmp_path: Path) -> None:
    content = FashionMNIST(make_idx(), image_size=33).read()
    image, _ = content.tests["test"][0]
    assert image.shape == (1, 33, 33)
    Image.fromarray(image[0, 2:30, 2:30].numpy()).save(tmp_path / "a.png")
    assert content.preprocessing is not None
    assert torch.equal(content.preprocessing(tmp_path / "a.png"), image)


def test_where_the_files_are_looked_for(
    make_idx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = make_idx()
    monkeypatch.setenv("ROOTSPACE_DATA", str(root.parent))
    FashionMNIST().read()
    monkeypatch.setenv("ROOTSPACE_DATA", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    root.rename(tmp_path / "data" / "fashion-mnist")
    assert str(module._default_root()) == "data/fashion-mnist"


def test_nowhere_to_be_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module.Path, "is_dir", lambda _: False)
    with pytest.raises(DataError, match=r"is in none of .*apt install dataset-fashion-mnist"):
        FashionMNIST().read()
    with pytest.raises(
        DataError, match=r"'.*nothing' does not exist: .*apt install dataset-fashion"
    ):
        FashionMNIST(tmp_path / "nothing").read()


def test_a_missing_file(make_idx: Callable[..., Path]) -> None:
    root = make_idx()
    (root / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte' \(or \.gz\) does not exist"):
        FashionMNIST(root).read()


def damaged(root, name: str, change) -> FashionMNIST:
    path = root / name
    path.write_bytes(change(path.read_bytes()))
    return FashionMNIST(root)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "train-images-idx3-ubyte",
            lambda data: data[:-1],
            "must hold 9408 bytes .* not 9407: copy",
        ),
        ("train-images-idx3-ubyte", lambda data: data + b"x", "must hold 9408 bytes .* not more"),
        ("train-images-idx3-ubyte", lambda data: data[:9], "is cut off within its header"),
        ("train-images-idx3-ubyte", lambda data: b"", "magic number must be 0x00000803, not 0x:?"),
        (
            "train-labels-idx1-ubyte",
            lambda data: b"\0\0\r\1" + data[4:],
            "0x00000801, not 0x00000d01",
        ),
        (
            "train-labels-idx1-ubyte",
            lambda data: data[:-1] + b"\x0a",
            "label 10: labels must be from 0",
        ),
    ],
)
def test_a_damaged_file(
    make_idx: Callable[..., Path], name: str, change: Callable[[bytes], bytes], message: str
) -> None:
    with pytest.raises(DataError, match=rf"{name}' .*{message}"):
        damaged(make_idx(compressed=False), name, change).read()


def test_images_in_place_of_labels(make_idx: Callable[..., Path]) -> None:
    root = make_idx(compressed=False)
    images = (root / "train-images-idx3-ubyte").read_bytes()
    with pytest.raises(DataError, match=r"is not an IDX file of 1 axes: .*not 0x00000803"):
        damaged(root, "train-labels-idx1-ubyte", lambda _: images).read()


@pytest.mark.parametrize("change", [lambda data: data[:-20], lambda data: data[:20] + b"x" * 99])
def test_a_damaged_gzip_file(
    make_idx: Callable[..., Path], change: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz' (cannot be read|must )"):
        damaged(make_idx(), "train-images-idx3-ubyte.gz", change).read()


def test_labels_of_another_copy(
    make_idx: Callable[..., Path], write_idx: Callable[..., None]
) -> None:
    root = make_idx(compressed=False)
    write_idx(root / "train-labels-idx1-ubyte", np.zeros(11))
    with pytest.raises(DataError, match="holds 11 labels for 12 images"):
        FashionMNIST(root).read()


def test_images_of_another_size(
    make_idx: Callable[..., Path], write_idx: Callable[..., None]
) -> None:
    root = make_idx(compressed=False)
    write_idx(root / "train-images-idx3-ubyte", np.zeros((12, 32, 28)))
    with pytest.raises(DataError, match="must hold images of 28x28 pixels, not 32x28"):
        FashionMNIST(root).read()


def test_the_pictures_are_not_scaled_down() -> None:
    with pytest.raises(DataError, match=r"'image_size' must be at least 28 .*, not 27"):
        FashionMNIST(image_size=27)


def test_gzip_is_told_by_content_not_name(make_idx: Callable[..., Path]) -> None:
    root = make_idx(compressed=False)
    path = root / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(path.read_bytes()))
    FashionMNIST(root).read()
