"""`rootspace extend`: classes added to a trained run, which itself stays as it was."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from commands import change_data, error, output
from PIL import Image

from rootspace.cli import main
from rootspace.config import ClassSpec, Config, PrototypesConfig, RunConfig, TrainConfig
from rootspace.continual import ClassRegistry
from rootspace.continual.live import REGISTRY
from rootspace.data import Characters, Content, DataModule, StoredImages, View, make_data
from rootspace.extend import extension as extend_module
from rootspace.extend.extension import LOWER_RATE, base_config
from rootspace.extend.extension import extend as extend_run
from rootspace.heads import PrototypeHead
from rootspace.losses import CosineLoss, SystemSoftmaxLoss
from rootspace.run import Run, load
from rootspace.runs.folder import finish, read_config
from rootspace.train.training import train

CHARACTERS = ["--data=Characters", "--data.image_size=16"]
NEW = [*CHARACTERS, "--data.num_classes=20", "--data.seed=1", "--train.epochs=2"]
TESTS = ["DejaVuSansMono-BoldOblique", "DejaVuSerif-Italic"]


def extend(run: Path, folder: Path, *settings: str) -> Path:
    assert main(["extend", str(run), f"--run.dir={folder}", *settings]) == 0
    return folder


def data_of(folder: Path) -> DataModule:
    """The data of a run, set up."""
    data = make_data(read_config(folder))
    data.setup()
    return data


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def history(folder: Path) -> list[dict[str, str]]:
    text = (folder / "metrics.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def embedder_of(folder: Path) -> dict[str, torch.Tensor]:
    return load(folder).model.embedder.state_dict()


def check_grown(run: Path, folder: Path, count: int) -> None:
    """Old names and vectors to the bit, the network's shape, `count` classes in all."""
    before, after = load(run), load(folder)
    number = len(before.names)
    assert after.names[:number] == before.names and len(set(after.names)) == count
    old, new = before.class_map, after.class_map
    assert old is not None and new is not None and new.num_classes == count
    labels = torch.arange(number)
    assert torch.equal(old.vectors(labels), new.vectors(labels))
    assert old.vector_ids(labels) == new.vector_ids(labels)
    assert len(set(new.vector_ids(torch.arange(count)))) == count
    weights, grown = (embedder_of(f) for f in (run, folder))
    assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in grown.items()}
    assert any(not torch.equal(weights[k], grown[k]) for k in weights), "it was trained"


