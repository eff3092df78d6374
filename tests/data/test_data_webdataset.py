"""Shards that the webdataset package has written, compared with what it reads."""

from __future__ import annotations

import io
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import epoch, ready, training
from PIL import Image
from webdataset import tariterators
from webdataset.writer import TarWriter

from rootspace.data import (
    Content,
    DataError,
    ImagePreprocessing,
    Light1,
    WebDataset,
    shard_index,
)
from rootspace.data.transforms import ImageTransform

Sample = dict[str, Any]


def encoded(number: int, kind: str = "png", size: tuple[int, int] = (20, 16)) -> bytes:
    generator = np.random.default_rng(number)
    pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, {"jpg": "jpeg"}.get(kind, kind), quality=95)
    return buffer.getvalue()


def write(path: Path, samples: list[Sample]) -> Path:
    """A shard of webdataset's own writer, which encodes `cls` and `json`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TarWriter(str(path)) as writer:
        for sample in samples:
            writer.write(sample)
    return path


def numbered(start: int, labels: list[int], kind: str = "png") -> list[Sample]:
    return [
        {"__key__": f"{start + i:06d}", kind: encoded(start + i, kind), "cls": label}
        for i, label in enumerate(labels)
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "shards"
    write(root / "train/000.tar", numbered(0, [0, 2, 1]))
    write(root / "train/001.tar", numbered(3, [1, 10], "webp"))
    write(root / "val/000.tar", numbered(5, [2, 2], "jpg"))
    return root


def make(root: Path, **arguments: Any) -> Content:
    return WebDataset(root, image_size=16, **arguments).read()


def light1(shape: ImagePreprocessing | None) -> ImageTransform:
    assert shape is not None
    return ImageTransform(Light1(shape.size), shape)


def read(*shards: Path) -> list[Sample]:
    """What the webdataset package reads."""
    samples = []
    for shard in shards:
        with shard.open("rb") as stream:  # which the package would leave open
            files = tariterators.tar_file_expander([{"url": str(shard), "stream": stream}])
            samples += tariterators.group_by_keys(files)
    return samples


def test_samples_are_those_of_the_webdataset_package(root: Path) -> None:
    data = make(root)
    assert data.class_names == ["0", "1", "2", "10"]
    for dataset, folder in ((data.train, "train"), (data.tests["val"], "val")):
        expected = read(*sorted((root / folder).glob("*.tar")))
        assert len(dataset) == len(expected)
        for place, sample in enumerate(expected):
            (kind,) = {"png", "webp", "jpg"} & sample.keys()
            pixels = np.array(Image.open(io.BytesIO(sample[kind])).convert("RGB"))
            assert np.array_equal(dataset.original(place).permute(1, 2, 0), pixels)
            label = int(dataset.labels[place])
            assert data.class_names[label] == sample["cls"].decode()
            shard = Path(sample["__url__"]).name
            assert dataset.name(place) == f"{shard}/{sample['__key__']}"
    assert ready(WebDataset(root, image_size=16)).describe() == (
        "WebDataset: 4 classes, 5 training images 3x16x16, test sets: val (2)\n"
        "the first image is 20 x 16, scaled to 16 x 16"
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches(root: Path, num_workers: int) -> None:
    source = WebDataset(root, image_size=16, grayscale=True)
    batches = list(training(ready(source, batch_size=2, num_workers=num_workers)))
    assert [len(labels) for _, labels in batches] == [2, 2]
    for images, labels in batches:
        assert images.shape == (2, 1, 16, 16) and images.dtype == torch.uint8
        assert labels.dtype == torch.int64


def test_a_test_image_comes_back_from_its_file(root: Path, tmp_path: Path) -> None:
    content = make(root)
    (tmp_path / "5.jpg").write_bytes(encoded(5, "jpg"))
    assert content.preprocessing is not None
    expected = content.preprocessing(tmp_path / "5.jpg")
    assert torch.equal(content.tests["val"][0][0], expected)
    assert torch.equal(content.preprocessing(encoded(5, "jpg")), expected), "as bytes too"


def test_a_killed_epoch_goes_on_where_it_was(root: Path) -> None:
    source = WebDataset(root, image_size=16)
    whole = epoch(training(ready(source, light1, batch_size=2, per_class=1)), 4)
    resumed = training(ready(source, light1, batch_size=2, per_class=1))
    resumed.load_state_dict({"epoch": 4, "seen": 2})
    (rest,) = epoch(resumed, 4)
    assert torch.equal(rest, whole[1])


def test_hidden_shards_do_not_count(root: Path) -> None:
    """As macOS puts them beside others."""
    for folder in ("train", "val"):
        (root / folder / "._000.tar").write_bytes(b"\0\5\x16\7" + bytes(400))
    content = make(root)
    assert len(content.train) == 5 and len(content.tests["val"]) == 2
    assert len(make(root, train_shards="**/0*.tar", test_shards={}).train) == 7


def test_labels_in_json_and_names_as_labels(tmp_path: Path) -> None:
    samples = [
        {"__key__": f"a/{i}", "png": encoded(i), "json": {"id": i, "what": what}}
        for i, what in enumerate(["dog", "cat", "dog"])
    ]
    write(tmp_path / "train/0.tar", samples)
    data = make(tmp_path, label_key="what")
    assert data.class_names == ["cat", "dog"]
    assert data.train.labels.tolist() == [1, 0, 1]
    assert make(tmp_path, label_key="id").class_names == ["0", "1", "2"]
    with pytest.raises(DataError, match=r"'a/0' of shard .*0\.tar' has no field 'label'"):
        make(tmp_path)


def test_names_of_numbered_classes(root: Path) -> None:
    names = [f"name {i}" for i in range(12)]
    (root / "classnames.txt").write_text("\n".join(names) + "\n")
    data = make(root)
    assert data.class_names == names
    assert data.train.labels.tolist() == [0, 2, 1, 1, 10]
    names[3], names[11] = "a\u2028b", ""  # not the end of a line; a name like others
    (root / "classnames.txt").write_text("\r\n".join(names) + "\r\n", newline="")
    assert make(root).class_names == names
    (root / "classnames.txt").write_text("\n".join([*names[:11], names[2]]))
    with pytest.raises(DataError, match="have the class 'name 2' twice"):
        ready(WebDataset(root))
    (root / "classnames.txt").write_text("\n".join(names[:10]))
    with pytest.raises(DataError, match="holds the class '10', which must be a line of"):
        make(root)


def test_names_that_samples_give(tmp_path: Path) -> None:
    samples = numbered(0, [0, 0, 0])
    for sample, name in zip(samples, ("dog", "cat", "1"), strict=True):
        sample["cls"] = name
    write(tmp_path / "train/0.tar", samples)
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    data = make(tmp_path)
    assert data.class_names == ["cat", "dog"] and data.train.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_folders_of_test_sets(root: Path, name: str) -> None:
    (root / "val").rename(root / name)
    assert [*make(root).tests] == [name]


def test_shards_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "set-train-0000.tar", numbered(0, [0, 1]))
    write(tmp_path / "set-validation-00.tar", numbered(2, [1]))
    patterns = {"validation": "set-validation-*.tar"}
    data = make(tmp_path, train_shards="set-train-*.tar", test_shards=patterns)
    assert {name: len(test) for name, test in data.tests.items()} == {"validation": 1}
    with pytest.raises(DataError, match="have the test set 'a/b': name it without slashes"):
        ready(WebDataset(tmp_path, "set-train-*.tar", {"a/b": "set-v*.tar"}))
    with pytest.raises(
        DataError, match=r"'test_shards' must not match '.*-00\.tar' for 'x', which"
    ):
        make(tmp_path, train_shards="*.tar", test_shards={"x": "*validation*"})


def test_unique_labels(root: Path) -> None:
    data = ready(WebDataset(root), unique_labels="all")
    assert list(data.class_names) == [
        *(f"000.tar/{i:06d}" for i in range(3)),
        *(f"001.tar/{i:06d}" for i in (3, 4)),
    ]


def test_other_members_do_not_matter(tmp_path: Path) -> None:
    """Folders, what is not of a sample, two dots, upper case, links: as webdataset does."""
    path = tmp_path / "train/0.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as archive:

        def add(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> None:
            member = tarfile.TarInfo(name)
            member.size, member.type = len(content), kind
            archive.addfile(member, io.BytesIO(content))

        add("__info__/about.txt", b"metadata")
        add("a.b", b"", tarfile.DIRTYPE)
        add("./a.b/one.PNG", encoded(1))
        add("./a.b/one.seg.png", b"another picture of it")
        add("./a.b/one.cls", b" 007\n")
        add("README", b"no sample")
        add("./a.b/two.cls", b"7")
        add("./a.b/two.png", encoded(2))
    data = make(tmp_path)
    expected = read(path)
    assert [data.train.name(i) for i in range(2)] == [
        f"0.tar/{sample['__key__']}" for sample in expected
    ]
    assert data.class_names == ["7"]


def test_the_index_is_kept_until_a_shard_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(root).train
    with monkeypatch.context() as patch:
        patch.setattr(shard_index, "_samples", None)  # nothing to read them with
        again = make(root).train
    assert torch.equal(again.labels, first.labels)
    assert all(torch.equal(again[i][0], first[i][0]) for i in range(5))
    write(root / "train/001.tar", numbered(7, [1, 2, 1]))
    assert len(make(root).train) == 6


@pytest.mark.filterwarnings("default")
def test_a_cache_that_cannot_be_written_only_costs_time(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="The shards are read through again next time, since"):
        data = make(root, cache_dir=str(tmp_path / "file"))
    assert len(data.train) == 5


def test_damaged_shards(root: Path) -> None:
    path = root / "train/001.tar"
    whole = path.read_bytes()
    for length in (700, len(whole) // 2, len(whole) // 2 + 99):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"Shard '.*001\.tar' is"):
            make(root)
    with tarfile.open(path.with_name("000.tar")) as archive:
        kept = archive.getmembers()[-1].offset  # whole members, but nothing that says they are all
    path.write_bytes((root / "train/000.tar").read_bytes()[:kept])
    with pytest.raises(DataError, match=r"Shard '.*001\.tar' is cut off: copy it again"):
        make(root)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"'.*001\.tar' is damaged, compressed or no tar file"):
        make(root)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root / "train/000.tar", "a.png")
    with pytest.raises(DataError, match=r"'.*001\.tar' is damaged, compressed or no tar file"):
        make(root)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"cls": 1}, "must have one image (jpg, jpeg, png, webp, ppm, pgm, pbm, pnm), not 0."),
        ({"png": b"1", "jpg": b"2", "cls": 1}, "pnm), not 2 (jpg, png)."),
        ({"png": b"1"}, "must have its label as 'cls' or in 'json'."),
        ({"png": b"1", "cls": b"\xff"}, "has a label that cannot be read ("),
        ({"png": b"1", "cls": b" "}, "must have a number or a name as its label, not ''."),
        ({"png": b"1", "json": b"{"}, "has a label that cannot be read ("),
        ({"png": b"1", "json": b"[]"}, "has no field 'label' ('label_key') in its json."),
        ({"png": b"1", "json": b'{"label": 1.5}'}, "must have a number or a name as its label"),
        ({"png": b"1", "json": b'{"label": true}'}, "a name as its label, not True."),
    ],
)
def test_wrong_samples(sample: Sample, message: str, tmp_path: Path) -> None:
    path = tmp_path / "train/0.tar"
    path.parent.mkdir()
    with TarWriter(str(path), encoder=False) as writer:
        content = {k: str(v).encode() if isinstance(v, int) else v for k, v in sample.items()}
        writer.write({"__key__": "x/1", **content})
    with pytest.raises(
        DataError, match=rf"Sample 'x/1' of shard '.*0\.tar' .*{re.escape(message)}"
    ):
        make(tmp_path)


def test_two_members_of_a_kind(tmp_path: Path) -> None:
    path = tmp_path / "train/0.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("1.cls"))
    with pytest.raises(DataError, match=r"Sample '1' of shard '.*' has two members 'cls'"):
        make(tmp_path)
    with pytest.raises(ValueError, match="duplicate file name"):
        read(path)


def test_a_damaged_image_is_named_when_it_is_needed(root: Path) -> None:
    write(root / "train/002.tar", [{"__key__": "bad", "png": b"damaged", "cls": 0}])
    dataset = make(root).train
    with pytest.raises(DataError, match=r"'.*002\.tar/bad' cannot be decoded"):
        dataset[5]
    os.truncate(root / "train/001.tar", 600)
    with pytest.raises(DataError, match=r"'.*001\.tar' has become shorter"):
        dataset[4]
    (root / "train/001.tar").unlink()
    with pytest.raises(DataError, match=r"'.*001\.tar' cannot be read: No such file"):
        dataset[4]


def test_missing_folders_and_shards(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'root' must be a folder of shards, not '.*nothing'"):
        make(tmp_path / "nothing")
    with pytest.raises(
        DataError, match=r"'train_shards' must match tar files in '.*', unlike '\*'"
    ):
        make(root, train_shards="*")
    with pytest.raises(DataError, match="'test_shards' must match tar files in"):
        make(root, test_shards={"a": "no/*.tar"})
    with pytest.raises(DataError, match="'image_size' must be at least 8"):
        WebDataset(root, image_size=4)
    with pytest.raises(DataError, match="hold no samples"):
        write(tmp_path / "empty/train/0.tar", [])
        make(tmp_path / "empty")


def test_a_test_class_that_training_does_not_know(root: Path) -> None:
    write(root / "test/0.tar", numbered(20, [3]))
    with pytest.raises(DataError, match=r"'.*test/0\.tar' or one after it holds the class '3'"):
        make(root)
