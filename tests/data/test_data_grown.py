"""Stored and joined images, and the data of an extended run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from loading import ready, training
from PIL import Image

from rootspace.config import LoaderConfig
from rootspace.data import (
    ArrayImages,
    Characters,
    Content,
    DataError,
    DataModule,
    Grown,
    ImageFolder,
    Joined,
    LabeledDataset,
    RetrievalSet,
    StoredImages,
    View,
    store_images,
)
from rootspace.data import grown as grown_module
from rootspace.data.grown import ADDED, Part


def letters(ranges: str = "U+0041-U+0044", size: int = 16) -> Characters:  # A B C D
    return Characters(ranges=ranges, image_size=size)


def more() -> Characters:  # C D E F G
    return letters("U+0043-U+0047")


def grown(folder: Path, *old: Part | None, share: float = 0.0) -> tuple[Grown, Content]:
    """The data of the memory in a folder and five more letters."""
    source = Grown(str(folder), Part(more()), old, share)
    return source, source.read()


def pictures(count: int, first: int = 0) -> ArrayImages:
    images = torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8)
    return ArrayImages(images, torch.arange(first, first + count))


def store(folder: Path, images: ArrayImages, names: list[str]) -> StoredImages:
    shape = tuple(images.images.shape[1:])
    keys = np.linspace(0, 1, len(images))
    store_images(folder, images.images.split(3), images.labels.numpy(), keys, names, shape)  # type: ignore[arg-type]
    return StoredImages(folder)


def pixels_of(images: LabeledDataset, label: int) -> list[bytes]:
    rows = (images.labels == label).nonzero()[:, 0].tolist()
    return sorted(image.numpy().tobytes() for image in images.batch(rows)[0])


def memory_of(folder: Path, rows: list[int]) -> StoredImages:
    """Some images of the letters A to D."""
    train = letters().read().train
    images, labels = train.batch(rows)
    return store(folder, ArrayImages(images, labels), list("ABCD"))


@pytest.mark.parametrize("count", [0, 1, 8])
def test_stored_images_come_back(tmp_path: Path, count: int) -> None:
    images = pictures(count)
    stored = store(tmp_path / "memory", images, [str(i) for i in range(10)])
    assert len(stored) == count and stored.image_shape == (1, 8, 8)
    assert stored.class_names == [str(i) for i in range(10)]
    assert not list(tmp_path.glob("*.tmp"))
    if count:
        rows = [count - 1, 0]
        found, labels = stored.batch(rows)
        assert torch.equal(found, images.images[rows]) and torch.equal(labels, images.labels[rows])


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "memory.tmp").mkdir()
    (tmp_path / "memory.tmp" / "images.npy").write_text("half")
    assert len(store(tmp_path / "memory", pictures(4), list("abcd"))) == 4
    assert not (tmp_path / "memory.tmp").exists()


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no stored images"):
        StoredImages(tmp_path)


def test_joined_images_are_those_of_their_parts() -> None:
    parts = [pictures(5), pictures(1, 5), pictures(7, 6)]
    joined = Joined(
        [
            parts[0],
            parts[1],
            ArrayImages(torch.zeros(0, 1, 8, 8).byte(), torch.zeros(0).long()),
            parts[2],
        ]
    )
    whole = torch.cat([part.images for part in parts])
    assert len(joined) == 13 and torch.equal(joined.labels, torch.arange(13))
    for rows in ([12, 0, 5, 4, 6, 12], [1, 2], [5], list(range(13))):
        images, labels = joined.batch(rows)
        assert torch.equal(images, whole[rows]) and labels.tolist() == rows
    assert torch.equal(joined.original(6), whole[6]) and joined.name(3) is None


def test_some_images_under_other_labels() -> None:
    images = pictures(6)
    some = View(images, torch.tensor([9, 8]), torch.tensor([4, 1]))
    found, labels = some.batch([1, 0])
    assert torch.equal(found, images.images[[1, 4]]) and labels.tolist() == [8, 9]
    assert torch.equal(some.original(0), images.images[4])


def test_nothing_of_the_memory_is_set_aside(tmp_path: Path) -> None:
    memory_of(tmp_path / "memory", [0, 1, 2, 3, 12, 13])
    source, content = grown(tmp_path / "memory")
    data = ready(source, validation=0.25)
    added = len(content.train) - 6
    validation = data.test_datasets["validation"]
    assert 0 < len(validation) == len(content.train) - len(data.train_dataset) < added
    assert source.num_remembered == 6 and torch.bincount(validation.labels)[:2].tolist() == [0, 0]
    found, labels = data.train_dataset.batch(range(6))
    memory = StoredImages(tmp_path / "memory")
    assert torch.equal(found, memory.batch(range(6))[0]) and torch.equal(labels, memory.labels)


def test_old_classes_keep_their_labels(tmp_path: Path) -> None:
    memory_of(tmp_path / "memory", [0, 1, 3])
    names = list(letters().read().tests)
    other = {name: f"{name} of more" for name in names}
    source, content = grown(tmp_path / "memory", Part(letters(), tests=other))
    assert list(content.class_names) == list("ABCDEFG")
    assert (source.num_old, source.num_remembered) == (4, 3)
    assert list(content.tests) == [*other.values(), *names]
    for name, images in more().read().tests.items():
        own = content.tests[name]
        assert torch.equal(own.labels, images.labels + 2)
        assert torch.equal(own.batch([0])[0], images.batch([0])[0])


def test_images_that_the_memory_holds_are_not_taken_twice(tmp_path: Path) -> None:
    rows = [0, 1, 2, 3, 4 + 2, 4 + 3]  # the first face of all, the second of C and D
    memory_of(tmp_path / "memory", rows)
    _, content = grown(tmp_path / "memory")
    source = letters()
    expected = source.read()
    faces = len(source.fonts) - len(expected.tests)
    counts = torch.bincount(content.train.labels).tolist()
    assert counts == [1, 1, faces, faces, faces, faces, faces]
    for label in (2, 3):
        assert pixels_of(content.train, label) == pixels_of(expected.train, label)


def test_images_are_compared_with_the_memory_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found is kept beside it, and holds for as many images."""
    memory_of(tmp_path / "memory", [0, 1, 2, 3, 4 + 2, 4 + 3])
    source, content = grown(tmp_path / "memory")
    assert not source.added.all() and source.added.any()
    np.save(tmp_path / ADDED, source.added)
    with monkeypatch.context() as patch:
        patch.setattr(grown_module, "rows_not_in", None)
        again = grown(tmp_path / "memory")[1].train
        assert torch.equal(again.labels, content.train.labels)
        rows = range(len(again))
        assert torch.equal(again.batch(rows)[0], content.train.batch(rows)[0])
    np.save(tmp_path / ADDED, source.added[:-1])
    assert torch.equal(grown(tmp_path / "memory")[1].train.labels, content.train.labels)


