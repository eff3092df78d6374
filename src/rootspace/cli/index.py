"""`rootspace index`: images of a run into a gallery that can be searched.

  rootspace index RUN FOLDER [FOLDER ...]     image files; a folder in FOLDER is a class
  rootspace index RUN                         the training inputs of the run's own data
  rootspace index RUN --data ImageFolder --data.root photos --data.image_size 64

The gallery is RUN/gallery unless --gallery names another folder, or a table of PostgreSQL with
pgvector: postgresql://user@host/database#table. `rootspace search` asks it. A second call adds what
is new and takes files that have changed anew. A call that was stopped goes on when it is given
again. An image whose content is there already is not added. A file that cannot be read, and a
row of --payload without an image, are named on stderr, and the exit code is 2. Data that are no
files are read again as a whole; what has changed in them is added.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator
from dataclasses import asdict
from functools import reduce
from operator import add
from pathlib import Path

from rootspace._extras import require
from rootspace._terminal import bar, one_line, say
from rootspace.data import DataModule, FileImages, View, make_data
from rootspace.gallery import Gallery, ImageFile, Indexed, index_files, index_inputs, missing_files
from rootspace.gallery.filters import conditions
from rootspace.gallery.gallery import NAME
from rootspace.gallery.items import Payload, Value, check_payload
from rootspace.gallery.lance import LanceStore
from rootspace.gallery.locations import holds_gallery
from rootspace.run import Run, load
from rootspace.search.index import LEAST
from rootspace.train.evaluation import check_shape

from ._arguments import add_run, check_out, image_files
from ._embedding import Unread, image_shape, readable_batches
from ._gallery import location
from ._output import add_format, answer
from ._parser import Parser, path
from ._test_sets import data_config, place_of, split_settings

PROG = "rootspace index"

SHOWN = 10
"""Rows of payloads without a file that are named."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(\.[0-9]+)?")
"""In a table of payloads, of at most 64 bits."""


def run(arguments: list[str]) -> int:
    own, settings = split_settings(arguments)
    options = _parser().parse_intermixed_args(own)
    if options.paths and settings:
        raise ValueError(f"Argument '{settings[0]}' is for data by their class: leave out FOLDER.")
    if options.payload is not None and not options.paths:
        raise ValueError("Argument '--payload' is for image files: give FOLDER.")
    if options.faiss is not None:
        check_out(options.faiss, argument="--faiss")
        require("faiss", extra="faiss", purpose="`rootspace index --faiss`")
    if options.show < 0:
        raise ValueError(f"Argument '--show' must not be negative, not {options.show}.")
    trained = load(options.run, options.device)
    changes_only = options.delete is not None or options.delete_missing or options.faiss is not None
    data = None if options.paths or (changes_only and not settings) else _data(trained, settings)
    # All arguments are looked at before anything is deleted or made.
    files, unused = _files(trained, options) if options.paths else ([], [])
    if data is not None:
        files = _files_of(data)
    where = conditions(options.delete, "--delete")
    new = bool(options.paths) or data is not None
    with _opened(trained, options, new) as gallery:
        deleted = _delete(gallery, gallery.ids(where).tolist() if where else [])
        found, unread = Indexed(), Unread()
        try:
            if files:
                found = _index_files(gallery, files, unread)
            elif data is not None:
                found = _index_data(gallery, data, unread)
            if options.delete_missing:  # now that the items of moved files have their new paths
                deleted += _delete(gallery, missing_files(gallery))
            if found.added >= LEAST and isinstance(gallery.store, LanceStore):
                say(f"Grouping {len(gallery):,} images, so that a search looks at few of them.")
            gallery.build_index()
        except KeyboardInterrupt:
            say(
                f"Stopped. {len(gallery):,} images are in {gallery.store.name}; the same command "
                "adds the others."
            )
            return 130
        if options.faiss is not None:
            gallery.export_faiss(options.faiss)
        _answer(options, gallery, found, deleted)
    unread.check(found.seen)
    if unused:
        raise ValueError(f"{len(unused):,} rows of {options.payload} name no image, see above.")
    return 0


