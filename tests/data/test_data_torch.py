"""Any map-style data set of (x, y) as a source."""

from __future__ import annotations

import io
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from loading import epoch, ready, training
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset
from torchvision.datasets import FakeData

from rootspace.data import Content, DataError, ImagePreprocessing, TorchData
from rootspace.data.aside import set_aside
from rootspace.data.checking import check_content


class Listed(Dataset[Any]):
    """A data set of a list of items; keyword arguments become attributes."""

    def __init__(self, items: Sequence[Any], **attributes: Any) -> None:
        self.items = list(items)
        self.reads = 0
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return self.items[index]


def vectors(count: int = 20, labels: Sequence[Any] | None = None) -> Listed:
    """Float vectors whose first number is their position."""
    labels = [i % 2 for i in range(count)] if labels is None else labels
    return Listed([(torch.tensor([float(i), 1.0]), label) for i, label in enumerate(labels)])


def read(train: Any, *args: Any, **arguments: Any) -> Content:
    return TorchData(train, *args, **arguments).read()


def gray(count: int, mode: str = "L", size: tuple[int, int] = (12, 10)) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 256, (count, size[1], size[0]), dtype=np.uint8)
    return [Image.fromarray(pixels).convert(mode) for pixels in pictures]


# ---------------------------------------------------------------- images


def test_a_data_set_of_torchvision() -> None:
    data = FakeData(60, (3, 14, 12), 5)
    content = read(data)
    shape = content.preprocessing
    assert shape is not None and (shape.channels, shape.size, shape.inner) == (3, 12, None)
    assert content.class_names == [str(i) for i in range(5)]
    assert len(content.train) + len(content.tests["test"]) == 60
    whole = read(data, test_fraction=0).train
    images, labels = whole.batch([7, 3])
    for row, index in enumerate((7, 3)):
        image, label = data[index]
        assert torch.equal(images[row], shape(image)) and int(labels[row]) == label
        original = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        assert torch.equal(whole.original(index), original)
    assert images.dtype == torch.uint8 and labels.dtype == torch.int64
    assert read(data, image_size=8).train[0][0].shape == (3, 8, 8)


def test_mean_and_deviation_are_those_of_the_pixels() -> None:
    items = [(image, i % 2) for i, image in enumerate(gray(30, size=(8, 8)))]
    shape = read(Listed(items)).preprocessing
    pixels = np.stack([np.asarray(image) for image, _ in items]) / 255
    assert shape is not None and shape.channels == 1
    assert shape.mean[0] == pytest.approx(pixels.mean()) and shape.std[0] == pytest.approx(
        pixels.std()
    )


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_gray_images_of_any_mode_have_one_channel(mode: str) -> None:
    shape = read(Listed([(image, i % 2) for i, image in enumerate(gray(4, mode))])).preprocessing
    assert shape is not None and shape.channels == 1


def test_16_bit_and_float_images_have_one_channel() -> None:
    pixels = np.random.default_rng(0).integers(0, 2**16, (4, 10, 10))
    for images in (pixels.astype(np.uint16), (pixels / 2**16).astype(np.float32)):
        content = read(Listed([(Image.fromarray(image), i % 2) for i, image in enumerate(images)]))
        assert content.preprocessing is not None and content.preprocessing.channels == 1
        found = content.train.batch(range(len(content.train)))[0].int()
        assert found.float().mean() == pytest.approx(127.5, abs=20)


def test_an_image_that_cannot_be_used_is_named_by_its_place() -> None:
    items = [(Image.new("L", (9, 9)), 0) for _ in range(3000)]
    items[1] = (Image.new("I", (9, 9)), 1)
    data = read(Listed(items), test_fraction=0).train
    with pytest.raises(DataError, match=r"'train\[1\]' has 32-bit or signed pixels"):
        data.batch([0, 1])


