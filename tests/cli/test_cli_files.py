"""Many files, some of them bad or oddly named: answers for the others, and rows that match."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from calling import call, output, refusal, rows

from image_folders import write_images
from rootspace.cli import _embedding
from rootspace.run import Run
from rootspace.runs.folder import finish, read_config, write_config
from rootspace.sampling import ResumableLoader

BAD = "cannot be decoded"


@pytest.fixture
def damaged(images: Path) -> Path:
    """15 images, one of which is cut off and one no image."""
    first = images / "a/0.png"
    first.write_bytes(first.read_bytes()[:70])
    (images / "f/2.png").write_text("no image")
    return images


@pytest.mark.parametrize("how", ["text", "csv", "json", "jsonl"])
def test_predict_answers_for_the_others(
    how: str, trained_folders: Path, damaged: Path, capsys: pytest.CaptureFixture[str]
):
    code, out, err = call(capsys, "predict", trained_folders, damaged, f"--format={how}")
    assert code == 2 and err.count(BAD) == 2 and "a/0.png" in err and "f/2.png" in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("rootspace predict: error: 2 of 15 inputs cannot be read")
    assert "a/0.png" not in out and out.count("a/1.png") == 1
    if how == "json":
        assert len(json.loads(out)) == 13
    elif how == "jsonl":
        assert len([json.loads(line) for line in out.splitlines()]) == 13
    else:
        assert len(out.splitlines()) == 13 + (how == "csv")
    whole = [path for path in sorted(damaged.rglob("*.png")) if not _is_bad(path)]
    assert output(capsys, "predict", trained_folders, *whole, f"--format={how}") == out


def test_workers_read_the_same(
    folder_run: Path,
    damaged: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Image files of every command by one reader."""
    asked = list[int]()

    class Asked(ResumableLoader):
        def __init__(self, *args: Any, **arguments: Any) -> None:
            asked.append(arguments["num_workers"])
            super().__init__(*args, **arguments)

    monkeypatch.setattr(_embedding, "ResumableLoader", Asked)
    bad, z = [path for path in damaged.rglob("*.png") if _is_bad(path)], tmp_path / "z.npy"
    for path in bad:
        path.unlink()
    output(capsys, "calibrate", folder_run, "--known", damaged, "--false_reject=0.2", "--workers=1")
    alone = output(capsys, "predict", folder_run, damaged)
    assert output(capsys, "predict", folder_run, damaged, "--workers=1") == alone
    output(capsys, "embed", folder_run, damaged, f"--out={z}", "--workers=1")
    output(capsys, "unknowns", folder_run, damaged, f"--out={tmp_path / 'x.json'}", "--workers=1")
    assert asked == [1, 0, 1, 1, 1]
    message = refusal(capsys, "predict", folder_run, damaged, "--workers=-1")
    assert "'--workers' must be a number of processes, 0 or more, not '-1'" in message


def _is_bad(path: Path) -> bool:
    return path.parts[-2:] in (("a", "0.png"), ("f", "2.png"))


def test_embed_writes_the_others(
    trained_folders: Path, damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for name in ("z.npy", "z.parquet"):
        code, out, _ = call(capsys, "embed", trained_folders, damaged, f"--out={tmp_path / name}")
        assert code == 2 and out.startswith("13 embeddings")
    array = np.load(tmp_path / "z.npy")
    paths = (tmp_path / "z.txt").read_text(encoding="utf-8").splitlines()
    assert array.shape == (13, 16) and array.dtype == np.float32 and len(paths) == 13
    table = pyarrow.parquet.read_table(tmp_path / "z.parquet")
    assert table["path"].to_pylist() == paths
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), array)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluate_and_calibrate_use_the_others(
    workers: int, folder_run: Path, damaged: Path, capsys: pytest.CaptureFixture[str]
):
    config = read_config(folder_run)
    write_config(folder_run, replace(config, loader=replace(config.loader, num_workers=workers)))
    finish(folder_run)
    code, out, err = call(capsys, "evaluate", folder_run, damaged, "--format=json")
    assert code == 2 and err.count(BAD) == 2 and "Traceback" not in err
    assert json.loads(out)["more"]["images"] == 13
    code, out, err = call(
        *(capsys, "calibrate", folder_run, "--known", damaged, "--false_reject=0.2"),
        *(f"--workers={workers}", "--format=json"),
    )
    assert code == 2 and err.count(BAD) == 2 and json.loads(out)["num_known"] == 13


