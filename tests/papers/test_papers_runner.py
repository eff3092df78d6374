"""The runner on computations that take no time: order, skipping, refusals, failures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from papers.lsc2510 import __main__ as command
from papers.lsc2510.__main__ import DEBUG, main
from papers.lsc2510.experiment import (
    Bars,
    Criterion,
    Experiment,
    Job,
    NotRun,
    Outcome,
    Part,
    Row,
)
from papers.lsc2510.experiments import EXPERIMENTS
from papers.lsc2510.runner import QUICK_MINUTES, Store, Task, describe_plan, plan, reproduce

calls: list[str] = []


def count(job: Job) -> Outcome:
    calls.append(f"{job.experiment}/{job.part}/{job.seed}")
    job.progress(0.5)
    return Outcome({"value": float(job.settings["value"] + job.seed)}, {"curve": [1.0, None]})


def fail(job: Job) -> Outcome:
    calls.append(f"{job.experiment}/{job.part}/{job.seed}")
    raise ValueError("no such\nfile")


def part(name: str, run=count, needs: tuple[str, ...] = (), **settings) -> Part:
    return Part(name, {"desk": {"value": 1, **settings}, "paper": NotRun("no GPU")}, run, 2, needs)


POSITIVE = Criterion("The value is positive.", lambda f: f.mean("a", "value") > 0)
NEGATIVE = Criterion("The value is negative.", lambda f: f.mean("a", "value") < 0)


def experiment(name: str, *parts: Part, seeds: int = 1) -> Experiment:
    rows = [
        Row("positive", "value", 3, "Table 0", "a", "value", POSITIVE),
        Row("negative", "value", "-", "Table 0", "a", "value", NEGATIVE),
    ]
    return Experiment(name, f"{name} | a title.\n\nA claim with `a | bar`.\n", parts, rows, seeds)


@pytest.fixture(autouse=True)
def _calls():
    calls.clear()


@pytest.fixture
def two() -> dict[str, Experiment]:
    return {
        "one": experiment("one", part("a"), part("b", needs=("a",)), seeds=2),
        "two": experiment("two", part("a", needs=("one/b",))),
    }


def test_order_skipping_and_files(two: dict[str, Experiment], out: Path):
    results = reproduce(two, out, only=["two"])
    assert calls == ["one/a/0", "one/b/0", "two/a/0"], "what a part needs comes first"
    verdicts = {(r.experiment, r.row.setting): r.verdict for r in results}
    assert verdicts["two", "positive"] == "trend holds"
    assert verdicts["two", "negative"] == "does not hold"
    reproduce(two, out)
    assert calls[3:] == ["one/a/1", "one/b/1"], "finished parts are kept"
    rows = json.loads((out / "reproduction.json").read_text())
    first = rows[0]
    assert first["by_seed"] == {"0": 1, "1": 2} and first["mean"] == 1.5
    assert first["spread"] == pytest.approx(0.7071, abs=1e-4)
    assert first["paper"] == 3 and first["where"] == "Table 0" and first["scale"] == "desk"
    assert first["criterion"] == POSITIVE.statement
    table = (out / "REPRODUCIBILITY.md").read_text()
    assert "| Table 0 | positive | value | 3 | 1.5 ± 0.7 |  | trend holds |" in table
    assert "2 rows hold, 2 do not hold, 0 were not run" in table
    page = (out / "reproduction.html").read_text()
    assert "does not hold" in page and "://" not in page


def test_a_killed_part_is_run_again(out: Path):
    """Nothing is kept of a part that did not come to its end, and all before it is."""

    def killed(job: Job) -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce({"one": experiment("one", part("a"), part("b", killed))}, out)
    assert "trend holds" in (out / "REPRODUCIBILITY.md").read_text()
    reproduce({"one": experiment("one", part("a"), part("b"))}, out)
    assert calls == ["one/a/0", "one/b/0"]


def test_other_settings_are_refused(out: Path):
    reproduce({"one": experiment("one", part("a"))}, out)
    path = out / "parts" / "one" / "a-seed0.json"
    before = path.read_text()
    changed = {"one": experiment("one", part("a", other=2))}
    with pytest.raises(ValueError, match=r"a-seed0\.json holds figures of other settings.*--out"):
        reproduce(changed, out)
    assert path.read_text() == before and len(calls) == 1
    assert Store(out, "desk", Path("data")).finished(changed) == {}
    with pytest.raises(ValueError, match="other settings"):
        reproduce({"one": experiment("one", part("a"))}, out, scale="paper")


def test_a_part_is_another_when_one_that_it_needs_is(two: dict[str, Experiment], out: Path):
    reproduce(two, out)
    changed = {**two, "one": experiment("one", part("a", other=2), part("b", needs=("a",)))}
    (out / "parts" / "one" / "a-seed0.json").unlink()
    with pytest.raises(ValueError, match=r"b-seed0\.json holds figures of other settings"):
        reproduce(changed, out, only=["one"])
    found = Store(out, "desk", Path("data")).finished(changed)
    assert ("two", "a") not in found, "needs one/b, which needs one/a"


def test_failures_and_absent_figures(out: Path):
    parts = [part("a", fail), part("b", needs=("a",)), part("c")]
    results = reproduce({"one": experiment("one", *parts)}, out)
    assert calls == ["one/a/0", "one/c/0"]
    assert {r.verdict for r in results} == {"not run: no such file"}
    assert all(r.mean is None and r.spread is None for r in results)
    results = reproduce({"one": experiment("one", *parts)}, out / "paper", scale="paper")
    assert {r.verdict for r in results} == {"not run: no GPU"}
    other = {"one": experiment("one", part("a")), "two": experiment("two", part("a"))}
    results = reproduce(other, out / "half", only=["one"])
    assert {r.verdict for r in results if r.experiment == "two"} == {"not run: not yet"}


def test_bad_names_and_numbers(two: dict[str, Experiment], out: Path):
    with pytest.raises(ValueError, match="'--only' must name some of one, two, not 'three'"):
        reproduce(two, out, only=["three"])
    with pytest.raises(ValueError, match="'--seeds' must be at least 1, not 0"):
        reproduce(two, out, seeds=0)
    assert not out.exists()


def test_plan(two: dict[str, Experiment], out: Path):
    assert len(plan(two, None, None)) == 5 and len(plan(two, ["two"], 3)) == 9
    reproduce(two, out, only=["one"], seeds=1)
    text = describe_plan(two, plan(two, None, None), Store(out, "desk", Path("data")))
    assert text.splitlines()[2].split() == ["one/a", "2", "4.0", "1", "of", "2"]
    assert text.splitlines()[-1].split() == ["all", "5", "10"]


def test_placeholders(out: Path, two: dict[str, Experiment]):
    task = plan(two, ["one"], 1)[0]
    settings = {"data": {"root": "{data}/x"}, "classes": {"v": ["{two/a}/m.npy", "{b}", 3]}}
    job = Store(out, "desk", Path("/d")).job(task, settings, lambda share: None)
    runs = out / "runs"
    assert job.settings["data"]["root"] == "/d/x"
    assert job.settings["classes"]["v"] == [
        f"{runs / 'two' / 'a' / 'seed0'}/m.npy", str(runs / "one" / "b" / "seed0"), 3,
    ]  # fmt: skip


def test_command(out: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--only", "fig1_2", f"--out={out}"]) == 0
    shown = capsys.readouterr().out
    assert "A_3, isometric" in shown and "trend holds" in shown
    assert "does not hold" not in shown and "Table 5" not in shown
    assert len(list((out / "pictures").glob("*.png"))) == 5 + 2, "of the parts, and two figures"
    assert "data:image/png;base64," in (out / "reproduction.html").read_text()
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert "table8/10k" in shown and "fig1_2" in shown
    assert main(["--only", "table11"]) == 2
    assert "'--only' must name some of fig1_2" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["--scale", "moon"])


def test_an_error_from_below(monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C has its own exit code; the environment variable shows where an error is from."""
    monkeypatch.setenv(DEBUG, "1")
    with pytest.raises(ValueError, match="'--only' must name"):
        main(["--only", "table11"])

    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "reproduce", stopped)
    assert main([]) == 130


