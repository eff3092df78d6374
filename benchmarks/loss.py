"""Training step of the losses against the number of classes: time and peak memory, with peers.

    python benchmarks/loss.py [--quick] [--only PATTERN ...] [--batch 1024 256]

Forward and backward of a loss on a batch of embeddings of dimension 384, float32, and for methods
with parameters the step of their optimizer. See docs/benchmarks.md for the methods and what the
figures mean.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import _common
import torch
from _common import Cell, Panel, Results, Row, Settings, number
from torch import Tensor, nn

from rootspace import ClassMap
from rootspace._extras import require
from rootspace.losses import CosineLoss, InBatchSoftmaxLoss, SystemSoftmaxLoss
from rootspace.systems import system_from

DIM = 384
COUNTS = (1_000, 10_000, 125_000, 1_400_000, 5_500_000, 8_000_000, 16_000_000, 29_000_000)
COUNTS = (*COUNTS, 100_000_000)  # the identities of Partial FC's tables, and fewer
NEGATIVES = 8192
"""Classes that the sampled softmax draws."""
SHARE = 0.1
"""Share of the class centers that Partial FC takes into a step."""
CUTOFFS = (2_000, 20_000, 200_000, 2_000_000)
"""Of the adaptive softmax: where its clusters of ever rarer classes begin."""
COLUMNS = ("part", "method", "system", "classes", "batch", "status")
COLUMNS = (*COLUMNS, "ms", "update_ms", "mb", "reference_ms")

A, D = "RootA(384)", "RootD(384)"
A1, A2 = "RootA(384, interpolations=1)", "RootA(384, interpolations=2)"
OURS = {
    "CosineLoss": (CosineLoss, (A2,)),
    "InBatchSoftmaxLoss": (InBatchSoftmaxLoss, (A2,)),
    "SystemSoftmaxLoss": (SystemSoftmaxLoss, (A, D, A1, A2)),
}
REFERENCE = "SystemSoftmaxLoss"
"""What the others are divided by, in the process of each: over A1 while its vectors suffice."""


class Linear(nn.Module):
    """A linear layer and cross-entropy."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(DIM, num_classes)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.layer(z), labels)


class Adaptive(nn.Module):
    """torch's adaptive softmax: its labels must be sorted by frequency."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        cutoffs = [cutoff for cutoff in CUTOFFS if cutoff < num_classes] or [num_classes // 2]
        self.layer = nn.AdaptiveLogSoftmaxWithLoss(DIM, num_classes, cutoffs)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.layer(z, labels).loss


class Sampled(nn.Module):
    """Softmax over the own class and uniformly drawn ones, shared by the batch."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.weight = nn.Embedding(num_classes, DIM, sparse=True)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        # Uniform draws need no correction of the logits: all negatives have the same chance.
        drawn = torch.randint(self.num_classes, (min(NEGATIVES, self.num_classes),))
        own = (z * self.weight(labels)).sum(-1, keepdim=True)
        others = z @ self.weight(drawn).T
        others = others.masked_fill(drawn == labels[:, None], -torch.inf)
        logits = torch.cat([own, others], -1)
        return nn.functional.cross_entropy(logits, torch.zeros_like(labels))


