"""`rootspace embed`: embeddings of image files, as Parquet or npy.

A file that cannot be read is named on stderr, the others are embedded, and the exit code is 2.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np

from rootspace._extras import require
from rootspace._files import replacing
from rootspace._terminal import one_line
from rootspace.config import LoaderConfig
from rootspace.run import load

from ._arguments import add_images, add_run, add_workers, check_out, image_files
from ._embedding import Unread, file_batches, image_shape
from ._output import add_format, answer
from ._parser import Parser, path

Write = Callable[[list[Path], np.ndarray, list[str], np.ndarray], None]
"""Paths of some images, float32 embeddings `[B, dim]`, classes, cosines `[B]`."""


def run(arguments: list[str]) -> int:
    parser = Parser(prog="rootspace embed", description=__doc__)
    add_run(parser)
    add_images(parser)
    add_workers(parser)
    parser.add_argument(
        "--out",
        type=path,
        required=True,
        help="a .parquet file (path, class, cosine, embedding), or a .npy file [images, dim], "
        "with the paths in a .txt file beside it, a line each",
    )
    add_format(parser)
    options = parser.parse_args(arguments)
    out: Path = options.out
    check_out(out, WRITERS)
    names = out.with_suffix(".txt")
    if out.suffix == ".npy" and names.exists() and not out.exists():
        raise ValueError(
            f"Argument '--out': paths would go to {names}, which is there without {out.name}, so "
            "it holds something else: name another file."
        )
    trained = load(options.run, options.device)
    image_shape(trained)
    files = image_files(options.paths)
    loader = LoaderConfig(num_workers=options.workers)
    classes, dim, number, unread = trained.classes(), trained.model.head.dim, 0, Unread()
    with WRITERS[out.suffix](out, len(files), dim) as write:
        for some, z in file_batches(trained, files, loader, "Embedding", unread):
            prediction = classes.predict(z)
            names = classes.names(prediction.label[:, 0].tolist())
            write(some, z.cpu().numpy(), names, prediction.cosine[:, 0].cpu().numpy())
            number += len(some)
        if not number:
            unread.check(len(files))  # nothing is written
    answer(
        options,
        f"{number} embeddings of dimension {dim} in {out}",
        {"out": str(out), "images": number, "dim": dim},
    )
    unread.check(len(files))
    return 0


@contextmanager
def _npy(out: Path, most: int, dim: int) -> Iterator[Write]:
    """Both files or none."""
    form = np.lib.format

    def header(number: int) -> dict[str, object]:
        descr = form.dtype_to_descr(np.dtype(np.float32))
        return {"descr": descr, "fortran_order": False, "shape": (number, dim)}

    number = 0
    with (
        replacing(out.with_suffix(".txt")) as names,
        replacing(out) as rows,
        names.open("w", encoding="utf-8", newline="\n") as text,
        rows.open("wb") as array,
    ):
        form.write_array_header_1_0(array, header(most))
        start = array.tell()

        def write(
            files: list[Path], z: np.ndarray, classes: Sequence[str], cosines: np.ndarray
        ) -> None:
            nonlocal number
            text.writelines(f"{one_line(str(file))}\n" for file in files)
            array.write(np.ascontiguousarray(z, np.float32).tobytes())
            number += len(files)

        yield write
        # The header leaves room for any number of rows, so it is as long as it was.
        array.seek(0)
        form.write_array_header_1_0(array, header(number))
        assert array.tell() == start


@contextmanager
def _parquet(out: Path, most: int, dim: int) -> Iterator[Write]:
    arrow = require("pyarrow", extra="train", purpose="`rootspace embed` to Parquet")
    parquet = require("pyarrow.parquet", extra="train", purpose="`rootspace embed` to Parquet")
    schema = arrow.schema(
        [
            ("path", arrow.string()),
            ("class", arrow.string()),
            ("cosine", arrow.float32()),
            ("embedding", arrow.list_(arrow.float32(), dim)),
        ]
    )
    with replacing(out) as temporary, parquet.ParquetWriter(temporary, schema) as writer:

        def write(
            files: list[Path], z: np.ndarray, classes: Sequence[str], cosines: np.ndarray
        ) -> None:
            values = arrow.array(np.asarray(z, np.float32).reshape(-1))
            columns = [
                # Names that are not UTF-8 are escaped.
                arrow.array([os.fsencode(f).decode("utf-8", "backslashreplace") for f in files]),
                arrow.array(classes),
                arrow.array(np.asarray(cosines, np.float32)),
                arrow.FixedSizeListArray.from_arrays(values, dim),
            ]
            writer.write_table(arrow.table(columns, schema=schema))

        yield write


WRITERS: dict[str, Callable[[Path, int, int], AbstractContextManager[Write]]] = {
    ".parquet": _parquet,
    ".npy": _npy,
}
"""By the ending of the file: what writes the embeddings of so many images at most."""
