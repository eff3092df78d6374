"""Files with random damage: what is read is right, or a DataError names the file.

`ROOTSPACE_FUZZ=5000 pytest tests/data/test_data_fuzz.py` tries so many, other ones each time.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import FLOAT, GRAY, PALETTE, RGB, RGBA, png, tiff
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fuzzing import examples
from rootspace.data import DataError, ImagePreprocessing, StoredImages, WebDataset, store_images
from rootspace.data.cache import load_arrays, save_arrays
from rootspace.data.fashion_mnist import read_idx
from rootspace.data.strings import Strings

fuzzed = settings(
    max_examples=examples(60),
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # files are written anew
)
SHAPE = ImagePreprocessing(3, 8, (0.5,) * 3, (0.5,) * 3)

Damage = Callable[[bytes], bytes]


@st.composite
def damage(draw: st.DrawFn) -> Damage:
    """Some bytes changed, some left out or put in, or the end cut off."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["byte", "run", "drop", "add", "cut"]),
                st.floats(0, 1, exclude_max=True),
                st.binary(min_size=1, max_size=8),
            ),
            min_size=1,
            max_size=4,
        )
    )

    def change(content: bytes) -> bytes:
        found = bytearray(content)
        for kind, where, new in steps:
            place = int(where**2 * len(found))  # headers come first
            if kind == "byte":
                found[place : place + 1] = new[:1]
            elif kind == "run":
                found[place : place + len(new)] = new
            elif kind == "drop":
                del found[place : place + len(new)]
            elif kind == "add":
                found[place:place] = new
            else:
                del found[place:]
        return bytes(found)

    return change


def pixels(bands: int, bits: int = 8) -> np.ndarray:
    return np.random.default_rng(bands).integers(0, 2**bits, (12, 9, bands))


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels(3).astype(np.uint8)).convert(mode)
    image.save(buffer, kind, **options)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


EXIF = Image.Exif()
EXIF[0x0112] = 6
IMAGES = {
    "png": png(pixels(3), RGB, 8),
    "png rgba 16": png(pixels(4, 16), RGBA, 16),
    "png gray 2 clear": png(pixels(1, 2), GRAY, 2, tRNS=b"\0\1"),
    "png gray 16 clear": png(pixels(1, 16), GRAY, 16, tRNS=b"\0\1"),
    "png palette": png(pixels(1, 2), PALETTE, 2, PLTE=bytes(range(12)), tRNS=b"\0\x80"),
    "tiff 12": tiff(pixels(1, 12)[..., 0], 12),
    "tiff float": tiff(np.random.default_rng(0).random((12, 9)), 32, FLOAT),
    "tiff lzw": saved("tiff", compression="tiff_lzw"),
    "jpeg": saved("jpeg", exif=EXIF),
    "jpeg cmyk": saved("jpeg", "CMYK"),
    "gif": saved("gif", "P"),
    "webp": saved("webp", lossless=True),
    "bmp": saved("bmp"),
    "ppm": saved("ppm"),
    "tga": saved("tga"),
    "jp2": saved("jpeg2000"),
}


@pytest.mark.parametrize("kind", IMAGES)
@fuzzed
@given(change=damage())
def test_images(kind: str, change: Damage, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(change(IMAGES[kind]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about damaged tags
        try:
            found = SHAPE(path)
        except DataError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert found.shape == (3, 8, 8)


@pytest.mark.parametrize("zipped", [False, True])
@fuzzed
@given(change=damage())
def test_idx(zipped: bool, change: Damage, tmp_path: Path) -> None:
    values = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    content = bytes((0, 0, 8, 3)) + struct.pack(">III", *values.shape) + values.tobytes()
    path = tmp_path / "a"
    path.write_bytes(change(gzip.compress(content, mtime=0) if zipped else content))
    try:
        found = read_idx(path, 3)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert found.dtype == np.uint8 and found.ndim == 3
        assert np.array_equal(found, values) or not zipped, "a gzip file has a check sum"


def archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        for name, content in {
            "0.png": IMAGES["png"],
            "0.cls": b"3",
            "long" * 40 + ".png": IMAGES["png"],  # a header of its own
            "long" * 40 + ".json": b'{"label": "cat"}',
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.pax_headers = {"comment": "x" * 9}
            file.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = archive()


@fuzzed
@given(change=damage())
def test_shards(change: Damage, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir(exist_ok=True)
    path = tmp_path / "train/0.tar"
    path.write_bytes(change(ARCHIVE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = WebDataset(tmp_path, cache_dir=str(tmp_path / "cache")).read().train
            for row in range(len(data)):
                data.batch([row])
        except DataError as error:
            assert str(tmp_path / "train") in str(error) and "\n" not in str(error)


@fuzzed
@given(change=damage())
def test_the_index_of_shards(change: Damage, tmp_path: Path) -> None:
    """It is made again where it is damaged."""
    (tmp_path / "train").mkdir(exist_ok=True)
    path = tmp_path / "train/0.tar"
    if not path.exists():
        path.write_bytes(ARCHIVE)
    cache = tmp_path / "cache"
    first = WebDataset(tmp_path, cache_dir=str(cache)).read()
    (index,) = cache.iterdir()
    index.write_bytes(change(index.read_bytes()))
    again = WebDataset(tmp_path, cache_dir=str(cache)).read()
    assert again.class_names == first.class_names == ["3", "cat"]
    assert (again.train[0][0] == first.train[0][0]).all() and len(again.train) == 2


@fuzzed
@given(change=damage())
def test_caches(change: Damage, tmp_path: Path) -> None:
    strings = Strings.of(["cat", "dog", "Füchse", ""])
    arrays = {"data": strings.data, "ends": strings.ends}
    path = tmp_path / "a.npz"
    save_arrays(path, arrays, "never")
    path.write_bytes(change(path.read_bytes()))
    found = load_arrays(path, arrays)
    if found is not None:
        assert list(Strings(found["data"], found["ends"])) == list(strings)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "keys.npy", "about.json"])
@fuzzed
@given(change=damage())
def test_stored_images(name: str, change: Damage, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    if not folder.exists():
        images = np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2)
        labels, keys = np.array([0, 0, 1]), np.arange(3.0)
        batches = [torch.from_numpy(images)]
        store_images(folder, batches, labels, keys, ["a", "b"], (1, 2, 2))
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (folder / name).write_bytes(change((tmp_path / name).read_bytes()))
    try:
        stored = StoredImages(folder)
        assert stored.batch([0, 1, 2][: len(stored)])[0].shape[1:] == stored.image_shape
    except DataError as error:
        assert str(folder) in str(error) and "\n" not in str(error)
