"""Every command on one small run, as a user would call it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from rootspace import load
from rootspace.classes import ClassMap
from rootspace.cli import main
from rootspace.heads import PrototypeHead
from rootspace.runs.folder import finish

DATA = ["--data.num_classes=30", "--data.image_size=16", "--loader.batch_size=32"]
SMALL = [*DATA, "--model.width=4", "--train.lr=3e-3", "--prototypes.source=formula"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An LSC run with both learned baselines."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["train", *SMALL, "--train.epochs=4", f"--run.dir={folder}"]
    assert main([*arguments, "--run.baselines=[LinearHead,NormalizedHead]"]) == 0
    return folder


def test_run_folder_is_complete(run: Path):
    for folder in (run, run / "baselines/LinearHead", run / "baselines/NormalizedHead"):
        for name in (
            "config.yaml",
            "model.safetensors",
            "checkpoints/last.ckpt",
            "metrics.json",
            "metrics.csv",
            "evaluation.npz",
            "manifest.json",
        ):
            assert (folder / name).is_file(), name
        assert not list(folder.rglob("*.tmp"))
    assert (run / "report.html").stat().st_size > 1e6


def test_metrics(run: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["method"] == "prototypes"
    assert metrics["system"] == "RootA(5)"  # 5 * 6 >= 30 > 4 * 5
    assert metrics["parameters"]["head"] == 0 and metrics["bytes_per_class"] == 0
    assert metrics["epochs"] == 4 and metrics["seconds"] > 0 and metrics["peak_memory_mb"] > 50
    assert len(metrics["test"]) == 2
    assert all(t["images"] == 30 and 0 <= t["accuracy"] <= 1 for t in metrics["test"].values())
    learned = json.loads((run / "baselines/LinearHead/metrics.json").read_text())
    assert learned["method"] == "learned" and "system" not in learned
    assert learned["dim"] == metrics["dim"], "baselines have the embedding of the run"
    assert learned["parameters"]["head"] == 30 * (5 + 1)
    assert learned["parameters"]["backbone"] == metrics["parameters"]["backbone"]


def test_learns(run: Path):
    """The small network beats chance, 1/30, by far within four epochs."""
    for folder in (run, run / "baselines/NormalizedHead"):
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["train"]["accuracy"] > 0.2


def test_history_has_a_row_an_epoch(run: Path):
    lines = (run / "metrics.csv").read_text().splitlines()
    assert lines[0].startswith("epoch,step,seconds,lr,train/loss,train/accuracy,test/")
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3", "4"]


def test_tiny_accuracies(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """JSON writes one image in 50,000 as 2e-05, which is a word in YAML."""
    few = tmp_path / "few"
    shutil.copytree(run, few)
    metrics = json.loads((few / "metrics.json").read_text())
    for test in metrics["test"].values():
        test["accuracy"] = 2e-05
    (few / "metrics.json").write_text(json.dumps(metrics))
    finish(few)
    assert main(["train", "--resume", f"--run.dir={few}"]) == 0
    assert "0.0%" in capsys.readouterr().err


def test_no_parameter_has_a_row_for_each_class(run: Path):
    trained = load(run)
    assert isinstance(trained.class_map, ClassMap)
    assert not list(trained.model.head.parameters())
    assert all(30 not in p.shape for p in trained.model.embedder.parameters())


def test_evaluate_repeats_the_final_figures(run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", str(run), "--top=1", "--format=json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results == json.loads((run / "metrics.json").read_text())["test"]


def test_evaluate_on_other_fonts(run: Path, capsys: pytest.CaptureFixture[str]):
    options = ["--data=Characters", "--data.num_classes=30", "--data.image_size=16"]
    options += ["--data.test_fonts=[DejaVuSans-Bold]", "--data.train_fonts=[DejaVuSans]"]
    code = main(["evaluate", str(run), *options])
    message = capsys.readouterr()
    # Fewer training fonts share more characters, so other classes are drawn: said, not guessed.
    assert code == 2 and "unknown to the run" in message.err


def test_evaluate_on_data_of_another_kind(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The settings of the run's own kind mean nothing there."""
    names = load(run).names[:2]
    for name in names:
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("L", (16, 16), 40 * number).save(tmp_path / name / f"{number}.png")
    data = ["--data=ImageFolder", f"--data.root={tmp_path}", "--data.image_size=16"]
    capsys.readouterr()
    assert main(["evaluate", str(run), *data, "--data.grayscale=true", "--format=json"]) == 0
    (result,) = json.loads(capsys.readouterr().out).values()
    assert result["images"] == 1  # a fifth of the six is set aside


def test_a_stopped_run_gets_no_registry(run: Path, tmp_path: Path, capsys):
    """Its classes may yet get other vectors."""
    stopped = tmp_path / "stopped"
    shutil.copytree(run, stopped)
    (stopped / "manifest.json").unlink()
    for command in (["classes", str(stopped), "list"], ["calibrate", str(stopped)]):
        assert main(command) == 2
        assert "is not a finished run: manifest.json is missing" in capsys.readouterr().err
    assert not (stopped / "registry.sqlite").exists()


