"""The whole method in a plain PyTorch loop: no trainer, no config.

Run: python examples/plain_loop.py
"""

import argparse

import torch
from torch.utils.data import DataLoader

import rootspace as rs
from rootspace.data import Characters
from rootspace.models import Encoder


def main(epochs: int = 7, seed: int = 0, num_classes: int | None = None) -> dict[str, float]:
    torch.manual_seed(seed)
    data = Characters(num_classes=num_classes).read()
    network = Encoder(dim=256, in_channels=1, width=16).to(memory_format=torch.channels_last)
    head = rs.PrototypeHead(names=data.class_names)
    sampler = rs.ClassBatchSampler(data.train.labels, batch_size=256, similar=head, seed=seed)
    loader = DataLoader(data.train, batch_sampler=sampler)
    in_order = [(pixels(x), y) for x, y in DataLoader(data.train, batch_size=512)]
    optimizer = torch.optim.AdamW(network.parameters(), lr=6e-3, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 6e-3, total_steps=epochs * len(loader), pct_start=0.1, cycle_momentum=False
    )
    for epoch in range(epochs):
        if epoch == max(1, epochs // 10):
            rs.choose_prototypes(head, network, in_order)
        head.catch_up()  # the sampler sees where prototypes have moved
        losses = []
        for x, y in loader:
            loss = head(network(pixels(x)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}", flush=True)
    rs.choose_prototypes(head, network, in_order, refine=8)
    torch.save({"network": network.state_dict(), "head": head.state_dict()}, "plain_loop.pt")
    return {name: accuracy(network, head, test) for name, test in data.tests.items()}


def pixels(images: torch.Tensor) -> torch.Tensor:
    return (images.float() / 255 - 0.8) / 0.3


@torch.no_grad()
def accuracy(network: torch.nn.Module, head: rs.PrototypeHead, test) -> float:
    network.eval()
    right = sum(
        int((head.predict(network(pixels(x))).label[:, 0] == y).sum())
        for x, y in DataLoader(test, batch_size=512)
    )
    return right / len(test)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name, value in main(options.epochs, options.seed).items():
        print(f"{name}: {value:.2%}")
