"""The whole page: what it holds, and that it holds nothing that is fetched or executed."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from plotly.offline import get_plotlyjs
from report_runs import HEADER, MakeRun, evaluation

from rootspace.report import write_report
from rootspace.runs.folder import finish

NBSP = "\u00a0"
VOID = {"meta", "img", "line", "wbr", "link", "br", "input"}


class Page(HTMLParser):
    """Every tag, the scripts, the visible text and the tables of a report."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.tables: list[list[list[str]]] = []
        self.feed(self.source.replace(get_plotlyjs(), "plotly.js"))
        self.close()
        assert self.open == []  # every element was closed

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text += data
            if {"td", "th"} & set(self.open):
                self.tables[-1][-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def figures(self) -> list[dict[str, Any]]:
        return [
            json.loads(script)
            for script, attributes in zip(self.scripts, self.all("script"), strict=True)
            if attributes.get("type") == "application/json"
        ]

    def rows(self) -> dict[str, list[str]]:
        """Rows of the comparison by their label."""
        return {row[0]: row[1:] for table in self.tables[:2] for row in table}

    def image(self, alt: str) -> np.ndarray:
        (found,) = [image for image in self.all("img") if image["alt"] == alt]
        kind, data = (found["src"] or "").split(",")
        assert kind == "data:image/png;base64"
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_nothing_is_fetched(make_run: MakeRun) -> None:
    run = make_run(arrays=evaluation())
    make_run("run/baselines/learned", method="learned", arrays=evaluation())
    page = Page(write_report(run))
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "source", "audio", "video")
        assert "srcset" not in attributes
        if tag == "script":
            assert "src" not in attributes
        if "src" in attributes:
            assert (attributes["src"] or "").startswith("data:image/png;base64,")
        if "href" in attributes:
            assert (attributes["href"] or "").startswith("#")
    assert page.source.count(f"<script>{get_plotlyjs()}</script>") == 1
    assert "</script" not in get_plotlyjs()
    own = page.source.replace(get_plotlyjs(), "")
    assert "http://" not in own and "https://" not in own
    assert "url(" not in own and "@import" not in own
    policy = page.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert (policy["content"] or "").startswith("default-src 'none';")
    assert "connect-src" not in (policy["content"] or "")
    assert len(own) < 500_000


def test_numbers_are_those_of_the_runs(make_run: MakeRun) -> None:
    run = make_run()
    make_run(
        "run/baselines/learned",
        method="learned",
        loss="normalized_softmax",
        system=None,
        order=None,
        capacity=None,
        min_angle=None,
        scale=None,
        seconds=301.5,
        seconds_per_epoch=100.5,
        peak_memory_mb=None,
        parameters={"backbone": 612345, "head": 1280},
        bytes_per_class=256,
        training_bytes_per_class=1024,
        train={"loss": 0.0, "accuracy": 1.0},
        test={"seen": {"accuracy": 0.99999, "images": 2222}},
    )
    page = Page(write_report(run))
    assert page.tables[0][0] == ["Accuracy", "run", "learned"]
    rows = page.rows()
    expected = {
        "seen 2,222 images": ["91.23 %", ">99.99 %"],
        "unseen 1,111 images": ["50.00 %", "–"],
        "training set": ["98.77 %", "100.00 %"],
        "method": ["prototypes", "learned head"],
        "loss": ["system_softmax", "normalized_softmax"],
        "scale": ["17.5", "–"],
        "vector system": ["RootA(64)", "–"],
        "order of classes": ["shuffled", "–"],
        "capacity": ["4,160", "–"],
        "smallest angle of its vectors": ["45°", "–"],
        "classes": ["20", "20"],
        "dimensions": ["64", "64"],
        "epochs": ["3", "3"],
        "batch size": ["32", "32"],
        "training time": ["150.75 s", "301.5 s"],
        "per epoch": ["50.25 s", "100.5 s"],
        "backbone parameters": ["612,345", "612,345"],
        "head parameters": ["0", "1,280"],
        "bytes per class": ["0", "256"],
        "peak memory": ["1,234.5 MB", "–"],
    }
    for label, cells in expected.items():
        assert rows[label] == [
            cell.replace(" ", NBSP) if "head" not in cell else cell for cell in cells
        ]
    summary = page.text.split("Results")[0].replace(NBSP, " ")
    assert "RootA(64): 20 classes in 64 dimensions, 3 epochs in 2 min 31 s." in summary
    assert "reads 91.23 % of seen and 50.00 % of unseen correctly" in summary
    assert "learned reads >99.99 %" in summary
    assert "Both runs were trained for 3 epochs." in page.text
    assert "20 characters in 3 fonts" in page.text


