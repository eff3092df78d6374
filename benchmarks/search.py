"""Exact search with a certificate against a scan, faiss and USearch, as ratios of one run.

    python benchmarks/search.py RUN [--number 1000000] [--part prototypes galleries]
                               [--peers flat ivf hnsw usearch] [--keep FOLDER] [--quick]

RUN is trained with prototypes that were chosen from data. It gives what a million rows are made of:

- *Prototypes*: a root, the mean of one of its classes, and a random direction with the covariance
  of the means, mixed so that two rows of one root are as near as the median prototype of the run is
  to its nearest; then the vector of the system that is nearest to this. With 5,000 classes in the
  run, each of a million has 200 that are as near as the nearest ones are there.
- *Galleries*: 50 rows for each such prototype, as the run's training images lie around theirs.
- *Queries*: a row's prototype, and what is left over between an embedding of a test image of the
  run and its prototype, turned to be orthogonal to this one. Each test set by itself.

All methods take turns in one process, each call with other queries. `--clock cpu` takes the time of
the processor, for one thread on a machine that does other work too. faiss and USearch get the
smallest setting that finds the nearest row of 99 % of the first test set's queries. With `--keep`
the links, groups and faiss's indexes stay in a folder, with the seconds that they took, and another
call with the same rows reads them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from _common import machine, number, table
from torch import Tensor
from torch.nn.functional import normalize

from rootspace._extras import require
from rootspace.data import make_data
from rootspace.run import Run, load
from rootspace.search import CertifiedIndex, Kind
from rootspace.systems import Orbit

BATCHES = (1, 32, 1024)
WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""efSearch of the graphs, and nprobe of IVF."""
RECALL = 0.99
LINKS, BUILD_WIDTH = 32, 100
"""M and efConstruction, as in decode.py."""
IMAGES = 50
"""Rows of a gallery for each class."""
PARTS = ("prototypes", "galleries")
KIND: dict[str, Kind] = {"prototypes": "links", "galleries": "groups"}
PEERS = ("flat", "ivf", "hnsw", "usearch")
SCAN, OURS, QUICK = "scan", "certified", "certified, not exact"

T = TypeVar("T")
Search = Callable[[Tensor], Tensor]
"""`[B, dim]` embeddings -> `[B]` rows."""


@dataclass(frozen=True)
class Real:
    """Embeddings of a run, unit vectors.

    Attributes:
        system: of the prototypes.
        prototypes: `[C, dim]`.
        means: `[C, dim]` of the training embeddings.
        train: embeddings and labels of training images.
        tests: likewise, by name of the test set.
    """

    system: Orbit
    prototypes: Tensor
    means: Tensor
    train: tuple[Tensor, Tensor]
    tests: dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Line:
    """A method on the queries of one test set.

    Attributes:
        part: prototypes or galleries.
        rows: how many are searched.
        method: and its setting.
        queries: name of the test set.
        us: microseconds for a query, by batch.
        recall: share of the queries whose row is as near as that of brute force.
        certified: share that was certified; None for others.
        build_s: seconds to build.
        row_bytes: memory for a row.
    """

    part: str
    rows: int
    method: str
    queries: str
    us: dict[int, float]
    recall: float
    certified: float | None
    build_s: float
    row_bytes: float


# ------------------------------------------------------------------------- rows and queries


@torch.no_grad()
def read(run: Run) -> Real:
    """What the run makes of its images."""
    classes = run.class_map
    if classes is None or not isinstance(classes.system, Orbit):
        raise SystemExit(
            "Argument 'RUN' must have prototypes of a PermutationCode or another Orbit."
        )
    data = make_data(run.config)
    data.setup()

    def embedded(images: Any) -> tuple[Tensor, Tensor]:
        parts = [(run.embed_batch(batch), labels) for batch, labels in data.loader_of(images)]
        z, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        return normalize(z, dim=-1), labels

    z, labels = embedded(data.train_dataset)
    means = torch.zeros(classes.num_classes, classes.dim).index_add_(0, labels, z)
    tests = {name: embedded(images) for name, images in data.test_datasets.items()}
    prototypes = classes.vectors(torch.arange(classes.num_classes))
    return Real(classes.system, prototypes, normalize(means, dim=-1), (z, labels), tests)