def _parser() -> Parser:
    parser = Parser(prog=PROG, description=__doc__)
    add_run(parser)
    parser.add_argument(
        "paths", nargs="*", type=path, metavar="FOLDER", help="image files, or folders of them"
    )
    parser.add_argument(
        "--gallery",
        type=location,
        metavar="FOLDER|ADDRESS",
        help="of the gallery; RUN/gallery by default",
    )
    parser.add_argument("--no_labels", action="store_true", help="folders in FOLDER are no classes")
    parser.add_argument(
        "--payload",
        type=path,
        metavar="FILE.csv",
        help="what to keep beside image files: the column path, relative to the table's folder, "
        "and one for each name; true, false, and numbers such as -3 and 2.5 are taken as such, "
        "anything else is text",
    )
    parser.add_argument("--delete", metavar="WHERE", help="first, delete what a filter finds")
    parser.add_argument(
        "--delete_missing", action="store_true", help="in the end, delete images whose file is gone"
    )
    parser.add_argument(
        "--float16", action="store_true", help="a new gallery keeps embeddings in half precision"
    )
    parser.add_argument(
        "--faiss", type=path, metavar="FILE", help="write an IndexFlatIP, and FILE.ids.npy"
    )
    parser.add_argument(
        "--show", type=int, default=10, metavar="N", help="how many duplicates to name; default 10"
    )
    add_format(parser)
    return parser


def _opened(trained: Run, options: argparse.Namespace, new: bool) -> Gallery:
    """The gallery, which is made where there is none if it may be new."""
    place = trained.folder / NAME if options.gallery is None else options.gallery
    if not holds_gallery(place):
        if not new:
            raise ValueError(f"{place} has no gallery that could be changed or written.")
        try:
            return Gallery.create(place, trained, float16=options.float16)
        except FileExistsError:
            if not holds_gallery(place):
                raise
    # It was there, or another process has made it meanwhile.
    gallery = Gallery.open(place, trained)
    if options.float16 and not gallery.store.float16:
        name = gallery.store.name
        gallery.close()
        raise ValueError(
            f"Argument '--float16' is for a new gallery: {name} keeps single precision."
        )
    return gallery


def _delete(gallery: Gallery, ids: list[int]) -> int:
    gallery.delete(ids)
    return len(ids)


def _files(trained: Run, options: argparse.Namespace) -> tuple[list[ImageFile], list[Path]]:
    """The image files, each once, with label and payload; and paths of payloads without a file."""
    image_shape(trained)
    payloads = {} if options.payload is None else _payloads(options.payload)
    files: dict[Path, ImageFile] = {}
    for root in options.paths:
        for file in image_files([root]):
            inner = file.relative_to(root).parts if file != root else ()
            label = inner[0] if len(inner) > 1 and not options.no_labels else None
            files[file.absolute()] = ImageFile(file, label, payloads.get(file.resolve(), {}))
    unused = sorted(payloads.keys() - {file.resolve() for file in files})
    for one in unused[:SHOWN]:
        say(one_line(f"{options.payload}: {one} is none of the images"))
    if len(unused) > SHOWN:
        say(f"... and {len(unused) - SHOWN:,} more")
    return list(files.values()), unused


def _files_of(data: DataModule) -> list[ImageFile]:
    """The image files of a run's training data; none where they are not all files."""
    images, names = data.train_dataset, data.class_names
    holder = images
    while isinstance(holder, View):
        holder = holder.data
    if not isinstance(holder, FileImages):
        return []
    return [
        ImageFile(Path(place_of(images, row) or ""), str(names[label]))
        for row, label in enumerate(images.labels.tolist())
    ]


