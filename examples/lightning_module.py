"""Your own LightningModule: a head in the place of the last layer, and one callback.

Run: python examples/lightning_module.py
"""

import lightning as L
import torch
from torch.utils.data import DataLoader

import rootspace as rs
from rootspace.data import Characters
from rootspace.models import Encoder


class Mine(L.LightningModule):
    def __init__(self, network: torch.nn.Module, head: rs.PrototypeHead) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images.float() / 255)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        images, labels = batch
        return self.head(self(images), labels)  # contrastive until prototypes are chosen

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
        images, labels = batch
        if self.head.ready:
            right = self.head.predict(self(images)).label[:, 0] == labels
            self.log("accuracy", right.float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def main(num_classes: int = 500, epochs: int = 5) -> float:
    L.seed_everything(0, verbose=False)
    data = Characters(num_classes=num_classes).read()
    head = rs.PrototypeHead(names=data.class_names, dim=128)
    sampler = rs.ClassBatchSampler(data.train.labels, batch_size=128, similar=head)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[rs.ChoosePrototypes()],
        use_distributed_sampler=False,  # the sampler divides the data itself
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    test = next(iter(data.tests.values()))
    trainer.fit(
        Mine(Encoder(dim=128, in_channels=1, width=8), head),
        DataLoader(data.train, batch_sampler=sampler),
        DataLoader(test, batch_size=512),
    )
    accuracy = float(trainer.callback_metrics["accuracy"])
    print(f"{num_classes} characters in an unseen font: {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
