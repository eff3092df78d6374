"""What is found when all inputs are read once, and training without those that cannot be read."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from loading import ready, training
from PIL import Image

from rootspace.config import LoaderConfig
from rootspace.data import Characters, DataError, DataModule, ImageFolder, TorchData
from rootspace.data.checking import Duplicates, Place, check_content, scan

Make = Callable[..., Path]
COUNTS = {"train/a": 5, "train/b": 4, "train/c": 3, "val/a": 2, "val/b": 2}


def cut(path: Path) -> None:
    """A file that is cut off."""
    path.write_bytes(path.read_bytes()[:300])


def test_nothing_is_wrong(make_images: Make) -> None:
    found = check_content(ImageFolder(make_images(COUNTS)).read())
    assert found.clean and not found.duplicates and not found.rare and not found.broken
    train, val = found.sets["train"], found.sets["val"]
    assert (train.inputs, val.inputs, train.broken) == (12, 4, 0)
    assert (train.smallest, train.median, train.largest, train.longest) == (16, 16, 16, 20)
    assert train.scaled_up == 12


@pytest.mark.parametrize("workers", [0, 2])
def test_everything_is_wrong(make_images: Make, workers: int) -> None:
    root = make_images(COUNTS)
    cut(root / "train/c/1.png")
    (root / "val/b/1.png").write_bytes(b"")
    shutil.copy(root / "train/a/0.png", root / "train/a/again.png")
    shutil.copy(root / "train/a/1.png", root / "val/a/0.png")
    shutil.copy(root / "train/a/2.png", root / "val/b/0.png")
    Image.open(root / "train/b/0.png").save(root / "train/c/2.bmp")  # the same pixels
    found = check_content(ImageFolder(root, image_size=16).read(), workers, few=4)
    assert not found.clean
    assert [(b.place.set, b.place.name, b.place.label) for b in found.broken] == [
        ("train", "c/1.png", "c"),
        ("val", "b/1.png", "b"),
    ]
    assert all("cannot be decoded" in b.reason for b in found.broken)
    assert [d.across for d in found.duplicates] == ["classes", "classes", "sets", "nothing"]
    assert {frozenset((p.set, p.name, p.label) for p in d.places) for d in found.duplicates} == {
        frozenset([("train", "a/0.png", "a"), ("train", "a/again.png", "a")]),
        frozenset([("train", "a/1.png", "a"), ("val", "a/0.png", "a")]),
        frozenset([("train", "a/2.png", "a"), ("val", "b/0.png", "b")]),
        frozenset([("train", "b/0.png", "b"), ("train", "c/2.bmp", "c")]),
    }
    assert found.rare == {"c": 3} and found.sets["train"].scaled_up == 0


def test_pixels_of_another_shape_are_others(tmp_path: Path) -> None:
    for name, size in (("a", (4, 9)), ("b", (9, 4)), ("c", (6, 6))):
        (tmp_path / name).mkdir()
        Image.new("L", size, 7).save(tmp_path / name / "0.png")
    assert not check_content(ImageFolder(tmp_path).read()).duplicates


def test_duplicates_within_a_class_are_no_fault(make_images: Make) -> None:
    root = make_images(COUNTS)
    shutil.copy(root / "train/a/0.png", root / "train/a/again.png")
    found = check_content(ImageFolder(root).read())
    places = (Place("train", "a/0.png", "a"), Place("train", "a/again.png", "a"))
    assert found.clean and found.duplicates == (Duplicates("nothing", places),)


def test_data_in_memory_and_inputs_that_are_no_images() -> None:
    found = check_content(Characters(ranges="U+0041-U+0044").read())
    assert found.sets["train"].median == 32 and found.rare == {} and not found.broken

    class Vectors(torch.utils.data.Dataset):
        targets = (0, 1) * 10

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.ones(3), self.targets[index]

        def __len__(self) -> int:
            return len(self.targets)

    found = check_content(TorchData(Vectors()).read())
    assert found.clean and found.sets["train"].inputs == 18 and found.sets["train"].longest == 0


def test_reading_leaves_the_random_numbers_alone(make_images: Make) -> None:
    data = ImageFolder(make_images(COUNTS)).read().train
    before = torch.get_rng_state()
    scan(data, "train", 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_test_set_may_be_called_as_the_training_data(make_images: Make) -> None:
    root = make_images(COUNTS)
    for name in ("train/a/2.png", "val/b/1.png"):
        cut(root / name)
    source = ImageFolder(root, test_folders={"train": "val"})
    found = check_content(source.read())
    assert {name: (one.inputs, one.broken) for name, one in found.sets.items()} == {
        "train": (12, 1),
        "train (test)": (4, 1),
    }
    data = ready(source, skip_broken=True)
    assert len(data.train_dataset) == 11 and len(data.test_datasets["train"]) == 3


# --------------------------------------------------------------------- training without them


@pytest.mark.parametrize("num_workers", [0, 1])
def test_broken_files_are_left_out_where_it_is_asked_for(
    make_images: Make, num_workers: int
) -> None:
    root = make_images(COUNTS)
    for name in ("train/a/2.png", "train/c/0.png", "val/b/1.png"):
        cut(root / name)
    data = ready(ImageFolder(root), skip_broken=True, num_workers=num_workers, batch_size=4)
    train, val = data.train_dataset, data.test_datasets["val"]
    names = {train.name(row) for row in range(len(train))}
    assert len(names) == 10 and not names & {"a/2.png", "c/0.png"}
    assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 2 and len(val) == 3
    notes = data.describe().splitlines()
    assert "left out: 2 of train that cannot be read: a/2.png, c/0.png" in notes
    assert "left out: 1 of val that cannot be read: b/1.png" in notes
    loader = training(data)
    loader.batches.set_epoch(3)
    whole = [x for x, _ in loader]
    again = training(ready(ImageFolder(root), skip_broken=True, batch_size=4))
    again.load_state_dict({"epoch": 3, "seen": 4})
    rest = [x for x, _ in again]
    assert len(rest) == len(whole) - 1
    assert all(torch.equal(a, b) for a, b in zip(whole[1:], rest, strict=True))


def test_training_files_are_not_read_for_the_tests_alone(make_images: Make) -> None:
    root = make_images(COUNTS)
    cut(root / "train/a/2.png")
    cut(root / "val/b/1.png")
    data = DataModule(ImageFolder(root), LoaderConfig(skip_broken=True))
    data.setup(tests_only=True)
    assert "1 of val that cannot be read" in data.describe()
    assert "of train" not in data.describe() and len(data.test_datasets["val"]) == 3
    # A validation set is made of training inputs, which depends on which there are.
    source = ImageFolder(root / "train", test_fraction=0)
    data, whole = (
        DataModule(source, LoaderConfig(skip_broken=True, validation=0.3)) for _ in range(2)
    )
    data.setup(tests_only=True)
    whole.setup()
    assert data.fingerprint() == whole.fingerprint()
    assert "1 of train that cannot be read" in data.describe()


def test_many_broken_files_are_one_line(make_images: Make) -> None:
    root = make_images({"train/a": 30, "train/b": 30})
    for place in range(1, 30):
        cut(root / f"train/a/{place}.png")
    data = ready(ImageFolder(root, test_fraction=0), skip_broken=True)
    (line,) = [line for line in data.describe().splitlines() if "cannot be read" in line]
    assert line.startswith("left out: 29 of train") and line.endswith("and 19 more")


def test_no_image_of_a_class_is_left(make_images: Make) -> None:
    root = make_images({"train/a": 2, "train/b": 1})
    cut(root / "train/b/0.png")
    with pytest.raises(DataError, match=r"'loader\.skip_broken' leaves no training image of 'b'"):
        ready(ImageFolder(root, test_fraction=0), skip_broken=True)


def test_without_the_setting_a_broken_file_is_an_error(make_images: Make) -> None:
    root = make_images({"train/a": 2, "train/b": 2})
    cut(root / "train/b/0.png")
    data = ready(ImageFolder(root, test_fraction=0))
    with pytest.raises(DataError, match=r"'.*b/0\.png' cannot be decoded"):
        list(training(data))


def test_processes_of_test_sets_do_not_add_up(make_images: Make) -> None:
    counts = {"train/a": 8, "train/b": 8} | {f"{name}/a": 4 for name in ("val", "valid", "test")}
    data = ready(ImageFolder(make_images(counts)), num_workers=2, batch_size=2)
    before = len(multiprocessing.active_children())
    loader, seen = training(data), []
    for _ in range(2):
        list(loader)
        for test in data.test_loaders():
            seen += [len(multiprocessing.active_children()) - before for _ in test]
    assert max(seen) <= 4, "those of training and of one test set"
    assert len(multiprocessing.active_children()) - before == 2, "those of training stay"


def test_sizes_are_those_of_the_seen_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a").mkdir()
    pixels = np.zeros((10, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a/0.jpg", exif=exif)
    found = scan(ImageFolder(tmp_path).read().train, "train", 0)
    assert found.size.tolist() == [[30, 10]]
