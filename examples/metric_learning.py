"""A prototype head in a pytorch-metric-learning loop: its sampler and its calculator stay.

The head takes the place of, say, `losses.ArcFaceLoss(num_classes, embedding_size)`, which holds a
parameter with a row for each class and needs an optimizer of its own.

Run: python examples/metric_learning.py
"""

import torch
from pytorch_metric_learning import samplers
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torch.utils.data import DataLoader

import rootspace as rs
from rootspace.data import Characters, LabeledDataset
from rootspace.models import Encoder


def main(num_classes: int = 200, epochs: int = 6) -> dict[str, float]:
    torch.manual_seed(0)
    data = Characters(num_classes=num_classes).read()
    model = Encoder(dim=64, in_channels=1, width=8)
    loss_function = rs.PrototypeHead(names=data.class_names, dim=64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    sampler = samplers.MPerClassSampler(
        data.train.labels, m=4, batch_size=128, length_before_new_iter=len(data.train)
    )
    loader = DataLoader(data.train, sampler=sampler, batch_size=128, drop_last=True)
    in_order = [(x / 255, y) for x, y in DataLoader(data.train, batch_size=256)]
    for epoch in range(epochs):
        if epoch == max(1, epochs // 10):
            rs.choose_prototypes(loss_function, model, in_order)
        for images, labels in loader:
            embeddings = model(images / 255)
            loss = loss_function(embeddings, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    rs.choose_prototypes(loss_function, model, in_order, refine=8)
    model.eval()
    test = next(iter(data.tests.values()))
    (query, known), (reference, labels) = embed(model, test), embed(model, data.train)
    calculator = AccuracyCalculator(
        include=("precision_at_1",), k=1, knn_func=CustomKNN(CosineSimilarity())
    )
    found = calculator.get_accuracy(query, known, reference, labels, ref_includes_query=False)
    nearest = loss_function.predict(query).label[:, 0]
    accuracy = {
        "nearest training image": found["precision_at_1"],
        "nearest prototype": float((nearest == known).float().mean()),
    }
    print(f"{num_classes} characters in an unseen font:", accuracy)
    return accuracy


@torch.no_grad()
def embed(model: torch.nn.Module, data: LabeledDataset) -> tuple[torch.Tensor, torch.Tensor]:
    batches = [(model(x / 255), y) for x, y in DataLoader(data, batch_size=256)]
    return torch.cat([z for z, _ in batches]), torch.cat([y for _, y in batches])


if __name__ == "__main__":
    main()
