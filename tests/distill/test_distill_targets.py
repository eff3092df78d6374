"""What the one pass of a teacher leaves, against plain loops."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from distill_settings import SMALL
from PIL import Image
from pyarrow import parquet
from torch.nn.functional import cosine_similarity

from rootspace._terminal import one_line
from rootspace.choosing import random_isometry
from rootspace.cli import main
from rootspace.config import ClassSpec, Config, LoaderConfig
from rootspace.data import DataModule, FileImages, ImageFolder, LabeledDataset, make_data
from rootspace.distill import embeddings_file
from rootspace.distill.embeddings_file import open_embeddings, rows_by_path
from rootspace.distill.teachers import timm_embedder
from rootspace.heads import PrototypeHead
from rootspace.losses import CosineLoss, InBatchSoftmaxLoss
from rootspace.models import TimmBackbone
from rootspace.run import load
from rootspace.sampling import ClassBatchSampler

STUDENT = ["distill", *SMALL, "--train.epochs=1"]


@pytest.fixture(scope="module")
def embedded(learned: Path, data: DataModule) -> np.ndarray:
    """`[images, dim]` one image after another."""
    teacher, images = load(learned), data.train_dataset
    rows = [teacher.embed(images[row][0][None]).numpy()[0] for row in range(len(images))]
    return np.stack(rows).astype(np.float64)


def means_of(embedded: np.ndarray, labels: np.ndarray) -> np.ndarray:
    sums, center = np.zeros((labels.max() + 1, embedded.shape[1])), embedded.mean(axis=0)
    for z, label in zip(embedded, labels, strict=True):
        sums[label] += z - center
    return sums / np.bincount(labels)[:, None]


@pytest.mark.parametrize("dim", [None, 12, 24])
def test_means(
    dim: int | None, learned: Path, data: DataModule, embedded: np.ndarray, tmp_path: Path
):
    folder = tmp_path / "run"
    options = [f"--teacher.run={learned}", "--teacher.targets=means"]
    options += [] if dim is None else [f"--head.dim={dim}"]
    assert main([*STUDENT, *options, f"--run.dir={folder}"]) == 0
    expected = means_of(embedded, data.train_dataset.labels.numpy())
    if dim is not None:
        expected = expected @ random_isometry(dim, 20, 0).double().numpy().T
    np.testing.assert_allclose(np.load(folder / "targets/vectors.npy"), expected, atol=1e-5)
    found = load(folder).model.head.vectors(torch.arange(30))
    cosine = cosine_similarity(found.double(), torch.from_numpy(expected))
    assert float(cosine.min()) > 1 - 1e-5


def test_embeddings_are_in_the_frame_of_the_teacher(code: Path, data: DataModule, tmp_path: Path):
    """So the student's gallery and that of `rootspace embed` are turned alike."""
    folder, teacher = tmp_path / "run", load(code)
    options = [f"--teacher.run={code}", "--teacher.targets=means"]
    assert main([*STUDENT, *options, f"--run.dir={folder}"]) == 0
    images, labels = data.train_dataset.batch(range(len(data.train_dataset)))
    expected = means_of(teacher.embed(images).double().numpy(), labels.numpy())
    np.testing.assert_allclose(np.load(folder / "targets/vectors.npy"), expected, atol=1e-5)


def test_codes(learned: Path, data: DataModule, embedded: np.ndarray, tmp_path: Path):
    """The same prototypes as `prototypes.source: teacher` chooses."""
    folder, other = tmp_path / "run", tmp_path / "other"
    options = ["--head.dim=24"]
    assert main([*STUDENT, *options, f"--teacher.run={learned}", f"--run.dir={folder}"]) == 0
    options += ["--prototypes.source=teacher", f"--prototypes.teacher={learned}"]
    assert main(["train", *STUDENT[1:], *options, f"--run.dir={other}"]) == 0
    labels = torch.arange(30)
    ours, theirs = (load(run).model.head.vectors(labels) for run in (folder, other))
    assert torch.equal(ours, theirs)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["system"] == "PermutationCode(24, levels=3)"
    assert metrics["teacher"]["targets"] == "codes"


def test_images(learned: Path, data: DataModule, embedded: np.ndarray, tmp_path: Path):
    folder = tmp_path / "run"
    options = [f"--teacher.run={learned}", "--teacher.targets=images"]
    assert main([*STUDENT, *options, f"--run.dir={folder}"]) == 0
    targets = np.load(folder / "targets/images.npy")
    np.testing.assert_allclose(targets, embedded - embedded.mean(axis=0), atol=1e-5)
    left = {path.name for path in (folder / "targets").iterdir()}
    assert left == {"images.npy", "vectors.npy", "data.json", "manifest.json"}