def test_one_color_image_makes_three_channels() -> None:
    images = gray(6)
    images[4] = images[4].convert("RGB")
    content = read(Listed([(image, i % 2) for i, image in enumerate(images)]), test_fraction=0)
    assert content.preprocessing is not None and content.preprocessing.channels == 3
    assert content.train.batch([0, 4])[0].shape == (2, 3, 10, 10)


@pytest.mark.parametrize("kind", ["array [H, W]", "tensor [H, W]", "tensor [C, H, W]", "array"])
def test_uint8_pixels_are_images(kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 9), dtype=np.uint8)
    items: list[Any] = list(pixels)
    if kind.startswith("tensor"):
        items = [torch.from_numpy(item) for item in items]
    if kind == "tensor [C, H, W]":
        items = [item[None] for item in items]
    if kind == "array":
        items = [item[:, :, None] for item in items]
    content = read(Listed([(x, i % 2) for i, x in enumerate(items)]), test_fraction=0)
    images, _ = content.train.batch(range(6))
    assert torch.equal(images[:, 0], torch.from_numpy(pixels))


def test_an_image_among_others_that_is_none() -> None:
    items: list[Any] = [(image, i % 2) for i, image in enumerate(gray(4))]
    items[2] = (torch.zeros(3, 4, 4), 0)
    with pytest.raises(DataError, match=r"must hold images only, .* not torch\.float32"):
        read(Listed(items))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_on_images(num_workers: int) -> None:
    data = ready(TorchData(FakeData(30, (3, 12, 12), 3)), batch_size=6, num_workers=num_workers)
    assert data.describe().startswith("TorchData: 3 classes, ")
    (first, labels), *_ = training(data)
    assert first.shape == (6, 3, 12, 12) and labels.shape == (6,)


# ---------------------------------------------------------------- anything else


def test_tensors_go_as_they_are() -> None:
    data = TensorDataset(torch.randn(20, 5), torch.arange(20) % 4)
    content = read(data, {"all": data})
    assert content.preprocessing is None and [*content.tests] == ["all"]
    x, labels = content.train.batch([3, 1])
    assert torch.equal(x, data.tensors[0][[3, 1]]) and labels.tolist() == [3, 1]
    one, label = content.train[3]
    assert torch.equal(one, data.tensors[0][3]) and label == 3


def test_dictionaries_of_tensors() -> None:
    items = [
        {"ids": torch.full((4,), i), "mask": torch.ones(4), "label": torch.tensor(i % 2)}
        for i in range(12)
    ]
    data = ready(TorchData(Listed(items)), batch_size=4)
    assert data.preprocessing is None and "12" not in data.describe()
    x, labels = next(iter(training(data)))
    assert set(x) == {"ids", "mask"} and x["ids"].shape == (4, 4)
    assert torch.equal(x["ids"][:, 0] % 2, labels)
    one, label = data.train_dataset[0]
    assert one["ids"].shape == (4,) and int(one["ids"][0]) % 2 == label
    ids = read(Listed(items), input_key="ids", test_fraction=0).train.batch([5])[0]
    assert torch.equal(ids, torch.full((1, 4), 5))


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


@pytest.mark.parametrize("kind", [tuple, Pair])
def test_tuples_of_tensors(kind: type) -> None:
    def x(i: int) -> Any:
        parts = (torch.tensor([float(i)]), torch.tensor([0.5, i]))
        return kind(*parts) if kind is Pair else parts

    train = read(Listed([(x(i), i % 2) for i in range(8)]), test_fraction=0).train
    (left, right), labels = train.batch([2, 5])
    assert left.tolist() == [[2.0], [5.0]] and right.shape == (2, 2) and labels.tolist() == [0, 1]
    one, _ = train[5]
    assert one[0].tolist() == [5.0] and (not issubclass(kind, Pair) or isinstance(one, Pair))


def test_a_transform_of_inputs_that_are_no_images() -> None:
    data = ready(
        TorchData(vectors(), test_fraction=0),
        lambda shape: lambda x: x + torch.rand(2) / 2,
        batch_size=4,
    )
    loader = training(data)
    first, again = epoch(loader, 1), epoch(loader, 1)
    assert all(map(torch.equal, first, again))
    drawn = torch.cat(first)
    assert sorted(drawn[:, 0].long().tolist()) == list(range(20)) and bool((drawn[:, 1] > 1).any())


