"""Writing a network with its decoding as an ONNX file, and holding the file against torch."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from rootspace._extras import require
from rootspace._files import replacing
from rootspace.classes import ClassMap
from rootspace.heads import Head
from rootspace.images import ImageShape

from ._decoder import Decoded, Decoder, InFrame
from ._translations import translations

LOWEST_OPSET = 18
"""Bitwise operations, which the shuffle of a class map uses, came with this opset."""

LARGEST_FILE = 2**31 - 2**24
"""Bytes of weights; an ONNX file is limited to 2 GiB."""

TOLERANCE = 1e-3
"""Of cosines, and of embeddings relative to their length, between the file and torch."""


class OnnxCheck(NamedTuple):
    """Largest differences between an ONNX file in onnxruntime and the same network in torch.

    Attributes:
        embedding: of a coordinate, relative to the length of its embedding.
        cosine: of the k best, in order.
        other_labels: how many labels differ, all of them between vectors that are equally near
            within rounding.
        inputs: how many were compared.
    """

    embedding: float
    cosine: float
    other_labels: int
    inputs: int


def export_onnx(
    model: nn.Module,
    classes: ClassMap | Head,
    example: Tensor,
    path: str | os.PathLike[str],
    top: int = 1,
    *,
    decode: Literal["auto", "formula", "search"] = "auto",
    opset: int | None = None,
    names: Sequence[str] | None = None,
    preprocessing: ImageShape | None = None,
    retired: Tensor | None = None,
) -> OnnxCheck:
    """Write a network and the decoding of its embeddings as one ONNX file, and check it.

    The file maps the input `images` to the outputs `embedding [batch, dim]`, `index [batch, k]`,
    `label [batch, k]` and `cosine [batch, k]`, as `Decoder` describes them, for any batch size.
    Its metadata hold `rootspace.classes`, `rootspace.decode` and, as JSON, `rootspace.names` and
    `rootspace.preprocessing`, which `rootspace serve FILE.onnx` needs.
    It appears under its name only after it gave in onnxruntime what torch gives.

    Args:
        model: in evaluation mode, `[batch, ...]` -> `[batch, dim]`. What it takes is what the file
            takes: preprocessing belongs into it. The `embedder` of a trained run takes uint8
            images `[batch, channels, height, width]`.
        classes: the head, whose frame the file then puts embeddings into; or a class map, where
            the embeddings are to be compared with the prototypes as they are.
        example: `[n, ...]` inputs of the model, n at least 1, on its device.
        path: of the file.
        top: k.
        decode: see `Decoder`.
        opset: of ONNX, at least 18; what PyTorch prefers if None.
        names: of the classes; those of the head or class map if None.
        preprocessing: how image files become what the model takes, where it takes images.
        retired: `[R]` labels that are not predicted, see `Decoder`.

    Returns:
        The largest differences on batches of other sizes than the one it was traced with.

    Raises:
        ValueError: arguments that do not fit, or a file that does not give what torch gives.
        MissingExtraError: a package of `rootspace[onnx]` is missing.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, extra="onnx", purpose="Export to ONNX")
    path = Path(path)
    head = None if isinstance(classes, ClassMap) else classes
    class_map = classes if isinstance(classes, ClassMap) else classes.class_map
    if class_map is None:
        raise ValueError(
            f"Argument 'classes' must be a head whose classes own prototypes, not a "
            f"{type(classes).__name__} without any."
        )
    if opset is not None and opset < LOWEST_OPSET:
        raise ValueError(f"Argument 'opset' must be at least {LOWEST_OPSET}, not {opset}.")
    if model.training:
        raise ValueError("Argument 'model' must be in evaluation mode: call model.eval().")
    if example.ndim < 2 or not len(example):
        raise ValueError(
            f"Argument 'example' must have shape [n, ...] with n at least 1, not "
            f"{tuple(example.shape)}."
        )
    names = classes.names if names is None else list(names)
    if names is not None and len(names) != class_map.num_classes:
        raise ValueError(
            f"Argument 'names' must hold {class_map.num_classes} names, one a class, not "
            f"{len(names)}."
        )
    network = model if head is None else InFrame(model, head)
    decoder = Decoder(network, class_map, top, decode, retired).to(example.device).eval()
    _check_size(decoder)
    # A dimension of size 1 would be taken for a constant.
    inputs = torch.cat([example, example.flip(-1)])
    with torch.no_grad():
        _check_embeddings(model(example), class_map)
        onnx_program = _convert(decoder, inputs, opset)
    _make_names_unique(onnx_program.model.graph)
    onnx_program.model.metadata_props.update(_metadata(decoder, names, preprocessing))
    with replacing(path) as temporary:
        onnx_program.save(temporary, external_data=False)
        return check_onnx(temporary, decoder, [inputs[:1], torch.cat([inputs, inputs[:1]])])