def test_unequal_runs_are_called_unequal(make_run: MakeRun) -> None:
    run, other = make_run(), make_run("other", epochs=5, batch_size=64, data="other data")
    text = Page(write_report(run, others=[other])).text
    assert "not trained equally long: 3 (run) and 5 (other) epochs." in text
    assert "Their batch sizes differ: 32 (run) and 64 (other)." in text
    assert "Their data differ" in text
    assert "devices differ" not in text


def test_every_run_once_ours_first(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("b/run")
    for name in ("b/run/baselines/zeta", "b/run/baselines/alpha", "a/run"):
        make_run(name)
    (run / "baselines" / "crashed").mkdir()
    others = [tmp_path / "a/run", tmp_path / "b/run/baselines/alpha", run]
    page = Page(write_report(run, others=others))
    assert page.tables[0][0][1:] == ["b/run", "alpha", "zeta", "a/run"]
    assert "because they are not finished: baselines/crashed" in page.text


def test_a_single_run(make_run: MakeRun) -> None:
    page = Page(write_report(make_run(test={}, capacity=2**80, seconds=5.0)))
    assert "No held-out set was tested" in page.text
    assert f"1.21{NBSP}×{NBSP}10²⁴" in page.rows()["capacity"]
    assert "runs were trained" not in page.text


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><h1>&amp;",
    "سيارة",
    "\u202egnp.exe",
    "x" * 500,
    "\ud800!",
    "a\x00b\x1b",
    "<",
    "\u0301",
    "\u200b",
    "&",
]


def test_hostile_names_are_only_text(make_run: MakeRun) -> None:
    arrays = evaluation(num_classes=20, num_confusions=11, names=HOSTILE)
    arrays["embedding_labels"] = np.arange(18) % 12
    test = {"<u>&\"'": {"accuracy": 0.5, "images": 1}}
    csv = f"{HEADER},test/</script><i>/accuracy\n1,1,1,1,1,0.5,0.5\n"
    changes = {"loss": "<em>", "system": "</td>", "data": "<hr>", "device": "<!--", "test": test}
    clean = Page(write_report(make_run("clean", arrays=evaluation(num_confusions=11), test=test)))
    page = Page(write_report(make_run("<b>&amp;", arrays=arrays, csv=csv, **changes)))

    def kinds(page: Page) -> set[str]:
        return {tag for tag, _ in page.tags}

    assert kinds(page) <= kinds(clean)
    assert len(page.all("script")) == len(clean.all("script"))
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert not {"\ud800", "\x00", "\x1b", "\u202e"} & set(page.source)
    titles = [attributes["title"] for attributes in page.all("bdi") if "title" in attributes]
    assert {"<script>alert(1)</script>", "x" * 500, "سيارة"} <= set(titles)
    assert "x" * 39 + "…" in page.text and "x" * 41 not in page.text
    assert "< U+003C LESS-THAN SIGN" in titles
    assert "◌\u0301" in page.text and "zero width space" in page.text
    assert "<b>&amp;" in page.text and "<fonts>" in page.text
    labels = [
        trace["name"] for figure in page.figures() for trace in figure["data"] if "name" in trace
    ]
    assert "&lt;b&gt;&amp;amp;" in labels and not any("<" in label for label in labels)
    hover = [
        text
        for figure in page.figures()
        for trace in figure["data"]
        for text in trace.get("text", [])
    ]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in hover
    assert not any("<" in text for text in hover)


def test_code_points_are_shown_for_characters_only(make_run: MakeRun) -> None:
    arrays = evaluation(num_confusions=2, names=["Δ", "𝔸", "ship"])
    page = Page(write_report(make_run(arrays=arrays)))
    for code in ("U+0394", "U+1D538"):
        assert code in page.text
    assert page.text.count("U+") == 3  # Δ, 𝔸 twice, ship never
    arrays["class_labels"], arrays["class_names"] = np.arange(1), np.array(["Δ"])
    page = Page(write_report(make_run("few", arrays=arrays)))
    assert "class 1" in page.text and "class 2" in page.text