# ---------------------------------------------------------------- labels


def test_labels_that_a_data_set_keeps_are_not_read_from_items() -> None:
    items = [(image, i % 2) for i, image in enumerate(gray(30))]
    for name in ("targets", "labels", "y"):
        for kind in (list, tuple, np.array, torch.tensor):
            data = Listed(items, **{name: kind([label for _, label in items])})
            content = read(data, test_fraction=0)
            assert content.train.labels.tolist() == [i % 2 for i in range(30)]
            assert data.reads == 30, "those of mean and deviation"


def test_attributes_that_are_no_labels() -> None:
    """Names of classes, or several labels an item; also what `target_transform` changes."""
    items = [(torch.zeros(2), i % 2) for i in range(6)]
    changed = {"targets": [5] * 6, "target_transform": lambda label: label}
    for attributes in ({"labels": ["no", "yes"]}, {"targets": torch.zeros(6, 2)}, changed):
        data = Listed(items, **attributes)
        assert read(data, test_fraction=0).train.labels.tolist() == [0, 1] * 3
        assert read(Subset(data, range(1, 6)), test_fraction=0).train.labels.tolist() == [
            1,
            0,
        ] * 2 + [1]


def test_names_as_labels() -> None:
    content = read(vectors(labels=["dog", "cat"] * 5), test_fraction=0)
    assert content.class_names == ["cat", "dog"]
    assert content.train.labels.tolist() == [1, 0] * 5
    ordered = read(vectors(labels=["dog", "cat"] * 5), class_names=["dog", "cat", "cow"])
    assert ordered.class_names == ["dog", "cat", "cow"] and ordered.train.labels[0] == 0


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([7, 3, 10], ["3", "7", "10"]),
        ([True, False], ["False", "True"]),
        ([np.int64(1), np.int64(0)], ["0", "1"]),
        ([torch.tensor(4), torch.tensor(2)], ["2", "4"]),
        ([np.array(4), np.array(2)], ["2", "4"]),
    ],
)
def test_classes_are_sorted(labels: list[Any], names: list[str]) -> None:
    content = read(vectors(labels=labels * 4), test_fraction=0)
    assert content.class_names == names
    assert [content.class_names[label] for label in content.train.labels[:2].tolist()] == [
        str(value.item() if hasattr(value, "item") else value) for value in labels[:2]
    ]


def test_names_of_numbered_classes() -> None:
    data = vectors()
    data.classes = ["even", "odd", "neither"]  # pyright: ignore[reportAttributeAccessIssue]
    for train in (data, Subset(data, range(10)), ConcatDataset([data, data])):
        assert read(train).class_names == ["even", "odd", "neither"]
    assert read(data, class_names=["a", "b"]).class_names == ["a", "b"]
    bools = read(vectors(labels=[True, False] * 3), class_names=["no", "yes"], test_fraction=0)
    assert bools.class_names == ["no", "yes"] and bools.train.labels[0] == 1
    with pytest.raises(DataError, match="'class_names' must name every class: 1 is none of the 1"):
        read(data, class_names=["a"])


def test_parts_and_sums_of_data_sets() -> None:
    data = Listed(vectors(20).items, targets=[i % 2 for i in range(20)])
    part = Subset(data, [1, 3, 4])
    both = ConcatDataset([part, Subset(data, [6])])
    content = read(both, test_fraction=0)
    assert content.train.labels.tolist() == [1, 1, 0, 0]
    assert data.reads == 1, "only the first item is looked at"
    assert content.train.batch([3, 0])[0][:, 0].tolist() == [6.0, 1.0]