def make_prototypes(real: Real, count: int) -> Tensor:
    """`[count, dim]` int8 levels, all different ones unless the system is small."""
    scores = real.prototypes @ real.prototypes.T
    share = float(scores.fill_diagonal_(-1).amax(-1).median())
    values, directions = torch.linalg.eigh(torch.cov(real.means.T))
    spread = (directions * values.clamp_min(0).sqrt()).T
    levels = torch.empty(count, real.system.dim, dtype=torch.int8)
    for part in levels.split(20_000):
        root = real.means[torch.randint(len(real.means), (len(part),))]
        other = normalize(torch.randn(len(part), real.system.dim) @ spread, dim=-1)
        nearest = real.system.quantize(share**0.5 * root + (1 - share) ** 0.5 * other)
        part.copy_((nearest * real.system.norm).round())
    return levels


def around(prototypes: Tensor, real: Real, of: tuple[Tensor, Tensor]) -> Tensor:
    """Embeddings that lie to these prototypes as some of the run's lie to theirs."""
    z, labels = of
    some = torch.randint(len(z), (len(prototypes),))
    own = real.prototypes[labels[some]]
    cosine = (z[some] * own).sum(-1, keepdim=True)
    left = z[some] - cosine * own
    left -= (left * prototypes).sum(-1, keepdim=True) * prototypes
    return cosine * prototypes + (1 - cosine**2).clamp_min(0).sqrt() * normalize(left, dim=-1)


