"""Predicted class of an embedding against the number of classes: time, memory, recall, with peers.

    python benchmarks/decode.py [--quick] [--long] [--only PATTERN ...]

Batches of 1, 32 and 1,024 unit embeddings, float32. Formula maps of dimension 384 and assigned
codes of dimension 128 against searches over the table of the same class vectors. See
docs/benchmarks.md for the methods and what the figures mean.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import _common
import torch
from _common import NOT_RUN, Cell, Panel, Results, Row, Settings, median_ms, number
from torch import Tensor

from rootspace import ClassMap
from rootspace._extras import MissingExtraError, require
from rootspace.systems import system_from

BATCHES = (1, 32, 1024)
QUERIES = ("trained", "random")
COSINE = 0.8
"""Of a "trained" embedding to the vector of its class."""
SMALL = (1_000, 10_000, 100_000, 1_280_000)
LARGE = (10_000_000, 50_000_000, 100_000_000)
CODES = (100_000, 1_000_000)
A, D = "RootA(384)", "RootD(384)"
A1, A2 = "RootA(384, interpolations=1)", "RootA(384, interpolations=2)"
CODE, K_HOT = "PermutationCode(128)", "SignedKHot(128, 64)"
FLAT = (A2, LARGE[-1])
"""The system whose time is drawn for all numbers of classes, and the largest of these."""
LONGEST_BUILD = 150_000
"""Classes beyond which a graph is built with `--long` only."""
LONG_LIMIT = 6 * 3600.0
"""Seconds for a cell with `--long`."""
CHUNKS = (4_096, 65_536)
"""Rows of the table that the matrix product takes at a time; the faster of the two is kept."""
LINKS, BUILD_WIDTH, WIDTHS = 32, 100, (64, 256)
"""Of the graphs: links M of a node, efConstruction, and the efSearch that are tried."""
CHECKED = {200_000: 1024, 1_300_000: 128}
"""Queries of each kind that are compared with an exact search, by classes at most."""
TOLERANCE = 2e-6
"""A hit is a class whose cosine is this close to the best one: float32, with ties by design."""
COLUMNS = ("part", "system", "method", "classes", "batch", "queries", "status", "ms")
COLUMNS = (*COLUMNS, "us_per_query", "limit_ms", "index_mb", "build_s", "recall", "own", "checked")

Search = Callable[[Tensor], Tensor]
"""`[B, dim]` embeddings -> `[B]` classes, -1 for none."""


# ------------------------------------------------------------------------- class vectors


def make_classes(columns: Row) -> ClassMap:
    """The classes of a cell."""
    system = system_from(columns["system"])
    if columns["part"] == "formula":
        return ClassMap(system, columns["classes"])
    means = torch.randn(columns["classes"], system.dim)
    return ClassMap.assigned(system, torch.cat([system.quantize(m) for m in means.split(50_000)]))


def make_table(classes: ClassMap) -> Tensor:
    """`[num_classes, dim]`: all class vectors."""
    labels = torch.arange(classes.num_classes)
    table = torch.empty(classes.num_classes, classes.dim)
    for part, some in zip(table.split(50_000), labels.split(50_000), strict=True):
        part.copy_(classes.vectors(some))
    return table


def make_queries(classes: ClassMap, kind: str) -> tuple[Tensor, Tensor | None]:
    """Unit embeddings, and their classes where they have some."""
    noise = torch.randn(max(BATCHES), classes.dim)
    if kind == "random":
        return torch.nn.functional.normalize(noise), None
    own = torch.randint(classes.num_classes, (max(BATCHES),))
    size = (1 / COSINE**2 - 1) ** 0.5 / classes.dim**0.5
    return torch.nn.functional.normalize(classes.vectors(own) + size * noise), own


# ------------------------------------------------------------------------- methods


def predict(classes: ClassMap) -> Search:
    """The nearest class, exact."""
    return lambda z: classes.predict(z).label[:, 0]


def nearest_class(classes: ClassMap) -> Search:
    """The class of the nearest vector of the whole system, or none: O(dim) at any count."""
    return lambda z: classes.labels(classes.system.nearest(z).index)[:, 0]


def nearest(classes: ClassMap) -> Search:
    """The number of the nearest vector of the whole system."""
    return lambda z: classes.system.nearest(z).index[:, 0]


OURS = {"predict": predict, "nearest + label": nearest_class, "system.nearest": nearest}
EXACT = ("predict", "system.nearest", "torch GEMM + argmax", "faiss IndexFlatIP")
"""Methods that must find the best class of every query that is checked."""


def best_of(table: Tensor, z: Tensor, rows: int) -> Tensor:
    """`[B]` rows of the largest inner product, by a matrix product of `rows` rows at a time."""
    best = z.new_full((len(z),), -torch.inf)
    label = torch.zeros(len(z), dtype=torch.int64)
    for start in range(0, len(table), rows):
        score, where = (z @ table[start : start + rows].T).max(dim=1)
        better = score > best
        best = torch.where(better, score, best)
        label = torch.where(better, where + start, label)
    return label


def make_gemm(table: Tensor) -> Search:
    """The better size of chunk for each batch, found on the first call."""
    rows: dict[int, int] = {}

    def search(z: Tensor) -> Tensor:
        if len(z) not in rows:
            rows[len(z)] = min(CHUNKS, key=lambda r: _seconds(lambda: best_of(table, z, r)))
        return best_of(table, z, rows[len(z)])

    return search


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def library(name: str) -> Any:
    return require(name, extra="benchmark", purpose="benchmarks/decode.py")


def make_faiss_flat(table: Tensor) -> Any:
    index = library("faiss").IndexFlatIP(table.shape[1])
    index.add(table.numpy())
    return index


def make_faiss_graph(table: Tensor) -> Any:
    faiss = library("faiss")
    index = faiss.IndexHNSWFlat(table.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILD_WIDTH
    index.add(table.numpy())
    return index


def search_faiss(index: Any) -> Search:
    return lambda z: torch.from_numpy(index.search(z.numpy(), 1)[1][:, 0])


def graph_bytes(index: Any) -> int:
    """Vectors, links, and the places where the links of each vector begin."""
    graph = index.hnsw
    links = 4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size()
    return 4 * index.ntotal * index.d + links


def make_usearch(table: Tensor, threads: int) -> Any:
    index = library("usearch.index").Index(
        ndim=table.shape[1],
        metric="ip",
        dtype="f32",
        connectivity=LINKS,
        expansion_add=BUILD_WIDTH,
    )
    index.add(torch.arange(len(table)).numpy().astype("uint64"), table.numpy(), threads=threads)
    return index


def search_usearch(index: Any, threads: int) -> Search:
    def search(z: Tensor) -> Tensor:
        keys = index.search(z.numpy(), 1, threads=threads).keys
        return torch.from_numpy(keys.astype("int64")).reshape(-1)

    return search


PEERS = ("torch GEMM + argmax", "faiss IndexFlatIP", "faiss HNSW", "USearch HNSW")
GRAPHS = PEERS[2:]


def searches(
    method: str, table: Tensor, settings: Settings
) -> Iterator[tuple[str, Search, int, float]]:
    """A peer over a table: method with its setting, search, bytes of the index, build seconds."""
    own = table.nbytes
    if method == "torch GEMM + argmax":
        yield method, make_gemm(table), own, 0.0
        return
    start = time.perf_counter()
    if method == "faiss IndexFlatIP":
        flat = make_faiss_flat(table)
        yield method, search_faiss(flat), own, time.perf_counter() - start
    elif method == "faiss HNSW":
        graph = make_faiss_graph(table)
        build = time.perf_counter() - start
        for width in WIDTHS:
            graph.hnsw.efSearch = width
            yield f"{method}, ef {width}", search_faiss(graph), graph_bytes(graph), build
    else:
        usearch = make_usearch(table, settings.threads)
        build = time.perf_counter() - start
        for width in WIDTHS:
            usearch.expansion_search = width
            search = search_usearch(usearch, settings.threads)
            yield f"{method}, ef {width}", search, usearch.memory_usage, build


# ------------------------------------------------------------------------- measuring


def measure(columns: Row, settings: Settings) -> Iterator[Row]:
    """The rows of a cell, in this process; small batches first, as the large ones may not end."""
    if columns["part"] == "in turn":
        yield from in_turn(columns, settings)
        return
    start = time.perf_counter()
    classes = make_classes(columns)
    queries = {kind: make_queries(classes, kind) for kind in QUERIES}
    # A formula takes no time; codes are stored, so their packing counts.
    build = time.perf_counter() - start if columns["part"] == "codes" else 0.0
    method = columns["method"]
    if method in PEERS:
        table = make_table(classes)
        best = best_scores(table, queries)
        for name, search, size, took in searches(method, table, settings):
            fixed = {"method": name, "index_mb": size / 1e6, "build_s": took}
            for row in measure_search(search, queries, table, best, settings):
                yield fixed | row
        return
    whole = method == "system.nearest"
    checkable = classes.num_classes <= max(CHECKED)
    table = make_table(classes) if checkable else None
    if whole and table is not None:
        table = classes.system.vectors(torch.arange(classes.capacity))
    best = {} if table is None else best_scores(table, queries)
    fixed = {"index_mb": classes.bytes_per_class * classes.num_classes / 1e6, "build_s": build}
    if whole:
        queries = {kind: (z, None) for kind, (z, _) in queries.items()}
    for row in measure_search(OURS[method](classes), queries, table, best, settings):
        yield fixed | row


def best_scores(
    table: Tensor, queries: dict[str, tuple[Tensor, Tensor | None]]
) -> dict[str, Tensor]:
    """Cosine of each query that is checked to the nearest row, by an exact search in float32."""
    checked = next(queries for most, queries in CHECKED.items() if len(table) <= most)
    best = {}
    for kind, (z, _) in queries.items():
        some = z[:checked]
        label = best_of(table, some, CHUNKS[0])
        best[kind] = (some.double() * table[label].double()).sum(-1)
    return best


def measure_search(
    search: Search,
    queries: Mapping[str, tuple[Tensor, Tensor | None]],
    table: Tensor | None,
    best: dict[str, Tensor],
    settings: Settings,
) -> Iterator[Row]:
    """Time of each batch of each kind of query; recall by score, and share of the own class."""
    for batch, kind in itertools.product(BATCHES, QUERIES):
        z, own = queries[kind]
        some = z[:batch].contiguous()
        # Other queries in each call: how long a search takes may depend on them.
        turn = itertools.cycle(z.split(batch))
        ms = median_ms(lambda turn=turn: search(next(turn)), settings.seconds)
        limit_ms = median_ms(
            lambda some=some: (some.clone(), some.topk(2)), min(settings.seconds, 0.5)
        )
        label = search(some)
        row: Row = {"batch": batch, "queries": kind, "ms": ms, "us_per_query": 1e3 * ms / batch}
        row |= {"limit_ms": limit_ms, "checked": 0}
        if own is not None:
            row["own"] = (label == own[:batch]).double().mean().item()
        if table is not None:
            checked = min(batch, len(best[kind]))
            found = label[:checked]
            score = (some[:checked].double() * table[found.clamp_min(0)].double()).sum(-1)
            hit = (score >= best[kind][:checked] - TOLERANCE) & (found >= 0)
            row |= {"recall": hit.double().mean().item(), "checked": checked}
        yield row


def in_turn(columns: Row, settings: Settings) -> Iterator[Row]:
    """One of ours for each number of classes that it decodes in closed form, taking turns."""
    system = system_from(columns["system"])
    maps = [ClassMap(system, count) for count in flat_counts(settings.quick)]
    if columns["method"] == "predict":
        maps = [classes for classes in maps if classes.closed_form]
    z, _ = make_queries(maps[-1], "random")
    z = z[: columns["batch"]].contiguous()
    found = [OURS[columns["method"]](classes) for classes in maps]
    calls = [lambda search=search: search(z) for search in found]
    times = _common.median_ms_in_turn(calls, settings.seconds)
    for classes, ms in zip(maps, times, strict=True):
        yield {
            "classes": classes.num_classes,
            "ms": ms,
            "us_per_query": 1e3 * ms / columns["batch"],
        }


# ------------------------------------------------------------------------- cells


def flat_counts(quick: bool) -> tuple[int, ...]:
    return (SMALL[0], FLAT[1]) if quick else (*SMALL, *LARGE)


def make_cells(settings: Settings, long: bool) -> Iterator[Cell]:
    """In the order of measuring: small tables first."""
    if settings.quick:
        yield from quick_cells()
        return
    yield from formula_cells(long)
    for count, system in itertools.product(CODES, (CODE, K_HOT)):
        for method in ("predict", *PEERS[:2]):
            yield make_cell("codes", system, method, count)
    for batch, method in itertools.product(BATCHES, ("nearest + label", "predict")):
        yield make_flat_cell(method, batch)


def formula_cells(long: bool) -> Iterator[Cell]:
    sizes = {name: system_from(name).size for name in (A, D, A1, A2)}
    for count in sorted({*SMALL, *LARGE, sizes[A], sizes[D]}):
        whole = [name for name in (A, D) if count == sizes[name]]
        for system in whole or (name for name in sizes if count <= sizes[name]):
            yield make_cell("formula", system, "predict", count)
            yield make_cell("formula", system, "nearest + label", count)
        for method in PEERS if count <= SMALL[-1] else ():
            skip = NOT_RUN if method in GRAPHS and count > LONGEST_BUILD and not long else None
            yield make_cell("formula", A1, method, count, skip)
    for system, size in sizes.items():
        yield make_cell("formula", system, "system.nearest", size)


def quick_cells() -> Iterator[Cell]:
    """Each method once."""
    for system, count in ((A1, SMALL[0]), FLAT):
        yield make_cell("formula", system, "predict", count)
        yield make_cell("formula", system, "nearest + label", count)
    for method in PEERS:
        yield make_cell("formula", A1, method, SMALL[0])
    yield make_cell("formula", D, "system.nearest", system_from(D).size)
    for method in ("predict", PEERS[0]):
        yield make_cell("codes", CODE, method, SMALL[0])
    yield make_flat_cell("nearest + label", BATCHES[1])


def make_flat_cell(method: str, batch: int) -> Cell:
    columns = {"part": "in turn", "system": FLAT[0], "method": method, "batch": batch}
    return Cell(f"{method}, {FLAT[0]}/in turn/batch {batch}", columns)


def make_cell(part: str, system: str, method: str, count: int, skip: str | None = None) -> Cell:
    columns = {"part": part, "system": system, "method": method, "classes": count}
    return Cell(f"{method}, {system}/{count}", columns, skip)


# ------------------------------------------------------------------------- report


def report(results: Results, part: str) -> str:
    """A line for each method and number of classes."""
    header = ["classes", "method", "us a query: 1,024 trained", "random", "32 trained"]
    header += ["1 trained", "times faster than GEMM: 1,024, 32, 1", "than HNSW: 1,024, 32, 1"]
    header += ["times clone + topk(2)", "index MB", "build s", "recall@1 trained", "random"]
    header += ["own class"]
    body = []
    for name in dict.fromkeys(
        (row["classes"], row["system"], row["method"]) for row in results.find_all(part=part)
    ):
        body.append(_line(results, part, *name))
    body.sort(key=lambda line: int(line[0].replace(",", "")))
    return _common.table(header, body)


def _line(results: Results, part: str, count: int, system: str, method: str) -> list[str]:
    wanted = {"part": part, "classes": count}

    def find(batch: int, kind: str = "trained", of: str = method, system: str = system) -> Row:
        row = results.find(**wanted, system=system, method=of, batch=batch, queries=kind)
        return row or dict.fromkeys(COLUMNS)

    over = A1 if part == "formula" else system  # whose table the peers search
    last = list(results.find_all(**wanted, system=system, method=method))[-1]

    def times(rival: str) -> str:
        ratios = []
        for batch in sorted(BATCHES, reverse=True):
            theirs, own = find(batch, of=rival, system=over)["ms"], find(batch)["ms"]
            ratios.append(number(theirs / own) if theirs and own else "-")
        return ", ".join(ratios) if set(ratios) != {"-"} else ""

    big, random, limit = find(1024), find(1024, "random"), find(1024)["limit_ms"]
    missing = "" if last["status"] == "ok" else last["status"]
    return [
        f"{count:,}",
        f"**{method}**, {system}" if method in OURS else method,
        *(number(row["us_per_query"], missing) for row in (big, random, find(32), find(1))),
        times(PEERS[0]),
        times(f"faiss HNSW, ef {WIDTHS[0]}"),
        number(big["ms"] / limit) if limit else "",
        number(last["index_mb"]) if last["index_mb"] is not None else "",
        number(last["build_s"]),
        *(_percent(row["recall"]) for row in (big, random)),
        _percent(big["own"]),
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def wrong(results: Results) -> list[str]:
    """Exact methods that missed the best class of a query."""
    return [
        f"{row['cell']}: batch {row['batch']}, {row['queries']} queries: recall {row['recall']}"
        for row in results.rows
        if row["method"] in EXACT and row["recall"] is not None and row["recall"] < 1
    ]


def draw_plot(results: Results, out: _common.Path) -> None:
    panels = []
    for batch in (1024, 1):
        lines: dict[str, list[tuple[float, float]]] = {}
        limits = []
        for row in results.find_all(part="formula", batch=batch, queries="trained", status="ok"):
            limits.append(1e3 * row["limit_ms"] / batch)
            if row["method"] == "system.nearest":
                continue
            name = row["method"]
            if name in OURS:
                name = f"rootspace {name}, {row['system']}"
            lines.setdefault(name, []).append((row["classes"], row["us_per_query"]))
        levels = {"clone + topk(2)": sorted(limits)[len(limits) // 2]} if limits else {}
        panels.append(Panel(f"us a query, batch {batch:,}", lines, levels))
    _common.plot(out, "predicted class of trained embeddings, dim 384, float32", panels)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _common.make_parser((__doc__ or "").splitlines()[0], limit=600)
    parser.add_argument(
        "--long", action="store_true", help="graphs over 1.28 million classes too: hours"
    )
    options = parser.parse_args(arguments)
    if options.cell:
        _common.run_in_cell(options.cell, measure)
        return
    try:
        library("faiss")
        library("usearch.index")
    except MissingExtraError as error:
        raise SystemExit(str(error)) from error
    if options.long:
        options.limit = max(options.limit, LONG_LIMIT)
    settings = _common.settings_of(options)
    cells = _common.chosen(make_cells(settings, options.long), options.only)
    if options.list:
        print("\n".join(cell.name for cell in cells))
        return
    out = _common.folder_of(options)
    where = _common.machine(settings.threads)
    results = Results(out / "decode.csv", COLUMNS, where, options.fresh)
    well = _common.run(__file__, cells, results, settings)
    parts = [where, "### Formula maps, dim 384", report(results, "formula")]
    parts += ["### Assigned codes, dim 128", report(results, "codes"), _common.flatness(results)]
    text = "\n\n".join(parts) + "\n"
    (out / "decode.md").write_text(text, encoding="utf-8")
    draw_plot(results, out / "decode.png")
    print(text)
    if missed := wrong(results):
        raise SystemExit("Exact methods that are not:\n" + "\n".join(missed))
    if not well:
        raise SystemExit("Some cells failed: see above. A further run tries them again.")


if __name__ == "__main__":
    main()