class Table:
    """A data set as Hugging Face's are: columns by name, rows by number, features."""

    def __init__(self, **columns: list[Any]) -> None:
        self.columns = columns
        self.column_names = list(columns)
        self.features: Mapping[str, Any] = {
            "label": SimpleNamespace(names=["cat", "dog"]),
            "image": SimpleNamespace(),
        }
        self.rows_read = 0

    def __len__(self) -> int:
        return len(self.columns["label"])

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self.columns[key]
        self.rows_read += 1
        return {name: column[key] for name, column in self.columns.items()}


@pytest.mark.parametrize("key", ["image", "img"])
def test_a_table_of_hugging_face(key: str) -> None:
    table = Table(**{key: gray(10), "label": [0, 1] * 5, "id": list(range(10))})
    content = read(table, {"validation": table}, image_size=8)
    assert content.class_names == ["cat", "dog"] and [*content.tests] == ["validation"]
    assert table.rows_read == 10, "for mean and deviation; labels are a column"
    assert content.train.labels.tolist() == [0, 1] * 5
    assert content.train[3][0].shape == (1, 8, 8)


def test_other_columns() -> None:
    table = Table(scan=gray(4), label=[0, 0, 0, 0], kind=["b", "a", "b", "a"])
    content = read(table, input_key="scan", label_key="kind", test_fraction=0)
    assert content.class_names == ["a", "b"] and content.train.labels.tolist() == [1, 0, 1, 0]
    with pytest.raises(
        DataError, match="'input_key' must be one of 'scan', 'label', 'kind', not 'x'"
    ):
        read(table, input_key="x")
    with pytest.raises(
        DataError, match=r"dictionaries with 'what' \(`label_key`\), not a dictionary"
    ):
        read(table, label_key="what")


# ---------------------------------------------------------------- test sets


def named(labels: Sequence[Any], classes: Sequence[str], **attributes: Any) -> Listed:
    """Vectors with labels and names of classes, as torchvision's data sets have them."""
    return Listed(vectors(labels=labels).items, classes=list(classes), **attributes)


def test_classes_of_a_test_set_are_found_by_their_names() -> None:
    """A folder without some class numbers its own from 0 on; so does another order."""
    train = named([0, 0, 1, 1, 2, 2], ["ant", "bee", "cat"])
    tests = {
        "fewer": named([0, 1, 1], ["bee", "cat"]),
        "turned": Subset(named([0, 1, 2], ["cat", "bee", "ant"]), [2, 0]),
        "more names": named([1, 2], ["dog", "ant", "bee"]),
        "the same": named([2, 0], ["ant", "bee", "cat"]),
        "no names": vectors(labels=[1, 2]),
        "as names": vectors(labels=["cat", "ant"]),
        "made the same": named([2, 0], ["cat", "ant"], target_transform=lambda label: label),
    }
    found = {name: part.labels.tolist() for name, part in read(train, tests).tests.items()}
    assert found == {
        "fewer": [1, 2, 2],
        "turned": [0, 2],
        "more names": [0, 1],
        "the same": [2, 0],
        "no names": [1, 2],
        "as names": [2, 0],
        "made the same": [2, 0],
    }
    renamed = read(train, tests["fewer"], class_names=["Ameise", "Biene", "Katze"])
    assert renamed.tests["test"].labels.tolist() == [1, 2, 2]
    by_name = read(vectors(labels=["ant", "bee", "cat"] * 2), tests["fewer"])
    assert by_name.tests["test"].labels.tolist() == [1, 2, 2]
    unnamed = read(vectors(labels=[0, 1, 2] * 2), tests["fewer"])
    assert unnamed.tests["test"].labels.tolist() == [0, 1, 1]


def test_a_class_of_a_test_set_that_training_lacks() -> None:
    train = named([0, 0, 1, 1, 2, 2], ["ant", "bee", "cat"])
    with pytest.raises(DataError, match="Test set 'test' has the class 'dog', which 'train' lacks"):
        read(train, named([0, 1], ["bee", "dog"]))
    with pytest.raises(DataError, match="'test' has the label 2, but names for 0 to 1 only"):
        read(train, named([0, 2], ["bee", "cat"]))


