"""A timm network with a prototype head. It need not end in a linear layer: the head brings a frame.

Run: python examples/timm_network.py
"""

import timm
import torch
from torch.utils.data import DataLoader

import rootspace as rs
from rootspace.data import Characters


def main(num_classes: int = 200, epochs: int = 4, name: str = "resnet10t") -> float:
    torch.manual_seed(0)
    data = Characters(num_classes=num_classes).read()
    network = timm.create_model(name, pretrained=False, num_classes=0, in_chans=1)
    dim: int = network.num_features  # pyright: ignore[reportAssignmentType]
    head = rs.PrototypeHead(names=data.class_names, dim=dim)
    sampler = rs.ClassBatchSampler(data.train.labels, batch_size=128, similar=head)
    loader = DataLoader(data.train, batch_sampler=sampler)
    in_order = [(x / 255, y) for x, y in DataLoader(data.train, batch_size=256)]
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for epoch in range(epochs):
        if epoch == max(1, epochs // 10):
            rs.choose_prototypes(head, network, in_order)
        head.catch_up()  # the sampler sees where prototypes have moved
        for x, y in loader:
            loss = head(network(x / 255), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    rs.choose_prototypes(head, network, in_order, refine=8)
    network.eval()
    test = next(iter(data.tests.values()))
    with torch.no_grad():
        right = [
            head.predict(network(x / 255)).label[:, 0] == y
            for x, y in DataLoader(test, batch_size=256)
        ]
    accuracy = float(torch.cat(right).float().mean())
    print(f"{name}, {num_classes} characters in an unseen font: {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
