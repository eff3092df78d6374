"""Your own data and your own network on the command line, by import path.

    export PYTHONPATH=examples ROOTSPACE_TRUST_CODE=1
    rootspace train --data own_data.Shapes --data.num_classes 100 --model own_data.Net \\
        --model.width 16 --head.dim 64 --train.epochs 10 --run.dir runs/shapes
    rootspace predict runs/shapes runs/shapes/samples --top 3

PYTHONPATH lets Python find this file. A trained run names the network by its import path too, and
commands that read runs import foreign code only where ROOTSPACE_TRUST_CODE allows it.
"""

import random

import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.utils.data import Dataset

SIZE = 32
"""Height and width of the images in pixels."""


class Shapes(Dataset[tuple[Image.Image, int]]):
    """Polygons of five corners, a class each; every drawing moves the corners a little.

    Any data set with a length and items `(x, y)` will do. `targets` saves reading each item once
    for its label, and `classes` names the labels. An x that is not an image goes to the network
    unchanged.

    Args:
        num_classes: how many polygons.
        per_class: drawings of each.
        noise: how far corners move, as a fraction of the image.
    """

    def __init__(self, num_classes: int = 100, per_class: int = 20, noise: float = 0.05) -> None:
        self.classes = [f"shape {label}" for label in range(num_classes)]
        self.targets = [label for label in range(num_classes) for _ in range(per_class)]
        self.noise = noise

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        label = self.targets[index]
        of_class, of_drawing = random.Random(label), random.Random(f"drawing {index}")
        corners = [
            tuple(SIZE * (of_class.random() + of_drawing.gauss(0, self.noise)) for _ in "xy")
            for _ in range(5)
        ]
        image = Image.new("L", (SIZE, SIZE), 255)
        ImageDraw.Draw(image).polygon(corners, outline=0, width=2)
        return image, label


class Net(nn.Module):
    """From images to embeddings.

    `dim`, `in_channels` and `image_size` are filled in where a network takes them; its other
    arguments are settings: `--model.width 16`.
    """

    def __init__(self, dim: int, in_channels: int = 1, width: int = 16) -> None:
        super().__init__()
        layers, channels = [], in_channels
        for out in (width, 2 * width, 4 * width):
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
            layers += [nn.MaxPool2d(2)]
            channels = out
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.last = nn.Linear(16 * channels, dim)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.body(images))