def _convert(decoder: Decoder, inputs: Tensor, opset: int | None) -> Any:
    """The decoder as PyTorch's ONNXProgram, for any batch size.

    Raises:
        ValueError: PyTorch cannot trace or translate it.
    """
    try:
        with _quiet():
            # Not by torch.onnx.export, which tries other ways of tracing first.
            program = torch.export.export(
                decoder, (inputs,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=True
            )
            return torch.onnx.export(
                program,
                (),
                input_names=["images"],
                output_names=list(Decoded._fields),
                opset_version=opset,
                dynamic_shapes=({0: "batch"},),
                custom_translation_table=translations(),
                verbose=False,
            )
    except Exception as error:  # the tracer raises its own kinds, and whatever the model raises
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
        advice = "; decode='search' needs fewer operators" if decoder.decode == "formula" else ""
        raise ValueError(
            f"PyTorch cannot export the model with {decoder.classes!r} to ONNX{advice}: "
            f"{type(error).__name__}: {reason}"
        ) from error


def check_onnx(path: Path, decoder: Decoder, batches: Sequence[Tensor]) -> OnnxCheck:
    """Hold a file in onnxruntime against the module it was made from.

    Labels may differ only where two vectors are equally near: the cosines of the k best must agree,
    each cosine must be that of the vector it is given for, and each label that of its number.

    Args:
        path: of the file.
        decoder: the module.
        batches: inputs.

    Raises:
        ValueError: they differ by more than `TOLERANCE`.
    """
    runtime: Any = require("onnxruntime", extra="onnx", purpose="Export to ONNX")
    session = runtime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    largest = OnnxCheck(0.0, 0.0, 0, 0)
    for inputs in batches:
        with torch.no_grad():
            expected = Decoded(*(output.cpu() for output in decoder(inputs)))
        outputs = session.run(None, {session.get_inputs()[0].name: inputs.cpu().numpy()})
        found = Decoded(*map(torch.from_numpy, outputs))
        length = torch.linalg.vector_norm(expected.embedding, dim=-1, keepdim=True)
        error = (found.embedding - expected.embedding).abs() / length.clamp_min(1e-30)
        cosines = torch.stack(
            [found.cosine - expected.cosine, found.cosine - _cosines(found, decoder)]
        )
        if not bool((error.amax() <= TOLERANCE) & (cosines.abs().amax() <= TOLERANCE)):
            raise ValueError(
                f"The ONNX file differs from torch by {float(error.amax()):.2g} in an embedding "
                f"and {float(cosines.abs().amax()):.2g} in a cosine, more than {TOLERANCE}."
            )
        if not _labels_fit(found, decoder):
            raise ValueError(
                "The ONNX file gives labels that are not those of its vectors: this onnxruntime "
                "does not compute with 64-bit integers as expected."
            )
        largest = OnnxCheck(
            max(largest.embedding, float(error.amax())),
            max(largest.cosine, float(cosines[0].abs().amax())),
            largest.other_labels + int((found.label != expected.label).sum()),
            largest.inputs + len(inputs),
        )
    return largest


def _cosines(found: Decoded, decoder: Decoder) -> Tensor:
    """`[batch, k]` between the embeddings and the vectors that were found for them."""
    classes = decoder.classes
    vectors = (
        classes.system.vectors(found.index, dtype=torch.float64)
        if decoder.decode == "formula"
        else classes.vectors(found.label, dtype=torch.float64)
    )
    unit = nn.functional.normalize(found.embedding.double(), dim=-1, eps=1e-30)
    return torch.einsum("nkd,nd->nk", vectors, unit)


def _labels_fit(found: Decoded, decoder: Decoder) -> bool:
    if decoder.decode == "formula":
        device = None if decoder.retired is None else decoder.retired.device
        return torch.equal(found.label, decoder.labels_of(found.index.to(device)).cpu())
    return torch.equal(found.index, decoder.numbers.cpu()[found.label])


def _check_size(decoder: Decoder) -> None:
    tensors = [*decoder.parameters(), *decoder.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > LARGEST_FILE:
        raise ValueError(
            f"Argument 'model' must have weights of at most 2 GiB, what an ONNX file can hold, not "
            f"{size / 2**30:.1f} GiB."
        )


def _check_embeddings(z: Tensor, classes: ClassMap) -> None:
    if z.ndim != 2 or z.shape[1] != classes.dim:
        raise ValueError(
            f"Argument 'model' must give embeddings [batch, {classes.dim}] for {classes!r}, not "
            f"{list(z.shape)}."
        )


def _make_names_unique(graph: Any) -> None:
    """Rename what happens to have the name of an output; the exporter does not look."""
    outputs = set(graph.outputs)
    for node in graph.all_nodes():
        for value in node.outputs:
            if value.name in Decoded._fields and value not in outputs:
                value.name = f"{value.name}_of_{node.name}"


def _metadata(
    decoder: Decoder, names: Sequence[str] | None, preprocessing: ImageShape | None
) -> dict[str, str]:
    metadata = {"rootspace.classes": repr(decoder.classes), "rootspace.decode": decoder.decode}
    if names is not None:
        metadata["rootspace.names"] = json.dumps(list(names), ensure_ascii=False)
    if preprocessing is not None:
        metadata["rootspace.preprocessing"] = json.dumps(preprocessing.as_dict())
    return metadata


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings about itself, on which a user cannot act."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
