"""A plain PyTorch loop: Algorithm 1 of arXiv 2510.04090, with no classifier layer.

Run: python examples/plain_pytorch.py
"""

import torch

from rootspace import ClassMap, plan
from rootspace.data import FashionMNIST, ImageData
from rootspace.losses import SystemSoftmaxLoss
from rootspace.models import Encoder


def main(data: ImageData | None = None, epochs: int = 1) -> float:
    torch.manual_seed(0)
    data = data or FashionMNIST()
    data.setup()
    system = plan(data.num_classes).row("A_n").system  # the smallest A_n that holds the classes
    assert system is not None
    classes = ClassMap(system, data.num_classes, names=data.class_names)
    model = Encoder(dim=classes.dim, in_channels=data.in_channels, width=8)
    loss_function = SystemSoftmaxLoss(classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for images, labels in data.train_dataloader():
            loss = loss_function(model(images / 255), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    right = total = 0
    with torch.no_grad():
        for images, labels in data.test_dataloader()[0]:
            right += int((classes.predict(model(images / 255)).label[:, 0] == labels).sum())
            total += len(labels)
    print(f"test accuracy {right / total:.1%} on {total:,} images, {classes}")
    return right / total


if __name__ == "__main__":
    main()