def make_part(part: str, real: Real, count: int, queries: int) -> tuple[CertifiedIndex, Queries]:
    """The index before it is built, and queries by name of the test set."""
    levels = make_prototypes(real, count if part == PARTS[0] else max(1, count // IMAGES))

    def prototypes(places: Tensor) -> Tensor:
        return levels[places].float() / real.system.norm

    if part == PARTS[0]:
        index = CertifiedIndex.of_levels(levels, real.system.norm)
    else:
        index = CertifiedIndex(real.system.dim)
        for places in (torch.arange(count) % len(levels)).split(20_000):
            index.add(around(prototypes(places), real, real.train))
    asked = {
        name: normalize(
            around(prototypes(torch.randint(len(levels), (queries,))), real, test), dim=-1
        )
        for name, test in real.tests.items()
    }
    return index, asked


Queries = dict[str, Tensor]


# ------------------------------------------------------------------------- methods


@dataclass(frozen=True)
class Method:
    """A way to search: its name, search, seconds to build and bytes for a row."""

    name: str
    search: Search
    build_s: float
    row_bytes: float


@dataclass(frozen=True)
class Builder:
    """Builds under a clock, or reads what was built of the same rows before.

    Attributes:
        clock: in seconds.
        folder: what is built is kept here, if anywhere.
        rows: a name that no other rows have.
    """

    clock: Callable[[], float]
    folder: Path | None
    rows: str

    def __call__(
        self,
        name: str,
        build: Callable[[], T],
        save: Callable[[T, str], None],
        load: Callable[[str], T],
    ) -> tuple[T, float]:
        """What was built, and the seconds that it took."""
        if self.folder is None:
            return self._timed(build)
        path = self.folder / f"{self.rows}-{name}"
        seconds = path.with_name(f"{path.name}.seconds")
        if seconds.exists():
            return load(str(path)), float(seconds.read_text())
        made, took = self._timed(build)
        self.folder.mkdir(parents=True, exist_ok=True)
        save(made, str(path))
        seconds.write_text(f"{took}\n")
        return made, took

    def _timed(self, build: Callable[[], T]) -> tuple[T, float]:
        start = self.clock()
        return build(), self.clock() - start


def library(name: str) -> Any:
    return require(name, extra="benchmark", purpose="benchmarks/search.py")


def ours(index: CertifiedIndex, kind: Kind, builder: Builder) -> Iterator[Method]:
    unlinked = index.copy()
    scan_bytes = index.nbytes / index.size
    yield Method(SCAN, lambda z: unlinked.search(z).index[:, 0], 0.0, scan_bytes)
    _, build = builder(
        f"{kind}.npz", lambda: index.build(kind), lambda _, path: index.save(path), index.load
    )
    size = index.nbytes / index.size
    yield Method(OURS, lambda z: index.search(z).index[:, 0], build, size)
    yield Method(QUICK, lambda z: index.search(z, exact=False).index[:, 0], build, size)


def peers(
    names: Sequence[str],
    vectors: Tensor,
    z: Tensor,
    best: Tensor,
    threads: int,
    builder: Builder,
) -> Iterator[Method]:
    """faiss and USearch over the same rows, each at its smallest setting that is good enough."""
    faiss, data = library("faiss"), vectors.numpy()
    faiss.omp_set_num_threads(threads)
    row = 4 * vectors.shape[1]

    def search_of(index: Any) -> Search:
        return lambda z: torch.from_numpy(index.search(z.numpy(), 1)[1][:, 0])

    def tuned(index: Any, name: str, setting: str, build: float, size: float) -> Method:
        search = search_of(index)
        holder = index.hnsw if hasattr(index, "hnsw") else index
        width = smallest(
            lambda width: setattr(holder, setting, width),
            lambda: recall(vectors, z, search(z), best),
        )
        return Method(f"{name}, {setting} {width}", search, build, size)

    def flat() -> Any:
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(data)
        return index

    def ivf() -> Any:
        index = faiss.index_factory(
            vectors.shape[1], f"IVF{int(4 * len(data) ** 0.5)},Flat", faiss.METRIC_INNER_PRODUCT
        )
        index.train(data)
        index.add(data)
        return index

    def hnsw() -> Any:
        index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILD_WIDTH
        index.add(data)
        return index

    def made(name: str, build: Callable[[], Any]) -> tuple[Any, float]:
        return builder(f"{name}.faiss", build, faiss.write_index, faiss.read_index)

    if "flat" in names:
        index, build = made("flat", flat)
        yield Method("faiss Flat", search_of(index), build, row)
    if "ivf" in names:
        index, build = made("ivf", ivf)
        yield tuned(index, "faiss IVF", "nprobe", build, row + 8)
    if "hnsw" in names:
        index, build = made("hnsw", hnsw)
        links = 4 * index.hnsw.neighbors.size() / len(data)
        yield tuned(index, "faiss HNSW", "efSearch", build, row + links)
    if "usearch" in names:
        yield usearch_graph(vectors, z, best, threads, builder.clock)


def usearch_graph(
    vectors: Tensor, z: Tensor, best: Tensor, threads: int, clock: Callable[[], float]
) -> Method:
    start = clock()
    graph = library("usearch.index").Index(
        ndim=vectors.shape[1],
        metric="ip",
        dtype="f32",
        connectivity=LINKS,
        expansion_add=BUILD_WIDTH,
    )
    keys = torch.arange(len(vectors)).numpy().astype("uint64")
    graph.add(keys, vectors.numpy(), threads=threads)
    build = clock() - start

    def search(z: Tensor) -> Tensor:
        found = graph.search(z.numpy(), 1, threads=threads).keys
        return torch.from_numpy(found.astype("int64")).reshape(-1)

    width = smallest(
        lambda width: setattr(graph, "expansion_search", width),
        lambda: recall(vectors, z, search(z), best),
    )
    size = graph.memory_usage / len(vectors)
    return Method(f"USearch HNSW, expansion {width}", search, build, size)


def smallest(choose: Callable[[int], None], share: Callable[[], float]) -> int:
    """The first of `WIDTHS` that is good enough, or the last; it stays chosen."""
    for width in WIDTHS:
        choose(width)
        if share() >= RECALL:
            return width
    return WIDTHS[-1]


def brute_force(z: Tensor, vectors: Tensor) -> Tensor:
    """`[B]` largest cosines, in float64."""
    best, wide = torch.full((len(z),), -1.0, dtype=torch.float64), z.double()
    for part in vectors.split(4096):
        some = wide @ part.double().T
        torch.maximum(best, some.amax(-1), out=best)
    return best


def recall(vectors: Tensor, z: Tensor, found: Tensor, best: Tensor) -> float:
    """Share of rows as near as the nearest one, to within the rounding of float32."""
    score = (z.double() * vectors[found.clamp_min(0)].double()).sum(-1)
    return float(((score >= best - 2e-6) & (found >= 0)).double().mean())


# ------------------------------------------------------------------------- measuring


def measure(part: str, real: Real, options: argparse.Namespace) -> Iterator[Line]:
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    index, asked = make_part(part, real, options.number, max(BATCHES))
    vectors = torch.from_numpy(index._state.rows.take(torch.arange(index.size).numpy()))
    best = {name: brute_force(z, vectors) for name, z in asked.items()}
    first = next(iter(asked))
    builder = Builder(clock, options.keep, index._state.rows.digest(index.size)[:16])
    methods = list(ours(index, KIND[part], builder))
    methods += peers(options.peers, vectors, asked[first], best[first], options.threads, builder)
    for name, z in asked.items():
        us = {method.name: {} for method in methods}
        for batch in BATCHES:
            calls = [method.search for method in methods]
            for method, time_us in zip(
                methods, in_turn(calls, z, batch, options.seconds, clock), strict=True
            ):
                us[method.name][batch] = time_us
        certified = float(index.search(z).certified.float().mean())
        for method in methods:
            share = recall(vectors, z, method.search(z), best[name])
            exact = method.name in (SCAN, OURS)
            if exact and share < 1:
                raise SystemExit(f"{method.name} missed a nearest row: {part}, {name}, {share}")
            yield Line(
                part,
                index.size,
                method.name,
                name,
                us[method.name],
                share,
                certified if method.name == OURS else None,
                method.build_s,
                method.row_bytes,
            )


def in_turn(
    calls: Sequence[Search], z: Tensor, batch: int, seconds: float, clock: Callable[[], float]
) -> list[float]:
    """Median microseconds for a query of each search, which take turns on the same queries."""
    parts = z.split(batch)
    times: list[list[float]] = [[] for _ in calls]
    started = time.perf_counter()
    turn = 0
    while turn < 3 or (time.perf_counter() - started < seconds * len(calls) and turn < 300):
        some = parts[turn % len(parts)].contiguous()
        for call, own in zip(calls, times, strict=True):
            start = clock()
            call(some)
            own.append(1e6 * (clock() - start) / batch)
        turn += 1
    return [statistics.median(own[1:]) for own in times]


# ------------------------------------------------------------------------- report


def report(lines: Sequence[Line], clock: str) -> str:
    """A table for each part and test set; how many times faster ours is than each method."""
    blocks = []
    for part, count, name in dict.fromkeys((x.part, x.rows, x.queries) for x in lines):
        some = [x for x in lines if (x.part, x.rows, x.queries) == (part, count, name)]
        own = next(x for x in some if x.method == OURS)
        body = [
            [
                x.method,
                *(number(x.us[batch]) for batch in BATCHES),
                ", ".join(number(x.us[batch] / own.us[batch]) for batch in BATCHES),
                f"{100 * x.recall:.2f}",
                number(x.build_s),
                number(x.row_bytes),
            ]
            for x in some
        ]
        header = ["method", *(f"us a query, batch {batch:,}" for batch in BATCHES)]
        header += ["times that of certified", "recall %", "build s", "bytes a row"]
        title = (
            f"### {count:,} {part}, queries {name}: {100 * (own.certified or 0):.1f} % certified"
        )
        blocks += [title, table(header, body)]
    return "\n\n".join([f"Times are of the {clock} clock.", *blocks])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a trained run")
    parser.add_argument("--number", type=int, default=1_000_000, help="rows that are searched")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--threads", type=int, default=1, help="of torch and all libraries")
    parser.add_argument("--seconds", type=float, default=3.0, help="measuring time of a figure")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for what is built")
    parser.add_argument("--quick", action="store_true", help="40,000 rows, under two minutes")
    options = parser.parse_args(arguments)
    if options.clock == "cpu" and options.threads != 1:
        raise SystemExit("Argument '--clock cpu' needs '--threads 1'.")
    if options.quick:
        options.number, options.seconds = min(options.number, 40_000), min(options.seconds, 0.3)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    options.out.mkdir(parents=True, exist_ok=True)
    real, lines, text = read(load(options.run)), list[Line](), ""
    for part in options.part:
        lines += measure(part, real, options)
        where = machine(options.threads)
        text = f"{where}\n\n{report(lines, options.clock)}\n"
        (options.out / "search.md").write_text(text, encoding="utf-8")
        results = {"machine": where, "lines": [asdict(line) for line in lines]}
        (options.out / "search.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