@pytest.mark.parametrize("baseline", ["", "baselines/LinearHead", "baselines/NormalizedHead"])
def test_predict_agrees_with_the_accuracy(
    run: Path, baseline: str, capsys: pytest.CaptureFixture[str]
):
    folder = run / baseline
    samples = sorted((run / "samples").glob("*.png"))
    assert main(["predict", str(folder), *map(str, samples), "--top=3", "--format=json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["path"] for row in rows] == [str(s) for s in samples]
    for row in rows:
        cosines = [answer["cosine"] for answer in row["answers"]]
        assert len(cosines) == 3 and all(-1 <= c <= 1.0001 for c in cosines)
        if not baseline:
            assert cosines == sorted(cosines, reverse=True)


def test_predict_text_and_csv_and_unknown(run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["predict", str(run), str(run / "samples"), "--format=csv"]) == 0
    assert capsys.readouterr().out.startswith("path,rank,class,cosine")
    assert main(["predict", str(run), str(run / "samples"), "--min_cosine=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 and all("unknown" in line for line in lines)


def test_an_image_is_unknown_by_its_best_cosine(run: Path, capsys: pytest.CaptureFixture[str]):
    """Where that is large enough the others keep their names, whatever their own."""
    arguments = ["predict", str(run), str(run / "samples"), "--top=3", "--format=json"]
    assert main(arguments) == 0
    plain = [row["answers"] for row in json.loads(capsys.readouterr().out)]
    least = sorted(row[0]["cosine"] for row in plain)[6]
    assert any(row[0]["cosine"] >= least > row[1]["cosine"] for row in plain)
    assert main([*arguments, f"--min_cosine={least}"]) == 0
    for row, before in zip(json.loads(capsys.readouterr().out), plain, strict=True):
        first = before[0]["class"] if before[0]["cosine"] >= least else "unknown"
        assert row["answers"] == [{**before[0], "class": first}, *before[1:]]


def test_a_run_is_resumed_by_its_settings(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """As by its folder: `run.dir` of a file holds as that of the command line, the last one."""
    own = shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "again.yaml"
    path.write_text(f"run: {{dir: {own}}}\n")
    assert main(["train", "--resume", f"--config={path}"]) == 0
    assert f"{own} is complete" in capsys.readouterr().err
    assert main(["train", f"--config={path}", "--resume", f"--run.dir={tmp_path}/none"]) == 2
    assert f"{tmp_path}/none is not a run folder" in capsys.readouterr().err
    path.write_text(f"run: {{dir: {tmp_path}/none}}\n")
    assert main(["train", f"--config={path}", "--resume", f"--run.dir={own}"]) == 0
    assert f"{own} is complete" in capsys.readouterr().err
    assert main(["train", "--resume", f"--config={tmp_path}/no.yaml"]) == 2
    assert "no.yaml does not exist" in capsys.readouterr().err


def test_embed(run: Path, tmp_path: Path):
    samples = sorted((run / "samples").glob("*.png"))
    for name in ("out.npy", "out.parquet"):
        assert main(["embed", str(run), str(run / "samples"), f"--out={tmp_path / name}"]) == 0
    array = np.load(tmp_path / "out.npy")
    assert array.shape == (len(samples), 5)
    paths = (tmp_path / "out.txt").read_text().splitlines()
    assert paths == [str(sample) for sample in samples]
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["path", "class", "cosine", "embedding"]
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), array)
    trained = load(run)
    assert trained.class_map is not None
    prediction = trained.class_map.predict(torch.from_numpy(array))
    assert table["class"].to_pylist() == [trained.names[i] for i in prediction.label[:, 0]]


def test_export(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "model.onnx"
    assert main(["export", str(run), f"--out={path}", "--top=2"]) == 0
    assert "30 classes" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    trained = load(run)
    assert json.loads(session.get_modelmeta().custom_metadata_map["rootspace.names"]) == (
        trained.names
    )
    classes, shape = trained.class_map, trained.model.preprocessing
    assert classes is not None and shape is not None
    images = torch.randint(0, 256, (5, shape.channels, 16, 16), dtype=torch.uint8)
    outputs = session.run(None, {"images": images.numpy()})
    embedding, index, label, cosine = map(np.asarray, outputs)
    expected = trained.predict(images, 2)
    np.testing.assert_allclose(embedding, trained.embed(images), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(label, expected.label)
    np.testing.assert_allclose(cosine, expected.cosine, atol=1e-4)
    np.testing.assert_array_equal(index, classes.indices(expected.label))


def test_export_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for folder, out, message in (
        (run / "baselines/LinearHead", "model.onnx", "has a learned head"),
        (run, "model.pt", "'--out' must end in .onnx"),
        (run, "none/model.onnx", "none does not exist"),
        (run, "model.onnx --top=31", "'top' must be an integer in [1, 30], not 31"),
    ):
        assert main(["export", str(folder), "--out", *f"{tmp_path}/{out}".split()]) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_report_beside_another_run(run: Path, tmp_path: Path):
    out = tmp_path / "both.html"
    assert main(["report", str(run), str(run / "baselines/LinearHead"), f"--out={out}"]) == 0
    assert "LinearHead" in out.read_text()


def test_saved_config_trains_again(run: Path, tmp_path: Path):
    """The resolved config is a config: the same run from it has the same weights."""
    folder = tmp_path / "again"
    config = f"--config={run / 'config.yaml'}"
    assert main(["train", config, f"--run.dir={folder}", "--run.baselines=[]"]) == 0
    old, new = (load(f).model.embedder.state_dict() for f in (run, folder))
    assert all(torch.equal(old[name], new[name]) for name in old)


@pytest.mark.parametrize(
    ("loss", "extra"),
    [
        ("CosineLoss", []),
        ("DistanceLoss", ["--head.system=Circle(3)", "--loss.radius=0.5"]),
        ("CombinedLoss", ["--loss.weight=0.5", "--train.precision=bf16"]),
        ("InBatchSoftmaxLoss", ["--loss.scale=12"]),
        (
            "SystemSoftmaxLoss",
            [
                "--prototypes.source=formula",
                "--loss.margin=0.1",
                "--prototypes.order=natural",
                "--head.dim=12",
            ],
        ),
        # In float32: torch 2.14 gives NaN at random for bfloat16 maps of a pixel or two on the CPU.
        ("CosineLoss", ["--model=TimmBackbone", "--model.name=resnet10t"]),
    ],
)
def test_losses_systems_and_models(loss: str, extra: list[str], tmp_path: Path):
    folder = tmp_path / "run"
    arguments = ["train", *DATA, "--train.epochs=1", f"--loss={loss}", f"--run.dir={folder}"]
    width = [] if any("model.name" in e for e in extra) else ["--model.width=4"]
    assert main([*arguments, *width, "--train.schedule=cosine", *extra]) == 0
    assert json.loads((folder / "metrics.json").read_text())["loss"] == loss


def test_plan(capsys: pytest.CaptureFixture[str]):
    assert main(["plan", "1280000"]) == 0
    out = capsys.readouterr().out
    assert "1,306,910" in out and "A_n, 1 interpolation" in out
    assert "RootA(109, interpolations=1)" in out, "as --head.system takes it"
    assert main(["plan", "1000", "--dim=384"]) == 0
    assert "147,840" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["predict", "--help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    try:
        assert main(arguments) == 0
    except SystemExit as end:  # argparse's own --help
        assert not end.code
    assert capsys.readouterr().out


def test_help_names_the_classes_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    """And not each module that has been imported."""
    assert main(["train", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "one of Embedder, Encoder, TimmBackbone, or an import path; default: Encoder" in out
    assert "default: Characters" in out and "LinearHead" in out and "AdamW" in out
    assert "--train.lr" in out and "torch.nn" not in out and "known subclasses" not in out


def test_image_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Three colours in folders: trained, evaluated and named from the files themselves."""
    root, folder = tmp_path / "images", tmp_path / "run"
    generator = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 4)):
        for channel, name in enumerate(("red", "green", "blue")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 90, (18, 20, 3), dtype=np.uint8)
                pixels[..., channel] += 140
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    data = ["--data=ImageFolder", f"--data.root={root}", "--loader.batch_size=12"]
    more = [
        "--model.width=4",
        "--train.lr=3e-3",
        "--prototypes.source=formula",
        "--train.epochs=30",
        "--data.image_size=16",
    ]
    assert main(["train", *data, *more, f"--run.dir={folder}"]) == 0
    assert json.loads((folder / "metrics.json").read_text())["test"]["test"]["accuracy"] > 0.7
    capsys.readouterr()
    assert main(["predict", str(folder), str(root / "test" / "blue"), "--format=csv"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split(",")[2] for row in rows].count("blue") >= 2


def test_settings_of_a_head_by_formula_hold(tmp_path: Path):
    """Where prototypes are given from the start, its own defaults hold and nothing is dropped."""
    common = ["--data=Characters", "--data.num_classes=6", "--data.image_size=16"]
    common += ["--model.width=4", "--train.epochs=1", "--prototypes.source=formula"]
    for name, more, expected in (
        ("plain", [], (0.15, 0.0)),
        ("set", ["--head.temperature=0.3", "--head.contrastive_weight=0.7"], (0.3, 0.7)),
    ):
        assert main(["train", *common, *more, f"--run.dir={tmp_path / name}"]) == 0
        head = load(tmp_path / name).model.head
        assert isinstance(head, PrototypeHead)
        assert (head.temperature, head.contrastive_weight) == expected
