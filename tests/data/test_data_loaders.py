from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch

from rootspace.data import ArrayDataset, DataError, EpochSampler, ImageData
from rootspace.data._base import Content, channel_statistics


class Numbered(ImageData):
    """Images whose only pixel value is their position."""

    name = "numbered"

    def __init__(self, num_images: int = 50, tests: tuple[int, ...] = (7, 9), **arguments) -> None:
        super().__init__(**arguments)
        self.sizes = (num_images, tests)
        self.num_reads = 0

    def _read(self) -> Content:
        self.num_reads += 1
        num_images, tests = self.sizes
        return Content(
            class_names=["even", "odd"],
            image_shape=(1, 2, 2),
            train=numbered(num_images),
            tests={f"test {size}": numbered(size) for size in tests},
            mean=(0.5,),
            std=(0.5,),
        )

    def load_image(self, path: str | Path) -> torch.Tensor:
        raise NotImplementedError


def numbered(size: int) -> ArrayDataset:
    positions = torch.arange(size)
    images = positions.to(torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return ArrayDataset(images, positions % 2)


def make(*args, **arguments) -> Numbered:
    data = Numbered(*args, **arguments)
    data.setup()
    return data


def epoch(loader, number: int) -> list[list[int]]:
    """What the batches of an epoch hold."""
    loader.sampler.set_epoch(number)
    return [images[:, 0, 0, 0].tolist() for images, _ in loader]


def order(loader, number: int) -> list[int]:
    """The images of an epoch, one after another."""
    return [image for batch in epoch(loader, number) for image in batch]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_image_once_an_epoch_in_an_order_of_seed_and_epoch(num_workers):
    loader = make(batch_size=8, num_workers=num_workers, seed=3).train_dataloader()
    assert isinstance(loader.sampler, EpochSampler)
    orders = [order(loader, number) for number in (0, 1, 0)]
    assert all(sorted(images) == list(range(50)) for images in orders)
    assert orders[0] == orders[2] != orders[1]
    again, other = (make(batch_size=8, seed=seed).train_dataloader() for seed in (3, 4))
    assert order(again, 1) == orders[1] != order(other, 1)


def test_a_killed_epoch_goes_on_where_it_was():
    loader = make(batch_size=8).train_dataloader()
    whole = epoch(loader, 5)
    batches = iter(loader)
    seen = [next(batches)[0][:, 0, 0, 0].tolist() for _ in range(3)]
    resumed = make(batch_size=8).train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    assert seen + epoch(resumed, 5) == whole
    assert epoch(resumed, 5) == whole


@pytest.mark.parametrize(
    ("num_images", "sizes"), [(16, [8, 8]), (17, [8, 8]), (18, [8, 8, 2]), (8, [8]), (2, [2])]
)
def test_no_batch_of_one_image(num_images, sizes):
    loader = make(num_images, batch_size=8).train_dataloader()
    assert [len(batch) for batch in epoch(loader, 0)] == sizes
    assert len(loader) == len(sizes)


def test_the_image_left_out_is_another_one_in_each_epoch():
    loader = make(17, batch_size=8).train_dataloader()
    missing = {(set(range(17)) - set(order(loader, number))).pop() for number in range(20)}
    assert len(missing) > 5


def test_batches_are_uint8_images_and_int64_labels():
    data = make(batch_size=8)
    for loader in (data.train_dataloader(), *data.test_dataloader()):
        images, labels = next(iter(loader))
        assert images.shape[1:] == (1, 2, 2) and len(images) == len(labels)
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert torch.equal(images[:, 0, 0, 0] % 2, labels.to(torch.uint8))


def test_one_loader_for_each_test_set_in_order():
    data = make(batch_size=4)
    for loaders in (data.val_dataloader(), data.test_dataloader()):
        positions = [torch.cat([images for images, _ in loader]) for loader in loaders]
        assert [images[:, 0, 0, 0].tolist() for images in positions] == [
            list(range(7)),
            list(range(9)),
        ]
    assert [*data.test_datasets] == ["test 7", "test 9"]
    assert make(tests=()).test_dataloader() == []


def test_loading_leaves_the_global_generator_alone():
    data = make(batch_size=8)
    state = torch.get_rng_state()
    epoch(data.train_dataloader(), 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_and_batches_agree():
    dataset = numbered(10)
    images, labels = dataset.__getitems__([7, 0, 3])
    for row, index in enumerate((7, 0, 3)):
        image, label = dataset[index]
        assert torch.equal(image, images[row]) and label == labels[row]
    assert len(list(dataset)) == len(dataset) == 10


def test_a_batch_is_a_copy():
    dataset = numbered(4)
    images, labels = dataset.__getitems__([1, 2])
    images.zero_(), labels.zero_()
    assert dataset[2][0].max() == 2 and dataset.labels.tolist() == [0, 1, 0, 1]


def test_setup_reads_once():
    data = Numbered()
    data.prepare_data()
    assert data.num_reads == 0
    for stage in ("fit", "validate", "test"):
        data.setup(stage)
    assert data.num_reads == 1


def test_facts_exist_after_setup_only():
    data = Numbered()
    for name in ("num_classes", "class_names", "image_size", "train_dataset", "mean"):
        with pytest.raises(RuntimeError, match=r"Call Numbered\.setup\(\) before"):
            getattr(data, name)
    data.setup()
    assert (data.num_classes, data.class_names) == (2, ["even", "odd"])
    assert (data.in_channels, data.image_size, data.mean, data.std) == (1, 2, (0.5,), (0.5,))


def test_describe():
    assert make(1234, (5,)).describe() == (
        "numbered: 2 classes, 1,234 training images 1x2x2, test sets: test 5 (5)"
    )
    assert make(tests=()).describe().endswith("test sets: none")


def test_data_are_copied_and_pickled_whole():
    data = make()
    for twin in (copy.deepcopy(data), pickle.loads(pickle.dumps(data))):
        assert epoch(twin.train_dataloader(), 2) == epoch(data.train_dataloader(), 2)


@pytest.mark.parametrize(
    ("argument", "value", "least"), [("batch_size", 1, 2), ("num_workers", -1, 0), ("seed", -1, 0)]
)
def test_wrong_arguments(argument, value, least):
    message = rf"'{argument}' must be at least {least}, not {value}\."
    with pytest.raises(DataError, match=message):
        Numbered(**{argument: value})


def test_one_image_is_too_few():
    with pytest.raises(DataError, match="'numbered' data hold 1 training image: at least 2"):
        Numbered(1).setup()


def test_channel_statistics():
    images = torch.randint(0, 256, (40, 3, 5, 6), generator=torch.Generator().manual_seed(0))
    images = images.to(torch.uint8)
    mean, std = channel_statistics(images)
    pixels = images.double().transpose(0, 1).flatten(1) / 255
    assert mean == pytest.approx(pixels.mean(1).tolist(), abs=1e-12)
    assert std == pytest.approx(pixels.std(1, correction=0).tolist(), abs=1e-12)
    assert channel_statistics(images, most=10) == channel_statistics(images[::4])
    assert channel_statistics(torch.full((3, 1, 4, 4), 7, dtype=torch.uint8))[1] == (1 / 255,)


def test_wrong_labels():
    data = make(num_images=1000)
    before = data.train_dataset.labels
    data.disturb_labels(0.2, seed=3)
    images, labels = data.train_dataset.__getitems__(range(1000))
    assert torch.equal(labels, data.train_dataset.labels)
    assert int((labels != before).sum()) == 200  # the others of two classes, so all are wrong
    assert images[:, 0, 0, 0].tolist() == [i % 256 for i in range(1000)]
    again = make(num_images=1000)
    again.disturb_labels(0.2, seed=3)
    assert torch.equal(again.train_dataset.labels, labels)
