"""Files from strangers: small ones that claim to be large, deep or elsewhere end in one line."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rootspace.data import DataError, StoredImages, WebDataset, store_images
from rootspace.data.cache import load_arrays, save_arrays
from rootspace.data.fashion_mnist import read_idx


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100_000_000


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (9, 9), 50).save(buffer, "png")
    return buffer.getvalue()


def shard(root: Path, members: dict[str, bytes]) -> WebDataset:
    (root / "train").mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "train/0.tar", "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return WebDataset(root)


def test_nothing_is_unpacked(tmp_path: Path) -> None:
    """Members are read where they lie: names that lead elsewhere lead nowhere."""
    names = ("../../evil", "/etc/evil", "a/../../evil")
    members = {f"{name}.png": picture() for name in names} | {f"{name}.cls": b"0" for name in names}
    before = sorted(tmp_path.parent.rglob("*evil*"))
    content = shard(tmp_path / "wd", dict(sorted(members.items()))).read()
    assert content.train.batch([0, 1, 2])[0].shape == (3, 3, 32, 32)
    assert sorted(tmp_path.parent.rglob("*evil*")) == before and not Path("/etc/evil.png").exists()


def test_hidden_members_are_skipped(tmp_path: Path) -> None:
    members = {"a/0.png": picture(), "a/0.cls": b"1", "a/._0.png": b"macOS", "._0.cls": b"x"}
    members |= {".cache/7.png": picture(), "b/.x/8.png": picture(), "./1.png": picture()}
    members |= {"./1.cls": b"2"}
    assert len(shard(tmp_path, members).read().train) == 2


@pytest.mark.parametrize(
    "text",
    [b"[" * 200_000, b'{"label": ' + b"[" * 200_000, b'{"label": 1', b"[1]", b"7", b"\xff"],
    ids=["deep", "deeper", "cut", "list", "number", "bytes"],
)
def test_labels_that_cannot_be_read(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(DataError, match=r"Sample '0' of shard '.*0\.tar' has "):
        shard(tmp_path, {"0.png": picture(), "0.json": text}).read()


@pytest.mark.parametrize(("text", "label"), [(b"007", "7"), (b"0", "0"), (b"9" * 5000, "9" * 5000)])
def test_numbers_of_any_length(tmp_path: Path, text: bytes, label: str) -> None:
    assert shard(tmp_path, {"0.png": picture(), "0.cls": text}).read().class_names == [label]


@pytest.mark.parametrize("kind", ["cls", "json", "png"])
def test_members_that_claim_to_be_huge(tmp_path: Path, kind: str) -> None:
    """A tar file with a hole of 5 GB takes no place on the disk."""
    data = shard(tmp_path, {"0.png": picture(), "0.cls": b"1"})
    path = tmp_path / "train/0.tar"
    info = tarfile.TarInfo(f"1.{kind}")
    info.size = 5 * 2**30
    with path.open("r+b") as file:
        file.write(info.tobuf())
        os.truncate(path, 512 + info.size + 1024)
    with pytest.raises(DataError, match=rf"'1\.{kind}' of shard '.*0\.tar' must be a plain file"):
        data.read()


def test_sparse_members(tmp_path: Path) -> None:
    data = shard(tmp_path, {"0.png": picture(), "0.cls": b"1"})
    info = tarfile.TarInfo("0.png")
    info.type = tarfile.GNUTYPE_SPARSE
    info.size = 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" + b"00000001000\0"
    header[483:495] = b"%011o\0" % (5 * 2**30)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "train/0.tar").write_bytes(bytes(header) + bytes(2048))
    with pytest.raises(DataError, match=r"'0\.png' of shard .* must be a plain file"):
        data.read()


@pytest.mark.parametrize("argument", ["train_shards", "test_shards"])
def test_patterns_that_lead_elsewhere(tmp_path: Path, argument: str) -> None:
    shard(tmp_path, {"0.png": picture(), "0.cls": b"1"})
    given = "/etc/*" if argument == "train_shards" else {"val": "/etc/*"}
    with pytest.raises(DataError, match=r"must be relative to 'root', not '/etc/\*'"):
        WebDataset(tmp_path, **{argument: given}).read()  # pyright: ignore[reportArgumentType]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    data = shard(tmp_path, {"0.png": picture(), "0.cls": b"0"})
    (tmp_path / "classnames.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"classnames\.txt' must be UTF-8"):
        data.read()


# --------------------------------------------------------------------------------- IDX files


def test_a_gzip_file_that_unpacks_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(bytes((0, 0, 8, 1)) + struct.pack(">I", 10))
        for _ in range(300):
            file.write(bytes(2**20))
    with pytest.raises(DataError, match=r"a\.gz' must hold 10 bytes .* not more than 10"):
        read_idx(path, 1)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_idx_file_that_claims_to_be_huge(tmp_path: Path, suffix: str) -> None:
    content = bytes((0, 0, 8, 3)) + struct.pack(">III", 2**31, 28, 28) + bytes(99)
    (tmp_path / f"a{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(DataError, match="must hold at most 1,073,741,824 bytes, not 1,683,627,1"):
        read_idx(tmp_path / f"a{suffix}", 3)


def test_an_idx_file_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read .*directory"):
        read_idx(tmp_path, 1)


# ------------------------------------------------------------------------------ stored images


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    pixels = torch.arange(3 * 2 * 2).reshape(3, 1, 2, 2).byte()
    labels, keys = np.array([0, 0, 1]), np.arange(3.0)
    store_images(tmp_path / "m", [pixels], labels, keys, ["a", "b"], (1, 2, 2))
    return tmp_path / "m"


def claim(path: Path, shape: tuple[int, ...], dtype: str = "|u1") -> None:
    """Put another shape into the header of an .npy file."""
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(64))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "keys.npy"])
def test_arrays_that_claim_to_be_huge(memory: Path, name: str) -> None:
    claim(memory / name, (96 * 2**40,))
    with pytest.raises(DataError, match="m' holds no stored images: "):
        StoredImages(memory)


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("images.npy", (2, 1, 2, 2), "|u1"),
        ("images.npy", (3, 1, 2, 2), "|i1"),
        ("labels.npy", (2,), "<i8"),
        ("labels.npy", (3,), "<i4"),
        ("labels.npy", (), "<i8"),
        ("keys.npy", (4,), "<f8"),
    ],
)
def test_arrays_that_do_not_fit(
    memory: Path, name: str, shape: tuple[int, ...], dtype: str
) -> None:
    claim(memory / name, shape, dtype)
    with pytest.raises(DataError, match=r"m/(images|labels|keys)\.npy' must hold "):
        StoredImages(memory)


def test_labels_that_are_none(memory: Path) -> None:
    np.save(memory / "labels.npy", np.array([0, 5, 1]))
    with pytest.raises(DataError, match=r"labels\.npy' holds the label 5"):
        StoredImages(memory)


@pytest.mark.parametrize("text", ["[" * 200_000, "{}", "[]", "3", "", '{"format": 7}'])
def test_what_says_nothing_about_them(memory: Path, text: str) -> None:
    (memory / "about.json").write_text(text)
    with pytest.raises(DataError, match=r"m' (holds no stored images|has format 7)"):
        StoredImages(memory)


# ------------------------------------------------------------------------------------- caches


def test_a_cache_that_somebody_changed_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    arrays = {"a": np.arange(5), "b": np.zeros((2, 3), np.uint8), "c": np.zeros(0, np.int64)}
    save_arrays(path, arrays, "never")
    found = load_arrays(path, arrays)
    assert found is not None and all(np.array_equal(found[k], arrays[k]) for k in arrays)
    assert load_arrays(path, ["a", "d"]) is None and load_arrays(path, ["a"]) is None
    with np.load(path) as stored:
        digest = stored["digest"]
    for change in ({"a": np.arange(6)}, {"a": np.arange(5.0)}, {"b": np.zeros((3, 2), np.uint8)}):
        np.savez(path, **{**arrays, **change}, digest=digest)  # pyright: ignore[reportArgumentType]
        assert load_arrays(path, arrays) is None
