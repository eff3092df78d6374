"""Every criterion on made figures: the paper's make it hold, others make it fail."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from papers.lsc2510.experiment import Figures, MissingFigure, Outcome
from papers.lsc2510.experiments import EXPERIMENTS
from papers.lsc2510.experiments.table8 import PAPER
from papers.lsc2510.results import judge

Values = Mapping[str, float | Mapping[str, float]]
UP, SLOW = {"train_accuracy": [50.0, 90.0]}, {"train_accuracy": [10.0, 80.0]}
LOW, HIGH = {"train_loss": [0.5, 0.1]}, {"train_loss": [0.9, 0.8]}

CASES: dict[str, tuple[dict[str, Outcome], dict[str, Outcome]]] = {}


def case(
    name: str,
    good: Mapping[str, Values | float],
    bad: Mapping[str, Values | float],
    good_curves: Mapping[str, dict[str, list[float]]] | None = None,
    bad_curves: Mapping[str, dict[str, list[float]]] | None = None,
) -> None:
    """Figures of an experiment; a number alone is a training accuracy."""

    def made(values, curves):
        return {
            part: Outcome(
                dict(own) if isinstance(own, Mapping) else {"train_accuracy": own},
                dict((curves or {}).get(part, {})),
            )
            for part, own in values.items()
        }

    CASES[name] = made(good, good_curves), made(bad, bad_curves)


def both(train: float, test: float) -> dict[str, float]:
    return {"train_accuracy": train, "read_accuracy": train, "test_accuracy": test}


def read(values: Mapping[str, float]) -> dict[str, Values]:
    """Shares of the training images that are read."""
    return {name: {"read_accuracy": value} for name, value in values.items()}


def snapshot(accuracy: float, pair: float, nearest: float) -> dict[str, float]:
    return {"train_accuracy": accuracy, "pair_distance": pair, "nearest_distance": nearest}


A = {
    "off_plane": 0.0, "full_angle": 60.0, "dropped_smallest": 45.0, "dropped_mean": 60.0,
    "isometric_smallest": 60.0,
}  # fmt: skip
B = {name: value + 10 for name, value in A.items()}
case("fig1_2", {"a2": A, "a3": A, "a9": A}, {"a2": B, "a3": B, "a9": B})
case("table3", {"ce": both(99, 75), "ceembs": both(89, 63)},
     {"ce": both(99, 75), "ceembs": both(80, 60)})  # fmt: skip
case(
    "table4",
    {"ce": 96, "ceembs": 95, "mixed": 95},
    {"ce": 96, "ceembs": 90, "mixed": 80},
    {"ceembs": UP, "mixed": SLOW},
    {"ceembs": SLOW, "mixed": UP},
)
case(
    "fig3_4",
    {"ten": snapshot(0, 1.1, 0.4), "epochs1": snapshot(17, 0.5, 0.001),
     "epochs5": snapshot(35, 0.9, 0.002), "epochs60": snapshot(96, 1.0, 0.02)},
    {"ten": snapshot(0, 0.9, 0.4), "epochs1": snapshot(17, 0.5, 0.03),
     "epochs5": snapshot(35, 0.9, 0.002), "epochs60": snapshot(96, 1.0, 0.02)},
)  # fmt: skip
case("fig6", {"ten": 97, "second": 89}, {"ten": 60, "second": 89})
case(
    "fig7",
    {"five": {"old_accuracy": 97}, "begins": {"old_accuracy": 96, "new_accuracy": 20},
     "nine": {"old_accuracy": 95, "new_accuracy": 94}},
    {"five": {"old_accuracy": 97}, "begins": {"old_accuracy": 60, "new_accuracy": 20},
     "nine": {"old_accuracy": 80, "new_accuracy": 50}},
)  # fmt: skip
case(
    "table5",
    read({"dist_9": 86.7, "cos_9": 96.1, "dist_512": 46, "both_512": 84, "cos_512": 98.8}),
    read({"dist_9": 66, "cos_9": 96.1, "dist_512": 90, "both_512": 84, "cos_512": 98.8}),
)
case(
    "table6",
    read({"an": 98, "anp": 98, "an_augmented": 3, "anp_augmented": 94}),
    read({"an": 98, "anp": 60, "an_augmented": 90, "anp_augmented": 94}),
)
SEVEN = {"an": 1, "anp": 1, "ce": 89, "ce_augmented": 85, "ceembs": 89, "anr": 87.9,
         "anr_augmented": 84.6}  # fmt: skip
EIGHT = {"an": 87, "anp": 87, "ce": 99, "ce_augmented": 1, "ceembs": 90, "anr": 70,
         "anr_augmented": 50}  # fmt: skip


def with_loss(values: Mapping[str, float]) -> dict[str, Values]:
    return {name: {"read_accuracy": value, "train_loss": 0.1} for name, value in values.items()}


case("table7", with_loss(SEVEN), with_loss(EIGHT),
     {"ceembs": LOW, "anr": HIGH}, {"ceembs": HIGH, "anr": LOW})  # fmt: skip
case(
    "table8",
    {name: {"test_accuracy/train": value} for name, value in PAPER.items()},
    {name: {"test_accuracy/train": 0.005} for name in PAPER},
)
case(
    "fig9",
    {"smallest": {"train_loss": 0.1}, "large": {"train_loss": 0.8}},
    {"smallest": {"train_loss": 0.8}, "large": {"train_loss": 0.1}},
    {"smallest": LOW, "large": HIGH},
    {"smallest": HIGH, "large": LOW},
)
NUMBERS = {"10": 10, "1000": 1000, "100k": 10**5, "1m": 10**6}
case(
    "table9",
    {"count": {f"lsc/{n}": 21.665664 for n in NUMBERS}
     | {f"ce/{n}": 21.665664 + 385e-6 * k for n, k in NUMBERS.items()}},
    {"count": {f"lsc/{n}": 21.665664 + 1e-6 * k for n, k in NUMBERS.items()}
     | {f"ce/{n}": 30 + 385e-6 * k for n, k in NUMBERS.items()}},
)  # fmt: skip
SIZES = {"lsc": 943, "1k": 943, "10k": 973, "100k": 1237, "1m": 3873, "10m": 30281}
BATCHES = {"lsc": 386, "1k": 386, "10k": 386, "100k": 374, "1m": 154, "10m": 0}


def measured(lsc: tuple[float, float], ce: list[float]) -> dict[str, Values]:
    found: dict[str, Values] = {
        f"lsc_{n}": {"model_mib": 4.0, "largest_batch": b}
        for n, b in zip(("1k", "10m"), lsc, strict=True)
    }
    for name, batch in zip(("1k", "10k", "100k", "1m", "10m"), ce, strict=True):
        found[f"ce_{name}"] = {"model_mib": 4.0, "largest_batch": batch}
    return found


def computed(sizes: Mapping[str, float], batches: Mapping[str, float]) -> Values:
    return {f"model_mib/{n}": v for n, v in sizes.items()} | {
        f"largest_batch/{n}": v for n, v in batches.items()
    }


case(
    "table10",
    {"computed": computed(SIZES, BATCHES), **measured((386, 386), [386, 386, 374, 154, 0])},
    {"computed": computed(SIZES | {"1m": 4000}, BATCHES | {"1m": 300, "10m": 9}),
     **measured((386, 200), [386, 386, 386, 154, 1])},
)  # fmt: skip


def within(accuracy: float, std: float, offset: float) -> Values:
    return {"test_accuracy": accuracy, "within_std": std, "mean_offset": offset}


case(
    "sec6_4",
    {"cosine": within(90, 0.06, 0.1), "moments": within(90, 0.09, 0.1),
     "kld": within(91, 0.1, 0.08)},
    {"cosine": within(40, 0.1, 0.6), "moments": within(95, 0.06, 0.7),
     "kld": within(95, 0.2, 0.7)},
)  # fmt: skip
case(
    "sec6_5",
    {"means": {"train_accuracy": 85, "parameters": 9e6}, "codes": 85},
    {"means": {"train_accuracy": 60, "parameters": 20e6}, "codes": 60},
)
case("sec6_6", {"random": both(0, 60), "roots": both(0, 90), "code": both(0, 95)},
     {"random": both(0, 60), "roots": both(0, 50), "code": both(0, 50)})  # fmt: skip

OTHERS = {
    ("table7", "ce"): {0: Outcome({"train_accuracy": 89, "parameters": 22e6 + 4e5,
                                   "head_parameters": 4e5})},
    ("table7", "anr"): {0: Outcome(both(87.9, 60))},
}  # fmt: skip


def outcomes_of(name: str, figures: Mapping[str, Outcome]):
    """As a reproduction keeps them, with those of other experiments that this one compares with."""
    others = {key: value for key, value in OTHERS.items() if key[0] != name}
    return others | {(name, part): {0: outcome} for part, outcome in figures.items()}


def test_every_experiment_has_a_case():
    assert set(CASES) == set(EXPERIMENTS)


@pytest.mark.parametrize("name", CASES)
def test_verdicts(name: str):
    """Rows hold on good figures; every criterion fails on bad ones."""
    for figures, expected in zip(CASES[name], ("trend holds", "does not hold"), strict=True):
        results = judge({name: EXPERIMENTS[name]}, outcomes_of(name, figures), {})
        assert len(results) == len(EXPERIMENTS[name].rows)
        for result in results:
            assert result.verdict == expected, (result.row.setting, result.row.criterion.statement)


def test_a_criterion_without_its_figures_says_which():
    good = CASES["table5"][0]
    partial = {("table5", "cos_512"): {0: good["cos_512"]}}
    results = judge(EXPERIMENTS, partial, {("table5", "dist_512"): "training failed: NaN"})
    verdict = {result.row.part: result.verdict for result in results}
    assert verdict["cos_512"] == "not run: training failed: NaN"
    assert verdict["cos_9"] == "not run: not yet"


def test_figures_are_means_over_seeds():
    seeds = {
        0: Outcome({"x": 1.0}, {"c": [1.0, None, 3.0]}),
        1: Outcome({"x": 3.0}, {"c": [3.0, None, 5.0]}),
    }
    figures = Figures("e", {("e", "p"): seeds}, {})
    assert figures.mean("p", "x") == 2 and figures.mean("e/p", "x") == 2
    assert figures.curve("p", "c") == [2, 4]
    assert figures.points("p", "c") == {1: 2, 3: 4}, "the second epoch was not measured"
    with pytest.raises(MissingFigure, match="does not give 'y'"):
        figures.mean("p", "y")
    with pytest.raises(MissingFigure, match="f/q: not yet"):
        figures.mean("f/q", "x")
