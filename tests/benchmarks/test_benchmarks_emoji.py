"""The emoji set, from small packages made here."""

from __future__ import annotations

import importlib
import io
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from rootspace.data import ImageFolder

CLASSES = [f"1f6{i:02x}" for i in range(30)]
TONED = "1f600-1f3fb"


@pytest.fixture
def emoji(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("emoji")


def picture(number: int, fill: int = 255) -> np.ndarray:
    generator = np.random.default_rng(number)
    drawn = generator.integers(0, 256, (64, 64, 3), np.uint8)
    drawn[:8] = fill
    return drawn


def drawings(emoji: ModuleType) -> dict[str, dict[str, np.ndarray]]:
    """Of each vendor other pictures of the same classes."""
    return {
        vendor: {name: picture(1000 * v + i) for i, name in enumerate([*CLASSES, TONED])}
        for v, vendor in enumerate(emoji.PACKAGES)
    }


def packed(path: Path, folder: str, files: dict[str, np.ndarray]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, pixels in files.items():
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, "png")
            member = tarfile.TarInfo(f"package/{folder}/{name}")
            member.size = content.tell()
            content.seek(0)
            archive.addfile(member, content)
    return path


def listed(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.png")}


def test_names_are_code_points_without_those_that_say_how_to_draw(emoji: ModuleType) -> None:
    assert emoji.class_name("1F468-200D-2695-FE0F.png") == "1f468-2695"
    assert emoji.toneless("1f468-1f3fb-2695") == "1f468-2695"
    assert emoji.toneless("1f3fb") == "1f3fb", "the tone itself is an emoji"


def test_packages_are_read_on_white(emoji: ModuleType, tmp_path: Path) -> None:
    clear = np.zeros((72, 72, 4), np.uint8)
    clear[20:50, 20:50] = 255, 0, 0, 255
    path = packed(tmp_path / "a.tgz", "img/64", {"1F600-FE0F.png": clear, "readme.txt": clear})
    found = emoji.read_package(path, "img/64")
    assert list(found) == ["1f600"]
    assert found["1f600"].shape == (64, 64, 3)
    assert found["1f600"][0, 0].tolist() == [255, 255, 255]
    assert found["1f600"][32, 32].tolist() == [255, 0, 0]
    with pytest.raises(ValueError, match="must hold pictures in 'png', and has none"):
        emoji.read_package(path, "png")


def test_classes_are_drawn_by_all_vendors_but_one_and_differ(emoji: ModuleType) -> None:
    drawn = drawings(emoji)
    del drawn["apple"][CLASSES[0]]
    del drawn["apple"][CLASSES[1]], drawn["google"][CLASSES[1]]
    drawn["twitter"][CLASSES[5]] = drawn["twitter"][CLASSES[3]]
    assert emoji.choose_classes(drawn) == [CLASSES[0], *CLASSES[2:5], *CLASSES[6:]]


def test_whole_vendors_are_held_out(emoji: ModuleType, tmp_path: Path) -> None:
    emoji.write(drawings(emoji), tmp_path)
    for split, unseen in emoji.SPLITS.items():
        root = tmp_path / split
        train = listed(root / "train")
        assert len(train) == 30 * 6
        assert not any(vendor in path for path in train for vendor in unseen)
        for vendor in unseen:
            assert listed(root / vendor) == {f"{name}/{name}_{vendor}.png" for name in CLASSES}
        assert {path.split("/")[0] for path in listed(tmp_path / f"{split}_later")} == {
            "train",
            *unseen,
        }
        assert all(TONED in path for path in listed(tmp_path / f"{split}_later"))
    content = ImageFolder(
        tmp_path / "tune", test_folders={"facebook": "facebook", "openmoji": "openmoji"}
    ).read()
    assert len(content.class_names) == 30
    assert len(content.train) == 180


def test_tail_and_noise_go_by_the_seed(emoji: ModuleType, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        emoji.write(drawings(emoji), tmp_path / name, seed)
    for kind in ("tune_tail", "tune_noise"):
        first, same, other = (listed(tmp_path / name / kind / "train") for name in "abc")
        assert first == same != other
    tail = [path.parent.name for path in (tmp_path / "a/tune_tail/train").rglob("*.png")]
    assert set(tail) == set(CLASSES)
    counts = [tail.count(name) for name in CLASSES]
    assert sum(count <= 3 for count in counts) > 20
    noise = (tmp_path / "a/tune_noise/train").rglob("*.png")
    wrong = [not path.name.startswith(path.parent.name) for path in noise]
    assert len(wrong) == 180
    assert 0.03 < sum(wrong) / len(wrong) < 0.2
