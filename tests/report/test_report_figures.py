"""Curves, the latent space and the memory table against independent computations."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from report_runs import HEADER, MakeRun, evaluation

from rootspace.report.figures import RUN_COLORS, Figure, curve_figures
from rootspace.report.run import ShownRun
from rootspace.report.space import _class_colors, principal_axes, space_views
from rootspace.report.tables import memory_notes, memory_rows
from rootspace.report.text import (
    class_name,
    count,
    data_size,
    duration,
    listing,
    percent,
    quantity,
)


def data(figure: Figure) -> list[dict[str, Any]]:
    return json.loads(figure.json)["data"]


# ------------------------------------------------------------------------------------- curves


def test_curves_hold_the_csv(make_run: MakeRun) -> None:
    runs = [ShownRun.read(make_run()), ShownRun.read(make_run("other"))]
    figures = dict(curve_figures(runs, wall_time=False))
    assert list(figures) == ["Training loss", "Training accuracy, %", "Held-out accuracy, %"]
    loss, other = data(figures["Training loss"])
    assert (loss["x"], loss["y"]) == ([1, 2, 3], [2.5, 0.5, 0.01])
    assert loss["line"]["color"] != other["line"]["color"]
    assert data(figures["Training accuracy, %"])[0]["y"] == [40, 90, 98.765]
    seen, unseen, *_ = held_out = data(figures["Held-out accuracy, %"])
    assert (seen["x"], seen["y"]) == ([1, 3], [35, 91.234])  # epoch 2 was not evaluated
    assert (unseen["x"], unseen["y"]) == ([1, 3], [10, 50])
    assert [line["name"] for line in held_out] == [
        "run, seen", "run, unseen", "other, seen", "other, unseen",
    ]  # fmt: skip
    colors = [line["line"]["color"] for line in held_out]
    dashes = [line["line"]["dash"] for line in held_out]
    assert colors == [loss["line"]["color"]] * 2 + [other["line"]["color"]] * 2
    assert dashes == ["solid", "dash"] * 2


@pytest.mark.parametrize(("factor", "unit"), [(1, "s"), (60, "min"), (3600, "h")])
def test_curves_against_wall_time(make_run: MakeRun, factor: int, unit: str) -> None:
    csv = f"{HEADER}\n" + "".join(f"{i},{i},{i * factor * 3},1,{i},0.5\n" for i in (1, 2, 10))
    title, figure = curve_figures([ShownRun.read(make_run(csv=csv))], wall_time=True)[0]
    assert data(figure)[0]["x"] == [3, 6, 30]
    assert json.loads(figure.json)["layout"]["xaxis"]["title"]["text"] == f"wall time, {unit}"
    assert title == "Training loss" and "wall time" in figure.label


def test_only_a_loss_that_falls_far_is_logarithmic(make_run: MakeRun) -> None:
    far, near = ShownRun.read(make_run()), f"{HEADER}\n1,1,1,1,1,0.5\n2,2,2,1,.5,1"

    def axis(figures: list[tuple[str, Figure]], i: int) -> dict[str, Any]:
        return json.loads(figures[i][1].json)["layout"]["yaxis"]

    figures = curve_figures([far], wall_time=False)
    assert axis(figures, 0)["type"] == "log" and "type" not in axis(figures, 1)
    assert {0.01, 0.02, 0.05, 1, 2} <= set(axis(figures, 0)["tickvals"])
    assert "logarithmic" in figures[0][1].label
    assert "type" not in axis(
        curve_figures([ShownRun.read(make_run("b", csv=near))], wall_time=False), 0
    )


# -------------------------------------------------------------------------------- latent space


@pytest.mark.parametrize("shape", [(50, 64), (5, 12), (400, 4)])
def test_principal_axes_agree_with_svd(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=shape) * rng.uniform(0.2, 3, shape[1]) + rng.normal(size=shape[1])
    mean, axes, share = principal_axes(points, 3)
    centered = points - points.mean(axis=0)
    _, singular, oracle = np.linalg.svd(centered, full_matrices=False)
    np.testing.assert_allclose(mean, points.mean(axis=0))
    np.testing.assert_allclose(np.abs((axes * oracle[:3]).sum(axis=1)), 1, atol=1e-9)
    np.testing.assert_allclose(share, (singular**2 / (singular**2).sum())[:3], atol=1e-12)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)
    assert all(axis[np.abs(axis).argmax()] > 0 for axis in axes)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_low_dimensions_are_shown_as_they_are(make_run: MakeRun, dim: int) -> None:
    arrays = evaluation(dim=dim)
    (view,) = space_views(ShownRun.read(make_run(dim=dim, arrays=arrays)))
    kind = "scatter3d" if dim == 3 else "scatter"
    traces = data(view.figure)
    assert {trace["type"] for trace in traces} == {kind}
    *_, samples, vectors = traces
    shown = np.stack([samples[axis] for axis in "xyz"[:dim]], axis=1)
    norm = np.linalg.norm(arrays["embeddings"], axis=1, keepdims=True)
    np.testing.assert_allclose(shown, arrays["embeddings"] / norm, atol=6e-5)
    shown = np.stack([vectors[axis] for axis in "xyz"[:dim]], axis=1)
    np.testing.assert_allclose(shown, arrays["class_vectors"][[1, 4, 5]], atol=6e-5)
    assert "variance" not in view.caption and "Nothing is projected" in view.caption
    assert [name for _, name in view.legend] == [chr(0x4E00 + i) for i in (1, 4, 5)]
    colors = dict(zip([1, 4, 5], [color for color, _ in view.legend], strict=True))
    assert vectors["marker"]["color"] == list(colors.values())
    assert samples["marker"]["color"] == [colors[i] for i in arrays["embedding_labels"]]
    assert samples["text"][0] == "丁  U+4E01"


def test_high_dimensions_are_projected_on_what_is_shown(make_run: MakeRun) -> None:
    arrays = evaluation()
    few, every = space_views(ShownRun.read(make_run(arrays=arrays)))
    assert (few.title, every.title) == ("3 classes", "all 20 class vectors")
    norm = np.linalg.norm(arrays["embeddings"], axis=1, keepdims=True)
    for view, vectors in (
        (few, arrays["class_vectors"][[1, 4, 5]]),
        (every, arrays["class_vectors"]),
    ):
        points = np.concatenate([vectors, arrays["embeddings"] / norm]).astype(np.float64)
        centered = points - points.mean(axis=0)
        left, singular, _ = np.linalg.svd(centered, full_matrices=False)
        share = 100 * singular[:3] ** 2 / (singular**2).sum()
        assert f"hold {share.sum():.1f} % of their variance" in view.caption
        assert " + ".join(f"{part:.1f}" for part in share) in view.caption
        samples = next(t for t in data(view.figure) if "test image" in t.get("hovertemplate", ""))
        places = np.abs(np.stack([samples[axis] for axis in "xyz"], axis=1))
        expected = np.abs(left * singular)[len(vectors) :, :3]
        np.testing.assert_allclose(places, expected, atol=1e-3)
    assert "18 test images of 3 classes" in few.caption
    assert "17 other class vectors, out of 20 classes" in every.caption


def test_lines_join_the_origin_only_when_few(make_run: MakeRun) -> None:
    few, every = space_views(ShownRun.read(make_run(arrays=evaluation(num_classes=60))))
    assert "Lines join the origin to all class vectors." in few.caption
    assert "Lines join the origin to the large diamonds." in every.caption
    for view in (few, every):
        line = data(view.figure)[0]
        assert line["mode"] == "lines" and line["x"].count(None) == 3
        assert line["x"][0] == line["x"][3] == line["x"][6]
    arrays = evaluation(num_classes=60)
    arrays["embeddings"], arrays["embedding_labels"] = np.zeros((60, 64)), np.arange(60)
    (view,) = space_views(ShownRun.read(make_run("many", arrays=arrays)))
    assert "Lines" not in view.caption and view.legend == ()


def test_class_vectors_alone(make_run: MakeRun) -> None:
    arrays = evaluation()
    arrays["embeddings"], arrays["embedding_labels"] = np.zeros((0, 64)), np.zeros(0, int)
    (view,) = space_views(ShownRun.read(make_run(arrays=arrays, method="learned")))
    assert view.caption.startswith("Small gray diamonds: 20 learned class weights")


def test_caption_counts_the_vectors_it_shows(make_run: MakeRun) -> None:
    arrays = evaluation()
    arrays["class_vector_labels"] = np.arange(20) + 5  # of 1, 4 and 5 only 5 has its vector here
    few, every = space_views(ShownRun.read(make_run(arrays=arrays)))
    for view in (few, every):
        assert "Large diamonds are the class vectors of 1 of these classes." in view.caption


def luminance(color: str) -> float:
    parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_colors_can_be_seen_on_both_pages() -> None:
    def contrast(a: str, b: str) -> float:
        low, high = sorted([luminance(a), luminance(b)])
        return (high + 0.05) / (low + 0.05)

    for color in RUN_COLORS:
        assert min(contrast(color, "#ffffff"), contrast(color, "#13161a")) >= 3
    for num in (3, 10, 24):
        colors = _class_colors(num)
        assert len(set(colors)) == num
        assert all(contrast(color, "#ffffff") >= 2.2 for color in colors)
        assert all(contrast(color, "#13161a") >= 3 for color in colors)


# ------------------------------------------------------------------------ memory and parameters


def test_memory_table_is_computed(make_run: MakeRun) -> None:
    run = ShownRun.read(make_run())
    rows = memory_rows(run)
    counts = [20, 10**3, 10**5, 10**6, 10**7, 10**8]
    assert [row.num_classes for row in rows] == counts * 2
    lsc, classifier = rows[:6], rows[6:]
    assert {(row.head, row.head_bytes, row.output, row.backbone) for row in lsc} == {
        (0, 0, 64, 612345)
    }
    assert [row.head for row in classifier] == [64 * n for n in counts]
    assert [row.head_bytes for row in classifier] == [16 * 64 * n for n in counts]
    assert [row.output for row in classifier] == counts
    assert [row.num_classes for row in rows if row.measured] == [20] and lsc[0].measured
    assert [row.fits for row in lsc] == [True, True, False, False, False, False]
    notes = " ".join(memory_notes(run, [run])).replace("\u00a0", " ")
    assert "From 9,568 classes on" in notes  # 64 * 9568 > 612345 >= 64 * 9567
    assert "RootA(64) has 4,160 vectors" in notes
    assert "Measured peak memory in training: run 1,234.5 MB." in notes
    assert "is a formula" in notes


def test_memory_table_of_a_learned_head(make_run: MakeRun) -> None:
    parameters = {"backbone": 612345, "head": 64_000}
    run = ShownRun.read(
        make_run(method="learned", loss="linear_ce", num_classes=1000, parameters=parameters,
                 capacity=None, peak_memory_mb=None, bytes_per_class=256,
                 training_bytes_per_class=1024)
    )  # fmt: skip
    rows = memory_rows(run)
    assert len(rows) == 10
    (measured,) = [row for row in rows if row.measured]
    assert (measured.method, measured.loss) == ("classifier (fc + CE)", "linear_ce")
    assert measured.head == run.record.parameters.head
    assert {row.head for row in rows[:5]} == {0} and all(row.fits for row in rows)
    assert "Peak memory in training was not measured." in memory_notes(run, [run])


# ---------------------------------------------------------------------------------------- text


def test_text() -> None:
    cases = {
        percent(0.5): "50.00 %",
        percent(1.0): "100.00 %",
        percent(0.99996): ">99.99 %",
        percent(float("nan")): "–",
        count(1234567): "1,234,567",
        count(2**64): "1.84 × 10¹⁹",
        quantity(0.5): "0.5",
        quantity(1234567.25): "1,234,567",
        data_size(0): "0 B",
        data_size(999): "999 B",
        data_size(1136): "1.14 kB",
        data_size(99.96e6): "100 MB",
        data_size(6.144e9): "6.14 GB",
        data_size(5e15): "5,000 TB",
        duration(4.25): "4.25 s",
        duration(59.99): "60 s",
        duration(120): "2 min",
        duration(3725): "1 h 2 min",
        listing([]): "",
        listing(["a"]): "a",
        listing(["a", "b", "c"]): "a, b and c",
    }
    assert [text.replace("\u00a0", " ") for text in cases] == list(cases.values())
    assert class_name({0: "ab"}, 5).text == class_name({5: ""}, 5).text == "class 5"
    assert class_name({0: "a"}, -1).text == "no class"
    assert class_name({0: " "}, 0).text == "space"