@pytest.mark.parametrize("transform", [None, "rootspace.data.Light1"])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_images_keep_their_targets_in_any_order(transform: str | None, num_workers: int):
    """The target of image i is i: the picture of a batch must be that of its row."""
    characters = {"num_classes": 20, "image_size": 16}
    config = Config(
        data=ClassSpec("rootspace.data.Characters", characters),
        loader=LoaderConfig(batch_size=16, num_workers=num_workers, per_class=2),
        transform=None if transform is None else ClassSpec(transform),
    )
    data = make_data(config)
    data.setup()
    data.targets = np.arange(len(data.train_dataset), dtype=np.float64)[:, None]
    loader, seen = data.train_loader(PrototypeHead(20, 16), 0), []
    for epoch in range(2):
        assert isinstance(loader.batch_sampler, ClassBatchSampler)
        loader.batch_sampler.set_epoch(epoch)
        for images, labels, targets in loader:
            assert targets.dtype == torch.float32
            rows = targets[:, 0].long()
            assert torch.equal(labels, data.train_dataset.labels[rows])
            if transform is None:
                assert torch.equal(images, data.train_dataset.batch(rows.tolist())[0])
            seen += rows.tolist()
    assert set(seen) == set(range(len(data.train_dataset)))
    assert all(len(batch) == 2 for batch in data.in_order())


def test_losses_towards_targets(code: Path):
    """Targets take the place of the prototypes, whatever their length."""
    classes = load(code).class_map
    assert classes is not None
    z, targets = torch.randn(2, 6, 24).unbind()
    labels = torch.arange(6)
    expected = 1 - cosine_similarity(z, targets).mean()
    assert torch.allclose(CosineLoss(classes)(z, labels, targets=7 * targets), expected)
    unit = torch.nn.functional.normalize(targets, dim=-1)
    logits = 16 * torch.nn.functional.normalize(z, dim=-1) @ unit.T
    expected = torch.nn.functional.cross_entropy(logits, labels)
    assert torch.allclose(InBatchSoftmaxLoss(classes)(z, labels, targets=targets), expected)
    with pytest.raises(ValueError, match=r"'targets' must have shape \(6, 24\), not \(5, 24\)"):
        CosineLoss(classes)(z, labels, targets=targets[:5])


# ------------------------------------------------------------------------- files of embeddings


def test_npy_in_order(learned: Path, data: DataModule, embedded: np.ndarray, tmp_path: Path):
    """Embeddings that were taken before give what the network gives."""
    np.save(tmp_path / "e.npy", embedded.astype(np.float16))
    folder = tmp_path / "run"
    options = [f"--teacher.embeddings={tmp_path / 'e.npy'}", "--teacher.targets=means"]
    assert main([*STUDENT, *options, f"--run.dir={folder}"]) == 0
    expected = means_of(embedded, data.train_dataset.labels.numpy())
    np.testing.assert_allclose(np.load(folder / "targets/vectors.npy"), expected, atol=1e-2)


NAMES = ("0.png", "1.png", "2.png", "of two\nlines.png")


@pytest.fixture
def folder_data(tmp_path: Path, data: DataModule) -> LabeledDataset:
    """Pictures as files, those of training and of testing under the same names."""
    for part in ("train", "test"):
        for label in range(3):
            (tmp_path / "photos" / part / f"class{label}").mkdir(parents=True)
            for number, name in enumerate(NAMES):
                image = data.train_dataset[10 * label + number + 4 * (part == "test")][0]
                path = tmp_path / "photos" / part / f"class{label}" / name
                Image.fromarray(image[0].numpy()).save(path)
    return ImageFolder(tmp_path / "photos", image_size=16, grayscale=True).read().train


@pytest.mark.parametrize("ending", ["npy", "parquet"])
def test_what_embed_writes(ending: str, learned: Path, folder_data: LabeledDataset, tmp_path: Path):
    """Rows find their images by their paths; those of test images are passed over."""
    out, teacher = tmp_path / f"e.{ending}", load(learned)
    photos = tmp_path / "photos"
    assert main(["embed", str(learned), str(photos), f"--out={out}"]) == 0
    file = open_embeddings(out, folder_data)
    assert file.dim == 20
    found = torch.full((12, 20), torch.nan)
    for z, rows in file.batches():
        found[rows] = z
    for row in range(12):
        z = teacher.embed(folder_data[row][0][None])[0]
        torch.testing.assert_close(found[row], z, atol=1e-4, rtol=1e-4)