@pytest.mark.parametrize("channels", [1, 3])
def test_images_survive_exactly(make_run: MakeRun, channels: int) -> None:
    arrays = evaluation(channels=channels, num_confusions=1, names=["a", "b"])
    page = Page(write_report(make_run(arrays=arrays)))
    a, b = "a U+0061 LATIN SMALL LETTER A", "b U+0062 LATIN SMALL LETTER B"
    for key, alt in {
        "confusion_images": f"held-out image of {a}, read as {b}",
        "confusion_true_images": f"training image of {a}",
        "confusion_predicted_images": f"training image of {b}",
    }.items():
        image = arrays[key][0]
        expected = image[0] if channels == 1 else image.transpose(1, 2, 0)
        np.testing.assert_array_equal(page.image(alt), expected)
    sizes = [(image["width"], image["height"]) for image in page.all("img")]
    assert sizes == [("128", "128"), ("64", "64"), ("64", "64")]  # whole multiples of 16
    assert all("image-rendering: pixelated" in (image["style"] or "") for image in page.all("img"))


def test_large_images_become_thumbnails(make_run: MakeRun) -> None:
    arrays = evaluation(channels=3, side=300, num_confusions=1, names=["aa", "bb"])
    page = Page(write_report(make_run(arrays=arrays)))
    assert page.image("training image of aa").shape == (128, 128, 3)
    assert page.all("img")[0]["width"] == "128"


def test_many_confusions_fold(make_run: MakeRun) -> None:
    arrays = evaluation(num_classes=120, num_confusions=110, side=4)
    page = Page(write_report(make_run(arrays=arrays)))
    assert len(page.all("article")) == 96
    assert "The first 96 of 110 are shown." in page.text
    assert "Show 72 more" in page.text


def test_a_perfect_run_says_so(make_run: MakeRun) -> None:
    arrays = evaluation(num_confusions=0)
    page = Page(write_report(make_run(arrays=arrays)))
    assert "No held-out image was misread" in page.text
    assert page.all("article") == []


def test_what_is_absent_is_said(make_run: MakeRun) -> None:
    run = make_run()
    (run / "metrics.csv").unlink()
    (run / "config.yaml").unlink()
    finish(run)
    page = Page(write_report(run))
    for sentence in (
        "There is no metrics.csv for run.",
        "There is no config.yaml in this run folder.",
        "no evaluation.npz in this run folder, so the picture of the latent space is left out.",
        "no evaluation.npz in this run folder, so the list of confusions is left out.",
    ):
        assert sentence in page.text
    assert page.figures() == []


def test_accessible(make_run: MakeRun) -> None:
    page = Page(write_report(make_run(arrays=evaluation())))
    assert all(cell.get("scope") for cell in page.all("th"))
    assert all(image["alt"] for image in page.all("img"))
    plots = [div for div in page.all("div") if (div.get("class") or "").startswith("plot")]
    assert len(plots) == len(page.figures()) == 8
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in plots)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for name in ("aria-controls", "aria-labelledby"):
        assert {attributes[name] for _, attributes in page.tags if name in attributes} <= set(ids)


def test_output_path_and_replacement(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    assert write_report(str(run)) == run / "report.html"
    out = write_report(run, tmp_path / "new" / "folder" / "page.html")
    assert out.is_file() and [path.name for path in out.parent.iterdir()] == ["page.html"]
    assert out.read_text("utf-8") == (run / "report.html").read_text("utf-8")  # repeatable


def test_failure_leaves_the_old_report(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    (run / "report.html").write_text("old")
    before = sorted(run.iterdir())

    def fail(source: Path, target: Path) -> None:
        assert source.stat().st_size > 1_000_000  # complete, and not yet in place
        raise OSError("disk gone")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk gone"):
        write_report(run)
    assert (run / "report.html").read_text() == "old"
    assert sorted(run.iterdir()) == before


def test_import_needs_no_extra() -> None:
    extras = {"plotly", "PIL", "jinja2"}
    code = f"import sys, rootspace.report; sys.exit(bool({extras} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
