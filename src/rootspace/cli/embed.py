"""`rootspace embed`: embeddings of image files, as Parquet or npy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rootspace._extras import require
from rootspace.run import load

from ._arguments import Parser, add_run, image_files
from ._embedding import file_batches


def run(arguments: list[str]) -> int:
    parser = Parser(prog="rootspace embed", description=__doc__)
    add_run(parser)
    parser.add_argument("paths", nargs="+", type=Path, help="image files, or folders of them")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="a .parquet file (path, class, cosine, embedding), or a .npy file [images, dim], "
        "with the paths in a .txt file beside it",
    )
    options = parser.parse_args(arguments)
    if options.out.suffix not in (".parquet", ".npy"):
        raise ValueError(f"Argument '--out' must end in .parquet or .npy, not {options.out}.")
    if not options.out.parent.is_dir():
        raise ValueError(f"Argument '--out': the folder {options.out.parent} does not exist.")
    trained = load(options.run, options.device)
    classes = trained.classes()
    files, parts, labels, cosines = image_files(options.paths), [], [], []
    for _, z in file_batches(trained, files, "Embedding"):
        prediction = classes.predict(z)
        parts.append(z.cpu().numpy())
        labels += prediction.label[:, 0].tolist()
        cosines += prediction.cosine[:, 0].tolist()
    _write(options.out, files, np.concatenate(parts), classes.names(labels), cosines)
    print(f"{len(files)} embeddings of dimension {parts[0].shape[1]} in {options.out}")
    return 0


def _write(
    out: Path,
    files: list[Path],
    embeddings: np.ndarray,
    names: list[str],
    cosines: list[float],
) -> None:
    if out.suffix == ".npy":
        np.save(out, embeddings)
        out.with_suffix(".txt").write_text("".join(f"{f}\n" for f in files), encoding="utf-8")
        return
    arrow = require("pyarrow", extra="train", purpose="`rootspace embed` to Parquet")
    parquet = require("pyarrow.parquet", extra="train", purpose="`rootspace embed` to Parquet")
    values = arrow.array(embeddings.reshape(-1))
    table = arrow.table(
        {
            "path": [str(file) for file in files],
            "class": names,
            "cosine": arrow.array(cosines, arrow.float32()),
            "embedding": arrow.FixedSizeListArray.from_arrays(values, embeddings.shape[1]),
        }
    )
    parquet.write_table(table, out)
