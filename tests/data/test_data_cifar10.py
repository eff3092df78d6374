from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from rootspace.data import CIFAR10, DataError
from rootspace.data._unpickle import UnsafePickleError, unpickle_arrays


def rewrite(folder, name: str, **changes) -> CIFAR10:
    batch = pickle.loads((folder / name).read_bytes())
    for key, value in changes.items():
        if value is None:
            del batch[key.encode()]
        else:
            batch[key.encode()] = value
    (folder / name).write_bytes(pickle.dumps(batch))
    return CIFAR10(folder)


@pytest.mark.parametrize("protocol", range(6))
def test_batches_are_read_whatever_the_protocol(make_cifar, protocol):
    folder = make_cifar(protocol)
    data = CIFAR10(folder)
    data.setup()
    assert (data.num_classes, data.in_channels, data.image_size) == (10, 3, 32)
    assert len(data.train_dataset) == 20 and [*data.test_datasets] == ["test"]
    batches = [pickle.loads((folder / name).read_bytes()) for name in sorted(os.listdir(folder))]
    images = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
    assert np.array_equal(data.train_dataset.images.numpy(), images[:20])
    assert np.array_equal(data.test_datasets["test"].images.numpy(), images[20:])
    assert data.test_datasets["test"].labels.tolist() == batches[5][b"labels"]
    assert len(data.mean) == 3


def test_the_root_may_be_the_archive_the_folder_or_above_them(make_cifar, pack_cifar, tmp_path):
    folder = make_cifar()
    archive = pack_cifar(folder)
    expected = CIFAR10(folder)
    expected.setup()
    for root in (archive, tmp_path, str(folder)):
        data = CIFAR10(root)
        data.setup()
        assert torch.equal(data.train_dataset.images, expected.train_dataset.images)
    folder.rename(tmp_path / "elsewhere")
    for root in (tmp_path, tmp_path / "elsewhere"):
        CIFAR10(root).setup()


def test_load_image_is_what_the_test_set_holds(make_cifar, tmp_path):
    data = CIFAR10(make_cifar())
    data.setup()
    image, _ = data.test_datasets["test"][1]
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    assert torch.equal(data.load_image(tmp_path / "a.png"), image)


@pytest.mark.parametrize("packed", [False, True])
def test_a_missing_batch(make_cifar, pack_cifar, packed):
    folder = make_cifar()
    (folder / "data_batch_4").unlink()
    root = pack_cifar(folder) if packed else folder
    with pytest.raises(DataError, match=f"'{root}' lacks the batch 'data_batch_4'"):
        CIFAR10(root).setup()


def test_a_missing_root(tmp_path):
    for root in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(
            DataError, match=f"'root' must be 'cifar-10-python.tar.gz'.* not '{root}'"
        ):
            CIFAR10(root).setup()


def test_a_damaged_archive(make_cifar, pack_cifar, tmp_path):
    archive = pack_cifar(make_cifar())
    archive.write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"tar\.gz' is a damaged archive or none at all"):
        CIFAR10(archive).setup()
    (tmp_path / "text.txt").write_text("no archive")
    with pytest.raises(DataError, match=r"text\.txt' is a damaged archive or none at all"):
        CIFAR10(tmp_path / "text.txt").setup()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "with the keys 'data' and 'labels'"),
        (
            {"data": np.zeros((4, 3071), np.uint8)},
            r"shape \(N, 3072\), not uint8 of shape \(4, 3071",
        ),
        ({"data": np.zeros((4, 3072))}, "unsigned bytes .* not float64 of shape"),
        ({"labels": [0, 1, 2]}, "holds 3 labels for 4 images"),
        ({"labels": [0, 1, 2, 10]}, "holds the label 10: labels must be from 0 to 9"),
        ({"labels": [0, 1, 2, -1]}, "holds the label -1"),
        ({"labels": [0.5, 1, 2, 3]}, "must hold 'labels' as a list of whole numbers"),
    ],
)
def test_a_wrong_batch(make_cifar, changes, message):
    data = rewrite(make_cifar(), "data_batch_2", **changes)
    with pytest.raises(DataError, match=f"data_batch_2' .*{message}"):
        data.setup()


def test_a_batch_that_is_no_dictionary(make_cifar):
    folder = make_cifar()
    (folder / "test_batch").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(DataError, match="test_batch' must hold a dictionary"):
        CIFAR10(folder).setup()


@pytest.mark.parametrize("content", [b"", b"no pickle"])
def test_a_damaged_batch(make_cifar, content):
    folder = make_cifar()
    (folder / "test_batch").write_bytes(content)
    with pytest.raises(
        DataError, match="test_batch' is not a CIFAR-10 batch: it is a damaged pickle"
    ):
        CIFAR10(folder).setup()


class Attack:
    def __init__(self, *call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def test_a_batch_runs_no_code(make_cifar, tmp_path):
    folder = make_cifar()
    attack = pickle.dumps({b"data": Attack(os.mkdir, str(tmp_path / "owned"))})
    (folder / "test_batch").write_bytes(attack)
    with pytest.raises(DataError, match=r"is not a CIFAR-10 batch: it asks for \w+\.mkdir"):
        CIFAR10(folder).setup()
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("function", [eval, getattr, __import__, np.fromfile, np.load])
def test_nothing_but_arrays_is_unpickled(function):
    with pytest.raises(UnsafePickleError, match="it asks for "):
        unpickle_arrays(pickle.dumps(Attack(function, "x")))


def test_a_text_codec_cannot_be_chosen():
    attack = b"c_codecs\nencode\n(Vx\nVrot13\ntR."
    with pytest.raises(UnsafePickleError, match="asks for the encoding 'rot13'"):
        unpickle_arrays(attack)


def test_text_keys_are_bytes_too():
    assert unpickle_arrays(pickle.dumps({"data": 1})) == {b"data": 1}
