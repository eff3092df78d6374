"""Loaders: order, resumption, batches; and what a data module says of its data."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from loading import epoch, ready, training

from rootspace.config import LoaderConfig
from rootspace.data import (
    ArrayImages,
    Content,
    DataError,
    DataModule,
    DataSource,
    ImagePreprocessing,
    LabeledDataset,
    WithTargets,
)
from rootspace.data.preprocessing import channel_statistics
from rootspace.heads import PrototypeHead
from rootspace.sampling import ClassBatchSampler, InOrder, ResumableLoader


class Numbered(DataSource):
    """Images whose only pixel value is their position."""

    def __init__(self, num_images: int = 50, tests: tuple[int, ...] = (7, 9)) -> None:
        self.sizes = (num_images, tests)
        self.num_reads = 0

    def read(self) -> Content:
        self.num_reads += 1
        num_images, tests = self.sizes
        return Content(
            class_names=["even", "odd"],
            train=numbered(num_images),
            tests={f"test {size}": numbered(size) for size in tests},
            preprocessing=ImagePreprocessing(1, 2, (0.5,), (0.5,)),
        )


def numbered(size: int) -> ArrayImages:
    positions = torch.arange(size)
    images = positions.to(torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return ArrayImages(images, positions % 2)


def batches(loader: ResumableLoader, number: int) -> list[list[int]]:
    """What the batches of an epoch hold."""
    return [images[:, 0, 0, 0].tolist() for images in epoch(loader, number)]


def order(loader: ResumableLoader, number: int) -> list[int]:
    """The images of an epoch, one after another."""
    return [image for batch in batches(loader, number) for image in batch]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_image_once_an_epoch_in_an_order_of_seed_and_epoch(num_workers: int) -> None:
    loader = training(ready(Numbered(), batch_size=8, num_workers=num_workers, seed=3))
    assert isinstance(loader.batches, ClassBatchSampler)
    orders = [order(loader, number) for number in (0, 1, 0)]
    assert all(sorted(images) == list(range(50)) for images in orders)
    assert orders[0] == orders[2] != orders[1]
    again, other = (training(ready(Numbered(), batch_size=8, seed=seed)) for seed in (3, 4))
    assert order(again, 1) == orders[1] != order(other, 1)
    run = training(ready(Numbered(), batch_size=8, seed=1), seed=2)
    assert order(run, 1) == orders[1], "the seed of the run is added"


def test_the_order_is_pinned() -> None:
    """Checkpoints rely on it: a resumed epoch must go on in the order it began with."""
    loader = training(ready(Numbered(12), batch_size=6))
    generator = torch.Generator().manual_seed(0)
    assert order(loader, 0) == torch.randperm(12, generator=generator).tolist()


def test_without_a_call_each_pass_is_the_next_epoch() -> None:
    loader = training(ready(Numbered(), batch_size=8))
    first = [images[:, 0, 0, 0].tolist() for images, _ in loader]
    second = [images[:, 0, 0, 0].tolist() for images, _ in loader]
    assert [first, second] == [batches(loader, 0), batches(loader, 1)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_killed_epoch_goes_on_where_it_was(num_workers: int) -> None:
    loader = training(ready(Numbered(), batch_size=8))
    whole = batches(loader, 5)
    loader.batches.set_epoch(5)
    running = iter(loader)
    seen = [next(running)[0][:, 0, 0, 0].tolist() for _ in range(3)]
    resumed = training(ready(Numbered(), batch_size=8, num_workers=num_workers))
    resumed.load_state_dict(loader.state_dict())
    assert seen + batches(resumed, 5) == whole
    assert batches(resumed, 5) == whole


def test_the_state_after_a_whole_epoch_is_that_before_the_next() -> None:
    loader = training(ready(Numbered(), batch_size=8))
    batches(loader, 0)
    assert loader.state_dict() == {"epoch": 1, "seen": 0}


@pytest.mark.parametrize(
    ("num_images", "sizes"), [(16, [8, 8]), (17, [8, 8]), (18, [8, 8, 2]), (8, [8]), (2, [2])]
)
def test_no_batch_of_one_image(num_images: int, sizes: list[int]) -> None:
    loader = training(ready(Numbered(num_images), batch_size=8))
    assert [len(batch) for batch in batches(loader, 0)] == sizes
    assert len(loader) == len(sizes)


def test_the_image_left_out_is_another_one_in_each_epoch() -> None:
    loader = training(ready(Numbered(17), batch_size=8))
    missing = {(set(range(17)) - set(order(loader, number))).pop() for number in range(20)}
    assert len(missing) > 5


def test_batches_are_uint8_images_and_int64_labels() -> None:
    data = ready(Numbered(), batch_size=8)
    for loader in (training(data), data.in_order(), *data.test_loaders()):
        images, labels = next(iter(loader))
        assert images.shape[1:] == (1, 2, 2) and len(images) == len(labels)
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert torch.equal(images[:, 0, 0, 0] % 2, labels.to(torch.uint8))


def test_one_loader_for_each_test_set_in_order() -> None:
    data = ready(Numbered(), batch_size=4)
    for loaders in (data.test_loaders(), data.test_loaders(sharded=False)):
        assert all(isinstance(loader.batches, InOrder) for loader in loaders)
        positions = [torch.cat([images for images, _ in loader]) for loader in loaders]
        assert [images[:, 0, 0, 0].tolist() for images in positions] == [
            list(range(7)),
            list(range(9)),
        ]
    assert [*data.test_datasets] == ["test 7", "test 9"]
    assert order(data.in_order(), 3) == list(range(50)), "whatever the epoch"
    assert ready(Numbered(tests=())).test_loaders() == []


def test_heads_that_need_pairs_get_them() -> None:
    data = ready(Numbered(), batch_size=8)
    for per_class in (None, 5):
        data.loader = LoaderConfig(batch_size=10, per_class=per_class)
        loader = data.train_loader(PrototypeHead(2, dim=8), 0)
        labels = torch.cat([labels for _, labels in loader])
        groups = labels.view(-1, per_class or 2)[:-2]
        assert float((groups == groups[:, :1]).float().mean()) > 0.9
        assert sorted(order(loader, 0)) == list(range(50))


def test_loading_leaves_the_global_generator_alone() -> None:
    loader, state = training(ready(Numbered(), batch_size=8)), torch.get_rng_state()
    batches(loader, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_and_batches_agree() -> None:
    dataset = numbered(10)
    images, labels = dataset.batch([7, 0, 3])
    for row, index in enumerate((7, 0, 3)):
        image, label = dataset[index]
        assert torch.equal(image, images[row]) and label == labels[row]
    assert len(dataset) == 10
    assert torch.equal(dataset[-1][0], dataset[9][0])
    with pytest.raises(IndexError, match=r"'index' must lie in \[0, 10\), not 10"):
        dataset[10]


def test_a_batch_is_a_copy() -> None:
    dataset = numbered(4)
    images, labels = dataset.batch([1, 2])
    images.zero_()
    labels.zero_()
    assert dataset[2][0].max() == 2 and dataset.labels.tolist() == [0, 1, 0, 1]


def test_setup_reads_once() -> None:
    source = Numbered()
    data = DataModule(source)
    assert source.num_reads == 0
    for _ in range(3):
        data.setup()
    assert source.num_reads == 1


def test_facts_exist_after_setup_only() -> None:
    data = DataModule(Numbered())
    for name in ("num_classes", "class_names", "train_dataset", "test_datasets", "preprocessing"):
        with pytest.raises(RuntimeError, match=r"Call DataModule\.setup\(\) before"):
            getattr(data, name)
    data.setup()
    assert (data.num_classes, data.class_names) == (2, ["even", "odd"])
    assert data.preprocessing == ImagePreprocessing(1, 2, (0.5,), (0.5,))


def test_describe() -> None:
    assert ready(Numbered(1234, (5,))).describe() == (
        "Numbered: 2 classes, 1,234 training images 1x2x2, test sets: test 5 (5)"
    )
    assert ready(Numbered(tests=())).describe().endswith("test sets: none")


def test_an_empty_test_set_is_none() -> None:
    data = ready(Numbered(tests=(0, 3)))
    assert [*data.test_datasets] == ["test 3"]
    assert data.describe().splitlines()[1] == "not used: test set test 0, which is empty"


def test_data_are_copied_and_pickled_whole() -> None:
    data = ready(Numbered(), batch_size=8)
    for twin in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert batches(training(twin), 2) == batches(training(data), 2)


@pytest.mark.parametrize(
    ("argument", "value", "least"),
    [("batch_size", 1, 2), ("num_workers", -1, 0), ("seed", -1, 0), ("per_class", 0, 1)],
)
def test_wrong_arguments(argument: str, value: int, least: int) -> None:
    message = rf"'loader.{argument}' must be at least {least}, not {value}\."
    with pytest.raises(ValueError, match=message):
        LoaderConfig(**{argument: value})  # pyright: ignore[reportArgumentType]


def test_one_image_is_too_few() -> None:
    with pytest.raises(DataError, match="The Numbered data hold 1 training input: at least 2"):
        ready(Numbered(1))


def test_channel_statistics() -> None:
    images = torch.randint(0, 256, (40, 3, 5, 6), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    mean, std = channel_statistics(images)
    pixels = images.double().transpose(0, 1).flatten(1) / 255
    assert mean == pytest.approx(pixels.mean(1).tolist(), abs=1e-12)
    assert std == pytest.approx(pixels.std(1, correction=0).tolist(), abs=1e-12)
    assert channel_statistics(images, most=10) == channel_statistics(images[::4])
    assert channel_statistics(torch.full((3, 1, 4, 4), 7, dtype=torch.uint8))[1] == (1 / 255,)


def test_wrong_labels() -> None:
    def disturbed(seed: int) -> LabeledDataset:
        data = DataModule(Numbered(1000), LoaderConfig(label_noise=0.2), noise_seed=seed)
        data.setup()
        return data.train_dataset

    train = disturbed(3)
    before = numbered(1000).labels
    images, labels = train.batch(range(1000))
    assert torch.equal(labels, train.labels)
    assert int((labels != before).sum()) == 200  # the others of two classes, so all are wrong
    assert images[:, 0, 0, 0].tolist() == [i % 256 for i in range(1000)]
    assert torch.equal(disturbed(3).labels, labels) and not torch.equal(disturbed(4).labels, labels)


def test_classes_among_other_names() -> None:
    data = ready(Numbered(), batch_size=8)
    data.number_as(["odd", "prime", "even"])
    assert data.class_names == ["odd", "prime", "even"]
    images, labels = data.train_dataset.batch([0, 1, 2])
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2] and labels.tolist() == [2, 0, 2]
    assert data.test_datasets["test 7"].labels.tolist() == [2, 0, 2, 0, 2, 0, 2]
    with pytest.raises(ValueError, match="1 of the 3 classes are not among these 2, such as 'even"):
        data.number_as(["odd", "prime"])


def test_targets_are_a_third_part_of_training_batches() -> None:
    data = ready(Numbered(), batch_size=8)
    data.targets = torch.arange(100.0).view(50, 2).numpy()
    for images, labels, targets in training(data):
        rows = images[:, 0, 0, 0].long()
        assert torch.equal(targets, torch.from_numpy(data.targets)[rows])
        assert torch.equal(labels, rows % 2)
    assert len(next(iter(data.in_order()))) == 2
    with pytest.raises(DataError, match=r"'targets' must have a row for each of the 50 .* not 49"):
        WithTargets(data.train_dataset, data.targets[:49])


class Broken(LabeledDataset):
    """Images of which one cannot be had."""

    def __init__(self) -> None:
        super().__init__(torch.arange(12) % 2)

    def batch(self, indices: object) -> tuple[torch.Tensor, torch.Tensor]:
        raise DataError("Image file 'a.png' cannot be decoded.")

    def original(self, index: int) -> torch.Tensor:
        raise NotImplementedError


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_of_the_data_is_one_line_from_any_process(num_workers: int) -> None:
    data = ready(Numbered(), num_workers=num_workers)
    with pytest.raises(DataError, match=r"^Image file 'a.png' cannot be decoded\.$"):
        list(data.loader_of(Broken()))
