"""What a gallery costs: opening, adding, exact search, beside faiss and LanceDB's own search.

    python benchmarks/gallery.py [--quick] [--items 100000 1000000] [--dim 256] [--threads 1]

Embeddings lie around class directions at a mean cosine of about 0.8, as those of trained networks
do. All are measured in one process, one after the other in each round, and shown relative to faiss
IndexFlatIP. Times are processor times of the process, with all its threads: other work on the
machine changes them little. Answers are held against those of faiss: the share of the ten nearest
that is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import lancedb
import numpy as np
import torch
from _common import machine, table

from rootspace.gallery import Pin
from rootspace.gallery.items import Found, Rows
from rootspace.gallery.lance import TABLE, LanceStore, unit

K = 10
BATCHES = (1, 32, 1024)
PART = 10_000
LANCE_QUERIES = 3
"""Queries that LanceDB's own search is asked: it takes them one by one."""

Search = Callable[[np.ndarray], np.ndarray]
"""From float32 unit vectors `[N, dim]` to the ids `[N, K]` of the nearest."""


def embeddings(number: int, dim: int, seed: int) -> np.ndarray:
    """float32 `[number, dim]` unit vectors around as many directions as there are items in 20."""
    generator = np.random.default_rng(seed)
    centers = np.random.default_rng(0).standard_normal((max(1, number // 20), dim))
    found = np.empty((number, dim), np.float32)
    for start in range(0, number, PART):
        rows = min(PART, number - start)
        noise = 0.75 * generator.standard_normal((rows, dim))
        found[start : start + rows] = unit(
            centers[generator.integers(0, len(centers), rows)] + noise
        )
    return found


def rows_of(vectors: np.ndarray, first: int) -> Rows:
    number = len(vectors)
    none = [None] * number
    digests = [f"{first + i:032x}" for i in range(number)]
    return Rows(vectors, digests, none, none, [f"{i % 100}" for i in range(number)], [{}] * number,
                none)  # fmt: skip


def seconds(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def ids_of(found: Found) -> np.ndarray:
    return np.array([ids.tolist() for ids in found.ids])


def measure(items: int, dim: int, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """A row for each figure."""
    vectors = embeddings(items, dim, 1)
    queries = embeddings(max(BATCHES), dim, 2)
    place = folder / "gallery"
    LanceStore.create(place, Pin("", dim), folder)
    store = LanceStore(place)

    def add() -> None:
        for start in range(0, items, PART):
            store.insert(rows_of(vectors[start : start + PART], start))

    added = seconds(add)
    index = faiss.IndexFlatIP(dim)
    faiss_added = seconds(lambda: index.add(vectors))
    faiss.write_index(index, str(folder / "x.faiss"))
    opened = seconds(lambda: LanceStore(place))
    grouped = LanceStore(place)
    built = seconds(grouped.build_index)
    reopened = seconds(lambda: LanceStore(place))
    faiss_opened = seconds(lambda: faiss.read_index(str(folder / "x.faiss")))
    own: Any = lancedb.connect(place).open_table(TABLE)

    def lance(some: np.ndarray) -> np.ndarray:
        found = [
            own.search(query).distance_type("dot").select(["id", "_distance"]).limit(K).to_arrow()
            for query in some[:LANCE_QUERIES]
        ]
        return np.array([one["id"].to_pylist() for one in found])

    systems: dict[str, Search] = {
        "faiss IndexFlatIP": lambda some: index.search(some, K)[1],
        "gallery": lambda some: ids_of(store.search(some, K, ())),
        "gallery, grouped": lambda some: ids_of(grouped.search(some, K, ())),
        "LanceDB exact": lance,
    }
    rows: list[dict[str, Any]] = [
        row(items, dim, "add, items a second", "gallery", items / added, items / faiss_added),
        row(items, dim, "open, s", "gallery", opened, faiss_opened),
        row(items, dim, "open, s", "gallery, grouped", reopened, faiss_opened),
        row(items, dim, "build_index, s", "gallery, grouped", built, faiss_added),
        row(items, dim, "memory, MB", "gallery", store.nbytes / 1e6, vectors.nbytes / 1e6),
        row(items, dim, "memory, MB", "gallery, grouped", grouped.nbytes / 1e6,
            vectors.nbytes / 1e6),
    ]  # fmt: skip
    expected = systems["faiss IndexFlatIP"](queries)
    for batch in BATCHES:
        took: dict[str, list[float]] = {name: [] for name in systems}
        share: dict[str, float] = {}
        for _ in range(rounds):
            for name, search in systems.items():
                asked = min(batch, LANCE_QUERIES) if name == "LanceDB exact" else batch
                start = time.process_time()
                found = search(queries[:batch])
                took[name].append((time.process_time() - start) / asked)
                share[name] = float(
                    np.mean(
                        [
                            len({*a} & {*b}) / K
                            for a, b in zip(found, expected[:asked], strict=False)
                        ]
                    )
                )
        base = statistics.median(took["faiss IndexFlatIP"])
        for name in systems:
            found_row = row(
                items, dim, f"query in a batch of {batch}, ms", name,
                1e3 * statistics.median(took[name]), 1e3 * base,
            )  # fmt: skip
            rows.append({**found_row, "same": share[name]})
    return rows


def row(items: int, dim: int, what: str, who: str, value: float, base: float) -> dict[str, Any]:
    return {
        "items": items, "dim": dim, "figure": what, "system": who, "value": value,
        "faiss": base, "ratio": value / base,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--items", type=int, nargs="+", default=[100_000])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS") or 1))
    parser.add_argument("--quick", action="store_true", help="2,000 items, to see that it runs")
    parser.add_argument("--out", type=Path, help="a .json file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    for items in [2000] if options.quick else options.items:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(
                items, options.dim, 1 if options.quick else options.rounds, Path(folder)
            )
    print(machine(options.threads))
    header = ["items", "figure", "system", "value", "faiss", "ratio", "same ten"]
    print(
        table(
            header,
            [
                [
                    f"{one['items']:,}", one["figure"], one["system"], f"{one['value']:.4g}",
                    f"{one['faiss']:.4g}", f"{one['ratio']:.2f}",
                    f"{one['same']:.4f}" if "same" in one else "",
                ]
                for one in rows
            ],
        )
    )  # fmt: skip
    if options.out is not None:
        content = {"machine": machine(options.threads), "rows": rows}
        options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
