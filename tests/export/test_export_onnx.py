"""ONNX files in onnxruntime give the numbers, classes and cosines that torch gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from rootspace.classes import ClassMap
from rootspace.export import Decoder, OnnxCheck, export_onnx
from rootspace.export import _onnx as onnx_module
from rootspace.heads import LinearHead, PrototypeHead
from rootspace.systems import (
    Circle,
    Orthoplex,
    PermutationCode,
    PermutationSystem,
    RootA,
    RootD,
    RootE8,
    SignedKHot,
    VectorSystem,
)


def assigned(system: VectorSystem, count: int) -> ClassMap:
    return ClassMap.assigned(system, torch.randperm(system.size)[:count])


def quantized(system: VectorSystem, count: int) -> ClassMap:
    return ClassMap.assigned(system, system.quantize(torch.randn(count, system.dim)))


FORMULAS = {
    "drop": (lambda: ClassMap(RootA(7), 50), 1),
    "isometric": (lambda: ClassMap(RootA(7, projection="isometric"), 56, "natural"), 3),
    "interpolated": (lambda: assigned(RootA(5, interpolations=1), 120), 1),
    "D": (lambda: assigned(RootD(6), 50), 2),
    "orthoplex": (lambda: ClassMap(Orthoplex(5), 9, "natural"), 1),
    # More than 2**53 vectors, so that no number may pass through a float.
    "permutations": (lambda: ClassMap(PermutationSystem(3000, 3, 2), 2 * 10**16, "natural"), 1),
    "signed": (lambda: ClassMap(SignedKHot(2336, 5), 10**16), 1),
}


LARGE = ClassMap(RootA(384, interpolations=1), 5 * 10**7)


def run(path: Path, inputs: Tensor) -> list[Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(x) for x in session.run(None, {"images": inputs.numpy()})]


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name: str, tmp_path: Path):
    make, top = FORMULAS[name]
    classes, path = make(), tmp_path / "model.onnx"
    example = torch.randn(2, classes.dim)
    check = export_onnx(nn.Identity().eval(), classes, example, path, top)
    assert check.cosine < 1e-5 and check.embedding == 0
    for batch in (1, 7):
        z = torch.randn(batch, classes.dim)
        embedding, index, label, cosine = run(path, z)
        nearest = classes.system.nearest(z, top)
        assert torch.equal(embedding, z)
        assert torch.equal(index, nearest.index)
        assert torch.equal(label, classes.labels(nearest.index))
        torch.testing.assert_close(cosine, nearest.cosine)
    # Each vector is its own nearest; its number and its class come out to the last bit.
    own = torch.randint(classes.capacity, (300,))
    own[:2] = torch.tensor([0, classes.capacity - 1])
    _, index, label, cosine = run(path, classes.system.vectors(own))
    assert torch.equal(index[:, 0], own)
    assert torch.equal(label[:, 0], classes.labels(own))
    unassigned = classes.num_classes < classes.capacity
    assert (label >= 0).any() and (label < 0).any() == unassigned
    torch.testing.assert_close(cosine[:, 0], torch.ones(300))


@pytest.mark.parametrize(
    "make",
    [
        lambda: quantized(PermutationCode(40), 70),  # too many vectors to number
        lambda: ClassMap(RootA(30), 20),  # most vectors have no class
        lambda: ClassMap(Circle(3), 32),
        lambda: ClassMap(RootE8(), 240),
    ],
    ids=["levels", "few", "circle", "E8"],
)
def test_search(make, tmp_path: Path):
    classes, path = make(), tmp_path / "model.onnx"
    export_onnx(nn.Identity().eval(), classes, torch.randn(1, classes.dim), path, top=3)
    z = torch.cat([torch.randn(6, classes.dim), classes.vectors(torch.tensor([5]))])
    _, index, label, cosine = run(path, z)
    expected = classes.predict(z, 3)
    assert torch.equal(label[:-1], expected.label[:-1]) and label[-1, 0] == 5
    torch.testing.assert_close(cosine, expected.cosine)
    numbered = classes.capacity < 2**63
    assert torch.equal(index, classes.indices(label) if numbered else torch.full_like(label, -1))


@pytest.mark.parametrize("decode", ["formula", "search"])
def test_retired_classes_are_not_predicted(decode: str, tmp_path: Path):
    classes, path, retired = ClassMap(RootA(6), 42), tmp_path / "model.onnx", torch.tensor([4, 20])
    example = torch.randn(1, 6)
    export_onnx(nn.Identity().eval(), classes, example, path, 3, decode=decode, retired=retired)  # pyright: ignore[reportArgumentType]
    z = torch.cat([torch.randn(30, 6), classes.vectors(retired)])
    _, index, label, cosine = run(path, z)
    assert torch.equal(classes.labels(index), label.where(label >= 0, classes.labels(index)))
    every = classes.predict(z, 42)
    gone = torch.isin(every.label, retired)
    if decode == "formula":
        assert torch.equal(label[-2:, 0], torch.tensor([-1, -1]))
        assert torch.equal(label == -1, gone[:, :3])
    else:
        kept = every.cosine.masked_fill(gone, -2).sort(dim=-1, descending=True).values[:, :3]
        torch.testing.assert_close(cosine, kept)
        assert not torch.isin(label, torch.cat([retired, torch.tensor([-1])])).any()


def test_auto_stores_vectors_where_most_have_no_class():
    codes = Decoder(nn.Identity(), quantized(PermutationCode(40), 70))
    assert codes.decode == "search" and codes.codes.dtype == torch.int8
    assert Decoder(nn.Identity(), ClassMap(RootA(9), 44)).decode == "search"
    assert Decoder(nn.Identity(), ClassMap(RootA(9), 45)).decode == "formula"
    decoder = Decoder(nn.Identity(), LARGE)
    assert decoder.decode == "formula" and not list(decoder.buffers())


def test_network_with_uint8_input_names_and_opset(tmp_path: Path):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 4))

    class Pixels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor:
            return self.network(images.float() / 255)

    hostile = ["<script>", "\x1b[31m", '"]}', "=1+1", "a\u202eb", "\\", "'; DROP TABLE classes; --"]
    names = [*hostile, *(f"字{i}" for i in range(20 - len(hostile)))]
    classes = ClassMap(RootA(4), 20, "natural", names=names)
    images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    path = tmp_path / "model.onnx"
    with torch.no_grad():
        export_onnx(Pixels().eval(), classes, images, path, opset=18)
        expected = classes.predict(Pixels().eval()(images))
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert image.type == "tensor(uint8)" and image.shape == ["batch", 1, 8, 8]
    shapes = {output.name: output.shape for output in session.get_outputs()}
    assert shapes["embedding"] == ["batch", 4] and shapes["label"] == ["batch", 1]
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["rootspace.names"]) == names
    assert set(metadata) == {"rootspace.classes", "rootspace.decode", "rootspace.names"}
    assert metadata["rootspace.decode"] == "formula"
    np.testing.assert_array_equal(
        session.run(["label"], {"images": images.numpy()})[0], expected.label
    )


@pytest.mark.parametrize("chosen", [True, False])
def test_the_frame_of_a_head(chosen: bool, tmp_path: Path):
    """The file gives what the head predicts: embeddings are centered and turned first."""
    names = [f"class {label}" for label in range(20)]
    head = PrototypeHead.from_map(ClassMap(RootA(6), 20, names=names))
    if chosen:
        head = PrototypeHead(names=names, dim=16)
        center, rotation = torch.randn(16), torch.linalg.qr(torch.randn(16, 16)).Q
        head.choose(torch.randn(20, 16), center, rotation)
    network, path = nn.Linear(5, head.dim).eval(), tmp_path / "model.onnx"
    export_onnx(network, head.eval(), torch.randn(2, 5), path, top=3, decode="search")
    inputs = torch.randn(50, 5)
    with torch.no_grad():
        z = network(inputs)
        expected, framed = head.predict(z, 3), head.transform(z)
    embedding, _, label, cosine = run(path, inputs)
    torch.testing.assert_close(embedding, framed)
    torch.testing.assert_close(cosine, expected.cosine)
    assert torch.equal(label, expected.label)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["rootspace.names"]) == names


class Branching(nn.Module):
    """Depends on the data, so it cannot be traced."""

    def forward(self, z: Tensor) -> Tensor:
        return z if float(z.sum()) > 0 else -z


def test_a_model_that_cannot_be_traced(tmp_path: Path):
    with pytest.raises(ValueError, match="PyTorch cannot export the model with ClassMap"):
        export_onnx(
            Branching().eval(), ClassMap(RootA(6), 42), torch.randn(2, 6), tmp_path / "model.onnx"
        )
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_wrong_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file is held against another network; then its numbers of vectors are wrong."""
    classes, path = ClassMap(RootA(6), 10), tmp_path / "model.onnx"
    honest, other = onnx_module.check_onnx, Decoder(nn.Linear(6, 6), classes, decode="search")

    def check(path: Path, decoder: Decoder, batches: list[Tensor]) -> OnnxCheck:
        return honest(path, other, batches)

    def export() -> None:
        export_onnx(nn.Identity().eval(), classes, torch.randn(2, 6), path, decode="search")

    monkeypatch.setattr(onnx_module, "check_onnx", check)
    with pytest.raises(ValueError, match=r"differs from torch by .* in an embedding"):
        export()
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(Decoder, "forward", _one_label_off)
    other = Decoder(nn.Identity(), classes, decode="search")
    with pytest.raises(ValueError, match="labels that are not those of its vectors"):
        export()
    assert not list(tmp_path.iterdir())


