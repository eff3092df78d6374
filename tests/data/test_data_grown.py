"""Stored and joined images, and the data of an extended run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rootspace.data import (
    ArrayDataset,
    Characters,
    DataError,
    Grown,
    JoinedImages,
    LabelledImages,
    RelabelledImages,
    StoredImages,
    store_images,
)

LETTERS = {"name": "characters", "ranges": "U+0041-U+0044", "image_size": 16}  # A B C D
MORE = {"name": "characters", "ranges": "U+0043-U+0047", "image_size": 16}  # C D E F G


def pictures(count: int, first: int = 0) -> ArrayDataset:
    images = torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8)
    return ArrayDataset(images, torch.arange(first, first + count))


def store(folder: Path, images: ArrayDataset, names: list[str]) -> StoredImages:
    shape = tuple(images.images.shape[1:])
    keys = np.linspace(0, 1, len(images))
    store_images(folder, images.images.split(3), images.labels.numpy(), keys, names, shape)  # type: ignore[arg-type]
    return StoredImages(folder)


def letters() -> Characters:
    data = Characters(ranges="U+0041-U+0044", image_size=16)
    data.setup()
    return data


def pixels_of(images: LabelledImages, label: int) -> list[bytes]:
    rows = (images.labels == label).nonzero()[:, 0].tolist()
    return sorted(image.numpy().tobytes() for image in images.__getitems__(rows)[0])


def memory_of(folder: Path, rows: list[int]) -> StoredImages:
    """Some images of the letters A to D."""
    train = letters().train_dataset
    images, labels = train.__getitems__(rows)
    return store(folder, ArrayDataset(images, labels), list("ABCD"))


@pytest.mark.parametrize("count", [0, 1, 8])
def test_stored_images_come_back(tmp_path: Path, count: int):
    images = pictures(count)
    stored = store(tmp_path / "memory", images, [str(i) for i in range(10)])
    assert len(stored) == count and stored.image_shape == (1, 8, 8)
    assert stored.class_names == [str(i) for i in range(10)]
    assert not list(tmp_path.glob("*.tmp"))
    if count:
        rows = [count - 1, 0]
        found, labels = stored.__getitems__(rows)
        assert torch.equal(found, images.images[rows]) and torch.equal(labels, images.labels[rows])


def test_what_a_killed_process_left_is_replaced(tmp_path: Path):
    (tmp_path / "memory.tmp").mkdir()
    (tmp_path / "memory.tmp" / "images.npy").write_text("half")
    assert len(store(tmp_path / "memory", pictures(4), list("abcd"))) == 4
    assert not (tmp_path / "memory.tmp").exists()


def test_a_folder_of_something_else(tmp_path: Path):
    with pytest.raises(DataError, match="holds no stored images"):
        StoredImages(tmp_path)


def test_joined_images_are_those_of_their_parts():
    parts = [pictures(5), pictures(1, 5), pictures(7, 6)]
    joined = JoinedImages(
        [
            parts[0],
            parts[1],
            ArrayDataset(torch.zeros(0, 1, 8, 8).byte(), torch.zeros(0).long()),
            parts[2],
        ]
    )
    whole = torch.cat([part.images for part in parts])
    assert len(joined) == 13 and torch.equal(joined.labels, torch.arange(13))
    for rows in ([12, 0, 5, 4, 6, 12], [1, 2], [5], list(range(13))):
        images, labels = joined.__getitems__(rows)
        assert torch.equal(images, whole[rows]) and labels.tolist() == rows
    assert torch.equal(joined.original(6), whole[6]) and joined.name(3) is None


def test_some_images_under_other_labels():
    images = pictures(6)
    some = RelabelledImages(images, torch.tensor([9, 8]), torch.tensor([4, 1]))
    found, labels = some.__getitems__([1, 0])
    assert torch.equal(found, images.images[[1, 4]]) and labels.tolist() == [8, 9]
    assert torch.equal(some.original(0), images.images[4])


def test_old_classes_keep_their_labels(tmp_path: Path):
    memory_of(tmp_path / "memory", [0, 1, 3])
    data = Grown(str(tmp_path / "memory"), MORE, [LETTERS])
    data.setup()
    assert list(data.class_names) == list("ABCDEFG") and data.num_old == 4
    assert list(data.test_datasets) == [
        name + end for end in ("", "+1") for name in letters().test_datasets
    ]
    new = Characters(ranges="U+0043-U+0047", image_size=16)
    new.setup()
    for name, images in new.test_datasets.items():
        own = data.test_datasets[f"{name}+1"]
        assert torch.equal(own.labels, images.labels + 2)
        assert torch.equal(own.__getitems__([0])[0], images.__getitems__([0])[0])


def test_images_that_the_memory_holds_are_not_taken_twice(tmp_path: Path):
    rows = [0, 1, 2, 3, 4 + 2, 4 + 3]  # the first face of all, the second of C and D
    memory_of(tmp_path / "memory", rows)
    data = Grown(str(tmp_path / "memory"), MORE)
    data.setup()
    faces = len(letters().fonts) - len(letters().test_datasets)
    counts = torch.bincount(data.train_dataset.labels).tolist()
    assert counts == [1, 1, faces, faces, faces, faces, faces]
    expected = letters().train_dataset
    for label in (2, 3):
        assert pixels_of(data.train_dataset, label) == pixels_of(expected, label)


def test_classes_under_another_name(tmp_path: Path):
    memory_of(tmp_path / "memory", [0, 1])
    data = Grown(str(tmp_path / "memory"), {**MORE, "same": {"E": "A"}})
    data.setup()
    assert list(data.class_names) == list("ABCDFG")
    labels = data.test_datasets[next(iter(letters().test_datasets))].labels
    assert labels.tolist() == [2, 3, 0, 4, 5]


def test_gone_data_have_no_test_sets(tmp_path: Path):
    memory_of(tmp_path / "memory", [0])
    data = Grown(str(tmp_path / "memory"), MORE, [None, LETTERS])
    data.setup()
    names = list(letters().test_datasets)
    assert list(data.test_datasets) == [name + end for end in ("+1", "+2") for name in names]


@pytest.mark.parametrize(
    ("new", "old", "message"),
    [
        ({"name": "grown"}, None, "Argument 'new' must have a 'name'"),
        (MORE, [{"ranges": "U+41"}], "Argument 'old' must have a 'name', .* not None"),
        ({**MORE, "image_size": 24}, None, "images of 1x16x16, as the run takes them, not 1x24x24"),
        (MORE, [{**LETTERS, "ranges": "U+0061-U+0063"}], "'old': 3 classes .* such as 'a'"),
    ],
)
def test_bad_input(tmp_path: Path, new, old, message: str):
    memory_of(tmp_path / "memory", [0])
    with pytest.raises(DataError, match=message):
        Grown(str(tmp_path / "memory"), new, old).setup()


def test_images_of_the_memory_are_repeated_up_to_their_share(tmp_path: Path):
    memory = memory_of(tmp_path / "memory", [0, 1, 2])
    plain, half = (Grown(str(tmp_path / "memory"), MORE, share=share) for share in (0.0, 0.5))
    for data in (plain, half):
        data.setup()
    assert torch.equal(half.train_dataset.labels, plain.train_dataset.labels), "no copies are kept"
    assert len(list(half.means_dataloader().dataset)) == len(plain.train_dataset)  # type: ignore[arg-type]
    new = len(plain.train_dataset) - len(memory)
    counts = torch.bincount(torch.cat([labels for _, labels in half.train_dataloader()]))
    known = torch.bincount(plain.train_dataset.labels)
    own = torch.bincount(memory.labels, minlength=len(known))
    added = counts - known
    assert int(counts.sum()) == 2 * new, "as many images of the memory as new ones"
    assert bool((added[own == 0] == 0).all()), "new images come once"
    rounds = new // len(memory)
    assert bool((added >= (rounds - 1) * own).all() and (added <= rounds * own).all())
    assert len(plain.train_dataloader().dataset) == len(plain.train_dataset)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_bad_share(tmp_path: Path, share: float):
    with pytest.raises(DataError, match=r"'share' must lie in \[0, 1\)"):
        Grown(str(tmp_path / "memory"), MORE, share=share)
