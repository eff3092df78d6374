"""`rootspace export`: a trained run as an ONNX file, from image to class."""

from __future__ import annotations

import torch

from rootspace.data.preprocessing import ImagePreprocessing
from rootspace.export import export_onnx
from rootspace.run import Run, load
from rootspace.runs.folder import SAMPLES

from ._arguments import add_run, check_out
from ._output import add_format, answer
from ._parser import Parser, path

OPSETS = range(18, 24)
"""That PyTorch can write and onnxruntime can read."""


def run(arguments: list[str]) -> int:
    parser = Parser(prog="rootspace export", description=__doc__)
    add_run(parser, network=False)
    parser.add_argument("--out", type=path, required=True, help="the .onnx file")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="how many classes")
    parser.add_argument(
        "--decode",
        choices=("auto", "formula", "search"),
        default="auto",
        help="by the closed form of the vector system, which stores nothing and gives label -1 "
        "for a vector without a class, or by a search over stored class vectors",
    )
    parser.add_argument("--opset", type=int, help="of ONNX; what PyTorch prefers by default")
    add_format(parser)
    options = parser.parse_args(arguments)
    check_out(options.out, (".onnx",))
    if options.opset is not None and not OPSETS[0] <= options.opset <= OPSETS[-1]:
        raise ValueError(
            f"Argument '--opset' must lie in [{OPSETS[0]}, {OPSETS[-1]}], not {options.opset}."
        )
    trained = load(options.run)
    shape = trained.model.preprocessing
    if trained.class_map is None:
        raise ValueError(
            f"{options.run} has a learned head; export supports runs whose classes own prototypes."
        )
    if shape is None:
        raise ValueError(f"{options.run} is no run on images, which the file would take.")
    classes = trained.classes()
    check = export_onnx(
        trained.model.embedder,
        trained.model.head,
        _example(trained, shape),
        options.out,
        options.top,
        decode=options.decode,
        opset=options.opset,
        names=classes.names(range(len(trained.names))),
        preprocessing=shape,
        retired=classes.retired,
    )
    answer(
        options,
        f"{options.out}: uint8 images [batch, {shape.channels}, {shape.size}, {shape.size}], "
        f"{classes.num_active} classes, {options.out.stat().st_size / 1e6:.1f} MB\n"
        f"onnxruntime against torch on {check.inputs} images: largest difference of an embedding "
        f"{check.embedding:.1e} of its length, of a cosine {check.cosine:.1e}; "
        f"{check.other_labels} other labels",
        {
            "out": str(options.out),
            "inputs": [shape.channels, shape.size, shape.size],
            "num_classes": classes.num_active,
            "bytes": options.out.stat().st_size,
            "check": check._asdict(),
        },
    )
    return 0


def _example(trained: Run, shape: ImagePreprocessing) -> torch.Tensor:
    """uint8 `[n, C, H, W]`: the run's samples where it has any."""
    samples = sorted((trained.folder / SAMPLES).glob("*.png"))
    if samples:
        return torch.stack([shape(path) for path in samples])
    generator = torch.Generator().manual_seed(0)
    size = (4, shape.channels, shape.size, shape.size)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