def _one_label_off(decoder: Decoder, inputs: Tensor) -> tuple[Tensor, ...]:
    """A decoding whose numbers of vectors are those of other classes."""
    score, label = (inputs @ decoder.codes.T).topk(1, dim=-1)
    cosine = score / torch.linalg.vector_norm(inputs, dim=-1, keepdim=True)
    return inputs.clone(), label + 1, label, cosine


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top": 0}, r"'top' must be an integer in \[1, 42\], not 0"),
        ({"top": 31, "decode": "search"}, r"'top' must be an integer in \[1, 30\], not 31"),
        ({"decode": "dense"}, "'decode' must be 'auto', 'formula' or 'search', not 'dense'"),
        ({"classes": LinearHead(30, 6)}, "'classes' must be a head whose classes own prototypes"),
        ({"opset": 17}, "'opset' must be at least 18, not 17"),
        ({"names": ["a"]}, "'names' must hold 30 names, one a class, not 1"),
        ({"model": nn.Identity()}, r"call model.eval\(\)"),
        ({"model": nn.Linear(6, 5).eval()}, r"must give embeddings \[batch, 6\]"),
        ({"example": torch.randn(6)}, r"'example' must have shape \[n, ...\]"),
        ({"classes": ClassMap(Circle(1), 8), "decode": "formula"}, "'decode' must be 'search'"),
        ({"classes": LARGE, "decode": "search"}, "take 71.5 GiB in the file, more than 1 GiB"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_refused(change: dict, message: str, tmp_path: Path):
    arguments = {
        "model": nn.Identity().eval(),
        "classes": ClassMap(RootA(6), 30),
        "example": torch.randn(2, 6),
        "path": tmp_path / "model.onnx",
    }
    with pytest.raises(ValueError, match=message):
        export_onnx(**{**arguments, **change})
    assert not list(tmp_path.iterdir())
