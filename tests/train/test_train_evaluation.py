"""What a finished run says of its test sets, held against plain loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from image_folders import write_images
from rootspace import PrototypeHead
from rootspace.classes import ClassMap, search
from rootspace.classes.codes import HostArray
from rootspace.config import LoaderConfig
from rootspace.data import (
    ArrayImages,
    Content,
    DataModule,
    DataSource,
    ImageFolder,
    ImagePreprocessing,
)
from rootspace.model_file import Model
from rootspace.models import Embedder
from rootspace.systems import RootA
from rootspace.train import evaluation

NAMES = ["ant", "bee", "cat"]


@pytest.fixture
def data(tmp_path: Path) -> DataModule:
    """Two test sets, whose images are sorted by class."""
    for seed, (part, number) in enumerate({"train": 4, "val": 9, "test": 5}.items()):
        write_images(tmp_path / part, NAMES, number, seed)
    data = DataModule(ImageFolder(tmp_path, image_size=16), LoaderConfig(batch_size=4))
    data.setup()
    return data


@pytest.fixture
def model(data: DataModule) -> Model:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 8))
    head = PrototypeHead.from_map(ClassMap(RootA(8), len(NAMES)))
    return Model(Embedder(network, (0.5,) * 3, (0.25,) * 3), head, data.preprocessing)


def test_every_class_and_test_set_is_shown(
    data: DataModule, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "SHOWN_EMBEDDINGS", 3 * 2 * 6 + 5)
    _, found = evaluation.evaluate(model, data)
    expected = [label for count in (6, 5) for label in range(3) for _ in range(count)]
    assert found.embedding_labels.tolist() == expected
    images, labels = data.test_datasets["val"].batch(range(27))
    first = [int(row) for label in range(3) for row in (labels == label).nonzero()[:6, 0]]
    with torch.no_grad():
        z = model.embedder(images[first])
    torch.testing.assert_close(torch.from_numpy(found.embeddings[:18]), z)


def test_samples_are_named_by_number_and_class(tmp_path: Path) -> None:
    """None overwrites another, and a name that no file may have is no obstacle."""
    pixels = torch.arange(40, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 8, 8)
    images = ArrayImages(pixels, torch.arange(40) % 2)
    shape = ImagePreprocessing(1, 8, (0.5,), (0.5,))
    names = ["猫 / a:b", "x" * 300]

    class Two(DataSource):
        def read(self) -> Content:
            return Content(names, images, {"test": images}, shape)

    data = DataModule(Two())
    data.setup()
    evaluation.save_samples(data, tmp_path / "samples")
    found = sorted((tmp_path / "samples").iterdir())
    rows = [number * 39 // 11 for number in range(12)]
    shown = ["猫_a_b", "x" * 40]
    assert [file.name for file in found] == [f"test-{r:02}-{shown[r % 2]}.png" for r in rows]
    assert [int(np.asarray(Image.open(file))[0, 0]) for file in found] == rows


def test_nearest_means(data: DataModule, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where classes are many, neither their means nor their scores are there all at once."""
    monkeypatch.setattr(search, "SCORES", 16)
    asked, original = list[int](), HostArray.part

    def part(self: HostArray, start: int, stop: int, device: torch.device) -> torch.Tensor:
        asked.append(stop - start)
        return original(self, start, stop, device)

    monkeypatch.setattr(HostArray, "part", part)
    means = evaluation.mean_directions(model, data)
    tests, _ = evaluation.evaluate(model, data, means)
    assert {*asked} == {1, 2}
    for name, images in data.test_datasets.items():
        pixels, labels = images.batch(range(len(images)))
        with torch.no_grad():
            nearest = (model.embedder(pixels) @ means.T).argmax(dim=-1)
        assert tests[name].mean_accuracy == float((nearest == labels).float().mean())