def test_classes_under_another_name(tmp_path: Path) -> None:
    memory_of(tmp_path / "memory", [0, 1])
    content = Grown(str(tmp_path / "memory"), Part(more(), {"E": "A"})).read()
    assert list(content.class_names) == list("ABCDFG")
    assert next(iter(content.tests.values())).labels.tolist() == [2, 3, 0, 4, 5]


def test_gone_data_have_no_test_sets(tmp_path: Path) -> None:
    memory_of(tmp_path / "memory", [0])
    _, content = grown(tmp_path / "memory", None)
    assert list(content.tests) == list(letters().read().tests)


def test_two_test_sets_of_one_name(tmp_path: Path) -> None:
    memory_of(tmp_path / "memory", [0])
    with pytest.raises(DataError, match="Two test sets have the name 'DejaVu"):
        grown(tmp_path / "memory", Part(letters()))


def test_the_memory_is_relative_to_the_run(tmp_path: Path) -> None:
    memory_of(tmp_path / "memory", [0])
    assert len(Grown("memory", Part(more()), run_dir=str(tmp_path)).read().train) > 1


def test_notes_of_the_new_data_are_kept(tmp_path: Path) -> None:
    class Noted(Characters):
        def read(self) -> Content:
            return replace(super().read(), notes=("not used: x in y",))

    memory_of(tmp_path / "memory", [0])
    source = Grown(str(tmp_path / "memory"), Part(Noted(ranges="U+0043", image_size=16)))
    assert source.read().notes == ("not used: x in y",)


