"""`rootspace compare`: every method and seed once, resumable, in one table."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from unittest import mock

import pytest

from rootspace._terminal import table
from rootspace.building import check_acting
from rootspace.cli import main
from rootspace.cli._config import config_parser, parse
from rootspace.cli.compare import complete, merged, read_recipe
from rootspace.config import Config, PrototypesConfig
from rootspace.runs import Parameters, RunRecord, TestResult, Training, process
from rootspace.train import comparison

RECIPE = """
data: {class_path: Characters, init_args: {num_classes: 20, image_size: 16}}
loader: {batch_size: 32}
model: {class_path: Encoder, init_args: {width: 4}}
train: {epochs: 2, lr: 3.0e-3}
prototypes: {after: 0.5}
compare:
  seeds: [0, 1]
  methods:
    linear: {head: {class_path: LinearHead, init_args: {dim: 24}}}
    code:
      head: {init_args: {system: PermutationCode(24)}}
      loss: {class_path: CosineLoss}
    contrastive:
      head: {init_args: {system: PermutationCode(24)}}
      loss: {class_path: CosineLoss}
      prototypes: {after: 1.0}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.slow
def test_comparison(recipe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    arguments = ["compare", "--config", str(recipe), "--out", str(out)]
    assert main([*arguments, "--only", "linear", "code", "--seeds", "1"]) == 0
    first = (out / "runs" / "code" / "seed1" / "metrics.json").read_bytes()
    assert main([*arguments, "--seeds", "1"]) == 0  # what is there is kept
    assert (out / "runs" / "code" / "seed1" / "metrics.json").read_bytes() == first
    rows = json.loads((out / comparison.COMPARISON).read_text())
    assert [row["method"] for row in rows] == ["linear", "code", "contrastive"]
    for row in rows:
        record = row["record"]
        assert row["seed"] == 1 and record["epochs"] == 2 and record["dim"] == 24
        assert len(record["test"]) == 2
        for test in record["test"].values():
            assert 0 <= test["accuracy"] <= 1 and 0 <= test["mean_accuracy"] <= 1
        assert record["peak_memory_mb"] > 0 and record["seconds"] > 0
    assert "placed" not in rows[0]
    # A 3-level code over 24 coordinates leaves a quarter of them zero.
    assert rows[1]["placed"] == 18
    assert "accuracy" not in rows[2]["record"]["train"]  # no class had a prototype in training
    # A learned class costs four times its vector in training: gradient and two moments. Prototypes
    # cost their codes; under this loss they do not follow the network, which takes directions.
    lines = (out / comparison.TABLE).read_text().splitlines()[2:]
    costs = [[cell.strip() for cell in line.split("|")[8:10]] for line in lines]
    assert costs[:2] == [["96", "384"], ["8", "8"]]
    assert (out / comparison.REPORT).stat().st_size > 100_000
    assert "| contrastive | 1 |" in (out / comparison.TABLE).read_text()
    assert "contrastive" in capfd.readouterr().out
    with pytest.raises(ValueError, match="holds a run with other settings"):
        comparison.compare([planned(recipe, "linear", 1, epochs=1)], out)


def planned(recipe: Path, method: str, seed: int, **train: float) -> comparison.PlannedRun:
    base, methods, _ = read_recipe(recipe)
    options = [f"--train.{key}={value}" for key, value in train.items()]
    return comparison.PlannedRun(method, seed, complete(base, methods[method], seed, options))


def test_settings_of_a_run(recipe: Path):
    config = planned(recipe, "contrastive", 7, epochs=3).config
    assert config.train.seed == config.head.init_args["seed"] == 7
    assert config.train.epochs == 3 and config.train.lr == 3e-3
    assert config.prototypes.after == 1.0
    assert config.head.init_args["system"] == "PermutationCode(24)"
    assert config.data.init_args["num_classes"] == 20
    assert config.optimizer.init_args["weight_decay"] == 1e-5


def test_settings_for_all_methods_that_cannot_act_in_one(recipe: Path):
    """`rootspace train`, which refuses them, gets the settings of every run."""
    text = recipe.read_text().replace("loader:", "loss: {class_path: CosineLoss}\nloader:")
    formula = "\n    formula: {prototypes: {source: formula}}\n"
    recipe.write_text(text.rstrip() + formula)
    linear, formula, code = (
        planned(recipe, method, 7).config for method in ("linear", "formula", "code")
    )
    assert linear.loss is None and linear.prototypes == PrototypesConfig()
    assert formula.prototypes == PrototypesConfig("formula", seed=7) and formula.loss is not None
    assert code.prototypes == PrototypesConfig(after=0.5)
    for config in (linear, formula, code):
        check_acting(config)


def test_every_run_of_the_recipes_has_settings_that_act():
    for path in sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml")):
        base, methods, _ = read_recipe(path)
        for method in methods.values():
            check_acting(complete(base, method, 3, ["--prototypes.after=0.4"]))
        check_acting(complete(base, {}, 0, []))


def test_short_names_are_the_librarys_own(recipe: Path):
    """Whatever else has been imported: torchvision has an Encoder too."""
    importlib.import_module("torchvision.models.vision_transformer")
    config = planned(recipe, "linear", 0).config
    assert config.model.class_path == "rootspace.models.Encoder"
    assert config.head.name == "LinearHead" and config.loss is None
    parser = config_parser("rootspace train", Config())
    for arguments in (["--model", "Encoder"], ["--model=Encoder"], [f"--config={recipe}"]):
        found = parse([*arguments, "--model.width=8"], parser, "rootspace train")
        assert found.model.class_path == "rootspace.models.Encoder"
        assert found.model.init_args["width"] == 8, "the command line wins"


def test_a_failed_run_is_named(recipe: Path, tmp_path: Path):
    run = planned(recipe, "linear", 0)
    with (
        mock.patch.object(process.sys, "executable", "false"),
        pytest.raises(ValueError, match=r"training failed: `false -m rootspace train .*code 1"),
    ):
        comparison.compare([run], tmp_path)


def test_a_section_of_another_kind_begins_anew():
    margin = {"class_path": "a.CosFaceHead", "init_args": {"margin": 0.2, "scale": 8}}
    base = {"head": margin, "train": {"lr": 1, "epochs": 5}}
    changed = merged(base, {"head": {"class_path": "a.LinearHead"}, "train": {"lr": 2}})
    assert changed == {"head": {"class_path": "a.LinearHead"}, "train": {"lr": 2, "epochs": 5}}
    same = merged(base, {"head": {"init_args": {"margin": 0.1}}})["head"]
    assert same == {"class_path": "a.CosFaceHead", "init_args": {"margin": 0.1, "scale": 8}}
    assert base["train"] == {"lr": 1, "epochs": 5} and margin["init_args"]["margin"] == 0.2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("data: {class_path: Characters}", "must have a section `compare` with `methods`"),
        ("compare: {methods: []}", "must have a section `compare` with `methods`"),
        ("compare: {methods: {a: {}}, sseeds: [1]}", r"unknown keys \['sseeds'\]"),
        ("compare: {methods: {a: {}}, seeds: 3}", r"list of whole numbers .*, not 3\."),
        ("compare: {methods: {a: {}}, seeds: []}", r"list of whole numbers .*, not \[\]\."),
        ("compare: {methods: {a: {}}, seeds: [0, x]}", r"whole numbers .*, not \[0, 'x'\]\."),
        ("compare: {methods: {a: 5}}", r"method 'a' of .* must have settings .*, not 5\."),
        ("compare: {methods: {a/b: {}}}", r"name without slashes, .*, not 'a/b'\."),
        ("compare: {methods: {..: {}}}", r"name without slashes, .*, not '\.\.'\."),
        ("[", "is not YAML"),
    ],
)
def test_wrong_recipes(tmp_path: Path, content: str, message: str):
    path = tmp_path / "r.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_recipe(path)