@pytest.fixture(scope="module")
def extended(trained_code: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors chosen from the data: 40 classes and 20 new ones."""
    before = contents(trained_code)
    folder = extend(
        trained_code, tmp_path_factory.mktemp("grown") / "run", *NEW, "--memory.size=150"
    )
    assert contents(trained_code) == before
    return folder


def test_old_classes_keep_names_vectors_and_the_network_its_shape(
    trained_code: Path, extended: Path
):
    check_grown(trained_code, extended, 60)
    start = load(extended / "start")
    before, after = embedder_of(trained_code), embedder_of(extended / "start")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    classes, final = start.class_map, load(extended).class_map
    assert classes is not None and final is not None
    labels = torch.arange(60)
    assert torch.equal(classes.vectors(labels), final.vectors(labels)), "none moved in training"
    frames = [load(f).model.head.state_dict() for f in (trained_code, extended)]
    assert all(torch.equal(frames[0][key], frames[1][key]) for key in ("center", "rotation"))


def test_new_vectors_are_near_the_means_of_their_images(extended: Path):
    trained, data = load(extended / "start"), data_of(extended)
    images, labels = data.train_dataset.batch(range(150, len(data.train_dataset)))
    z = trained.embed(images)
    means = torch.stack([z[labels == label].mean(dim=0) for label in range(40, 60)])
    classes = trained.class_map
    assert classes is not None
    near = torch.nn.functional.cosine_similarity(means, classes.vectors(torch.arange(40, 60)))
    assert float(near.mean()) > 0.9


def test_distillation_holds_embeddings_of_old_images(
    trained_code: Path, extended: Path, tmp_path: Path
):
    free = extend(
        trained_code, tmp_path / "free", *NEW, "--memory.size=150", "--memory.distillation=0"
    )
    images, labels = data_of(extended).train_dataset.batch(range(150))
    assert int(labels.max()) < 40, "of old classes"
    runs = [load(folder) for folder in (trained_code, extended, free)]
    before, held, moved = (run.embed(images) for run in runs)
    cosine = torch.nn.functional.cosine_similarity
    assert float(cosine(before, held).mean()) > float(cosine(before, moved).mean()) + 0.01


def test_old_and_new_test_sets_are_evaluated_after_each_epoch(extended: Path):
    rows = history(extended)
    names = [*TESTS, *(f"{name}@run" for name in TESTS)]
    assert len(rows) == 2
    for row in rows:
        assert [key for key in row if key.startswith("test/")] == [
            f"test/{name}/accuracy" for name in names
        ]
        assert all(0 <= float(row[f"test/{name}/accuracy"]) <= 1 for name in names)
    metrics = json.loads((extended / "metrics.json").read_text())
    assert {name: test["images"] for name, test in metrics["test"].items()} == dict(
        zip(names, (40, 40, 20, 20), strict=True)
    )


def test_memory_holds_its_bound(trained_code: Path, extended: Path):
    used, kept = StoredImages(extended / "start/replay"), StoredImages(extended / "replay")
    assert len(used) == len(kept) == 150
    assert sorted(Counter(used.labels.tolist()).values()) == [3] * 10 + [4] * 30
    assert sorted(Counter(kept.labels.tolist()).values()) == [2] * 30 + [3] * 30
    # What is kept of old classes was in the memory, and labels are right: as RUN's data have them.
    data = data_of(trained_code)
    images, labels = data.train_dataset.batch(range(len(data.train_dataset)))
    there = {(int(c), x.numpy().tobytes()) for x, c in zip(images, labels, strict=True)}
    for memory in (used, kept):
        images, labels = memory.batch(range(150))
        old = {(int(c), x.numpy().tobytes()) for x, c in zip(images, labels, strict=True) if c < 40}
        assert old <= there
        there = old
    assert kept.class_names == load(extended).names


def test_it_is_a_run_for_every_command(
    extended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    metrics = json.loads((extended / "metrics.json").read_text())
    assert metrics["num_classes"] == 60 and metrics["old_classes"] == 40
    assert (metrics["replayed_images"], metrics["remembered_images"]) == (150, 150)
    assert (
        json.loads(output(capsys, "evaluate", extended, "--top=1", "--format=json"))
        == metrics["test"]
    )
    samples = extended / "samples"
    rows = json.loads(output(capsys, "predict", extended, samples, "--top=2", "--format=json"))
    assert len(rows) == 12 and all(len(row["answers"]) == 2 for row in rows)
    output(capsys, "embed", extended, samples, f"--out={tmp_path / 'z.parquet'}")
    output(capsys, "export", extended, f"--out={tmp_path / 'model.onnx'}")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for name, test in data_of(extended).test_datasets.items():
        images, labels = test.batch(range(len(test)))
        found = session.run(["label"], {"images": images.numpy()})[0]
        accuracy = float((torch.from_numpy(np.asarray(found))[:, 0] == labels).float().mean())
        assert accuracy == pytest.approx(metrics["test"][name]["accuracy"])
    output(capsys, "report", extended)
    copy = shutil.copytree(extended, tmp_path / "copy")
    assert output(capsys, "classes", copy, "list", "--limit=100").count("\n") == 62
    assert (
        json.loads(output(capsys, "evaluate", copy, "--top=1", "--format=json")) == metrics["test"]
    )


def test_its_config_names_its_parent(trained_code: Path, extended: Path):
    config, before = read_config(extended), read_config(trained_code)
    assert config.parent is not None and config.parent.run == str(trained_code)
    assert config.train.lr == pytest.approx(LOWER_RATE * (before.train.lr or 0))
    for section in ("model", "head", "loss", "prototypes"):
        assert getattr(config, section) == getattr(before, section)
    assert base_config(load(extended)).train.lr == config.train.lr, "not lowered again"


def prototype_head(run: Run) -> PrototypeHead:
    assert isinstance(run.model.head, PrototypeHead)
    return run.model.head


def test_training_goes_on_as_it_was(extended: Path, trained_formula: Path):
    """With the loss of the run, the contrastive one if it had one, and the prototypes chosen."""
    head = prototype_head(load(extended / "start"))
    assert head.ready and isinstance(head.loss, CosineLoss) and head.contrastive_weight == 0.5
    head = prototype_head(load(trained_formula))
    assert isinstance(head.loss, SystemSoftmaxLoss) and head.contrastive_weight == 0


def test_formula_by_a_config_file(trained_formula: Path, tmp_path: Path):
    characters = {"image_size": 16, "num_classes": 2, "seed": 1}
    settings = {
        "data": {"class_path": "Characters", "init_args": characters},
        "train": {"epochs": 1},
        "loader": {"label_noise": 0.1},
        "memory": {"policy": "reservoir", "size": 90},
    }
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(settings))
    folder = extend(trained_formula, tmp_path / "run", f"--config={tmp_path / 'more.yaml'}")
    check_grown(trained_formula, folder, 42)
    assert len(StoredImages(folder / "replay")) == 90
    assert read_config(folder).loader.label_noise == 0.1


def test_a_second_extension_needs_the_memory_only(
    extended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = shutil.copytree(extended, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    grown = config["data"]["init_args"]
    for part in (grown["old"][0], grown["new"]):
        part["init_args"]["data"]["init_args"]["test_fonts"] = ["NoSuchFont"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    finish(run)
    settings = [
        *CHARACTERS,
        "--data.num_classes=10",
        "--data.seed=2",
        "--train.epochs=1",
        "--memory.policy=herding",
    ]
    before = contents(run)
    folder = extend(run, tmp_path / "next", *settings)
    assert contents(run) == before, "its memory was carried, not changed"
    assert "Old test sets are left out" in capsys.readouterr().err
    check_grown(run, folder, 70)
    assert list(json.loads((folder / "metrics.json").read_text())["test"]) == [
        f"{name}@next" for name in TESTS
    ]
    used = StoredImages(folder / "start/replay")
    assert used.labels.tolist() == StoredImages(run / "replay").labels.tolist()
    kept = StoredImages(folder / "replay")  # size 150 is that of the run before
    assert sorted(Counter(kept.labels.tolist()).values()) == [2] * 60 + [3] * 10


@pytest.mark.parametrize("source", ["teacher", "file", "unique"])
def test_prototypes_from_elsewhere(
    source: str, trained_code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, more = tmp_path / "run", tmp_path / "more"
    vectors = tmp_path / "vectors.npy"
    np.save(vectors, np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32))
    names = [*load(trained_code).names, *(f"spare {i}" for i in range(10))]
    vectors.with_suffix(".txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    options = {
        "teacher": ["--prototypes.source=teacher", f"--prototypes.teacher={trained_code}"],
        "file": ["--prototypes.source=file", f"--prototypes.vectors={vectors}"],
        "unique": ["--loader.unique_labels=40", "--prototypes.source=formula"],
    }[source]
    options += ["--head.dim=8", "--head.system=RootA(8)"] if source == "unique" else []
    small = [*CHARACTERS, "--data.num_classes=40", "--loader.batch_size=64", "--model.width=4"]
    assert main(["train", *small, *options, "--train.epochs=1", f"--run.dir={run}"]) == 0
    new = [*CHARACTERS, "--data.num_classes=5", "--data.seed=1", "--train.epochs=1"]
    capsys.readouterr()
    extend(run, more, *new, "--memory.size=40")
    assert "5 new classes, 40 kept, " in capsys.readouterr().err
    check_grown(run, more, 45)
    tests = list(json.loads((more / "metrics.json").read_text())["test"])
    again = [f"{name}@more" for name in TESTS]
    assert tests == (TESTS if source == "unique" else [*TESTS, *again])


def test_prototypes_that_are_a_table(tmp_path: Path):
    """New classes take the free rows nearest to their means; when none is left it says so."""
    vectors = tmp_path / "vectors.npy"
    np.save(vectors, np.random.default_rng(0).normal(size=(24, 16)).astype(np.float32))
    run = tmp_path / "run"
    data = {"image_size": 16, "num_classes": 20}
    config = Config(
        data=ClassSpec("rootspace.data.Characters", data),
        model=ClassSpec("rootspace.models.Encoder", {"width": 4}),
        head=ClassSpec("rootspace.heads.PrototypeHead", {"system": "Table"}),
        prototypes=PrototypesConfig(source="file", vectors=str(vectors)),
        train=TrainConfig(epochs=1),
        run=RunConfig(dir=str(run)),
    )
    names = [*make_data(config).source.read().class_names, *"abcd"]
    vectors.with_suffix(".txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    assert train(config) is not None
    base = base_config(load(run))
    for number, fits in ((4, True), (5, False)):
        new = {"image_size": 16, "ranges": f"U+0410-U+{0x0410 + number - 1:04X}"}
        grown = replace(
            base,
            data=ClassSpec("rootspace.data.Characters", new),
            run=RunConfig(dir=str(tmp_path / f"more{number}")),
        )
        if fits:
            assert extend_run(run, grown) is not None
            check_grown(run, tmp_path / "more4", 24)
        else:
            with pytest.raises(ValueError, match="at most 4 new classes, not 5"):
                extend_run(run, grown)


def test_a_run_of_python_is_extended_by_the_command(tmp_path: Path):
    """Whose settings say nothing of what is default."""
    config = Config(
        data=ClassSpec("rootspace.data.Characters", {"image_size": 16, "num_classes": 20}),
        model=ClassSpec("rootspace.models.Encoder", {"width": 4}),
        head=ClassSpec("rootspace.heads.PrototypeHead", {"dim": 16}),
        train=TrainConfig(epochs=1),
        run=RunConfig(dir=str(tmp_path / "run")),
    )
    assert train(config) is not None
    folder = extend(tmp_path / "run", tmp_path / "more", *NEW[:-1], "--train.epochs=1")
    check_grown(tmp_path / "run", folder, len(load(folder).names))


def test_an_extension_goes_on_where_it_has_been_moved(
    trained_code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its memory lies in its own folder; old data are not needed once it has begun."""
    folder, moved = tmp_path / "new", tmp_path / "moved"
    arguments = ["extend", str(trained_code), *NEW, "--memory.size=60"]
    with monkeypatch.context() as patch:
        patch.setattr(extend_module, "fit", lose)
        with pytest.raises(Lost):
            main([*arguments, f"--run.dir={folder}"])
    folder.rename(moved)
    assert main(["extend", str(trained_code), "--resume", f"--run.dir={moved}"]) == 0
    check_grown(trained_code, moved, 60)
    assert not folder.exists()


class Lost(Exception):
    pass


def lose(*_: object, **__: object) -> None:
    raise Lost


def test_without_memory_when_the_data_are_gone(
    code_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    change_data(code_run, test_fonts=["NoSuchFont"])
    arguments = ["extend", code_run, f"--run.dir={tmp_path / 'new'}", *NEW]
    message = error(capsys, *arguments)
    assert "'memory.size' must be 0, not 2000" in message and "no replay memory" in message
    assert not (tmp_path / "new").exists()
    assert main([str(a) for a in [*arguments, "--memory.size=0"]]) == 0
    check_grown(code_run, tmp_path / "new", 60)
    assert len(StoredImages(tmp_path / "new/replay")) == 0
    assert json.loads((tmp_path / "new/metrics.json").read_text())["replayed_images"] == 0


def test_classes_that_exist_get_more_images(
    code_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    names = load(code_run).names
    output(capsys, "classes", code_run, "rename", names[3], "third")
    output(capsys, "classes", code_run, "alias", names[5], "fifth")
    output(capsys, "classes", code_run, "retire", names[7])
    before = contents(code_run)
    for name in ("third", "fifth", names[1], names[3], "new"):
        for split, count in (("train", 4), ("val", 1)):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for i in range(count):
                noise = np.random.default_rng(i).integers(0, 255, (16, 16), dtype=np.uint8)
                Image.fromarray(noise).save(tmp_path / "images" / split / name / f"{i}.png")
    data = [
        "--data=ImageFolder",
        f"--data.root={tmp_path / 'images'}",
        "--data.image_size=16",
        "--data.grayscale=true",
        "--loader.batch_size=32",
    ]
    folder = extend(code_run, tmp_path / "new", *data, "--train.epochs=1", "--memory.size=80")
    assert contents(code_run) == before
    check_grown(code_run, folder, 41)
    new = read_config(folder).data.init_args["new"]
    assert new["init_args"]["same"] == {"third": names[3], "fifth": names[5]}
    grown = data_of(folder)
    counts = torch.bincount(grown.train_dataset.labels[80:]).tolist()
    assert {label: n for label, n in enumerate(counts) if n} == {1: 4, 3: 8, 5: 4, 40: 4}
    with ClassRegistry(folder / REGISTRY) as registry:
        assert registry.retired().tolist() == [7] and len(registry) == 41
        assert registry.entry("new").label == 40 and registry.entry("new").images == 4
        assert registry.entry("third").images == 10 + 8 and registry.entry("fifth").images == 14
        last = registry.history()[-1]
        assert last.command.startswith("rootspace extend") and last.source == "ImageFolder"
    answers = output(capsys, "predict", folder, folder / "samples", "--top=40", "--format=csv")
    assert "new" in answers and "third" in answers and f",{names[7]}," not in answers


def test_a_new_class_needs_an_image(
    trained_code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = ClassSpec("rootspace.data.Characters", {"image_size": 16, "num_classes": 20, "seed": 1})
    run = RunConfig(dir=str(tmp_path / "new"))
    config = replace(base_config(load(trained_code)), data=data, run=run)
    read = Characters.read

    def without_the_last(self: Characters) -> Content:
        content = read(self)
        if len(content.class_names) != 20:
            return content
        some = View.some(content.train, (content.train.labels < 19).nonzero()[:, 0])
        return replace(content, train=some)

    monkeypatch.setattr(Characters, "read", without_the_last)
    with pytest.raises(ValueError, match="a training image of every new class"):
        extend_run(trained_code, config)
    assert not (tmp_path / "new").exists()


def test_a_registry_with_more_classes(
    formula_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output(capsys, "classes", formula_run, "list")
    with ClassRegistry(formula_run / REGISTRY) as registry:
        registry.add(["one more"], [41])
    arguments = ["extend", formula_run, f"--run.dir={tmp_path / 'new'}", *NEW]
    assert "40 classes of the run at most, not 41" in error(capsys, *arguments)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["--model.width=8"], "'model.width' must stay 4"),
        (["--head.system=RootA(64)"], "'head.system' must stay None"),
        (["--prototypes.seed=1"], "'prototypes.seed' must stay 0"),
        (["--loss=InBatchSoftmaxLoss"], "'loss' must stay 'CosineLoss'"),
        (["--run.class_means=true"], "'run.class_means' must be left out"),
        (["--run.baselines=[LinearHead]"], "'run.baselines' must be left out"),
        (
            ["--data.image_size=24"],
            "takes images of 1 x 16 x 16, the data have images of 1 x 24 x 24",
        ),
        (["--loader.unique_labels=all"], "'loader.unique_labels' must be left out"),
        (["--data.num_classes=1"], "'num_classes' must be at least 2"),
        (["--data=NoSuchPictures"], "NoSuchPictures"),
        (["--memory.size=-1"], "'memory.size' must be at least 0, not -1"),
        (["--memory.policy=newest"], "newest"),
        (["--memory.share=1"], "'memory.share' must lie in [0, 1), not 1"),
        (["--memory.distillation=-1"], "'memory.distillation' must be at least 0 and finite"),
        (["--train.epochs=0"], "'train.epochs' must be at least 1"),
        (["--train.lr=-1"], "'train.lr' must be positive"),
        (["--resume"], "is not a run folder"),
        (["--resume", "--train.epochs=3"], "is not a run folder"),
    ],
)
def test_bad_settings(
    trained_code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings, message: str
):
    folder = tmp_path / "new"
    given = [f"--run.dir={folder}", *([] if "--resume" in settings else NEW), *settings]
    assert message in error(capsys, "extend", trained_code, *given)
    assert not folder.exists()


def test_bad_folders(
    trained_code: Path,
    trained_formula: Path,
    extended: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    new = f"--run.dir={tmp_path / 'new'}"
    assert "'--data' must name the data with the new classes" in error(
        capsys, "extend", trained_code, new, "--train.epochs=1"
    )
    for command in (["extend", trained_code, new], ["evaluate", trained_code], ["distill", new]):
        assert "the class of the data beside '--data.seed'" in error(
            capsys, *command, "--data.seed=1"
        )
    assert "is not a run folder" in error(capsys, "extend", tmp_path, new)
    assert "must lie outside" in error(
        capsys, "extend", trained_code, *NEW, f"--run.dir={trained_code / 'more'}"
    )
    assert "must be new or empty" in error(
        capsys, "extend", trained_code, *NEW, f"--run.dir={extended}"
    )
    learned = trained_code / "baselines/NormalizedHead"
    assert "has a learned head (NormalizedHead)" in error(capsys, "extend", learned, *NEW, new)
    message = error(capsys, "extend", trained_formula, *NEW, new)
    assert "at most 2 new classes, not 20" in message and "RootA(6)" in message
    assert "extends no run" in error(
        capsys, "extend", trained_code, "--resume", f"--run.dir={trained_formula}"
    )
    assert not (tmp_path / "new").exists()
    part = shutil.copytree(extended, tmp_path / "part")
    shutil.rmtree(part / "start")
    for name in ("manifest.json", "metrics.json", "model.safetensors"):
        (part / name).unlink()
    resume = ["--resume", f"--run.dir={part}"]
    assert "must be the run that" in error(capsys, "extend", trained_formula, *resume)
    assert f"rootspace extend {trained_code} --resume" in error(capsys, "evaluate", part)
    assert "extends another run" in error(capsys, "train", *resume)
    assert "is not a finished run" in error(capsys, "extend", part, *NEW, new)


def test_resuming_a_finished_extension_changes_nothing(trained_code: Path, extended: Path):
    before = contents(extended)
    extend(trained_code, extended, "--resume")
    after = contents(extended)
    assert {k: v for k, v in before.items() if k != "report.html"} == {
        k: v for k, v in after.items() if k != "report.html"
    }