def _index_files(gallery: Gallery, files: list[ImageFile], unread: Unread) -> Indexed:
    parts = list[Indexed]()
    with bar("Indexing", len(files)) as shown:
        for part in index_files(gallery, files):
            parts.append(part)
            _tell(part, unread)
            shown.advance(part.seen)
    return reduce(add, parts, Indexed())


def _data(trained: Run, settings: list[str]) -> DataModule:
    data = make_data(data_config(trained, settings, f"{PROG} RUN"))
    data.setup()
    check_shape(trained.model, data, "The run")
    return data


def _index_data(gallery: Gallery, data: DataModule, unread: Unread) -> Indexed:
    trained = gallery.run
    assert trained is not None
    images, names = data.train_dataset, data.class_names
    embed = None if trained.model.preprocessing is not None else trained.embed_batch
    source = type(data.source).__name__
    found, lost = Indexed(), unread.number
    for x, labels, rows in readable_batches(images, data.loader, "Indexing", unread):
        own = [str(names[label]) for label in labels.tolist()]
        # Inputs without a name are known by their number, to be recognized the next time.
        paths = [place_of(images, row) or f"{source}/{row}" for row in rows.tolist()]
        part = index_inputs(gallery, x, own, paths, embed)
        _tell(part, unread)
        found += part
    return found + Indexed(seen=unread.number - lost - _unreadable(found))


def _unreadable(found: Indexed) -> int:
    return sum(one.reason != "duplicate" for one in found.rejected)


def _tell(part: Indexed, unread: Unread) -> None:
    for one in part.rejected:
        if one.reason != "duplicate":
            unread.add(one.message if one.reason == "unreadable" else f"{one.path}: {one.message}")


def _answer(options: argparse.Namespace, gallery: Gallery, found: Indexed, deleted: int) -> None:
    twice = [one for one in found.rejected if one.reason == "duplicate"]
    for one in twice[: options.show]:
        say(one_line(f"{one.path}: {one.message}"))
    if len(twice) > options.show > 0:
        say(f"... and {len(twice) - options.show:,} more: --show {len(twice)}, or --format json")
    counts = {
        "added": found.added,
        "changed": found.changed,
        "known": found.known,
        "duplicates": len(twice),
        "deleted": deleted,
    }
    shown = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
    text = f"{len(gallery):,} images in {gallery.store.name}: {shown or 'nothing has changed'}"
    if options.faiss is not None:
        text += f"; FAISS index: {options.faiss}"
    rejected = [asdict(one) for one in found.rejected]
    about = {"gallery": gallery.store.name, "images": len(gallery)}
    content: dict[str, object] = {**about, **counts, "rejected": rejected}
    answer(options, text, content)


def _payloads(file: Path) -> dict[Path, Payload]:
    """Resolved path -> payload, of a CSV file; relative paths begin at its folder.

    Raises:
        ValueError: no such file, not CSV in UTF-8, without the column path, with a column that no
            payload can have, or with two rows for one path.
    """
    found: dict[Path, Payload] = {}
    for row in _rows(file):
        name = row.pop("path")
        if (file.parent / name).resolve() in found:
            raise ValueError(f"{file} must have one row for each path, not two for {name}.")
        payload = {key: _value(text) for key, text in row.items() if text}
        found[(file.parent / name).resolve()] = check_payload(payload, "--payload")
    return found


def _rows(file: Path) -> Iterator[dict[str, str]]:
    # Spreadsheets write a byte order mark.
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            if "path" not in (reader.fieldnames or ()):
                raise ValueError(f"{file} must have the column path.")
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(f"{file}, line {reader.line_num}: not as many cells as names.")
                yield row
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8: save it as CSV in UTF-8.") from error
        except csv.Error as error:
            raise ValueError(f"{file}, line {reader.line_num}: not CSV: {error}.") from error


def _value(text: str) -> Value:
    """What a cell holds: a number only where it is written as numbers are, unlike 007."""
    if text in ("true", "false"):
        return text == "true"
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    return int(text) if match[1] is None else float(text)
