"""Settings that cannot be: a line in plain words that names setting, value and what was expected.

The parser is another library's; where its messages change, these tests say so.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from calling import refusal

WRONG = {
    "--model.width x": "'model.width' must be an integer, not 'x'",
    "--model.width [1]": "'model.width' must be an integer, not '[1]'",
    "--head.dim abc": "'head.dim' must be an integer or null, not 'abc'",
    "--head.temperature hot": "'head.temperature' must be a number, not 'hot'",
    "--data.num_classes abc": "'data.num_classes' must be an integer or null, not 'abc'",
    "--train.epochs 1.5": "'train.epochs' must be an integer, not '1.5'",
    "--train.lr high": "'train.lr' must be a number or null, not 'high'",
    "--prototypes.source x": "'prototypes.source' must be one of data, formula, teacher, file",
    "--run.class_means maybe": "'run.class_means' must be true or false, not 'maybe'",
    "--run.baselines x": "'run.baselines' must be a list such as [A, B], not 'x'",
    "--head.temprature 3": "'head.temprature' is not known: PrototypeHead has dim, system, "
    "temperature, contrastive_weight, rotate, seed; did you mean temperature?",
    "--head.names a": "'head.names' is not known: PrototypeHead has dim, system, temperature, "
    "contrastive_weight, rotate, seed; --head names another class",
    "--model.name resnet18": "'model.name' is not known: Encoder has width, normalize; "
    "--model names another class",
    "--optimizer SGD --optimizer.momentumm 1": "did you mean momentum?",
    "--data Charcters": "not 'Charcters'; did you mean Characters?",
    "--data Fashion": "not 'Fashion'; did you mean FashionMNIST?",
    "--model resnet18": "'model' must be Embedder, Encoder, TimmBackbone or the import path of a "
    "class, not 'resnet18'; for timm's network: --model TimmBackbone --model.name resnet18",
    "--model encoder": "did you mean Encoder?",
    "--model my.Net": "'model' cannot be 'my.Net': No module named 'my'",
    "--model math.sqrt": "or the import path of a class, not 'math.sqrt'",
    "--loss Cosine": "did you mean CosineLoss?",
    "--optimizer Adamm": "did you mean Adam?",
    "--transform nope": "'transform' must be Light1, Mild, Unchanged or the import path of a class",
    "--transform rootspace.data.Nope": "module 'rootspace.data' has no attribute 'Nope'",
    "--callbacks [x]": "'callbacks' must be the import path of a class, not 'x'",
    "--callbacks [lightning.pytorch.callbacks.Nope]": "has no attribute 'Nope'",
    "--data ImageFolder": "'data' = ImageFolder needs 'data.root'",
    "--model TimmBackbone": "'model' = TimmBackbone needs 'model.name'",
    "--model torch.nn.Linear": "needs 'model.in_features' and 'model.out_features'",
    "--lr 0.1": "unrecognized arguments: --lr 0.1; did you mean --train.lr?",
    "--batch-size 32": "did you mean --loader.batch_size?",
    "--epoch 3": "did you mean --train.epochs?",
    "--optimizer SDG": "did you mean SGD?",
    ".": "unrecognized arguments: .; did you mean --data ImageFolder --data.root .?",
    "--data.help": "Argument '--data.help' must be Cars196, Characters, ",
    "--data.help Image": "ImageFolder, InShop, ",
    "--model.help --train.lr 1": "Argument '--model.help' must be Embedder, Encoder, TimmBackbone",
    "--trian.epochs 3": "unrecognized arguments: --trian.epochs 3; did you mean --train.epochs?",
    "--memory.size 3": "unrecognized arguments: --memory.size 3",
    "--config none.yaml": "none.yaml does not exist",
    "--train.epochs": "expected one argument",
}

WRONG_FILES = {
    "train:\n  epochz: 3\n": "'train.epochz' is not known; did you mean train.epochs?",
    "model: encodr\n": "not 'encodr'; did you mean Encoder?",
    "model: {class_path: Encoder, init_args: {width: x}}": "'model.width' must be an integer",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_setting(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    message = refusal(capsys, "train", *shlex.split(line), f"--run.dir={run}")
    assert WRONG[line] in message
    assert "see `rootspace train --help`" in message
    for word in ("Parser key", "subtypes", "NestedArg", "?.", ".."):
        assert word not in message
    assert not run.exists()


IDLE = {
    "--head LinearHead --head.dim 8 --loss CosineLoss": "'loss' must be left out, not "
    "'CosineLoss': it does nothing with 'head' = LinearHead, whose vectors and loss are its own",
    "--head NormalizedHead --head.dim 8 --prototypes.refine 0": "'prototypes.refine' must be left "
    "out, not 0: it does nothing with 'head' = NormalizedHead",
    "--head LinearHead --head.dim 8 --prototypes.source formula": "'prototypes.source' must be",
    "--prototypes.source formula --prototypes.after 0.5": "'prototypes.after' must be left out, "
    "not 0.5: it does nothing with 'prototypes.source' = 'formula'; it is for 'data'",
    "--prototypes.source file --prototypes.vectors v.npy --prototypes.follow false": "'file'; it",
    "--prototypes.source teacher --prototypes.teacher t --prototypes.again never": "'teacher'; it",
    "--prototypes.seed 3": "'prototypes.source' = 'data'; it is for 'formula'",
    "--prototypes.order natural": "'prototypes.order' must be left out, not 'natural'",
    "--scheduler StepLR --scheduler.step_size 2 --train.schedule constant": "'train.schedule' must "
    "be left out, not 'constant': it does nothing with 'scheduler', which takes its place",
    "--scheduler StepLR --scheduler.step_size 2 --train.warmup_steps 9": "'train.warmup_steps'",
}


@pytest.mark.parametrize("line", IDLE)
def test_a_setting_that_cannot_act(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert IDLE[line] in refusal(capsys, "train", *shlex.split(line), f"--run.dir={run}")
    assert not run.exists()


@pytest.mark.parametrize("text", WRONG_FILES)
def test_a_wrong_file(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    message = refusal(capsys, "train", f"--config={file}", f"--run.dir={tmp_path / 'run'}")
    assert WRONG_FILES[text] in message


def test_settings_of_other_commands_are_known_there(
    capsys: pytest.CaptureFixture[str], trained_folders: Path, tmp_path: Path
) -> None:
    given = ["--memory.sice=3", f"--run.dir={tmp_path / 'run'}"]
    assert "did you mean --memory.size?" in refusal(capsys, "extend", trained_folders, *given)
