"""rootspace's losses in a pytorch-metric-learning training loop: same call, no proxies to own.

The loss replaces, say, `losses.ArcFaceLoss(num_classes, embedding_size)`, which holds a parameter
with a row for each class and needs an optimizer of its own. Samplers, testers and accuracy
calculators of the library stay as they are.

Run: python examples/metric_learning.py
"""

import torch
from pytorch_metric_learning import samplers
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torch.utils.data import DataLoader

from rootspace import ClassMap
from rootspace.data import Characters
from rootspace.losses import SystemSoftmaxLoss
from rootspace.models import Encoder
from rootspace.systems import RootA


def main(num_classes: int = 100, epochs: int = 4) -> dict[str, float]:
    torch.manual_seed(0)
    data = Characters(num_classes=num_classes)
    data.setup()
    model = Encoder(dim=32, in_channels=1, width=8)
    loss_function = SystemSoftmaxLoss(ClassMap(RootA(32), num_classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    sampler = samplers.MPerClassSampler(
        data.train_dataset.labels,
        m=4,
        batch_size=128,
        length_before_new_iter=len(data.train_dataset),
    )
    loader = DataLoader(
        data.train_dataset, sampler=sampler, batch_size=128, drop_last=True, collate_fn=lambda b: b
    )
    for _ in range(epochs):
        for images, labels in loader:
            embeddings = model(images / 255)
            loss = loss_function(embeddings, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        test = next(iter(data.test_datasets.values()))
        query = model(test.images / 255)
        reference = model(data.train_dataset.images / 255)
    calculator = AccuracyCalculator(
        include=("precision_at_1",), k=1, knn_func=CustomKNN(CosineSimilarity())
    )
    accuracy = calculator.get_accuracy(
        query, test.labels, reference, data.train_dataset.labels, ref_includes_query=False
    )
    print(f"{num_classes} characters, nearest training image: {accuracy}")
    return accuracy


if __name__ == "__main__":
    main()
