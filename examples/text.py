"""Inputs that are not images: to which module of Python's library does a docstring belong?

A class is a module, an input the docstring of one of its functions or classes, as a bag of words
and pairs of words. Half of the docstrings are for training, the others for the test.

Run: python examples/text.py
"""

import importlib
import inspect
import itertools
import pkgutil
import re
import warnings
import zlib

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

import rootspace as rs

BUCKETS = 2**14
PACKAGES = ("asyncio", "collections", "concurrent", "email", "http", "importlib", "json", "logging",
            "multiprocessing", "unittest", "urllib", "xml")  # fmt: skip


class Docstrings(Dataset):
    """Items are a dict of tensors, and the number of the module."""

    def __init__(self, texts: list[str], labels: list[int]) -> None:
        self.items = [{"words": torch.tensor(hashed(text))} for text in texts]
        self.labels = labels

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], int]:
        return self.items[index], self.labels[index]


class BagOfWords(torch.nn.Module):
    """From a dict of padded word numbers to embeddings."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.bag = torch.nn.EmbeddingBag(BUCKETS + 1, 256, padding_idx=BUCKETS)
        self.rest = torch.nn.Sequential(
            torch.nn.BatchNorm1d(256), torch.nn.ReLU(), torch.nn.Linear(256, dim)
        )

    def forward(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.rest(self.bag(x["words"]))


def hashed(text: str) -> list[int]:
    words = re.findall(r"[a-z]+", text.lower())[:200]
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(words)]
    return [zlib.crc32(token.encode()) % BUCKETS for token in words + pairs]


def collate(batch: list) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    words = pad_sequence([x["words"] for x, _ in batch], True, BUCKETS)
    return {"words": words}, torch.tensor([y for _, y in batch])


def documented(least: int = 6) -> dict[str, list[str]]:
    """Module -> docstrings of what it defines, for modules that have several."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        paths = importlib.import_module(package).__path__
        for info in pkgutil.iter_modules(paths, f"{package}."):
            if info.name.endswith("__main__"):
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    module = importlib.import_module(info.name)
            except ImportError:  # for another operating system
                continue
            own = [t for t in vars(module).values() if getattr(t, "__module__", "") == info.name]
            docs = [doc for t in own for doc in [t.__doc__, *_of_members(t)]]
            texts = {inspect.cleandoc(doc): None for doc in docs if len(doc or "") > 40}
            if len(texts) >= least:
                found[info.name] = list(texts)
    return found


def _of_members(thing: object) -> list[str | None]:
    members = vars(thing).values() if hasattr(thing, "__dict__") else ()
    return [member.__doc__ for member in members if callable(member)]


def main(epochs: int = 12) -> float:
    torch.manual_seed(0)
    texts = documented()
    names = list(texts)
    parts = [
        [(text, label) for label, name in enumerate(names) for text in texts[name][half::2]]
        for half in (0, 1)
    ]
    train, test = (Docstrings(*map(list, zip(*part, strict=True))) for part in parts)
    head = rs.PrototypeHead(names=names, dim=64)
    network = BagOfWords(64)
    sampler = rs.ClassBatchSampler(train.labels, batch_size=128, per_class=4, similar=head)
    loader = DataLoader(train, batch_sampler=sampler, collate_fn=collate)
    in_order = DataLoader(train, batch_size=256, collate_fn=collate)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for epoch in range(epochs):
        if epoch == max(1, epochs // 10):
            rs.choose_prototypes(head, network, in_order)
        head.catch_up()  # the sampler sees where prototypes have moved
        for x, y in loader:
            loss = head(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    rs.choose_prototypes(head, network, in_order, refine=8)
    network.eval()
    with torch.no_grad():
        right = [
            head.predict(network(x)).label[:, 0] == y
            for x, y in DataLoader(test, batch_size=256, collate_fn=collate)
        ]
    accuracy = float(torch.cat(right).float().mean())
    print(f"{len(names)} modules, {len(test)} docstrings not trained on: {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
