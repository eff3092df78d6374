"""Table 10: model size and largest batch at a limit of memory.

ViT-B on a GPU of 40 GB. With LSC the model takes 943 MB and a batch 386 images whatever the number
of classes; with a classifier layer 154 images are left at a million classes, and nothing fits at
ten million.

Measured: the largest batch with which a step of training (forward, backward, AdamW with its two
moments) succeeds under a real limit, found by bisection. At a desk the limit is 1 GB beyond what
the process holds before the model is made (the operating system refuses more), and the network the
encoder of width 16 with 36 dimensions on 32 x 32 pixels; at paper scale 40 GB of a GPU and ViT-B.
Model sizes are the float32 weights, without the 616 MB of a CUDA context that the paper's hold.

Computed at both scales: the sizes for ViT-B with the context, and the batches that are left in
40 GB where the layer's weights, gradient, two moments, and outputs with their gradient are taken
off; an image's share is that of the paper's 386 images. What an optimizer needs for a moment and
what an allocator holds back are not in it, which count at a million classes: 251 images are left
there, the paper's 154 by measurement.

    python -m papers.lsc2510 --only table10
    python -m papers.lsc2510 --only table10 --scale paper

Hardware: two cores and 3 GB; at paper scale a GPU of at least 40 GB. To be expected: LSC's batch
does not depend on the classes, the classifier's falls to nothing.
"""

from __future__ import annotations

from rootspace.planning import classifier_cost

from ..experiment import Criterion, Experiment, Job, NotRun, Outcome, Part, Row, Scale, Settings
from ..memory import largest_batch
from ..settings import spec

NUM_CLASSES = {"1k": 10**3, "10k": 10**4, "100k": 10**5, "1m": 10**6, "10m": 10**7}
PAPER = {"1k": (943, 386), "10k": (973, 386), "100k": (1237, 374), "1m": (3873, 154),
         "10m": (30281, 0)}  # fmt: skip
"""Model size in MB and largest batch with a classifier layer; 0 where nothing fits."""

LSC = (943, 386)
MIB_OF_40_GB = 40 * 1024
DESK: Settings = {
    "model": spec("models.Encoder", width=16),
    "dim": 36,
    "image_shape": [1, 32, 32],
    "system": "SignedKHot(36, 5)",
    "limit_mib": 1024,
    "device": "cpu",
}
FULL: Settings = {
    "model": spec("models.TimmBackbone", name="vit_base_patch16_224"),
    "dim": 768,
    "image_shape": [3, 224, 224],
    "system": "RootA(768, interpolations=1)",
    "limit_mib": MIB_OF_40_GB,
    "device": "cuda",
}
COMPUTED: Settings = {"limit_mib": MIB_OF_40_GB, "largest_batch_of_lsc": LSC[1]}


def measure(job: Job) -> Outcome:
    """Values `model_mib` and `largest_batch`."""
    return Outcome(largest_batch(job.settings))


def part(method: str, name: str, minutes: float) -> Part:
    own = {"method": method, "num_classes": NUM_CLASSES[name]}
    both: dict[Scale, Settings | NotRun] = {"desk": {**DESK, **own}, "paper": {**FULL, **own}}
    return Part(f"{method}_{name}", both, measure, minutes)


