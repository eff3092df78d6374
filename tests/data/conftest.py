"""Small data sets made on the spot: fonts, image trees, IDX files and CIFAR batches."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image
from torchvision import datasets

Box = tuple[int, int, int, int]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keeps the user's cache out of the tests."""
    monkeypatch.setenv("ROOTSPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def make_font(tmp_path: Path) -> Callable[..., Path]:
    """A TrueType font of rectangles: `make_font("Name", {"A": (left, bottom, right, top)})`.

    1000 units an em, every advance 1000; None is a glyph without ink.
    """

    def make(name: str, boxes: dict[str, Box | None]) -> Path:
        glyphs = {".notdef": TTGlyphPen(None).glyph()}
        for character, box in boxes.items():
            pen = TTGlyphPen(None)
            if box is not None:
                left, bottom, right, top = box
                pen.moveTo((left, bottom))
                for corner in ((left, top), (right, top), (right, bottom)):
                    pen.lineTo(corner)
                pen.closePath()
            glyphs[f"u{ord(character):X}"] = pen.glyph()
        builder = FontBuilder(1000, isTTF=True)
        builder.setupGlyphOrder(list(glyphs))
        builder.setupCharacterMap({ord(character): f"u{ord(character):X}" for character in boxes})
        builder.setupGlyf(glyphs)
        bearing = {name: getattr(glyph, "xMin", 0) for name, glyph in glyphs.items()}
        builder.setupHorizontalMetrics({name: (1000, bearing[name]) for name in glyphs})
        builder.setupHorizontalHeader(ascent=800, descent=-200)
        builder.setupNameTable({"familyName": name, "styleName": "Regular"})
        builder.setupOS2()
        builder.setupPost()
        path = tmp_path / "fonts" / f"{name}.ttf"
        path.parent.mkdir(exist_ok=True)
        builder.save(path)
        return path

    return make


@pytest.fixture
def make_images(tmp_path: Path) -> Callable[..., Path]:
    """A tree of PNG files: `make_images({"train/cat": 3})` gives `train/cat/0.png` and so on."""

    def make(counts: dict[str, int], size: tuple[int, int] = (20, 16)) -> Path:
        root = tmp_path / "images"
        generator = np.random.default_rng(0)
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / folder / f"{index}.png")
        return root

    return make


@pytest.fixture
def write_idx() -> Callable[..., None]:
    """`write_idx(path, values, compressed=False)`; a compressed file gets the suffix .gz."""
    return _write_idx


def _write_idx(path: Path, values: np.ndarray, compressed: bool = False) -> None:
    data = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    data += values.astype(np.uint8).tobytes()
    if compressed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(data))
    else:
        path.write_bytes(data)


@pytest.fixture
def make_idx(tmp_path: Path) -> Callable[..., Path]:
    """Fashion-MNIST in small: 12 training and 5 test images, which are kept as `arrays.npz`."""

    def make(compressed: bool = True) -> Path:
        root = tmp_path / "fashion-mnist"
        root.mkdir()
        generator = np.random.default_rng(0)
        arrays = {}
        for part, count in (("train", 12), ("t10k", 5)):
            images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            labels = (np.arange(count) % 10).astype(np.uint8)
            arrays |= {f"{part}_images": images, f"{part}_labels": labels}
            _write_idx(root / f"{part}-images-idx3-ubyte", images, compressed)
            _write_idx(root / f"{part}-labels-idx1-ubyte", labels, compressed)
        np.savez(root / "arrays.npz", **arrays)
        return root

    return make


_CIFAR_BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


@pytest.fixture
def make_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """CIFAR-10 in small: 4 images a batch; torchvision takes these files for the published ones."""

    def make() -> Path:
        folder = tmp_path / datasets.CIFAR10.base_folder
        folder.mkdir()
        generator = np.random.default_rng(0)
        for name in _CIFAR_BATCHES:
            data = generator.integers(0, 256, (4, 3072), dtype=np.uint8)
            labels = generator.integers(0, 10, 4).tolist()
            (folder / name).write_bytes(pickle.dumps({"data": data, "labels": labels}))
        names = [f"class {label}" for label in range(10)]
        (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
        sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        listed = [[name, sums[name]] for name in _CIFAR_BATCHES]
        monkeypatch.setattr(datasets.CIFAR10, "train_list", listed[:5])
        monkeypatch.setattr(datasets.CIFAR10, "test_list", listed[5:])
        meta = {**datasets.CIFAR10.meta, "md5": sums["batches.meta"]}
        monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
        return folder

    return make