def test_unknowns_groups_the_others(
    folder_run: Path, damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output(capsys, "calibrate", folder_run, "--false_reject=0.2")
    out = tmp_path / "proposal.json"
    code, _, err = call(capsys, "unknowns", folder_run, damaged, f"--out={out}")
    assert code == 2 and err.count(BAD) == 2
    assert json.loads(out.read_text(encoding="utf-8"))["images"] == 13


@pytest.mark.parametrize("command", ["predict", "embed", "unknowns", "evaluate"])
def test_nothing_that_can_be_read(
    command: str, folder_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output(capsys, "calibrate", folder_run, "--false_reject=0.2")
    (tmp_path / "bad/a").mkdir(parents=True)
    (tmp_path / "bad/a/0.png").write_text("no image")
    before = sorted(tmp_path.iterdir())
    more = {"embed": ["--out=x.npy"], "unknowns": ["--out=x.json"]}.get(command, [])
    more = [option.replace("=", f"={tmp_path}/") for option in more]
    message = refusal(capsys, command, folder_run, tmp_path / "bad", *more)
    assert "1 of 1 inputs cannot be read" in message
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["x.npy", "x.parquet"])
def test_embed_takes_odd_names(
    name: str, trained_folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = write_images(tmp_path / "odd", ("x",), 4, 3) / "x"
    try:
        os.rename(folder / "0.png", os.fsencode(folder) + b"/caf\xe9.png")
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    os.rename(folder / "1.png", folder / "two\nlines.png")
    os.rename(folder / "2.png", folder / "esc\x1b[31m\u2028.png")
    out = tmp_path / name
    assert output(capsys, "embed", trained_folders, folder, f"--out={out}").startswith("4 emb")
    if name == "x.npy":
        paths = out.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
        assert len(paths) == len(np.load(out)) == 4
        assert {Path(path).name for path in paths} == {
            *("caf\\udce9.png", "two\\nlines.png", "esc\\x1b[31m\\u2028.png", "3.png")
        }
    else:
        assert len(pyarrow.parquet.read_table(out)) == 4
    text = output(capsys, "predict", trained_folders, folder)
    assert len(text.splitlines()) == 4 and "\x1b" not in text
    found = json.loads(output(capsys, "predict", trained_folders, folder, "--format=json"))
    assert sorted(row["path"] for row in found) == sorted(map(str, folder.iterdir()))


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("x.csv", "must end in .parquet or .npy"),
        ("none/x.npy", "does not exist"),
        ("folder.npy", "must be a file"),
    ],
)
def test_where_embed_cannot_write(
    out: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Said before the run is read."""
    (tmp_path / "folder.npy").mkdir()
    assert message in refusal(capsys, "embed", tmp_path / "no run", ".", f"--out={tmp_path / out}")


def test_a_list_of_files_is_not_replaced(
    trained_folders: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Its name is that of the .npy file, but who named that did not name the list."""
    out, names = tmp_path / "z.npy", tmp_path / "z.txt"
    names.write_text("mine")
    command = ("embed", trained_folders, images / "a", f"--out={out}")
    assert f"'--out': paths would go to {names}, which is there" in refusal(capsys, *command)
    assert names.read_text() == "mine" and not out.exists()
    names.unlink()
    for _ in range(2):  # its own it replaces
        output(capsys, *command)


def test_a_failure_leaves_both_files_or_none(
    trained_folders: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    out = tmp_path / "z.npy"
    output(capsys, "embed", trained_folders, images / "a", f"--out={out}")
    before = out.read_bytes(), out.with_suffix(".txt").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rootspace.continual.LiveClasses.names", full)
    assert "No space left" in refusal(capsys, "embed", trained_folders, images, f"--out={out}")
    assert (out.read_bytes(), out.with_suffix(".txt").read_bytes()) == before
    assert not list(tmp_path.glob("*.tmp"))


# --------------------------------------------------------------------- evaluate RUN FOLDER


def test_evaluate_on_folders(
    trained_folders: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = write_images(tmp_path / "other", ("a", "f"), 2, 4)
    per_class, predictions = tmp_path / "classes.csv", tmp_path / "predictions.csv"
    files = [f"--per_class={per_class}", f"--predictions={predictions}"]
    text = output(capsys, "evaluate", trained_folders, images, other, "--top", "1", "2", *files)
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["more", "other"]
    assert text.splitlines()[0].split() == ["test", "set", "top-1", "top-2", "images"]
    found = rows(predictions)
    assert len(found) == 15 + 4 and [row["set"] for row in found].count("other") == 4
    assert {row["true"] for row in found} == {"a", "猫", "'=d", "'-e", "f"}
    assert all((row["true"] == row["predicted"]) == (row["correct"] == "1") for row in found)
    assert all(Path(row["path"]).is_file() for row in found)
    by_class = [row for row in rows(per_class) if row["set"] == "more"]
    assert [row["images"] for row in by_class] == ["3"] * 5
    right = sum(row["correct"] == "1" for row in found if row["set"] == "more")
    assert sum(round(float(row["accuracy"]) * 3) for row in by_class) == right
    assert f"{right / 15:.2%}" in text
    for row in by_class:
        assert (row["most_confused_with"] == "") == (row["accuracy"] == "1.0000")


@pytest.mark.parametrize("folders", [False, True])
def test_evaluate_reads_as_it_is_told(
    folders: bool,
    trained_folders: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    arguments = ["evaluate", trained_folders, *([images] if folders else [])]
    before, number = output(capsys, *arguments), 15 if folders else 20
    sizes, embed_batch = list[int](), Run.embed_batch

    def counted(run: Run, batch: Any) -> Any:
        sizes.append(len(batch))
        return embed_batch(run, batch)

    monkeypatch.setattr(Run, "embed_batch", counted)
    assert output(capsys, *arguments, "--loader.batch_size=6", "--loader.num_workers=1") == before
    assert sizes == [6] * (number // 6) + [number % 6]
    sizes.clear()
    assert output(capsys, *arguments) == before
    assert sizes[0] == 12, "that of the run"


def test_evaluate_agrees_with_the_runs_own_test_set(
    trained_folders: Path, capsys: pytest.CaptureFixture[str]
):
    own = json.loads(output(capsys, "evaluate", trained_folders, "--format=json"))
    folder = trained_folders.parent / "images/val"
    there = json.loads(output(capsys, "evaluate", trained_folders, folder, "--format=json"))
    assert own == there == {"val": own["val"]} and own["val"]["images"] == 20
    assert own["val"]["top_5"] == 1


def test_evaluate_finds_classes_by_the_names_of_the_registry(
    folder_run: Path, images: Path, capsys: pytest.CaptureFixture[str]
):
    before = output(capsys, "evaluate", folder_run, images)
    own = output(capsys, "evaluate", folder_run)
    output(capsys, "classes", folder_run, "rename", "a", "first")
    output(capsys, "classes", folder_run, "alias", "f", "last")
    output(capsys, "classes", folder_run, "retire", "猫")
    (images / "a").rename(images / "first")
    (images / "f").rename(images / "last")
    assert output(capsys, "evaluate", folder_run, images) == before
    assert output(capsys, "evaluate", folder_run) == own  # its data have the old names


def test_unknown_class_folders(
    trained_folders: Path, images: Path, capsys: pytest.CaptureFixture[str]
):
    write_images(images / "..", ("more/zzz",), 2, 5)
    message = refusal(capsys, "evaluate", trained_folders, images)
    assert f"1 of the classes of {images} are unknown to the run: 'zzz'" in message
    code, out, err = call(capsys, "evaluate", trained_folders, images, "--ignore_unknown")
    assert code == 0 and "15" in out and "Left out" in err and "'zzz'" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none is not a folder"),
        (["--top", "0"], "'--top' must lie in [1, 5], not 0"),
        (["--top", "6"], "'--top' must lie in [1, 5], not 6"),
        (["--train.lr", "-1"], "unrecognized arguments: --train.lr -1"),
        (["--model.width=8"], "unrecognized arguments: --model.width=8"),
        (["--data.root", "x"], "'--data' must name the class"),
        ([".", "--data", "ImageFolder"], "leave out FOLDER"),
        ([".", "--loader.skip_broken=true"], "'--loader.skip_broken=true' is for data by their"),
        (["--ignore_unknown"], "give FOLDER"),
        (["--per_class=x.txt"], "'--per_class' must end in .csv"),
        (["--predictions=none/x.csv"], "none does not exist"),
        (["--format=xml"], "invalid choice: 'xml'"),
    ],
    ids=str,
)
def test_what_evaluate_refuses(
    arguments: list[str], message: str, trained_folders: Path, capsys: pytest.CaptureFixture[str]
):
    assert message in refusal(capsys, "evaluate", trained_folders, *arguments)


# ---------------------------------------------------------------------------- calibrate


def test_calibrate_on_a_test_set_of_ones_choice(
    folder_run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "mine.json"
    options = ["--known", "val", images, "--false_reject=0.2", f"--out={out}", "--format=json"]
    found = json.loads(output(capsys, "calibrate", folder_run, *options))
    assert found["num_known"] == 20 + 15 and "of val, more" in found["source"]
    assert not (folder_run / "rejector.json").exists()
    told = output(capsys, "predict", folder_run, images, f"--rejector={out}", "--format=jsonl")
    assert all("unknown" in json.loads(line) for line in told.splitlines())
    # The same images on both sides: nothing tells them apart.
    options = ["--known", images, "--unknown", images, "--false_accept=0.2", f"--out={out}"]
    text = output(capsys, "calibrate", folder_run, *options)
    assert "AUROC 0.5000" in text and "overlap: in 50% of all pairs" in text
    for wrong, message in (
        (["--known", "test"], "one of the run's test sets, val, not 'test'"),
        (["--top=999"], "'--top' must lie in [2, 5], not 999"),
        (["--false_reject=nan"], "between 0 and 1, not 'nan'"),
        (["--unknown", images, "--false_accept=1"], "between 0 and 1, not '1'"),
        (["--out=none/x.json"], "none does not exist"),
        (["--out=x.yaml"], "must end in .json"),
    ):
        assert message in refusal(capsys, "calibrate", folder_run, *wrong)
