"""`rootspace export`: a trained run as an ONNX file, from image to class."""

from __future__ import annotations

from pathlib import Path

import torch

from rootspace.export import export_onnx
from rootspace.runs.folder import SAMPLES
from rootspace.train import VectorObjective
from rootspace.train.run_folder import TrainedRun, read_run
from rootspace.train.scoring import image_batches

from ._arguments import Parser


def run(arguments: list[str]) -> int:
    parser = Parser(prog="rootspace export", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder that `rootspace train` wrote")
    parser.add_argument("--out", type=Path, required=True, help="the .onnx file")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="how many classes")
    parser.add_argument(
        "--decode",
        choices=("auto", "formula", "search"),
        default="auto",
        help="by the closed form of the vector system, which stores nothing and gives label -1 "
        "for a vector without a class, or by a search over stored class vectors",
    )
    parser.add_argument("--opset", type=int, help="of ONNX; what PyTorch prefers by default")
    options = parser.parse_args(arguments)
    if options.out.suffix != ".onnx":
        raise ValueError(f"Argument '--out' must end in .onnx, not {options.out}.")
    if not options.out.parent.is_dir():
        raise ValueError(f"Argument '--out': the folder {options.out.parent} does not exist.")
    trained = read_run(options.run)
    objective = trained.objective
    if not isinstance(objective, VectorObjective):
        raise ValueError(
            f"{options.run} has a learned head; export supports runs whose classes own predefined "
            "vectors."
        )
    check = export_onnx(
        trained.embedder,
        objective.classes,
        _example(trained),
        options.out,
        options.top,
        decode=options.decode,
        opset=options.opset,
        names=trained.names,
    )
    shape = f"{trained.in_channels}, {trained.image_size}, {trained.image_size}"
    print(
        f"{options.out}: uint8 images [batch, {shape}], {len(trained.names)} classes, "
        f"{options.out.stat().st_size / 1e6:.1f} MB\n"
        f"onnxruntime against torch on {check.inputs} images: largest difference of an embedding "
        f"{check.embedding:.1e} of its length, of a cosine {check.cosine:.1e}; "
        f"{check.other_labels} other labels"
    )
    return 0


def _example(trained: TrainedRun) -> torch.Tensor:
    """uint8 `[n, C, H, W]`: the run's samples where it has any."""
    samples = sorted((trained.folder / SAMPLES).glob("*.png"))
    if samples:
        return next(image_batches(trained, samples))[1]
    size = trained.image_size
    generator = torch.Generator().manual_seed(0)
    shape = (4, trained.in_channels, size, size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