class PartialFC(nn.Module):
    """Cosine softmax over the classes of the batch and a random share of the others.

    As insightface's Partial FC with AdamW on one device: weights and both moments of all classes
    stay in memory, those of the share are copied out for a step and back after it.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stored = [0.01 * torch.randn(num_classes, DIM)]
        self.stored += [torch.zeros(num_classes, DIM) for _ in range(2)]
        self.steps = 0

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        positive = labels.unique()
        order = torch.rand(self.num_classes)
        order[positive] = 2.0
        kept = max(len(positive), int(SHARE * self.num_classes))
        self.chosen = order.topk(kept).indices.sort().values
        self.active = nn.Parameter(self.stored[0][self.chosen])
        target = torch.searchsorted(self.chosen, labels)
        cosine = nn.functional.linear(
            nn.functional.normalize(z), nn.functional.normalize(self.active)
        )
        return nn.functional.cross_entropy(64 * cosine, target)

    def update(self) -> None:
        """AdamW on the share."""
        optimizer = torch.optim.AdamW([self.active], fused=True)
        average, square = (moment[self.chosen] for moment in self.stored[1:])
        state = {"step": torch.tensor(float(self.steps)), "exp_avg": average, "exp_avg_sq": square}
        optimizer.state[self.active] = state
        optimizer.step()
        self.steps += 1
        with torch.no_grad():
            for stored, new in zip(self.stored, (self.active, average, square), strict=True):
                stored[self.chosen] = new


def metric_learning(name: str) -> Callable[[int], nn.Module]:
    """A loss of pytorch-metric-learning."""

    def make(num_classes: int) -> nn.Module:
        losses = require(
            "pytorch_metric_learning.losses", extra="benchmark", purpose="benchmarks/loss.py"
        )
        return getattr(losses, name)(num_classes, DIM)

    return make


@dataclass(frozen=True)
class Peer:
    """A method that stores something for each class.

    Attributes:
        make: number of classes -> loss.
        copies: floats that it surely keeps for each weight: with AdamW the weight, its gradient
            and two moments; fewer where the gradient covers a part of the classes only.
        dense: it has a logit for each class and embedding.
    """

    make: Callable[[int], nn.Module]
    copies: int
    dense: bool

    def least_bytes(self, num_classes: int, batch: int) -> int:
        """Memory below which it cannot work."""
        return 4 * num_classes * (self.copies * DIM + self.dense * batch)


PEERS = {
    "Linear + cross-entropy": Peer(Linear, 4, True),
    "PML NormalizedSoftmaxLoss": Peer(metric_learning("NormalizedSoftmaxLoss"), 4, True),
    "PML ArcFaceLoss": Peer(metric_learning("ArcFaceLoss"), 4, True),
    "torch adaptive softmax": Peer(Adaptive, 0, False),  # its rare classes have short vectors
    "sampled softmax": Peer(Sampled, 3, False),
    "Partial FC, r = 0.1": Peer(PartialFC, 3, False),
}


def make_update(loss: nn.Module) -> Callable[[], None] | None:
    """The step of the optimizer; None for a loss that has nothing to learn."""
    if isinstance(loss, PartialFC):
        return loss.update
    parameters = list(loss.parameters())
    if not parameters:
        return None
    if isinstance(loss, Sampled):
        optimizer = torch.optim.SparseAdam(parameters)
    else:
        optimizer = torch.optim.AdamW(parameters, fused=True)

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    return update


def make_loss(method: str, system: str | None, num_classes: int) -> nn.Module:
    if system is None:
        return PEERS[method].make(num_classes)
    return OURS[method][0](ClassMap(system_from(system), num_classes))


def draw(method: str, num_classes: int, batch: int) -> Tensor:
    """Labels: uniform, or by Zipf's law for the method that is made for it."""
    if method == "torch adaptive softmax":
        return (num_classes ** torch.rand(batch, dtype=torch.float64)).long() - 1
    return torch.randint(num_classes, (batch,))


def measure(columns: Row, settings: Settings) -> Iterator[Row]:
    """The rows of a cell, in this process."""
    measure_part = in_turn if columns["part"] == "in turn" else measure_step
    yield from measure_part(columns, settings)


def measure_step(columns: Row, settings: Settings) -> Iterator[Row]:
    """Milliseconds of forward and backward, and of the update; peak of memory."""
    method, num_classes, batch = columns["method"], columns["classes"], columns["batch"]
    z = torch.randn(batch, DIM, requires_grad=True)
    nn.functional.normalize(z).sum().backward()  # start the threads
    before = _common.reset_peak()
    loss = make_loss(method, columns["system"], num_classes)
    update = make_update(loss)
    times: list[float] = []
    updates: list[float] = []
    while len(times) < 4 or (sum(times) < settings.seconds and len(times) < 200):
        labels = draw(method, num_classes, batch)
        start = time.perf_counter()
        loss(z, labels).backward()
        middle = time.perf_counter()
        times.append(middle - start)
        if update is not None:
            update()
            updates.append(time.perf_counter() - middle)
        if sum(times) + sum(updates) > _common.SLOW:
            break
    row = {
        "ms": 1e3 * median(times[1:] or times),
        "update_ms": 1e3 * median(updates[1:] or updates) if updates else None,
        "mb": _common.peak_megabytes() - before,
    }
    del loss, update
    # In this process too: processes differ by more than some of the ratios do.
    enough = num_classes <= system_from(A1).size
    reference = make_loss(REFERENCE, A1 if enough else A2, num_classes)
    labels = torch.randint(num_classes, (batch,))
    yield row | {
        "reference_ms": _common.median_ms(lambda: reference(z, labels).backward(), settings.seconds)
    }


def in_turn(columns: Row, settings: Settings) -> Iterator[Row]:
    """One of ours for each number of classes, taking turns."""
    system, batch = columns["system"], columns["batch"]
    size = system_from(system).size
    counts = [count for count in counts_of(settings.quick) if count <= size]
    z = torch.randn(batch, DIM, requires_grad=True)

    def step(loss: nn.Module, count: int) -> Callable[[], None]:
        return lambda: loss(z, torch.randint(count, (batch,))).backward()

    losses = [make_loss(columns["method"], system, count) for count in counts]
    calls = [step(loss, count) for loss, count in zip(losses, counts, strict=True)]
    times = _common.median_ms_in_turn(calls, settings.seconds)
    for count, ms in zip(counts, times, strict=True):
        yield {"classes": count, "ms": ms}


def counts_of(quick: bool) -> tuple[int, ...]:
    return (COUNTS[0], COUNTS[-1]) if quick else COUNTS