@pytest.mark.parametrize(
    ("new", "old", "message"),
    [
        (letters(size=24), None, "must have images of 1x16x16, as the run takes them, not 1x24x24"),
        (more(), letters("U+0061-U+0063"), "3 classes of the Characters data .* such as 'a'"),
    ],
)
def test_bad_input(tmp_path: Path, new: Characters, old: Characters | None, message: str) -> None:
    memory_of(tmp_path / "memory", [0])
    parts = [] if old is None else [Part(old)]
    with pytest.raises(DataError, match=message):
        Grown(str(tmp_path / "memory"), Part(new), parts).read()


def test_images_of_the_memory_are_repeated_up_to_their_share(tmp_path: Path) -> None:
    memory = memory_of(tmp_path / "memory", [0, 1, 2])
    plain, half = (
        ready(Grown(str(tmp_path / "memory"), Part(more()), share=share)) for share in (0.0, 0.5)
    )
    assert torch.equal(half.train_dataset.labels, plain.train_dataset.labels), "no copies are kept"
    assert sum(len(labels) for _, labels in half.in_order()) == len(plain.train_dataset)
    new = len(plain.train_dataset) - len(memory)
    counts = torch.bincount(torch.cat([labels for _, labels in training(half)]))
    known = torch.bincount(plain.train_dataset.labels)
    own = torch.bincount(memory.labels, minlength=len(known))
    added = counts - known
    assert int(counts.sum()) == 2 * new, "as many images of the memory as new ones"
    assert bool((added[own == 0] == 0).all()), "new images come once"
    rounds = new // len(memory)
    assert bool((added >= (rounds - 1) * own).all() and (added <= rounds * own).all())
    assert sum(len(labels) for _, labels in training(plain)) == len(plain.train_dataset)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_bad_share(tmp_path: Path, share: float) -> None:
    with pytest.raises(DataError, match=r"'share' must lie in \[0, 1\)"):
        Grown(str(tmp_path / "memory"), Part(more()), share=share)


def test_a_file_that_cannot_be_read_is_left_for_training_to_find(tmp_path: Path) -> None:
    for name in "CE":
        (tmp_path / "new" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "new" / name / f"{number}.png")
    (tmp_path / "new" / "C" / "1.png").write_bytes(b"no image")
    memory_of(tmp_path / "memory", [0, 5])
    new = ImageFolder(tmp_path / "new", image_size=16, grayscale=True, test_fraction=0)
    source = Grown(str(tmp_path / "memory"), Part(new))
    assert len(source.read().train) == 2 + 6
    data = DataModule(source, LoaderConfig(skip_broken=True))
    data.setup()
    assert len(data.train_dataset) == 2 + 5


def test_retrieval_sets_stay(tmp_path: Path) -> None:
    class WithUnseen(Characters):
        def read(self) -> Content:
            content = super().read()
            unseen = RetrievalSet(["x"], pictures(4))
            return replace(content, retrieval={"unseen": unseen})

    memory_of(tmp_path / "memory", [0, 5])
    old = Part(
        WithUnseen(ranges="U+0041-U+0044", image_size=16),
        tests={name: f"old {name}" for name in letters().read().tests},
    )
    _, content = grown(tmp_path / "memory", old)
    assert [*content.retrieval] == ["unseen"] and len(content.retrieval["unseen"].queries) == 4
