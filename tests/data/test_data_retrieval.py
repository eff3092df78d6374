"""The layouts of retrieval benchmarks, in small: what is trained on, what is searched for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from loading import ready
from PIL import Image

from rootspace.config import ClassSpec, Config
from rootspace.data import (
    CUB200,
    Cars196,
    Content,
    DataError,
    DataSource,
    InShop,
    LabeledDataset,
    Market1501,
    StanfordOnlineProducts,
    make_data,
)
from rootspace.data.checking import check_content


def draw(root: Path, files: Sequence[str], size: tuple[int, int] = (12, 10)) -> None:
    for number, file in enumerate(files):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(root / file)


def write(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


BIRDS = ["001.Albatross", "002.Auklet", "003.Blackbird", "004.Bunting"]


def cub(root: Path) -> CUB200:
    files = [f"{bird}/{i}.jpg" for bird in BIRDS for i in range(3)]
    draw(root / "images", files)
    write(root / "images.txt", [f"{i} {file}" for i, file in enumerate(files, 1)])
    write(root / "classes.txt", [f"{i} {bird}" for i, bird in enumerate(BIRDS, 1)])
    write(root / "image_class_labels.txt", [f"{i} {(i + 2) // 3}" for i in range(1, 13)])
    write(root / "train_test_split.txt", [f"{i} {int(i % 3 == 1)}" for i in range(1, 13)])
    return CUB200(root, image_size=8)


CARS = ["Acura RL", "Audi A5", "BMW M3", "Fiat 500"]


def struct_array(rows: list[dict[str, object]]) -> np.ndarray:
    """A struct array, as the lists of Cars-196 have it."""
    kinds = [(name, object) for name in rows[0]]
    return np.array([tuple(row.values()) for row in rows], dtype=kinds)


def cars(root: Path) -> Cars196:
    files = [f"car_ims/{i:06d}.jpg" for i in range(1, 13)]
    draw(root, files)
    rows: list[dict[str, object]] = [
        {"relative_im_path": file, "bbox_x1": 1, "class": i // 3 + 1, "test": int(i % 3 > 0)}
        for i, file in enumerate(files)
    ]
    content = {"annotations": struct_array(rows), "class_names": np.array(CARS, dtype=object)}
    scipy.io.savemat(root / "cars_annos.mat", content)
    return Cars196(root, image_size=8)


def cars_devkit(root: Path) -> Cars196:
    """The same cars as torchvision has them: training images first."""
    (root / "devkit").mkdir(parents=True)
    scipy.io.savemat(root / "devkit/cars_meta.mat", {"class_names": np.array(CARS, dtype=object)})
    for part, count, name in (
        ("train", 1, "devkit/cars_train_annos.mat"),
        ("test", 2, "cars_test_annos_withlabels.mat"),
    ):
        rows: list[dict[str, object]] = [
            {"bbox_x1": 1, "class": i // count + 1, "fname": f"{i:05d}.jpg"}
            for i in range(4 * count)
        ]
        scipy.io.savemat(root / name, {"annotations": struct_array(rows)})
        draw(root / f"cars_{part}", [str(row["fname"]) for row in rows])
    return Cars196(root, image_size=8)


def products(root: Path) -> StanfordOnlineProducts:
    for name, first in (("Ebay_train.txt", 1), ("Ebay_test.txt", 3)):
        files = [f"chair_final/{first + i // 3}_{i}.JPG" for i in range(6)]
        draw(root, files)
        lines = [f"{i} {first + i // 3} 2 {file}" for i, file in enumerate(files)]
        write(root / name, ["image_id class_id super_class_id path", *lines])
    return StanfordOnlineProducts(root, image_size=8)


def shop(root: Path) -> InShop:
    parts = {"train": (1, 2), "query": (3, 4), "gallery": (4, 3)}
    lines = []
    for part, items in parts.items():
        for item in items:
            for i in range(3):
                lines.append(
                    (f"img/WOMEN/Tees/id_{item:08d}/{part}_{i}.jpg", f"id_{item:08d}", part)
                )
    draw(root / "Img", [line[0] for line in lines])
    heads = [str(len(lines)), "image_name item_id evaluation_status"]
    rows = [f"{line[0]}    {line[1]} {line[2]}" for line in lines]
    write(root / "Eval/list_eval_partition.txt", heads + rows)
    return InShop(root, image_size=8)


MARKET = {
    "bounding_box_train": [f"{p:04d}_c{c}s1_000{c}_01.jpg" for p in (2, 7) for c in (1, 2, 3)],
    "query": ["0003_c1s1_0001_00.jpg", "0004_c2s1_0001_00.jpg"],
    "bounding_box_test": [
        "-1_c1s1_0001_00.jpg",
        "0000_c1s1_0001_00.jpg",
        *(f"{p:04d}_c{c}s1_000{c}_01.jpg" for p in (3, 4) for c in (1, 2)),
    ],
}


def market(root: Path) -> Market1501:
    for folder, files in MARKET.items():
        draw(root / folder, files, size=(8, 16))
    (root / "bounding_box_test/Thumbs.db").write_bytes(b"Windows")
    return Market1501(root, image_size=16)


MAKERS = (cub, cars, cars_devkit, products, shop, market)


def classes(content: Content, data: LabeledDataset, *, unseen: bool) -> list[str]:
    names = content.retrieval["unseen"].class_names if unseen else content.class_names
    return [names[int(label)] for label in data.labels]


def files(data: LabeledDataset) -> list[str]:
    found = [data.name(row) for row in range(len(data))]
    return [name for name in found if name is not None]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_classes_of_training_and_retrieval_are_different(
    make: Callable[[Path], DataSource], tmp_path: Path
) -> None:
    content = make(tmp_path / "data").read()
    assert content.tests == {} and list(content.retrieval) == ["unseen"]
    unseen = content.retrieval["unseen"]
    assert not {*content.class_names} & {*unseen.class_names}
    assert sorted(set(content.train.labels.tolist())) == list(range(len(content.class_names)))
    parts = [content.train, unseen.queries]
    parts += [] if unseen.gallery is None else [unseen.gallery]
    for data in parts:
        images, labels = data.batch(range(len(data)))
        assert images.dtype == torch.uint8 and images.shape[1] == 3
        assert torch.equal(labels, data.labels)
        assert content.preprocessing is not None
        assert images.shape[-1] == content.preprocessing.size


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_training_images_are_drawn_anew(make: Callable[[Path], DataSource], tmp_path: Path) -> None:
    """As photographs from folders are."""
    source = f"rootspace.data.{type(make(tmp_path / 'data')).__name__}"
    settings = {"root": str(tmp_path / "data"), "image_size": 16}
    data = make_data(Config(data=ClassSpec(source, settings)))
    data.setup()
    assert data.make_transform is not None
    draw = data.make_transform(data.preprocessing)
    torch.manual_seed(0)
    first, second = (draw(data.train_dataset.original(0)) for _ in range(2))
    assert first.shape == data.train_dataset[0][0].shape and not torch.equal(first, second)


def test_cub(tmp_path: Path) -> None:
    content = cub(tmp_path).read()
    assert content.class_names == BIRDS[:2]
    unseen = content.retrieval["unseen"]
    assert unseen.class_names == BIRDS[2:] and unseen.top == (1, 2, 4, 8)
    for data, hidden in ((content.train, False), (unseen.queries, True)):
        assert [file.split("/")[0] for file in files(data)] == classes(content, data, unseen=hidden)
        assert len(data) == 6
    whole = CUB200(tmp_path, split="images", image_size=8).read()
    assert whole.class_names == BIRDS and not whole.retrieval
    assert files(whole.train) == [f"{bird}/0.jpg" for bird in BIRDS]
    assert len(whole.tests["test"]) == 8 and whole.tests["test"].labels.tolist() == [
        *(0, 0, 1, 1, 2, 2, 3, 3)
    ]


@pytest.mark.parametrize("make", [cars, cars_devkit])
def test_cars(make: Callable[[Path], Cars196], tmp_path: Path) -> None:
    content = make(tmp_path).read()
    unseen = content.retrieval["unseen"]
    assert content.class_names == CARS[:2] and unseen.class_names == CARS[2:]
    assert sorted(content.train.labels.tolist()) == [0, 0, 0, 1, 1, 1]
    assert sorted(unseen.queries.labels.tolist()) == [0, 0, 0, 1, 1, 1]
    whole = Cars196(tmp_path, split="images", image_size=8).read()
    assert whole.class_names == CARS and whole.train.labels.tolist() == [0, 1, 2, 3]
    assert whole.tests["test"].labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_products(tmp_path: Path) -> None:
    content = products(tmp_path).read()
    assert content.class_names == ["1", "2"]
    unseen = content.retrieval["unseen"]
    assert unseen.class_names == ["3", "4"] and unseen.gallery is None
    assert files(unseen.queries)[:2] == ["chair_final/3_0.JPG", "chair_final/3_1.JPG"]


def test_in_shop(tmp_path: Path) -> None:
    content = shop(tmp_path).read()
    unseen = content.retrieval["unseen"]
    assert unseen.gallery is not None and unseen.top == (1, 10, 20, 30)
    wanted = ["id_00000003"] * 3 + ["id_00000004"] * 3
    assert classes(content, unseen.queries, unseen=True) == wanted
    assert classes(content, unseen.gallery, unseen=True) == wanted[::-1]
    (tmp_path / "Eval/list_eval_partition.txt").rename(tmp_path / "list_eval_partition.txt")
    (tmp_path / "Img/img").rename(tmp_path / "img")
    (tmp_path / "Img").rmdir()
    assert files(InShop(tmp_path, image_size=8).read().train) == files(content.train)


def test_market(tmp_path: Path) -> None:
    content = market(tmp_path / "Market-1501-v15.09.15").read()
    assert content.class_names == ["0002", "0007"] and len(content.train) == 6
    unseen = content.retrieval["unseen"]
    assert unseen.gallery is not None
    assert unseen.cameras is not None and unseen.cameras.tolist() == [1, 2]
    assert unseen.gallery_cameras is not None
    # Distractors are in the gallery, as a person whom nobody looks for; junk is not.
    assert classes(content, unseen.gallery, unseen=True) == [
        "0000",
        *("0003 " * 2 + "0004 " * 2).split(),
    ]
    assert unseen.gallery_cameras.tolist() == [1, 1, 2, 1, 2]
    assert content.notes == ("not used: 1 junk images, named -1_...",)
    # The whole of a picture, in the middle of white.
    image = unseen.queries[0][0]
    assert bool((image[:, :, :4] == 255).all()) and bool((image[:, :, 4:12] != 255).any())
    above = Market1501(tmp_path, image_size=16).read()
    assert files(above.train) == files(content.train)


def test_a_line_says_what_there_is(tmp_path: Path) -> None:
    assert ready(shop(tmp_path)).describe().splitlines()[0] == (
        "InShop: 2 classes, 6 training images 3x8x8, test sets: none, "
        "retrieval set: unseen (6 in 6)"
    )


def test_check_reads_retrieval_sets_too(tmp_path: Path) -> None:
    source = shop(tmp_path)
    first = tmp_path / "Img/img/WOMEN/Tees/id_00000001/train_0.jpg"
    other = tmp_path / "Img/img/WOMEN/Tees/id_00000003/query_1.jpg"
    other.write_bytes(first.read_bytes())
    (tmp_path / "Img/img/WOMEN/Tees/id_00000004/gallery_2.jpg").write_text("no image")
    found = check_content(source.read())
    assert {name: sizes.inputs for name, sizes in found.sets.items()} == {
        **{"train": 6, "unseen": 6, "unseen gallery": 6}
    }
    assert [(b.place.set, b.place.label) for b in found.broken] == [
        ("unseen gallery", "id_00000004")
    ]
    (same,) = found.duplicates
    assert same.across == "classes"
    assert [(p.set, p.label) for p in same.places] == [
        *(("train", "id_00000001"), ("unseen", "id_00000003"))
    ]


def test_missing_images(tmp_path: Path) -> None:
    source = products(tmp_path)
    (tmp_path / "chair_final/3_1.JPG").unlink()
    with pytest.raises(
        DataError,
        match=r"^1 of the 6 images that '.*Ebay_test.txt' names are not .* 'chair_final/3_1",
    ):
        source.read()


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_no_folder(make: Callable[[Path], DataSource], tmp_path: Path) -> None:
    kind = type(make(tmp_path / "data"))
    with pytest.raises(DataError, match=r"^Argument 'root' must be the folder of .* not '.*none'"):
        kind(tmp_path / "none").read()  # pyright: ignore[reportCallIssue]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty.*\.$"):
        kind(tmp_path / "empty").read()  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("make", "name", "content", "message"),
    [
        (
            cub,
            "images.txt",
            b"1 a.jpg\n2 b.jpg extra\n",
            "line 2: 2 columns expected (image, file)",
        ),
        (cub, "images.txt", b"\n", "images.txt' holds no lines"),
        (cub, "classes.txt", b"1 \xff\n", "classes.txt' is not UTF-8"),
        (
            cub,
            "classes.txt",
            b"1 a\n",
            "gives image 4 the class 2, which classes.txt does not have",
        ),
        (
            cub,
            "image_class_labels.txt",
            b"1 1\n",
            "must be of the 12 images of images.txt, not of 1",
        ),
        (products, "Ebay_train.txt", b"head\n1 2 3\n", "line 2: 4 columns expected"),
        (
            shop,
            "Eval/list_eval_partition.txt",
            b"1\nx\na b c\n",
            "must call each image train, query",
        ),
        (cars, "cars_annos.mat", b"no mat file", "cars_annos.mat' cannot be read ("),
        (market, "query/me.jpg", b"", "holds an image named 'me.jpg'; names begin with person"),
    ],
)
def test_damaged_lists(
    make: Callable[[Path], DataSource], name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    source = make(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        source.read()
    assert "\n" not in str(raised.value)


def test_damaged_cars(tmp_path: Path) -> None:
    cars(tmp_path)
    scipy.io.savemat(tmp_path / "cars_annos.mat", {"x": 1})
    with pytest.raises(DataError, match=r"cars_annos\.mat' has no list 'class_names'"):
        Cars196(tmp_path).read()
    names = np.array(CARS, dtype=object)
    scipy.io.savemat(tmp_path / "cars_annos.mat", {"class_names": names, "annotations": 3})
    with pytest.raises(DataError, match="must have 'annotations' with 'relative_im_path', 'class'"):
        Cars196(tmp_path).read()
    rows: list[dict[str, object]] = [
        {"relative_im_path": "car_ims/000001.jpg", "class": number, "test": 0} for number in (1, 9)
    ]
    scipy.io.savemat(
        tmp_path / "cars_annos.mat", {"class_names": names, "annotations": struct_array(rows)}
    )
    with pytest.raises(DataError, match="the class 9: classes are from 1 to 4"):
        Cars196(tmp_path).read()


def test_too_few_classes_to_split(tmp_path: Path) -> None:
    cub(tmp_path)
    write(tmp_path / "classes.txt", ["1 a", "2 b", "3 c"])
    write(tmp_path / "image_class_labels.txt", [f"{i} {i % 3 + 1}" for i in range(1, 13)])
    with pytest.raises(DataError, match="must have at least 4 classes, two to train on, not 3"):
        CUB200(tmp_path).read()


@pytest.mark.parametrize("kind", [CUB200, Cars196])
def test_bad_settings(kind: type[CUB200 | Cars196]) -> None:
    with pytest.raises(DataError, match="'split' must be 'classes' or 'images', not 'half'"):
        kind("anywhere", split="half")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="'image_size' must be at least 8"):
        kind("anywhere", image_size=4)
