"""A million classes from a formula: no table, no choice, and what a step of training costs.

Prototypes from a formula say nothing about what classes look like: networks need many epochs to
learn them (the paper trains hundreds). Where there are data, choose prototypes from them instead.

Run: python examples/million_classes.py
"""

import time

import torch

import rootspace as rs
from rootspace.losses import CosineLoss
from rootspace.systems import RootA


def main(num_classes: int = 1_000_000, steps: int = 20) -> float:
    torch.manual_seed(0)
    print(rs.plan(num_classes))
    class_map = rs.ClassMap(RootA(384, interpolations=1), num_classes)  # a formula: no table
    head = rs.PrototypeHead.from_map(class_map, CosineLoss)
    network = torch.nn.Sequential(
        torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 384)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    x, y = torch.randn(256, 64), torch.randint(num_classes, (256,))
    started = time.perf_counter()
    for _ in range(steps):
        loss = head(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seconds = (time.perf_counter() - started) / steps
    label, cosine = head.predict(network(x), k=1)
    print(f"{1000 * seconds:.1f} ms a step; cosine to the nearest class {cosine.mean():.2f}")
    head.extend(500_000)  # the old classes keep their prototypes
    print(f"{head.num_classes:,} classes, {sum(p.numel() for p in head.parameters())} parameters")
    return float((label[:, 0] == y).float().mean())


if __name__ == "__main__":
    main()