def compute(job: Job) -> Outcome:
    """Values `model_mib/N` and `largest_batch/N` for N classes, `lsc` for none."""
    limit, most = job.settings["limit_mib"], job.settings["largest_batch_of_lsc"]
    bare = classifier_cost(0)
    # Gradient and two moments of the network itself are there for every number of classes.
    moments = 3 * (bare.model_mib - _context_mib())
    image_mib = (limit - bare.model_mib - moments) / most
    values = {"model_mib/lsc": bare.model_mib, "largest_batch/lsc": float(most)}
    for name, num_classes in NUM_CLASSES.items():
        cost = classifier_cost(num_classes)
        left = limit - cost.model_mib - moments - cost.optimizer_mib
        values[f"model_mib/{name}"] = cost.model_mib
        values[f"largest_batch/{name}"] = float(
            max(0, int(left // (image_mib + cost.logits_mib(1))))
        )
    return Outcome(values)


def _context_mib() -> float:
    bare = classifier_cost(0)
    return bare.model_mib - 4 * bare.parameters / 2**20


SIZES = Criterion(
    "Computed model sizes are within 1 % of the paper's.",
    lambda f: all(
        abs(f.mean("computed", f"model_mib/{name}") - size) <= 0.01 * size
        for name, (size, _) in {"lsc": LSC, **PAPER}.items()
    ),
)
COMPUTED_BATCHES = Criterion(
    "The computed batch is within 10 % of LSC's of the paper's up to 100,000 classes, falls to a "
    "million, and is nothing at ten million.",
    lambda f: (
        all(
            abs(f.mean("computed", f"largest_batch/{name}") - PAPER[name][1]) <= 0.1 * LSC[1]
            for name in ("1k", "10k", "100k")
        )
        and f.mean("computed", "largest_batch/1m") < f.mean("computed", "largest_batch/100k")
        and f.mean("computed", "largest_batch/10m") == 0
    ),
)
COMPUTED_BATCH_OF_A_MILLION = Criterion(
    "The computed batch at a million classes is within 10 % of LSC's of the paper's.",
    lambda f: abs(f.mean("computed", "largest_batch/1m") - PAPER["1m"][1]) <= 0.1 * LSC[1],
)
CONSTANT = Criterion(
    "LSC's measured model size is the same at 1,000 and at ten million classes, and its largest "
    "batch to 5 %.",
    lambda f: (
        f.mean("lsc_1k", "model_mib") == f.mean("lsc_10m", "model_mib")
        and abs(f.mean("lsc_1k", "largest_batch") / f.mean("lsc_10m", "largest_batch") - 1) <= 0.05
    ),
)
FALLS = Criterion(
    "The classifier's measured batch falls from each number of classes above 10,000 to the next, "
    "and is nothing at ten million.",
    lambda f: (
        f.mean("ce_10k", "largest_batch")
        > f.mean("ce_100k", "largest_batch")
        > f.mean("ce_1m", "largest_batch")
        > f.mean("ce_10m", "largest_batch")
        == 0
    ),
)
SIZE, BATCH = "model size, MiB", "largest batch"


def _rows(name: str, number: int) -> list[Row]:
    size, most = PAPER[name]
    setting, where = f"classifier layer, {name} classes", f"Table 10, exp. {number}"
    computed = f"{setting}, computed for 40 GB"
    batches = COMPUTED_BATCH_OF_A_MILLION if name == "1m" else COMPUTED_BATCHES
    return [
        Row(computed, SIZE, size, where, "computed", f"model_mib/{name}", SIZES, digits=0),
        Row(computed, BATCH, most or "-", where, "computed", f"largest_batch/{name}",
            batches, digits=0),
        Row(f"{setting}, measured", SIZE, "", where, f"ce_{name}", "model_mib", FALLS),
        Row(f"{setting}, measured", BATCH, "", where, f"ce_{name}", "largest_batch", FALLS,
            digits=0),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    "table10",
    __doc__ or "",
    [
        Part("computed", {"desk": COMPUTED, "paper": COMPUTED}, compute, minutes=0.05),
        *(part("lsc", name, 0.9) for name in ("1k", "10m")),
        *(part("ce", name, minutes) for name, minutes in
          {"1k": 0.9, "10k": 0.9, "100k": 0.5, "1m": 0.4, "10m": 0.2}.items()),
    ],
    [
        Row("LSC, computed for 40 GB", SIZE, LSC[0], "Table 10, exp. 1", "computed",
            "model_mib/lsc", SIZES, digits=0),
        *(
            Row(f"LSC, {name} classes, measured", column, "", "Table 10, exp. 1", f"lsc_{name}",
                value, CONSTANT, digits=digits)
            for name in ("1k", "10m")
            for column, value, digits in ((SIZE, "model_mib", 1), (BATCH, "largest_batch", 0))
        ),
        *(row for number, name in enumerate(NUM_CLASSES, 2) for row in _rows(name, number)),
    ],
)  # fmt: skip