def test_a_share_of_each_class_is_held_out() -> None:
    labels = [0] + [1] * 2 + [2] * 10 + [3] * 31
    content = read(vectors(labels=labels), test_fraction=0.2)
    train, test = content.train, content.tests["test"]
    assert Counter(test.labels.tolist()) == {2: 2, 3: 6}
    assert Counter(train.labels.tolist()) == {0: 1, 1: 2, 2: 8, 3: 25}
    x = torch.cat([part.batch(range(len(part)))[0] for part in (train, test)])
    assert sorted(x[:, 0].tolist()) == list(range(44))
    again, other = (read(vectors(labels=labels), test_fraction=0.2, seed=seed) for seed in (0, 1))
    assert torch.equal(again.tests["test"].batch(range(8))[0], test.batch(range(8))[0])
    assert not torch.equal(other.tests["test"].batch(range(8))[0], test.batch(range(8))[0])


def test_another_class_does_not_change_the_shares_of_the_others() -> None:
    few, more = torch.arange(40) % 2, torch.cat([torch.arange(40) % 2, torch.full((20,), 2)])
    assert torch.equal(set_aside(few, "ab", 0.3, 0), set_aside(more, "abc", 0.3, 0)[:40])
    swapped = set_aside(1 - few, "ba", 0.3, 0)
    assert torch.equal(set_aside(few, "ab", 0.3, 0), swapped), "its name counts, not its number"


@pytest.mark.parametrize(
    ("counts", "fraction", "expected"),
    [
        ([3] * 8, 0.1, 2),
        ([3] * 100, 0.1, 30),
        ([5, 1, 2, 7, 12] * 10, 0.1, 24),
        ([9] * 3, 0.3, 8),
        ([3, 3], 0.1, 1),
        ([1, 2] * 9, 0.5, 0),
        ([3] * 9, 0.9, 9),
        ([50, 30], 0.29, 23),
        ([20, 10], 0.0, 0),
        ([100] * 7, 0.29, 203),
    ],
)
def test_a_share_of_all_is_spread_over_the_classes(
    counts: list[int], fraction: float, expected: int
) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    names = [f"n{i}" for i in range(len(counts))]
    rows = set_aside(labels, names, fraction, 0)
    assert int(rows.sum()) == expected and torch.equal(rows, set_aside(labels, names, fraction, 0))
    for label, count in enumerate(counts):
        taken = int(rows[labels == label].sum())
        if count <= 2:
            assert taken == 0
        else:
            assert taken <= count - 2 and abs(taken - min(fraction * count, count - 2)) < 1
    if 0 < expected < len(counts):
        assert any(
            not torch.equal(rows, set_aside(labels, names, fraction, seed)) for seed in (1, 2)
        )


def test_a_large_remainder_is_drawn_sooner() -> None:
    """Of classes of 3 and 9 a tenth is 0.3 and 0.9: three times as often of the larger ones."""
    labels = torch.repeat_interleave(torch.arange(40), torch.tensor([3, 9]).repeat(20))
    names, taken = [str(i) for i in range(40)], torch.zeros(40, dtype=torch.int64)
    for seed in range(20):
        taken += torch.bincount(labels[set_aside(labels, names, 0.1, seed)], minlength=40)
    small, large = taken.reshape(20, 2).sum(dim=0).tolist()
    assert small + large == 20 * 24 and small >= 80 and large >= 250


def test_nothing_is_held_out() -> None:
    assert read(vectors(), test_fraction=0).tests == {}
    assert ready(TorchData(vectors(labels=["a", "b", "c"]))).test_datasets == {}, "one of each"
    unique = ready(TorchData(vectors()), unique_labels="all")
    assert unique.num_classes == 20 and [*unique.test_datasets] == ["train"]


def test_test_sets_of_their_own() -> None:
    content = read(vectors(labels=["a", "b"] * 5), vectors(labels=["b"]))
    assert {name: test.labels.tolist() for name, test in content.tests.items()} == {"test": [1]}
    assert len(content.train) == 10
    with pytest.raises(DataError, match="Test set 'hard' has the class 'c', which 'train' lacks"):
        read(vectors(labels=["a", "b"] * 5), {"hard": vectors(labels=["c"])})


