"""model.safetensors: what was written comes back, and whatever else is there is named."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from rootspace.config import ClassSpec, Config
from rootspace.data import ImagePreprocessing
from rootspace.heads import PrototypeHead
from rootspace.model_file import Model, read_head, read_model, read_network, write_model
from rootspace.models import Embedder, Encoder

CONFIG = Config(model=ClassSpec("rootspace.models.Encoder", {"width": 4}))


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    head = PrototypeHead(names=["a", "b", "ü"], dim=16)
    head.choose(torch.randn(3, 16))
    shape = ImagePreprocessing(1, 16, (0.5,), (0.2,))
    network = Encoder(16, in_channels=1, width=4)
    return Model(Embedder(network, shape.mean, shape.std), head, shape)


@pytest.fixture(scope="module")
def written(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "model.safetensors"
    write_model(path, model)
    return path


def test_it_comes_back(model: Model, written: Path):
    again = read_model(written, CONFIG)
    assert again.preprocessing == model.preprocessing and again.head.names == ["a", "b", "ü"]
    labels = torch.arange(3)
    assert torch.equal(again.head.vectors(labels), model.head.vectors(labels))
    for name, value in model.embedder.state_dict().items():
        assert torch.equal(again.embedder.state_dict()[name], value)
    assert read_head(written, CONFIG).names == model.head.names


def test_metadata_do_not_grow_with_the_classes(tmp_path: Path):
    """safetensors refuses more than 100 MB of them."""
    names = [f"folder/{i:05d}" for i in range(3000)]
    write_model(
        tmp_path / "m", Model(Embedder(torch.nn.Flatten()), PrototypeHead(names=names), None)
    )
    with safe_open(tmp_path / "m", framework="pt") as file:
        assert sum(map(len, file.metadata().values())) < 2000
    assert read_head(tmp_path / "m", CONFIG).names == names


def test_tied_weights_are_written_twice(model: Model, tmp_path: Path):
    body = torch.nn.Linear(4, 16)
    tied = torch.nn.ModuleDict({"body": body, "alias": torch.nn.Sequential(body)})
    write_model(tmp_path / "m", Model(Embedder(tied), model.head, None))
    found = load_file(tmp_path / "m")
    for name in ("body", "alias.0"):
        (weight,) = (v for k, v in found.items() if k.endswith(f"{name}.weight"))
        assert torch.equal(weight, body.weight)


@given(st.data())
def test_any_bytes_are_taken_or_named(
    written: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    content = bytearray(written.read_bytes())
    header = 8 + struct.unpack("<Q", content[:8])[0]
    for _ in range(data.draw(st.integers(1, 3))):
        # Most changes where it matters: a changed weight is another weight.
        start = data.draw(st.integers(0, header) | st.integers(0, len(content)))
        stop = start + data.draw(st.sampled_from([0, 1, 7, 100_000]))
        content[start:stop] = data.draw(st.binary(max_size=6))
    path.write_bytes(content)
    for read in (read_model, read_head):
        try:
            read(path, CONFIG)
        except ValueError as error:
            assert str(path) in str(error)


NAMES = st.sampled_from(["format", "head", "preprocessing"])
VALUES: Any = st.recursive(
    st.none() | st.integers(-3, 10**12) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.data())
def test_any_metadata_are_taken_or_named(
    written: Path, model: Model, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):

    path = tmp_path_factory.getbasetemp() / "metadata.safetensors"
    with safe_open(written, framework="pt") as file:
        metadata = dict(file.metadata())
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = data.draw(NAMES)
    content = json.loads(metadata[name])
    if isinstance(content, dict) and data.draw(st.booleans()):
        place = content
        while isinstance(place[key := data.draw(st.sampled_from(sorted(place)))], dict):
            place = place[key]
        place[key] = data.draw(VALUES)
    else:
        content = data.draw(VALUES)
    metadata[name] = json.dumps(content)
    if data.draw(st.booleans()):
        metadata.pop(data.draw(NAMES), None)
    save_file(state, path, metadata=metadata)
    for read in (read_model, read_head):
        try:
            read(path, CONFIG)
        except ValueError as error:
            assert str(path) in str(error)


def test_a_header_that_claims_too_much(tmp_path: Path, written: Path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + written.read_bytes()[8:])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        read_model(path, CONFIG)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        read_network(path, Embedder(Encoder(16, in_channels=1, width=4)))
