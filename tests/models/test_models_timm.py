"""Families of timm models: what comes out of a backbone is what the projection expects."""

import pytest
import torch

from rootspace.models import TimmBackbone

BEFORE_HEAD = pytest.mark.xfail(
    strict=True,
    raises=RuntimeError,
    reason="num_features is the width before the head; these models widen it to head_hidden_size",
)


@pytest.mark.parametrize(
    "name",
    [
        "resnet10t",
        "vit_tiny_patch16_224",
        "convnext_atto",
        "tinynet_e",
        pytest.param("mobilenetv3_small_050", marks=BEFORE_HEAD),
        pytest.param("ghostnet_050", marks=BEFORE_HEAD),
        pytest.param("efficientvit_b0", marks=BEFORE_HEAD),
    ],
)
def test_any_family(name: str) -> None:
    model = TimmBackbone(name, 10, image_size=64)
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 10)
