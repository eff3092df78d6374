"""Families of timm models: what comes out of a backbone is what the projection expects."""

import pytest
import torch

from rootspace.models import TimmBackbone


@pytest.mark.parametrize(
    "name",
    [
        "resnet10t",
        "vit_tiny_patch16_224",
        "convnext_atto",
        "tinynet_e",
        "mobilenetv3_small_050",
        "ghostnet_050",
        "efficientvit_b0",
    ],
)
def test_any_family(name: str) -> None:
    model = TimmBackbone(name, 10, image_size=64)
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 10)
