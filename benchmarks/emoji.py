"""Emoji as eight vendors draw them: class folders for `rootspace train`, with unseen vendors.

    python benchmarks/emoji.py FOLDER                  # takes eight packages by `npm pack`, 570 MB
    rootspace train --data ImageFolder --data.root FOLDER/tune \
        --data.test_folders '{facebook: facebook, openmoji: openmoji}'

A class is a sequence of code points without skin tones that all vendors but one draw at least; of
classes that a vendor draws with the same pixels, such as two flags, only the first is kept.
Pictures are 64 x 64, RGB, on white. Three splits hold two whole vendors out, each its own test set:
settings are chosen on `tune` alone, and figures are reported on `report_a` and `report_b`:

    FOLDER/tune            train, facebook, openmoji
    FOLDER/report_a        train, google, fluent
    FOLDER/report_b        train, apple, twitter

Beside each, with the same test sets: `SPLIT_tail`, in which half of the classes have one training
picture, a quarter two, an eighth three and so on; `SPLIT_noise`, in which a tenth of the training
pictures lie in the folder of another class, drawn at random; `SPLIT_later`, the skin tones of the
same emoji, as classes to be added to a finished run. Pictures are hard links to FOLDER/pictures.
Needs npm, and resvg-py for the package that has no bitmaps.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from rootspace._extras import require

SIZE = 64
"""Side of the pictures."""

TONES = frozenset({"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"})
UNSEEN = frozenset({"fe0f", "fe0e", "200d"})
"""Code points that say how to draw the others: vendors write them or not."""

SPLITS = {
    "tune": ("facebook", "openmoji"),
    "report_a": ("google", "fluent"),
    "report_b": ("apple", "twitter"),
}
"""Vendors whose drawings are not trained on."""

TAIL, NOISE = 0.5, 0.1
"""Share of the classes that end at each further picture; share of wrong labels."""


@dataclass(frozen=True)
class Package:
    """A package of npm, and the folder in it whose files are named by code points."""

    name: str
    folder: str


PACKAGES = {
    "apple": Package("emoji-datasource-apple@16.0.0", "img/apple/64"),
    "emojione": Package("emojione-assets@4.5.0", "png/64"),
    "facebook": Package("emoji-datasource-facebook@16.0.0", "img/facebook/64"),
    "fluent": Package("@lobehub/fluent-emoji-3d@1.1.0", "assets"),
    "google": Package("emoji-datasource-google@16.0.0", "img/google/64"),
    "joypixels": Package("emoji-assets@11.0.0", "png/64"),
    "openmoji": Package("openmoji@17.0.0", "color/svg"),
    "twitter": Package("emoji-datasource-twitter@16.0.0", "img/twitter/64"),
}
"""By vendor. EmojiOne became JoyPixels, and neither is held out."""

Drawings = Mapping[str, Mapping[str, np.ndarray]]
"""Vendor -> name of the class -> uint8 `[SIZE, SIZE, 3]`."""


def class_name(file_name: str) -> str:
    """The code points of a file's name: `1F468-200D-2695-FE0F.png` -> `1f468-2695`."""
    points = PurePosixPath(file_name).stem.lower().split("-")
    return "-".join(point for point in points if point not in UNSEEN)


def toneless(name: str) -> str:
    """The class of the same emoji without skin tones."""
    return "-".join(point for point in name.split("-") if point not in TONES) or name


