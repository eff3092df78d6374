from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch
from PIL import Image

from rootspace.data import DataError, FashionMNIST
from rootspace.data import fashion_mnist as module


@pytest.mark.parametrize("compressed", [False, True])
def test_files_are_read_and_padded(make_idx, compressed):
    root = make_idx(compressed)
    data = FashionMNIST(root)
    data.setup()
    arrays = np.load(root / "arrays.npz")
    assert (data.num_classes, data.in_channels, data.image_size) == (10, 1, 32)
    assert [*data.test_datasets] == ["test"]
    for part, dataset in (("train", data.train_dataset), ("t10k", data.test_datasets["test"])):
        assert dataset.images.shape[1:] == (1, 32, 32)
        assert np.array_equal(dataset.images[:, 0, 2:30, 2:30].numpy(), arrays[f"{part}_images"])
        assert np.array_equal(dataset.labels.numpy(), arrays[f"{part}_labels"])
        border = dataset.images.clone()
        border[..., 2:30, 2:30] = 0
        assert not border.any()
    assert data.class_names[9] == "Ankle boot"


def test_load_image_is_what_the_test_set_holds(make_idx, tmp_path):
    data = FashionMNIST(make_idx(), image_size=33)
    data.setup()
    image, _ = data.test_datasets["test"][0]
    assert image.shape == (1, 33, 33)
    Image.fromarray(image[0, 2:30, 2:30].numpy()).save(tmp_path / "a.png")
    assert torch.equal(data.load_image(tmp_path / "a.png"), image)


def test_where_the_files_are_looked_for(make_idx, monkeypatch, tmp_path):
    root = make_idx()
    monkeypatch.setenv("ROOTSPACE_DATA", str(root.parent))
    FashionMNIST().setup()
    monkeypatch.setenv("ROOTSPACE_DATA", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    root.rename(tmp_path / "data" / "fashion-mnist")
    assert str(module._default_root()) == "data/fashion-mnist"


def test_nowhere_to_be_found(monkeypatch, tmp_path):
    monkeypatch.setattr(module.Path, "is_dir", lambda _: False)
    with pytest.raises(DataError, match=r"is in none of .*apt install dataset-fashion-mnist"):
        FashionMNIST().setup()
    with pytest.raises(
        DataError, match=r"'.*nothing' does not exist: .*apt install dataset-fashion"
    ):
        FashionMNIST(tmp_path / "nothing").setup()


def test_a_missing_file(make_idx):
    root = make_idx()
    (root / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte' \(or \.gz\) does not exist"):
        FashionMNIST(root).setup()


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
            "must hold 9424 bytes .* not 9423: copy",
        ),
        ("train-images-idx3-ubyte", lambda data: data + b"x", "must hold 9424 bytes .* not 9425"),
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
def test_a_damaged_file(make_idx, name, change, message):
    with pytest.raises(DataError, match=rf"{name}' .*{message}"):
        damaged(make_idx(compressed=False), name, change).setup()


def test_images_in_place_of_labels(make_idx):
    root = make_idx(compressed=False)
    images = (root / "train-images-idx3-ubyte").read_bytes()
    with pytest.raises(DataError, match=r"is not an IDX file of 1 axes: .*not 0x00000803"):
        damaged(root, "train-labels-idx1-ubyte", lambda _: images).setup()


@pytest.mark.parametrize("change", [lambda data: data[:-20], lambda data: data[:20] + b"x" * 99])
def test_a_damaged_gzip_file(make_idx, change):
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz' is a damaged gzip file"):
        damaged(make_idx(), "train-images-idx3-ubyte.gz", change).setup()


def test_labels_of_another_copy(make_idx, write_idx):
    root = make_idx(compressed=False)
    write_idx(root / "train-labels-idx1-ubyte", np.zeros(11))
    with pytest.raises(DataError, match="holds 11 labels for 12 images"):
        FashionMNIST(root).setup()


def test_images_of_another_size(make_idx, write_idx):
    root = make_idx(compressed=False)
    write_idx(root / "train-images-idx3-ubyte", np.zeros((12, 32, 28)))
    with pytest.raises(DataError, match="must hold images of 28x28 pixels, not 32x28"):
        FashionMNIST(root).setup()


def test_the_pictures_are_not_scaled_down():
    with pytest.raises(DataError, match=r"'image_size' must be at least 28 .*, not 27"):
        FashionMNIST(image_size=27)


def test_gzip_is_told_by_content_not_name(make_idx):
    root = make_idx(compressed=False)
    path = root / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(path.read_bytes()))
    FashionMNIST(root).setup()
