"""Networks: sizes, shapes, and nothing that depends on the number of classes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import nn

from rootspace import ClassMap, PrototypeHead
from rootspace.models import Embedder, Encoder, TimmBackbone, num_parameters
from rootspace.systems import RootA


def test_encoder_has_the_size_of_the_papers():
    assert 8.5e6 < num_parameters(Encoder(384)) < 9.5e6
    assert 0.5e6 < num_parameters(Encoder(128, in_channels=1, width=16)) < 0.7e6


@pytest.mark.parametrize("size", [8, 28, 32, 50])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_encoder_shapes(size: int, channels: int):
    model = Encoder(10, channels, width=4)
    assert model(torch.randn(2, channels, size, size)).shape == (2, 10)
    assert model.head.out_features == model.dim == 10


def test_encoder_trains_on_a_single_image():
    model = Encoder(6, 1, width=4).train()
    model(torch.randn(8, 1, 16, 16))
    assert bool(torch.isfinite(model(torch.randn(1, 1, 16, 16))).all())


def test_encoder_of_the_paper_has_no_normalisation_between_its_linear_layers():
    linear = [type(layer).__name__ for layer in Encoder(6, width=4, normalize=False)][-3:]
    assert linear == ["Linear", "ReLU", "Linear"]


def test_no_parameter_depends_on_the_number_of_classes():
    for model in (Encoder, TimmBackbone):
        assert not any("class" in name for name in inspect.signature(model).parameters)
    shapes = []
    for num_classes in (10, 1_000_000):
        class_map = ClassMap(RootA(64, interpolations=2), min(num_classes, 700_000))
        head = PrototypeHead.from_map(class_map)
        whole = torch.nn.ModuleList([Encoder(64, width=4), head])
        shapes.append({name: p.shape for name, p in whole.named_parameters()})
    assert shapes[0] == shapes[1]


def test_encoder_errors():
    cases: list[tuple[dict[str, Any], str]] = [
        ({"dim": 0}, "'dim' must be"),
        ({"dim": 4, "in_channels": 0}, "'in_channels'"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            Encoder(**arguments)
    with pytest.raises(ValueError, match="H and W at least 8"):
        Encoder(4, 1, 4)(torch.randn(2, 1, 7, 9))


def test_vits_have_the_papers_dimensions():
    for name, features in (("vit_small_patch16_224", 384), ("vit_base_patch16_224", 768)):
        with torch.device("meta"):
            model = TimmBackbone(name, features)
        assert isinstance(model.projection, torch.nn.Identity) and model.head is None
    with torch.device("meta"):
        small = TimmBackbone("vit_small_patch16_224", 384)
    assert 21e6 < num_parameters(small) < 23e6  # Table 9: 22m


def test_timm_projection_and_shapes():
    model = TimmBackbone("resnet10t", 24, in_channels=1, image_size=32)
    assert isinstance(model.projection, torch.nn.Linear) and model.head is model.projection
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 24)
    vit = TimmBackbone("vit_tiny_patch16_224", 24, image_size=32)
    assert vit(torch.randn(2, 3, 32, 32)).shape == (2, 24)


def test_timm_unknown_model():
    with pytest.raises(ValueError, match=r"must be a timm model, not 'resnet_fifty'.*timm has"):
        TimmBackbone("resnet_fifty", 10)


@pytest.mark.parametrize(("given", "found"), [(1, 1.0), (0.5, 0.5), (None, 1e-3)])
def test_the_learning_rate_that_a_network_names(given: float | None, found: float) -> None:
    network = nn.Flatten()
    if given is not None:
        network.default_lr = given  # pyright: ignore[reportArgumentType]
    assert Embedder(network).default_lr == found and isinstance(Embedder(network).default_lr, float)


@pytest.mark.parametrize("given", ["fast", 0, -1.0, True, float("inf")])
def test_a_learning_rate_that_is_none(given: object) -> None:
    network = nn.Flatten()
    network.default_lr = given  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="'default_lr' of Flatten must be a positive number"):
        _ = Embedder(network).default_lr