def test_names_that_end_with_one_another(folder_data: LabeledDataset):
    """Numbers of one to five digits, in one folder or in as many: each row is looked at once."""
    assert isinstance(folder_data, FileImages) and folder_data.preprocessing is not None
    count, path, shape = 20_000, Path("e.npy"), folder_data.preprocessing
    labels = torch.zeros(count, dtype=torch.int64)
    flat = FileImages(Path("data"), [f"{i}.png" for i in range(count)], labels, shape)
    order = torch.arange(count).flip(0)
    names = [f"photos/{i}.png" for i in order.tolist()]
    assert torch.equal(rows_by_path(path, names, flat), order)
    others = [f"{i}/0.png" for i in range(count)]
    found = rows_by_path(path, [*others, *names], flat)
    assert torch.equal(found, torch.cat([torch.full((count,), -1), order]))
    with pytest.raises(ValueError, match=r"one row for each of the 20000 .*; '0.png' has another"):
        rows_by_path(path, [f"photo{i}.png" for i in range(count)], flat)


def test_embeddings_errors(folder_data: LabeledDataset, data: DataModule, tmp_path: Path):
    def attempt(path: Path, match: str, images=data.train_dataset):
        with pytest.raises(ValueError, match=f"'teacher.embeddings'.*{match}"):
            open_embeddings(path, images)

    attempt(tmp_path / "e.bin", "must end in .npy or .parquet")
    path = tmp_path / "e.npy"
    attempt(path, "e.npy does not exist")
    np.save(path, np.zeros((7, 3)))
    attempt(path, "must hold 300 rows, one for each training image in their order, not 7")
    np.save(path, np.zeros(7))
    attempt(path, r"must hold floats of shape \[images, dim\]")
    np.save(path, np.zeros((2, 3)))
    path.with_suffix(".txt").write_text("a\n")
    attempt(path, "must hold 2 paths, one for each row of e.npy, not 1")
    path.with_suffix(".txt").write_text("x/class0/0.png\nx/class0/1.png\n")
    attempt(path, "one row for each of the 12 training images", folder_data)
    both = [f"{top}/class{c}/{one_line(name)}" for top in "xy" for c in range(3) for name in NAMES]
    np.save(path, np.zeros((24, 3)))
    path.with_suffix(".txt").write_text("\n".join(both) + "\n")
    attempt(path, "once; paths below 'x/' and 'y/' fit all of them", folder_data)
    (tmp_path / "e.parquet").write_bytes(b"no")
    attempt(tmp_path / "e.parquet", "must hold the columns 'path' and 'embedding'")


def test_a_row_without_an_embedding(
    folder_data: LabeledDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(embeddings_file, "BATCH", 5)
    names = [one_line(str(folder_data.name(row))) for row in range(12)]
    rows = [[float(row)] * 3 if row != 7 else None for row in range(12)]
    kind = pyarrow.list_(pyarrow.float32(), 3)
    parquet.write_table(
        pyarrow.table({"path": names, "embedding": pyarrow.array(rows, kind)}),
        tmp_path / "e.parquet",
    )
    batches = open_embeddings(tmp_path / "e.parquet", folder_data).batches()
    assert next(batches)[1].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"'teacher.embeddings': .*e.parquet .*; row 7 has none"):
        next(batches)


# ------------------------------------------------------------------------- timm


def test_timm_checkpoint(tmp_path: Path, data: DataModule):
    """A checkpoint with its classifier gives the features of the very model."""
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet10t", in_chans=1, num_classes=7).eval()
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    embedder, dim = timm_embedder("resnet10t", str(path), data)
    embedder.eval()
    images = data.train_dataset.batch([0, 1])[0]
    pixels = (images / 255 - embedder.mean) / embedder.std
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(pixels), pre_logits=True)
        torch.testing.assert_close(embedder(images), expected, atol=1e-4, rtol=1e-4)
    assert dim == TimmBackbone("resnet10t", None).dim == 512
    options = ["--teacher.timm=resnet10t", f"--teacher.weights={path}", "--head.dim=12"]
    assert main([*STUDENT, *options, f"--run.dir={tmp_path / 'run'}"]) == 0
    with pytest.raises(
        ValueError, match=r"'teacher.weights': .* does not hold the weights of resnet18"
    ):
        timm_embedder("resnet18", str(path), data)
    with pytest.raises(ValueError, match=r"'teacher.timm'.*must be a timm model, not 'nonet'"):
        timm_embedder("nonet", str(path), data)
    with pytest.raises(ValueError, match=r"'teacher.weights'.*nowhere does not exist"):
        timm_embedder("resnet10t", "nowhere", data)
