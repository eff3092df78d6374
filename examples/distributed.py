"""A loop of your own on several GPUs: half precision, evaluation, continuing from a checkpoint.

Run: torchrun --nproc_per_node 2 examples/distributed.py

With `python` it is one process; without GPUs it runs on CPUs. The same command again continues.
"""

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset

import rootspace as rs
from rootspace.data import Characters
from rootspace.models import Encoder

RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
GPU = torch.cuda.is_available()
DEVICE = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if GPU else "cpu")


def main(epochs: int = 7, num_classes: int | None = None, checkpoint: str = "distributed.pt"):
    if WORLD > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if GPU else "gloo")
    torch.manual_seed(0)  # the same weights in all processes
    data = Characters(num_classes=num_classes).read()
    network = Encoder(dim=256, in_channels=1, width=16).to(DEVICE)
    parallel = DistributedDataParallel(network) if WORLD > 1 else network
    # The head has no parameters. It is not wrapped, and is the same in all processes.
    head = rs.PrototypeHead(names=data.class_names).to(DEVICE)
    # Both divide the samples among the processes: batches of 128 in each.
    sampler = rs.ClassBatchSampler(data.train.labels, 128, similar=head)
    in_order = rs.ClassBatchSampler(data.train.labels, 512, per_class=1)
    loader = DataLoader(data.train, batch_sampler=sampler)
    everything = DataLoader(data.train, batch_sampler=in_order)
    optimizer = torch.optim.AdamW(network.parameters(), lr=6e-3, weight_decay=1e-5)
    start = 0
    if Path(checkpoint).exists():
        state = torch.load(checkpoint, map_location=DEVICE, weights_only=True)
        network.load_state_dict(state["network"])
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["epoch"]
    for epoch in range(start, epochs):
        if epoch == max(1, epochs // 10):
            choose(head, network, everything)
        head.catch_up()  # the sampler sees where prototypes have moved
        sampler.set_epoch(epoch)
        for group in optimizer.param_groups:
            group["lr"] = 6e-3 * (1 - epoch / epochs)
        network.train()
        head.train()
        for images, labels in loader:
            loss = head(embed(parallel, images), labels.to(DEVICE))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch == epochs - 1:
            choose(head, network, everything, refine=8, follow=False)
        if head.ready:
            found = accuracy(head, network, next(iter(data.tests.values())))
            if RANK == 0:
                print(f"epoch {epoch + 1}: {found:.1%} in an unseen font", flush=True)
        if RANK == 0:
            state = {"network": network.state_dict(), "head": head.state_dict()}
            torch.save(
                {**state, "optimizer": optimizer.state_dict(), "epoch": epoch + 1}, checkpoint
            )
    return accuracy(head, network, next(iter(data.tests.values())))


def embed(network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.autocast(DEVICE.type, torch.bfloat16, enabled=GPU):
        return network((images.to(DEVICE).float() / 255 - 0.8) / 0.3)


def choose(head, network, loader, refine: int = 0, follow: bool = True) -> None:
    # By the network itself: DistributedDataParallel waits for the others in each call, and one of
    # them may have a batch more.
    network.eval()
    rs.choose_prototypes(
        head, lambda x: embed(network, x), loader, refine=refine, follow=follow, device=DEVICE
    )


@torch.no_grad()
def accuracy(head, network, test) -> float:
    """Over all processes, each of which takes its part of the inputs."""
    network.eval()
    head.eval()
    right = torch.zeros((), device=DEVICE)
    for images, labels in DataLoader(Subset(test, range(RANK, len(test), WORLD)), batch_size=512):
        label = head.predict(embed(network, images)).label[:, 0]
        right += (label == labels.to(DEVICE)).sum()
    if WORLD > 1:
        dist.all_reduce(right)
    return float(right) / len(test)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--num_classes", type=int)
    options = parser.parse_args()
    main(options.epochs, options.num_classes)
