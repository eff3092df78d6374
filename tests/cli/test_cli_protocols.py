"""`rootspace evaluate --protocol`: figures are those of the library on the run's embeddings."""

from __future__ import annotations

import csv
import io
import shutil
from itertools import combinations
from pathlib import Path

import pytest
import torch
from calling import answer, call, output, refusal, rows

from image_folders import write_images
from rootspace import load
from rootspace.cli import main
from rootspace.metrics import (
    LabeledEmbeddings,
    open_set_metrics,
    retrieval_metrics,
    verify_all,
)

BIRDS = [f"{i:03d}.bird" for i in range(1, 11)]
IMAGES = 8
SMALL = ["--data.image_size=16", "--model.width=4", "--head.dim=16", "--loader.batch_size=10"]


def write(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_cub(root: Path) -> Path:
    """Ten kinds of birds, five of which are trained on."""
    write_images(root / "images", BIRDS, IMAGES, 0, noise=60)
    files = [f"{bird}/{i}.png" for bird in BIRDS for i in range(IMAGES)]
    write(root / "images.txt", [f"{i} {file}" for i, file in enumerate(files, 1)])
    write(root / "classes.txt", [f"{i} {bird}" for i, bird in enumerate(BIRDS, 1)])
    owners = [f"{i} {(i - 1) // IMAGES + 1}" for i in range(1, len(files) + 1)]
    write(root / "image_class_labels.txt", owners)
    return root


def write_market(root: Path, birds: Path) -> Path:
    """The same pictures by three cameras, with a distractor and junk."""
    for person, bird in enumerate(BIRDS, 1):
        for i in range(IMAGES):
            part = (
                "bounding_box_train" if person <= 5 else "query" if i < 2 else "bounding_box_test"
            )
            (root / part).mkdir(parents=True, exist_ok=True)
            name = f"{person:04d}_c{i % 3 + 1}s1_{i:06d}_00.png"
            shutil.copy(birds / bird / f"{i}.png", root / part / name)
    for person in ("0000", "-1"):
        name = f"{person}_c1s1_000000_00.png"
        shutil.copy(birds / BIRDS[0] / "0.png", root / "bounding_box_test" / name)
    return root


@pytest.fixture(scope="session")
def cub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cub(tmp_path_factory.mktemp("cub"))


@pytest.fixture(scope="session")
def trained(cub: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on half of the birds, two images of each set aside."""
    run = tmp_path_factory.mktemp("runs") / "cub"
    data = ["--data=CUB200", f"--data.root={cub}", "--loader.validation=0.25", "--train.epochs=4"]
    assert main(["train", *data, *SMALL, f"--run.dir={run}"]) == 0
    return run


@pytest.fixture
def unseen(trained: Path, cub: Path) -> LabeledEmbeddings:
    """Embeddings of the birds that are not trained on, in the order of their files."""
    files = [cub / "images" / bird / f"{i}.png" for bird in BIRDS[5:] for i in range(IMAGES)]
    labels = torch.arange(5).repeat_interleave(IMAGES)
    return LabeledEmbeddings(load(trained).embed(files), labels)


def test_inspection_compares_the_unseen_set_too(trained: Path, cub: Path, tmp_path: Path, capsys):
    """Where there is no test set of the run's own classes."""
    root = Path(shutil.copytree(cub, tmp_path / "cub"))
    leak = (root / "images" / BIRDS[0] / "0.png", root / "images" / BIRDS[9] / "0.png")
    shutil.copy(*leak)
    data = ("--data=CUB200", f"--data.root={root}", "--data.image_size=16")
    found = answer(capsys, "inspect", trained, *data)
    assert found["images"] == 80
    ends = {Path(found["leaks"][0][end]["name"]) for end in ("first", "second")}
    assert len(found["leaks"]) == 1 and ends == set(leak)
    assert not any("unseen" in str(one) for one in found["mistakes"])


def test_retrieval(trained: Path, unseen: LabeledEmbeddings, tmp_path: Path, capsys):
    out = tmp_path / "queries.csv"
    arguments = ("evaluate", trained, "--protocol=retrieval")
    found = answer(capsys, *arguments, f"--per_query={out}")["unseen"]
    wanted = retrieval_metrics(unseen, top=(1, 2, 4, 8))
    assert [found[f"recall@{k}"] for k in (1, 2, 4, 8)] == list(wanted.recall.values())
    assert found["r_precision"] == pytest.approx(wanted.r_precision, abs=1e-9)
    assert found["map_at_r"] == pytest.approx(wanted.map_at_r, abs=1e-9)
    assert found["mean_average_precision"] == pytest.approx(wanted.mean_average_precision)
    assert (found["queries"], found["without_match"], found["gallery"]) == (40, 0, 40)
    lines = rows(out)
    assert len(lines) == 40 and {line["matches"] for line in lines} == {"7"}
    assert [line["class"] for line in lines[::IMAGES]] == BIRDS[5:]
    assert all(Path(line["path"]).is_file() for line in lines)
    mean = sum(float(line["average_precision"]) for line in lines) / 40
    assert mean == pytest.approx(found["mean_average_precision"], abs=1e-4)
    first = sum(line["rank"] == "1" for line in lines) / 40
    assert first == pytest.approx(found["recall@1"])
    (line,) = csv.DictReader(io.StringIO(output(capsys, *arguments, "--format=csv")))
    assert line.pop("set") == "unseen"
    assert {name: float(value) for name, value in line.items()} == pytest.approx(found)
    text = output(capsys, *arguments, "--top", 3, 1).splitlines()
    assert text[0].split()[:3] == ["set", "R@1", "R@3"] and text[2].split()[0] == "unseen"


def test_folders_are_searched_by_their_names(trained: Path, cub: Path, tmp_path: Path, capsys):
    """In themselves as the retrieval set is, and in a gallery that lacks a class."""
    for bird in BIRDS[5:]:
        shutil.copytree(cub / "images" / bird, tmp_path / "mine" / bird)
    arguments = ("evaluate", trained, "--protocol=retrieval")
    own = answer(capsys, *arguments)["unseen"]
    mine = answer(capsys, *arguments, tmp_path / "mine", "--top", 1, 2, 4, 8)["mine"]
    assert mine == pytest.approx(own)
    gallery = write_images(tmp_path / "gallery", BIRDS[:8], 3, 1)
    found = answer(capsys, *arguments, tmp_path / "mine", f"--gallery={gallery}")["mine"]
    assert (found["queries"], found["without_match"], found["gallery"]) == (24, 16, 24)


def test_a_gallery_of_the_training_inputs(trained: Path, capsys):
    found = answer(capsys, "evaluate", trained, "--protocol=retrieval", "--gallery=train")
    assert set(found) == {"validation"}
    assert (found["validation"]["queries"], found["validation"]["gallery"]) == (10, 30)


def test_the_camera_rule(trained: Path, cub: Path, tmp_path: Path, capsys):
    root = write_market(tmp_path / "market", cub / "images")
    data = ["--data=Market1501", f"--data.root={root}", "--data.image_size=16"]
    found = answer(capsys, "evaluate", trained, "--protocol=retrieval", *data)["unseen"]
    # Of six images two are by the query's camera.
    run, parts = load(trained), []
    for folder in ("query", "bounding_box_test"):
        files = [f for f in sorted((root / folder).iterdir()) if not f.name.startswith("-1")]
        labels = torch.tensor([int(file.name[:4]) for file in files])
        cameras = torch.tensor([int(file.name[6]) for file in files])
        parts.append(LabeledEmbeddings(run.embed(files), labels, cameras))
    wanted = retrieval_metrics(parts[0], parts[1])
    assert (wanted.queries, wanted.gallery) == (found["queries"], found["gallery"]) == (10, 31)
    assert found["recall@1"] == wanted.recall[1]
    assert found["mean_average_precision"] == pytest.approx(wanted.mean_average_precision)
    queries = tmp_path / "queries.csv"
    output(capsys, "evaluate", trained, "--protocol=retrieval", *data, f"--per_query={queries}")
    assert {line["matches"] for line in rows(queries)} == {"4"}


def test_verification(trained: Path, unseen: LabeledEmbeddings, cub: Path, tmp_path: Path, capsys):
    """All pairs of the set are the pairs of a file that lists them."""
    found = answer(capsys, "evaluate", trained, "--protocol=verification", "--far", 0.1, 0.01)
    wanted = verify_all(unseen, fars=[0.1, 0.01])
    assert found["unseen"]["tar@0.1"] == wanted.tar[0.1]
    assert found["unseen"]["eer"] == pytest.approx(wanted.eer)
    assert (found["unseen"]["genuine"], found["unseen"]["impostor"]) == (140, 640)
    files = [f"images/{bird}/{i}.png" for bird in BIRDS[5:] for i in range(IMAGES)]
    lines = [f"{a},{b},{int(a[:11] == b[:11])}" for a, b in combinations(files, 2)]
    pairs = cub / "pairs.csv"
    write(pairs, ["left,right,same", *lines])
    listed = answer(
        capsys, "evaluate", trained, "--protocol=verification", f"--pairs={pairs}", "--far=0.1"
    )["pairs.csv"]
    assert (listed["genuine"], listed["impostor"]) == (140, 640)
    assert listed["tar@0.1"] == pytest.approx(wanted.tar[0.1], abs=0.02)
    assert listed["threshold@0.1"] == pytest.approx(found["unseen"]["threshold@0.1"], abs=1e-5)
    assert listed["auroc"] == pytest.approx(wanted.auroc, abs=1e-3)


def test_a_threshold_that_there_is_none_of(trained: Path, cub: Path, tmp_path: Path, capsys):
    """The same picture in two classes scores as high as a pair can: JSON has no infinity."""
    file = next(cub.glob("images/*/*.png"))
    pairs = tmp_path / "pairs.csv"
    write(pairs, ["left,right,same", *(f"{file},{file},{same}" for same in (1, 0, 0))])
    command = ("evaluate", trained, "--protocol=verification", f"--pairs={pairs}", "--far=0.5")
    found = answer(capsys, *command)["pairs.csv"]
    assert found["threshold@0.5"] is None and found["tar@0.5"] == 0


def test_open_set(trained: Path, unseen: LabeledEmbeddings, cub: Path, capsys):
    """Unknown are the retrieval set of the data, or images that are named."""
    found = answer(capsys, "evaluate", trained, "--protocol=open_set", "--far=0.2")["validation"]
    named = answer(
        *(capsys, "evaluate", trained, "--protocol=open_set", "--far=0.2", "--unknown"),
        *(cub / "images" / bird for bird in BIRDS[5:]),
    )["validation"]
    assert found == pytest.approx(named)
    closed = answer(capsys, "evaluate", trained)["validation"]
    assert found["accuracy"] == closed["accuracy"]
    run = load(trained)
    seen = [cub / "images" / bird / f"{i}.png" for bird in BIRDS[:5] for i in range(IMAGES)]
    folders = answer(
        *(capsys, "evaluate", trained, cub / "images", "--ignore_unknown"),
        *("--protocol=open_set", "--far=0.2"),
    )["images"]
    known, others = (run.model.head.search(z) for z in (run.embed(seen), unseen.embeddings))
    correct = known.label[:, 0] == torch.arange(5).repeat_interleave(IMAGES)
    wanted = open_set_metrics(known.cosine[:, 0], correct, others.cosine[:, 0], [0.2])
    assert folders == pytest.approx(
        {
            "accuracy": wanted.accuracy,
            "auroc": wanted.auroc,
            "fpr95": wanted.fpr95,
            "oscr": wanted.oscr,
            "dir@0.2": wanted.dir[0.2],
            "known": 40,
            "unknown": 40,
        }
    )


def test_what_cannot_be_read_is_left_out(trained: Path, cub: Path, tmp_path: Path, capsys):
    mine = shutil.copytree(cub / "images", tmp_path / "mine")
    (mine / BIRDS[0] / "0.png").write_text("no image")
    for arguments, number in (
        (["--protocol=retrieval"], 80),
        (["--protocol=verification"], 80),
        (["--protocol=open_set", "--ignore_unknown"], 80),
    ):
        code, out, err = call(capsys, "evaluate", trained, mine, *arguments)
        assert code == 2 and "mine" in out and "0.png" in err
        assert f"1 of {number} inputs cannot be read" in err.splitlines()[-1]
    pairs = tmp_path / "pairs.csv"
    first, last = BIRDS[0], BIRDS[-1]
    lines = [f"mine/{first}/0.png,mine/{first}/1.png,1", f"mine/{first}/1.png,mine/{last}/1.png,0"]
    write(pairs, ["left,right,same", *lines, f"mine/{last}/2.png,mine/{last}/1.png,true"])
    arguments = ["--protocol=verification", f"--pairs={pairs}"]
    code, out, err = call(capsys, "evaluate", trained, *arguments)
    assert code == 2 and "1 of 4 inputs cannot be read" in err.splitlines()[-1]
    assert out.splitlines()[2].split()[-2:] == ["1", "1"]


def test_no_pair_can_be_read(trained: Path, cub: Path, tmp_path: Path, capsys):
    pairs = tmp_path / "pairs.csv"
    write(pairs, ["left,right,same", f"{cub / 'images' / BIRDS[0] / '0.png'},none.png,1"])
    message = refusal(capsys, "evaluate", trained, "--protocol=verification", f"--pairs={pairs}")
    assert "must hold pairs of which both images can be read; none can" in message


def test_run_without_a_test_set(cub: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    data = ["--data=CUB200", f"--data.root={cub}", "--train.epochs=1"]
    assert main(["train", *data, *SMALL, f"--run.dir={run}"]) == 0
    assert "evaluate it with '--protocol retrieval'" in refusal(capsys, "evaluate", run)
    assert answer(capsys, "evaluate", run, "--protocol=retrieval")["unseen"]["queries"] == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--far=0.1"], "'--far' is for --protocol verification or open_set, not closed_set"),
        (["--protocol=retrieval", "--unknown=x"], "'--unknown' is for --protocol open_set, not"),
        (["--protocol=retrieval", "--top=0"], "'--top' must be at least 1, not 0"),
        (["--protocol=rank"], "invalid choice: 'rank'"),
        (["--protocol=retrieval", "--gallery=x"], "or one of train, validation, not 'x'"),
        (["--protocol=retrieval", ".", "--gallery=x"], "must be a folder of class folders: 'x'"),
        (["--protocol=retrieval", ".", "--gallery=."], "must not be what is searched with, ."),
        (["--protocol=retrieval", "none"], "none is not a folder"),
        (["--protocol=retrieval", "--per_query=x.txt"], "'--per_query' must end in .csv"),
        (["--protocol=verification", "--far=1e-9"], "at least 1/640"),
        (["--protocol=verification", "--far=2"], "must be a number between 0 and 1"),
        (["--protocol=verification", "--pairs=none.csv"], "none.csv"),
        (["--protocol=verification", ".", "--pairs=x"], "leave out FOLDER"),
        (["--protocol=open_set", "--unknown=none"], "none does not exist"),
    ],
)
def test_refusals(
    arguments: list[str], message: str, trained: Path, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert message in refusal(capsys, "evaluate", trained, *arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n", "must have the columns left, right, same"),
        ("left,right,same\n", "holds no pairs"),
        (
            "left,right,same\na,b,maybe\n",
            "line 2: two images and 1 or 0 expected, not 'a', 'b', 'm",
        ),
        ("left,right,same\na,b\n", "line 2: two images and 1 or 0 expected, not 'a', 'b', ''"),
        ('left,right,same\n"a', "is not CSV in UTF-8"),
        ("left,right,same\n{0},{0},1\n", "must hold pairs of different classes"),
        ("left,right,same\nx,y,1\n", "2 of 2 inputs cannot be read"),
    ],
)
def test_bad_pairs(content: str, message: str, trained: Path, cub: Path, tmp_path: Path, capsys):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(content.format(cub / "images" / BIRDS[0] / "0.png"))
    assert message in refusal(
        capsys, "evaluate", trained, "--protocol=verification", f"--pairs={pairs}"
    )


def test_one_image_a_class_has_no_match(trained: Path, tmp_path: Path, capsys):
    folder = write_images(tmp_path / "one", BIRDS, 1, 0)
    arguments = ("evaluate", trained, folder)
    assert "name another set of the same classes with '--gallery'" in refusal(
        capsys, *arguments, "--protocol=retrieval"
    )
    assert "Set 'one': Argument 'queries' must make pairs of one class" in refusal(
        capsys, *arguments, "--protocol=verification"
    )
