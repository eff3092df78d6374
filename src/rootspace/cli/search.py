"""`rootspace search`: the images of a gallery nearest to image files, with their cosines.

The first argument is a run, whose own gallery `rootspace index RUN` made, or any gallery: a folder,
or postgresql://user@host/database#table. A filter (--where) is conditions on label, path, id and
the payload: "label = 'cat' and year >= 2020 and source in ('web', 'scan')". The search is exact. A
file that cannot be read is named on stderr, the others are answered, and the exit code is 2.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from rootspace._terminal import one_line
from rootspace.config import LoaderConfig
from rootspace.gallery import Gallery, Hit, conditions
from rootspace.run import load

from ._arguments import add_device, add_images, add_workers, cosine, image_files
from ._embedding import Unread, file_batches, image_shape
from ._gallery import add_gallery, places
from ._output import add_format, as_json, csv_text
from ._parser import Parser, path


@dataclass(frozen=True)
class Row:
    """What is found for an image."""

    path: str
    hits: list[Hit]

    def content(self) -> dict[str, object]:
        """For JSON."""
        return {"path": self.path, "hits": [asdict(hit) for hit in self.hits]}


def run(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    if options.top < 1:
        raise ValueError(f"Argument '--top' must be at least 1, not {options.top}.")
    where = conditions(options.where, "--where")
    folder, own = places(options.run, options.by)
    trained = load(own, options.device)
    image_shape(trained)
    files, unread = image_files(options.paths), Unread()
    loader = LoaderConfig(num_workers=options.workers)
    with Gallery.open(folder, trained) as gallery:

        def rows() -> Iterator[Row]:
            for paths, z in file_batches(trained, files, loader, "Searching", unread):
                found = gallery.search(z, options.top, where=where, min_cosine=options.min_cosine)
                for file, hits in zip(paths, found, strict=True):
                    yield Row(str(file), hits)

        _print(rows(), options.format)
    unread.check(len(files))
    return 0


def _parser() -> Parser:
    parser = Parser(prog="rootspace search", description=__doc__)
    add_gallery(parser)
    add_images(parser)
    add_workers(parser)
    parser.add_argument("--top", type=int, default=10, metavar="K", help="how many; default 10")
    parser.add_argument("--where", metavar="FILTER", help="search only what a filter finds")
    parser.add_argument("--min_cosine", type=cosine, help="leave out hits below")
    parser.add_argument(
        "--by",
        type=path,
        metavar="RUN",
        help="another run that embeds the images, such as a "
        "distilled one; by default the gallery's own",
    )
    add_device(parser)
    add_format(parser, "jsonl", "csv")
    return parser


def _print(rows: Iterable[Row], how: str) -> None:
    """Print each row as it comes."""
    if how == "json":
        print("[", end="")
        for number, row in enumerate(rows):
            print(",\n" if number else "\n", as_json(row.content()), sep="", end="")
        print("\n]")
    elif how == "jsonl":
        for row in rows:
            print(as_json(row.content()))
    elif how == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["path", "rank", "id", "cosine", "label", "hit"])
        for row in rows:
            for rank, hit in enumerate(row.hits, 1):
                label, found = csv_text(hit.label or ""), csv_text(hit.path or "")
                cells = [csv_text(row.path), rank, hit.id, f"{hit.cosine:.4f}", label, found]
                writer.writerow(cells)
    else:
        for row in rows:
            print(one_line(row.path))
            for hit in row.hits:
                label = "" if hit.label is None else f"  {one_line(hit.label)}"
                print(f"  {hit.cosine:.3f}  {hit.id}{label}  {one_line(hit.path or '-')}")