def draw(content: bytes, kind: str) -> np.ndarray:
    """A file of a package -> uint8 `[SIZE, SIZE, 3]` on white."""
    if kind == ".svg":
        resvg_py = require("resvg_py", extra="benchmark", purpose="Drawing SVG files")
        content = bytes(resvg_py.svg_to_bytes(svg_string=content.decode(), width=SIZE))
    image = Image.open(io.BytesIO(content)).convert("RGBA")
    image.thumbnail((SIZE, SIZE), Image.Resampling.BOX)
    square = Image.new("RGBA", (SIZE, SIZE), "white")
    square.alpha_composite(image, ((SIZE - image.width) // 2, (SIZE - image.height) // 2))
    return np.asarray(square.convert("RGB"))


def read_package(path: Path, folder: str) -> dict[str, np.ndarray]:
    """Class -> its picture, of a package as `npm pack` writes it.

    Raises:
        ValueError: it has no such folder, or no pictures in it.
    """
    found: dict[str, tuple[bytes, str]] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            inner = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if str(inner.parent) == folder and inner.suffix in (".png", ".svg", ".webp"):
                file = archive.extractfile(member)
                assert file is not None
                found[class_name(inner.name)] = file.read(), inner.suffix
    if not found:
        raise ValueError(f"Package '{path}' must hold pictures in '{folder}', and has none.")
    with ThreadPoolExecutor() as pool:
        return dict(zip(found, pool.map(draw, *zip(*found.values(), strict=True)), strict=True))


def choose_classes(drawings: Drawings) -> list[str]:
    """The classes without skin tones, sorted by name."""
    count = Counter(name for drawn in drawings.values() for name in drawn)
    wanted = [n for n in sorted(count) if n == toneless(n) and count[n] >= len(drawings) - 1]
    twins: set[str] = set()
    for drawn in drawings.values():
        first: dict[bytes, str] = {}
        for name in wanted:
            if name in drawn and first.setdefault(drawn[name].tobytes(), name) != name:
                twins.add(name)
    return [name for name in wanted if name not in twins]


def long_tail(
    pictures: list[tuple[str, str]], generator: np.random.Generator
) -> Iterator[tuple[str, str, str]]:
    """Of each class a few pictures; most classes have one to three."""
    most: dict[str, int] = {}
    for place in generator.permutation(len(pictures)):
        name, vendor = pictures[place]
        most.setdefault(name, int(generator.geometric(TAIL)))
        if most[name]:
            most[name] -= 1
            yield name, vendor, name


def wrong_labels(
    pictures: list[tuple[str, str]], generator: np.random.Generator
) -> Iterator[tuple[str, str, str]]:
    """All pictures, some in another class; each class keeps one of its own."""
    names = sorted({name for name, _ in pictures})
    kept: set[str] = set()
    for place in generator.permutation(len(pictures)):
        name, vendor = pictures[place]
        other = names[(names.index(name) + int(generator.integers(1, len(names)))) % len(names)]
        wrong = bool(generator.random() < NOISE) and name in kept
        kept.add(name)
        yield name, vendor, other if wrong else name


def write(drawings: Drawings, out: Path, seed: int = 0) -> None:
    """The folders of all splits, as the module says. `out` must not hold any of them yet."""
    base = choose_classes(drawings)
    known = set(base)
    toned = sorted(
        {
            n
            for drawn in drawings.values()
            for n in drawn
            if n != toneless(n) and toneless(n) in known
        }
    )
    for vendor, drawn in drawings.items():
        for name in (*base, *toned):
            if name in drawn:
                path = out / "pictures" / name / f"{vendor}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(drawn[name]).save(path)

    def link(folder: Path, triples: Iterator[tuple[str, str, str]]) -> None:
        for name, vendor, label in triples:
            path = folder / label / f"{name}_{vendor}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(out / "pictures" / name / f"{vendor}.png", path)

    for number, (split, unseen) in enumerate(SPLITS.items()):
        seen = sorted(set(drawings) - set(unseen))
        train = [(name, vendor) for vendor in seen for name in base if name in drawings[vendor]]
        trained = {name for name, _ in train}
        later = [(n, vendor) for vendor in seen for n in toned if n in drawings[vendor]]
        added = {name for name, _ in later}
        for suffix, names, triples in (
            ("", trained, ((n, v, n) for n, v in train)),
            ("_tail", trained, long_tail(train, np.random.default_rng([seed, number, 0]))),
            ("_noise", trained, wrong_labels(train, np.random.default_rng([seed, number, 1]))),
            ("_later", added, ((n, v, n) for n, v in later)),
        ):
            link(out / f"{split}{suffix}" / "train", triples)
            for vendor in unseen:
                tested = sorted(names & set(drawings[vendor]))
                link(out / f"{split}{suffix}" / vendor, ((n, vendor, n) for n in tested))


def fetch(name: str, folder: Path) -> Path:
    """The archive of a package, by `npm pack` unless it is there."""
    path = folder / (name.removeprefix("@").replace("/", "-").replace("@", "-") + ".tgz")
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", name], cwd=folder, check=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="new folder")
    parser.add_argument("--packages", type=Path, help="folder of archives that are there already")
    parser.add_argument("--seed", type=int, default=0, help="of the tail and the wrong labels")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"Argument 'out' must be a new folder, not {arguments.out}.")
    if shutil.which("npm") is None and arguments.packages is None:
        parser.error("npm must be installed, or --packages name a folder of archives.")
    archives = arguments.packages or arguments.out / "packages"
    drawings = {
        vendor: read_package(fetch(package.name, archives), package.folder)
        for vendor, package in PACKAGES.items()
    }
    write(drawings, arguments.out, arguments.seed)
    for split in sorted(path for path in arguments.out.iterdir() if (path / "train").is_dir()):
        sets = {d.name: sum(1 for _ in d.glob("*/*.png")) for d in sorted(split.iterdir())}
        classes = sum(1 for _ in (split / "train").iterdir())
        print(f"{split}: {classes:,} classes; " + ", ".join(f"{n} {c:,}" for n, c in sets.items()))


if __name__ == "__main__":
    main()