def methods() -> Iterator[tuple[str, str | None]]:
    """Ours, one for each system, then the peers."""
    for method, (_, systems) in OURS.items():
        yield from ((method, system) for system in systems)
    for method in PEERS:
        yield method, None


def make_cells(batches: Sequence[int], settings: Settings) -> Iterator[Cell]:
    """In the order of measuring: small tables first; a quick run has each method once."""
    for batch, count in itertools.product(batches, counts_of(settings.quick)):
        for method, system in methods():
            columns = {"part": "step", "method": method, "system": system}
            columns |= {"classes": count, "batch": batch}
            skip = None
            if system is not None:
                once = settings.quick and (system, count) != (A2, COUNTS[-1])
                if count > system_from(system).size or once:
                    continue
            elif settings.quick and count > COUNTS[0]:
                continue
            elif PEERS[method].least_bytes(count, batch) > settings.memory:
                skip = "out of memory (predicted)"
            yield Cell(f"{title(method, system)}/{count}/batch {batch}", columns, skip)
    for batch, (method, system) in itertools.product(batches, methods()):
        if (method, system) == (REFERENCE, A2) or (system in (A1, A2) and not settings.quick):
            columns = {"part": "in turn", "method": method, "system": system, "batch": batch}
            yield Cell(f"{title(method, system)}/in turn/batch {batch}", columns)


def title(method: str, system: str | None) -> str:
    return method if system is None else f"{method}, {system}"


def report(results: Results, batch: int) -> str:
    """Times with their ratios, and memory: a line a method, a column a number of classes."""
    counts = sorted({row["classes"] for row in results.find_all(part="step", batch=batch)})
    header = ["method", *(f"{count:,}" for count in counts)]
    times, updates, memory = [], [], []
    for method, system in methods():
        name = title(method, system)
        cells = [
            results.find(part="step", method=method, system=system, classes=count, batch=batch)
            for count in counts
        ]
        if not any(cells):
            continue
        times.append([name, *(_ratio(cell) for cell in cells)])
        memory.append([name, *(_common.figure(cell, "mb") for cell in cells)])
        if system is None:
            updates.append([name, *(_common.figure(cell, "update_ms") for cell in cells)])
    parts = [
        f"### Batch {batch}",
        f"Forward and backward, ms (and as a multiple of {REFERENCE} in the same process, "
        f"over {A1} up to its {system_from(A1).size:,} vectors, then {A2}):",
        _common.table(header, times),
        "Peak memory, MB (weights, gradients, state of the optimizer, all of a step):",
        _common.table(header, memory),
        "Update by the optimizer, ms (none for ours, which have no parameters):",
        _common.table(header, updates),
    ]
    return "\n\n".join(parts)


def _ratio(row: Row | None) -> str:
    text = _common.figure(row, "ms")
    if row is None or row["reference_ms"] is None:
        return text
    return f"{text} ({number(row['ms'] / row['reference_ms'])}x)"


def draw_plot(results: Results, batch: int, out: _common.Path) -> None:
    panels = []
    for column, label in (("ms", "forward + backward, ms"), ("mb", "peak memory of a step, MB")):
        lines = {}
        for method, system in methods():
            name = title(method, system) if system is None else f"rootspace {title(method, system)}"
            rows = results.find_all(
                part="step", method=method, system=system, batch=batch, status="ok"
            )
            points = [(row["classes"], max(row[column], 0.1)) for row in rows]
            if points:
                lines[name] = points
        panels.append(Panel(label, lines))
    _common.plot(out, f"losses, batch {batch}, dim {DIM}, float32", panels)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _common.make_parser((__doc__ or "").splitlines()[0], limit=180)
    parser.add_argument("--batch", type=int, nargs="+", help="1024 by default")
    options = parser.parse_args(arguments)
    if options.cell:
        _common.run_in_cell(options.cell, measure)
        return
    settings = _common.settings_of(options)
    batches = options.batch or [32 if options.quick else 1024]
    cells = _common.chosen(make_cells(batches, settings), options.only)
    if options.list:
        print("\n".join(cell.name for cell in cells))
        return
    out = _common.folder_of(options)
    where = _common.machine(settings.threads)
    results = Results(out / "loss.csv", COLUMNS, where, options.fresh)
    well = _common.run(__file__, cells, results, settings)
    head = f"dim {DIM}, float32; {where}; at most {settings.memory / 1e9:.1f} GB a process"
    measured = list(dict.fromkeys(row["batch"] for row in results.rows))
    parts = [head, *(report(results, batch) for batch in measured), _common.flatness(results)]
    text = "\n\n".join(parts) + "\n"
    (out / "loss.md").write_text(text, encoding="utf-8")
    if measured:
        draw_plot(results, measured[0], out / "loss.png")
    print(text)
    if not well:
        raise SystemExit("Some cells failed: see above. A further run tries them again.")


if __name__ == "__main__":
    main()
