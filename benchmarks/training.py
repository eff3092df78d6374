"""Whole steps of training against the number of classes: prototypes from the data, learned heads.

    python benchmarks/training.py [--quick] [--only PATTERN ...]

The encoder of the recipes (0.6 M parameters), images of 32x32, batches of 256, in bfloat16 where
the processor has instructions for it; forward, backward and AdamW, through the heads that
`rootspace train` builds. Each figure is divided by that
of prototypes that follow at 5,000 classes in the same process. See docs/comparison.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import _common
import torch
from _common import Cell, Results, Row, Settings
from torch import nn

from rootspace._cpu import has_bfloat16
from rootspace.classes import ClassMap
from rootspace.heads import Head, LinearHead, NormalizedHead, PrototypeHead
from rootspace.models import Encoder
from rootspace.planning import code_for

COUNTS = (5_000, 20_902, 100_000, 1_000_000)
BATCH, SIZE, WIDTH = 256, 32, 16
COLUMNS = ("method", "classes", "status", "ms", "reference_ms", "mb")


def held(num_classes: int) -> PrototypeHead:
    """Prototypes once they are chosen, which stay where they are.

    Which vectors they are does not matter to the cost of a step.
    """
    head = PrototypeHead(num_classes)
    parts = torch.arange(num_classes).split(2**14)
    vectors = [head.system.quantize(torch.randn(len(part), head.dim)) for part in parts]
    head.set_prototypes(ClassMap.assigned(head.system, torch.cat(vectors)))
    return head


def following(num_classes: int) -> PrototypeHead:
    """Prototypes that follow the network, as `rootspace train` has them from the choice on."""
    head = held(num_classes)
    head.follow()
    return head


METHODS: dict[str, Callable[[int], Head]] = {
    "prototypes that follow": following,
    "held prototypes": held,
    "before the choice": PrototypeHead,
    "learned normalized softmax": lambda count: NormalizedHead(count, code_for(count).dim),
    "learned linear layer": lambda count: LinearHead(count, code_for(count).dim),
}
REFERENCE = "prototypes that follow"


def make_step(head: Head, num_classes: int, batch: int) -> Callable[[], None]:
    """A step of training on random images, two of each class."""
    network = Encoder(code_for(num_classes).dim, 1, WIDTH).to(memory_format=torch.channels_last)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    images = torch.randn(batch, 1, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    whole = nn.ModuleList([network, head]).train()

    def step() -> None:
        labels = torch.randint(num_classes, (batch // 2,)).repeat(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            loss = whole[1](whole[0](images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def batch_of(settings: Settings) -> int:
    return 32 if settings.quick else BATCH


def measure(columns: Row, settings: Settings) -> Iterator[Row]:
    """Milliseconds of a step, of the reference in turn with it, and the peak of memory."""
    batch = batch_of(settings)
    make_step(PrototypeHead(10), 10, batch)()  # start the threads, load what is loaded once
    before = _common.reset_peak()
    count = columns["classes"]
    step = make_step(METHODS[columns["method"]](count), count, batch)
    _common.reset_peak()  # making the class vectors takes more than keeping them
    for _ in range(2):
        step()
    peak = _common.peak_megabytes() - before
    reference = make_step(METHODS[REFERENCE](COUNTS[0]), COUNTS[0], batch)
    ms, reference_ms = _common.median_ms_in_turn([step, reference], settings.seconds)
    yield {"ms": ms, "reference_ms": reference_ms, "mb": peak}


def make_cells(settings: Settings) -> Iterator[Cell]:
    for count in COUNTS[:1] if settings.quick else COUNTS:
        for method in METHODS:
            yield Cell(f"{method}/{count}", {"method": method, "classes": count})


def report(results: Results) -> str:
    """Times as multiples of the reference, and memory: a line a method, a column a count."""
    counts = sorted({row["classes"] for row in results.rows})
    times, memory = [], []
    for method in METHODS:
        rows = [results.find(method=method, classes=count) for count in counts]
        times.append([method, *(_ratio(row) for row in rows)])
        memory.append([method, *(_common.figure(row, "mb") for row in rows)])
    header = ["method", *(f"{count:,}" for count in counts)]
    return "\n\n".join(
        [
            f"Step, ms (and as a multiple of {REFERENCE} at {COUNTS[0]:,} classes, in turn):",
            _common.table(header, times),
            "Peak memory of two steps with their network and state, MB:",
            _common.table(header, memory),
        ]
    )


def _ratio(row: Row | None) -> str:
    text = _common.figure(row, "ms")
    if row is None or row["status"] != "ok":
        return text
    return f"{text} ({row['ms'] / row['reference_ms']:.2f}x)"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _common.make_parser((__doc__ or "").splitlines()[0], limit=600)
    options = parser.parse_args(arguments)
    if options.cell:
        _common.run_in_cell(options.cell, measure)
        return
    settings = _common.settings_of(options)
    cells = _common.chosen(make_cells(settings), options.only)
    if options.list:
        print("\n".join(cell.name for cell in cells))
        return
    out = _common.folder_of(options)
    where = _common.machine(settings.threads)
    results = Results(out / "training.csv", COLUMNS, where, options.fresh)
    well = _common.run(__file__, cells, results, settings)
    precision = "bfloat16" if has_bfloat16() else "float32"
    text = f"batch {batch_of(settings)}, {precision}; {where}\n\n{report(results)}\n"
    (out / "training.md").write_text(text, encoding="utf-8")
    print(text)
    if not well:
        raise SystemExit("Some cells failed: see above. A further run tries them again.")


if __name__ == "__main__":
    main()
