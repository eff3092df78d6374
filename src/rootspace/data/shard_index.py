"""Where the samples of a WebDataset lie in its tar files."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rootspace._terminal import bar

from .cache import load_arrays, save_arrays
from .errors import DataError
from .strings import Strings

# Part of the key: raise it whenever the same shards would give another index.
_VERSION = 1
_LONG_WORK = 20  # shards, which take seconds

_IMAGES = ("jpg", "jpeg", "png", "webp", "ppm", "pgm", "pbm", "pnm")
# What the webdataset package takes for a sample's key and the kind of a member, and what it skips.
_MEMBER = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
_META = re.compile(r"__[^/]*__($|/)")
_BLOCK = 512  # bytes; a tar file is made of blocks
_MOST_LABEL, _MOST_IMAGE = 2**20, 2**28
"""Bytes of a member that is read: nobody's memory should depend on what a tar file claims."""


@dataclass(frozen=True)
class ShardIndex:
    """The N samples of some shards, in the order of the shards and of their members.

    Args:
        shard: int64 [N], the place of the tar file in the list of them.
        start: int64 [N], the first byte of the image in it.
        size: int64 [N], the bytes of the image.
        keys: of the samples.
        label: int64 [N], place in `values`.
        values: the labels that occur, numbers in decimal and names, each once.
    """

    shard: np.ndarray
    start: np.ndarray
    size: np.ndarray
    keys: Strings
    label: np.ndarray
    values: Strings


def read_index(shards: Sequence[Path], label_key: str, directory: Path) -> ShardIndex:
    """The index of some shards: one pass over the headers of their members, or the last one's.

    Args:
        shards: tar files.
        label_key: field of a `json` member that holds the label, where there is no `cls` member.
        directory: where the index is kept. It holds as long as paths, sizes and times of change of
            the shards are the same.

    Raises:
        DataError: naming the shard, and the sample where that is what is wrong.
    """
    facts = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in shards]
    digest = hashlib.sha256(repr((_VERSION, label_key, facts)).encode()).hexdigest()
    path = directory / f"webdataset-{digest[:32]}.npz"
    names = ("shard", "start", "size", "label", "keys", "key_ends", "values", "value_ends")
    arrays = load_arrays(path, names)
    if arrays is None:
        arrays = _scan(shards, label_key)
        save_arrays(path, arrays, "The shards are read through again next time")
    return ShardIndex(
        shard=arrays["shard"],
        start=arrays["start"],
        size=arrays["size"],
        keys=Strings(arrays["keys"], arrays["key_ends"]),
        label=arrays["label"],
        values=Strings(arrays["values"], arrays["value_ends"]),
    )


def _scan(shards: Sequence[Path], label_key: str) -> dict[str, np.ndarray]:
    columns = {name: array("q") for name in ("shard", "start", "size", "label")}
    codes: dict[str, int] = {}

    def keys() -> Iterator[str]:
        with bar("Reading shards", len(shards), long=len(shards) >= _LONG_WORK) as shown:
            for place, path in enumerate(shards):
                for sample in _samples(path):
                    value = sample.label(label_key)
                    numbers = (place, *sample.image(), codes.setdefault(value, len(codes)))
                    for column, number in zip(columns.values(), numbers, strict=True):
                        column.append(number)
                    yield sample.key
                shown.advance()

    found, values = Strings.of(keys()), Strings.of(codes)
    strings = {"keys": found.data, "key_ends": found.ends}
    strings |= {"values": values.data, "value_ends": values.ends}
    return {name: np.array(column, dtype=np.int64) for name, column in columns.items()} | strings


class _Sample:
    """Members of one tar file that follow one another and share a key."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self.members: dict[str, tuple[int, int]] = {}
        """Extension -> first byte and number of bytes."""
        self.texts: dict[str, bytes] = {}
        """What the members that may hold the label say."""

    def image(self) -> tuple[int, int]:
        found = [kind for kind in _IMAGES if kind in self.members]
        if len(found) != 1:
            raise self._error(
                f"must have one image ({', '.join(_IMAGES)}), not {len(found)}"
                + (f" ({', '.join(found)})" if found else "")
            )
        return self.members[found[0]]

    def label(self, label_key: str) -> str:
        """The label: a number, in decimal, or a name."""
        try:
            if "cls" in self.texts:
                value = self.texts["cls"].decode().strip()
            elif "json" in self.texts:
                value = json.loads(self.texts["json"])[label_key]
            else:
                raise self._error("must have its label as 'cls' or in 'json'")
        except (KeyError, TypeError, IndexError) as error:
            raise self._error(f"has no field '{label_key}' ('label_key') in its json") from error
        # Not UTF-8, not JSON or nested without end; a DataError of our own too.
        except (ValueError, RecursionError) as error:
            raise (
                error
                if isinstance(error, DataError)
                else self._error(f"has a label that cannot be read ({error})")
            ) from error
        if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
            raise self._error(f"must have a number or a name as its label, not {value!r}")
        value = str(value)
        return value.lstrip("0") or "0" if value.isascii() and value.isdecimal() else value

    def _error(self, what: str) -> DataError:
        return DataError(f"Sample '{self.key}' of shard '{self.path}' {what}.")


def _samples(path: Path) -> Iterator[_Sample]:
    """The samples of a shard, as the webdataset package groups its members."""
    sample: _Sample | None = None
    try:
        with tarfile.open(path, "r:") as archive:
            end = 0
            for member in archive:
                archive.members = []  # type: ignore[assignment]  # or it remembers all of them
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                match = _MEMBER.fullmatch(member.name)
                if not member.isreg() or match is None or _META.match(member.name):
                    continue
                if any(part[:1] == "." and part.strip(".") for part in member.name.split("/")):
                    continue  # hidden, as macOS and notebooks add them
                key, kind = match[1], match[2].lower()
                if sample is None or key != sample.key:
                    if sample is not None:
                        yield sample
                    sample = _Sample(path, key)
                if kind in sample.members:
                    raise DataError(f"Sample '{key}' of shard '{path}' has two members '{kind}'.")
                most = _MOST_LABEL if kind in ("cls", "json") else _MOST_IMAGE
                if kind in (*_IMAGES, "cls", "json") and (member.issparse() or member.size > most):
                    raise DataError(
                        f"Member '{member.name}' of shard '{path}' must be a plain file of at most "
                        f"{most:,} bytes, not a sparse one or one of {member.size:,}: remove it."
                    )
                sample.members[kind] = (member.offset_data, member.size)
                if kind in ("cls", "json"):
                    content = archive.extractfile(member)
                    assert content is not None  # a regular member
                    sample.texts[kind] = content.read()
    except DataError:
        raise
    except Exception as error:  # tarfile raises almost anything on a damaged header
        raise DataError(
            f"Shard '{path}' is damaged, compressed or no tar file ({error}): copy it again, or "
            "unpack it with gunzip or the like."
        ) from error
    if path.stat().st_size < end + _BLOCK:  # an empty block marks the end
        raise DataError(f"Shard '{path}' is cut off: copy it again.")
    if sample is not None:
        yield sample