def test_every_part_and_row_is_there():
    """Rows name parts that exist, needs come before, and no experiment is without its pieces."""
    for name, experiment in EXPERIMENTS.items():
        names = {part.name for part in experiment.parts}
        assert len(names) == len(experiment.parts)
        assert f"python -m papers.lsc2510 --only {name}" in experiment.notes
        assert "Hardware" in experiment.notes or "any machine" in experiment.notes
        assert "python" not in experiment.claim
        for row in experiment.rows:
            assert row.part in names or "/" in row.part
            assert not row.chosen or row.chosen in names
        for figure in experiment.figures:
            parts = (
                [p for p, _ in figure.bars.values()] if isinstance(figure, Bars) else figure.parts
            )
            assert all(part in names or "/" in part for part in parts)
    titles = " ".join(f.title for e in EXPERIMENTS.values() for f in e.figures)
    assert all(f"Fig. {number}:" in titles for number in range(1, 13)), "one for each of the paper"


def test_how_long_it_takes():
    """The whole desk at most half a day of two cores, the short form at most 20 minutes."""

    def minutes(tasks: list[Task]) -> float:
        return sum(task.part.minutes for task in tasks)

    assert minutes(plan(EXPERIMENTS, None, None)) <= 12 * 60
    quick = plan(EXPERIMENTS, None, None, quick=True)
    assert 5 < minutes(quick) <= 12  # twice as long on a slow machine
    assert all(task.part.minutes <= QUICK_MINUTES and task.seed == 0 for task in quick)
    assert ("table8", "10k") in {(task.experiment, task.part.name) for task in quick}


def test_quick(two: dict[str, Experiment], out: Path):
    """Parts that take longer are left out with those that need them, and say so."""
    long = replace(part("a"), minutes=QUICK_MINUTES + 1)
    short = replace(part("c"), minutes=QUICK_MINUTES)
    one = {"one": experiment("one", long, replace(part("b", needs=("a",)), minutes=0.1), short)}
    results = reproduce(one, out, quick=True)
    assert calls == ["one/c/0"]
    assert {result.verdict for result in results} == {"not run: not yet"}
    with pytest.raises(SystemExit):
        main(["--quick", "now"])
    assert main(["--quick", "--seeds", "2"]) == 2


def test_prototypes_from_the_data_stand_beside(out: Path):
    row = Row("ours", "value", 3, "Table 0", "a", "value", POSITIVE, chosen="b")
    parts = [part("a"), part("b", value=5)]
    both = {"one": Experiment("one", "One.\n\nA claim.\n\nNotes.\n", parts, [row])}
    (result,) = reproduce(both, out)
    assert result.cells() == ["Table 0", "ours", "value", "3", "1.0", "5.0", "trend holds"]
    assert json.loads((out / "reproduction.json").read_text())[0]["from_data"] == {"0": 5}
    page = (out / "reproduction.html").read_text()
    assert page.index("A claim.") < page.index("<summary>") < page.index("Notes.")