def test_a_method_that_is_empty_has_the_common_settings(recipe: Path):
    recipe.write_text(recipe.read_text() + "    plain:\n")
    base, methods, seeds = read_recipe(recipe)
    assert methods["plain"] == {} and seeds == [0, 1]
    assert complete(base, methods["plain"], 3, []).train.seed == 3
    with pytest.raises(ValueError, match=r"section 'train' must hold settings .*, not 5\."):
        complete(base, {"train": 5}, 3, [])


def test_wrong_arguments(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["compare", "--config", str(recipe), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--only", "cosface"]) == 2
    assert "'--only' must name some of ['linear', 'code', 'contrastive']" in capsys.readouterr().err
    assert main([*arguments, "--train.epochz", "3"]) == 2
    assert "epochz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_spread():
    runs = [
        comparison.FinishedRun(
            "a",
            seed,
            "",
            None,
            RunRecord(
                version="0",
                finished="",
                method="prototypes",
                loss="",
                num_classes=2,
                dim=3,
                model="",
                data="",
                batch_size=2,
                epochs=1,
                seconds=1.0,
                seconds_per_epoch=1.0,
                peak_memory_mb=5.0,
                device="cpu",
                parameters=Parameters(1, 0),
                bytes_per_class=8.0,
                training_bytes_per_class=8.0,
                train=Training(0.0),
                test={"t": TestResult(x, 10, x)},
            ),
        )
        for seed, x in enumerate((0.5, 0.6, 0.7))
    ]
    assert "| a | 3 | 60.00 ± 10.00 | 60.00 ± 10.00 | 1.0 | 8 | 8 | 5 |" in table(
        *comparison.cells(runs), markdown=True
    )