# ---------------------------------------------------------------- what is wrong


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield torch.zeros(2), 0

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Listed([]), "'train' must hold items, not none"),
        (Listed([torch.zeros(3)] * 2), "must hold pairs of input and label, .* not Tensor"),
        (Listed([(1, 2, 3)] * 2), "not a tuple of 3"),
        (Listed([{"x": 1}] * 2), r"dictionaries with 'label' .*, not a dictionary with 'x'"),
        (vectors(labels=[None, None]), "Labels of 'train' must be numbers or names, not NoneType"),
        (vectors(labels=[torch.zeros(2)] * 2), r"not Tensor of shape \[2\]"),
        (vectors(labels=[1, "a"]), "Labels of 'train' must be numbers or names: "),
        (Stream(), "'train' must be a map-style data set with a length: Stream is iterable only"),
    ],
)
def test_wrong_items(data: Dataset[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(data)


class Files(Dataset[Any]):
    """Images that are decoded when they are asked for, as torchvision's and Hugging Face's are."""

    def __init__(self, root: Path, broken: Sequence[int], count: int = 12) -> None:
        self.targets = [i % 2 for i in range(count)]
        self.paths = [root / f"{i}.png" for i in range(count)]
        for image, path in zip(gray(count), self.paths, strict=True):
            image.save(path)
        for index in broken:
            self.paths[index].write_bytes(self.paths[index].read_bytes()[: 100 * (index % 2)])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        with Image.open(self.paths[index]) as image:
            return image.convert("L"), self.targets[index]


class OpenedFiles(Files):
    """The same, decoded when their pixels are."""

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.open(io.BytesIO(self.paths[index].read_bytes())), self.targets[index]


@pytest.mark.parametrize("kind", [Files, OpenedFiles])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_items_that_cannot_be_read(kind: type[Files], num_workers: int, tmp_path: Path) -> None:
    """The first decides the size of the images: it may be one of them."""
    source = TorchData(kind(tmp_path, [0, 3, 8]), test_fraction=0)
    found = check_content(source.read(), num_workers)
    assert [b.place.name for b in found.broken] == ["#0", "#3", "#8"]
    assert all(
        f"'train[{row}]'" in b.reason for row, b in zip((0, 3, 8), found.broken, strict=True)
    )
    whole = ready(source, skip_broken=True, num_workers=num_workers)
    assert "left out: 3 of train that cannot be read: #0, #3, #8" in whole.describe()
    images = torch.cat([images for images, _ in whole.in_order()])
    assert images.shape == (9, 1, 10, 10)
    with pytest.raises(
        DataError, match=r"'train\[0\]' cannot be read \(it is of no known format\)"
    ):
        list(ready(source, num_workers=num_workers).in_order())


def test_no_item_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^Item 'train\[0\]' cannot be read .*: replace it"):
        read(Files(tmp_path, range(12)))


def test_an_item_that_a_label_is_taken_from_cannot_be_read(tmp_path: Path) -> None:
    data = Files(tmp_path, [4])
    data.target_transform = str  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(DataError, match=r"^Item 'train\[4\]' cannot be read"):
        read(data)


def test_wrong_arguments() -> None:
    for fraction in (-0.1, 1.0):
        with pytest.raises(DataError, match=f"'test_fraction' must be .* not {fraction}"):
            TorchData(vectors(), test_fraction=fraction)
    with pytest.raises(DataError, match=r"'image_size' must be at least 8 .*, not 4"):
        TorchData(vectors(), image_size=4)


def test_data_are_pickled_whole() -> None:
    data = ready(TorchData(Listed([(image, i % 2) for i, image in enumerate(gray(8))])))
    twin = pickle.loads(pickle.dumps(data))
    assert torch.equal(twin.train_dataset[3][0], data.train_dataset[3][0])
    assert isinstance(twin.preprocessing, ImagePreprocessing)
