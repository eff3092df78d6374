"""The page in a real browser: Debian's chromium, without a screen."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright
from servers import LIMITS, live, new_class

from rootspace.serve.app import create_app
from rootspace.serve.client import Client
from rootspace.serve.run_model import RunModel
from rootspace.serve.service import Service

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
# Software rendering, which containers have; no sandbox, which root has not.
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]

DROP = """
(files) => {
  const data = new DataTransfer();
  for (const [name, text] of files) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    data.items.add(new File([bytes], name, { type: "image/png" }));
  }
  for (const kind of ["dragover", "drop"])
    document.getElementById("stage").dispatchEvent(
      new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def url(run: Path, tmp_path: Path) -> Iterator[str]:
    """A server of a run of its own."""
    own = shutil.copytree(run, tmp_path / "run")
    with live(create_app(Service(RunModel(Path(own)), LIMITS))) as url:
        yield url


@contextmanager
def opened(browser: Browser, url: str, width: int = 1280, height: int = 800) -> Iterator[Page]:
    """The page, which may complain of nothing and ask nobody else."""
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": height})
    page.on("console", lambda told: complaints.append(f"{told.text} {told.location}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def note(asked: Request) -> None:
        if not asked.url.startswith((url, "blob:")):
            complaints.append(asked.url)

    page.on("request", note)
    page.set_default_timeout(20_000)
    expect.set_options(timeout=20_000)
    page.goto(url)
    page.wait_for_selector("body[data-ready]")
    try:
        yield page
        # That a change came too late is told on the page; the browser notes the answer too.
        expected = ("GPU stall", "409 (Conflict)")
        assert not [text for text in complaints if not any(part in text for part in expected)]
    finally:
        page.close()


def drop(page: Page, *contents: bytes) -> None:
    """Image files onto the page."""
    texts = [(f"{i}.png", base64.b64encode(c).decode()) for i, c in enumerate(contents)]
    page.evaluate(DROP, texts)


def best(page: Page, name: str | re.Pattern[str]) -> None:
    """Wait until the first class is this one."""
    expect(page.locator("#answers li").first.locator("bdi")).to_have_text(name)


def stroke(page: Page, *places: tuple[float, float]) -> None:
    """Draw a line through places of the canvas, each coordinate in [0, 1]."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    x, y, side = box["x"], box["y"], box["width"]
    page.mouse.move(x + places[0][0] * side, y + places[0][1] * side)
    page.mouse.down()
    for right, down in places[1:]:
        page.mouse.move(x + right * side, y + down * side, steps=5)
    page.mouse.up()


def test_from_an_image_to_a_class_of_ones_own(
    browser: Browser, url: str, letters: list[tuple[str, bytes]]
):
    """Drop, result, draw, result, new class, recognized, neighbors, undo, reload: all there."""
    zeds = new_class("Z")
    name, content = letters[0]
    with opened(browser, url) as page:
        expect(page.locator("#facts")).to_contain_text("16 classes")
        drop(page, content)
        best(page, name)
        expect(page.locator("#answers li")).to_have_count(5)
        expect(page.locator("#answers output").first).to_have_text(re.compile(r"^0\.\d{3}$"))
        expect(page.locator("#verdict")).to_have_text(re.compile(rf"^Nearest: {name}, 0\.\d\d$"))
        expect(page.locator("#shown")).to_be_visible()
        expect(page.locator("#neighbors-part")).to_be_hidden()

        page.get_by_role("tab", name="Draw").click()
        stroke(page, (0.35, 0.22), (0.35, 0.75))
        stroke(page, (0.35, 0.75), (0.68, 0.75))
        best(page, "L")
        page.get_by_role("button", name="Undo stroke").click()
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#answers li")).to_have_count(0)

        page.get_by_role("tab", name="Image").click()
        page.get_by_role("button", name="Remove 0.png").click()
        drop(page, *zeds[:3])
        expect(page.locator("#tray li")).to_have_count(3)
        best(page, re.compile("^[A-P]$"))
        page.get_by_label("Name for").fill("<b>Zed</b>")
        page.get_by_role("button", name="Add", exact=True).click()
        best(page, "<b>Zed</b>")
        expect(page.locator("#answers li").first).to_have_class("own")
        expect(page.locator("#own li")).to_have_count(1)
        expect(page.locator("#own bdi")).to_have_text("<b>Zed</b>")
        expect(page.locator("#message-text")).to_contain_text("3 images added")

        # An image that was not among them is recognized, beside those that were.
        drop(page, zeds[3])
        best(page, "<b>Zed</b>")
        expect(page.locator("#neighbors li")).to_have_count(3)
        expect(page.locator("#neighbors bdi").first).to_have_text("<b>Zed</b>")
        picture = page.locator("#neighbors img").first
        expect(picture).to_have_js_property("naturalWidth", 32)

        page.locator("#undo").click()
        best(page, re.compile("^[A-P]$"))
        expect(page.locator("#own li")).to_have_count(0)
        expect(page.locator("#undo")).to_be_hidden()

        page.get_by_label("Name for").fill("Zed again")
        page.keyboard.press("Enter")
        best(page, "Zed again")

        page.reload()
        page.wait_for_selector("body[data-ready]")
        expect(page.locator("#own bdi")).to_have_text("Zed again")
        drop(page, zeds[4])
        best(page, "Zed again")
        expect(page.locator("#undo")).to_be_visible()


def test_the_plane_by_keyboard_and_lasso(
    browser: Browser, url: str, letters: list[tuple[str, bytes]]
):
    with opened(browser, url) as page:
        plane = page.locator("#plane")
        ink = "document.querySelector('#plane canvas').toDataURL().length"
        plane.focus()
        page.keyboard.press("Enter")
        expect(page.locator("#picked-title")).to_have_text("16 prototypes selected")
        expect(page.locator("#picked li")).to_have_text([*map(chr, range(65, 81))])
        assert page.evaluate(ink) > 2000  # something is drawn
        for key in ("+", "ArrowLeft", "ArrowUp"):
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        fewer = re.compile(r"^([1-9]|1[0-5]) prototypes? selected$")
        expect(page.locator("#picked-title")).to_have_text(fewer)
        page.keyboard.press("Escape")
        expect(page.locator("#picked-part")).to_be_hidden()
        page.keyboard.press("0")

        page.get_by_role("button", name="Lasso").click()
        box = plane.bounding_box()
        assert box is not None
        left, top = box["x"] + 2, box["y"] + 2
        right, bottom = left + box["width"] - 4, top + box["height"] - 4
        page.mouse.move(left, top)
        page.mouse.down()
        for place in ((right, top), (right, bottom), (left, bottom)):
            page.mouse.move(*place, steps=4)
        page.mouse.up()
        expect(page.locator("#picked-title")).to_have_text("16 prototypes selected")
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#picked-part")).to_be_hidden()


def test_below_a_prefix(
    browser: Browser, run: Path, tmp_path: Path, letters: list[tuple[str, bytes]]
):
    """As behind a proxy."""
    own = shutil.copytree(run, tmp_path / "run")
    outer = FastAPI()
    outer.mount("/a/model", create_app(Service(RunModel(Path(own)), LIMITS)))
    with live(outer) as url, opened(browser, f"{url}/a/model/") as page:
        drop(page, letters[0][1])
        best(page, letters[0][0])
        page.get_by_label("Name for").fill("mine")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Add anyway").click()
        best(page, "mine")
        page.locator("#undo").click()
        best(page, letters[0][0])


def test_bad_files_are_named(browser: Browser, url: str, letters: list[tuple[str, bytes]]):
    with opened(browser, url) as page:
        drop(page, letters[0][1], b"no image")
        best(page, letters[0][0])
        expect(page.locator("#message-text")).to_contain_text("'1.png' cannot be decoded")
        expect(page.locator("#tray li")).to_have_count(1)


def noise(seed: int) -> bytes:
    """A PNG of 160 kB, which is more than an eighth of what the server takes at once."""
    pixels = np.random.default_rng(seed).integers(0, 256, (400, 400), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def test_large_photographs_become_a_class(browser: Browser, url: str):
    contents = [noise(seed) for seed in range(LIMITS.max_images)]
    assert sum(map(len, contents)) > LIMITS.max_bytes
    with opened(browser, url) as page:
        drop(page, *contents)
        expect(page.locator("#tray li")).to_have_count(len(contents))
        page.get_by_label("Name for").fill("noise")
        page.keyboard.press("Enter")
        act = page.locator("#message-act")
        expect(act).to_be_visible()
        if act.inner_text() == "Add anyway":  # whether noise is like noise is the network's word
            act.click()
        expect(page.locator("#own bdi")).to_have_text("noise")


def test_a_late_answer_is_not_shown(browser: Browser, url: str, letters: list[tuple[str, bytes]]):
    (first, slow), (second, quick) = letters[0], next(o for o in letters if o[0] != letters[0][0])
    held: list[Route] = []
    with opened(browser, url) as page:
        page.route("**/v1/predict*", lambda route: held.append(route), times=1)  # noqa: PLW0108 - marked by playwright
        drop(page, slow)
        while not held:
            page.wait_for_timeout(10)
        drop(page, quick)
        best(page, second)
        held[0].continue_()
        expect(page.locator("#tray li")).to_have_count(2)
        best(page, second)
        assert first != second


def test_an_undo_takes_back_what_was_seen(browser: Browser, url: str):
    with opened(browser, url) as page:
        drop(page, *new_class("Z")[:3])
        expect(page.locator("#tray li")).to_have_count(3)
        page.get_by_label("Name for").fill("Zed")
        page.keyboard.press("Enter")
        expect(page.locator("#own bdi")).to_have_text("Zed")
        with Client(url) as other:  # of somebody else
            other.enroll("Ess", new_class("S")[:3], review=False)
        with page.expect_response("**/v1/undo") as refused:
            page.locator("#message-act").click()
        assert refused.value.status == 409
        expect(page.locator("#own li")).to_have_count(2)


def test_a_second_word_is_for_what_was_refused(
    browser: Browser, url: str, letters: list[tuple[str, bytes]]
):
    with opened(browser, url) as page:
        act = page.get_by_role("button", name="Add anyway")
        drop(page, letters[0][1])
        expect(page.locator("#tray li")).to_have_count(1)
        page.get_by_label("Name for").fill("mine")
        page.keyboard.press("Enter")
        expect(act).to_be_visible()
        page.get_by_label("Name for").fill("other")
        drop(page, letters[-1][1])
        expect(page.locator("#tray li")).to_have_count(2)
        act.click()
        expect(page.locator("#own bdi")).to_have_text("mine")
        expect(page.locator("#own small")).to_have_text("1 image")
        expect(page.get_by_label("Name for")).to_have_value("other")
        # No word takes images that are there under another name.
        page.get_by_role("button", name=f"Remove {0}.png").first.click()
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator("#message-text")).to_contain_text("must hold an image")
        expect(act).to_be_hidden()


def test_a_token_need_not_be_given(browser: Browser, run: Path):
    with live(create_app(Service(RunModel(run), LIMITS), "a token")) as url:
        page = browser.new_page()
        page.set_default_timeout(20_000)
        page.goto(url)
        page.wait_for_selector("#token-dialog[open]")
        page.keyboard.press("Escape")
        expect(page.locator("#message-text")).to_contain_text("asks for its token")
        expect(page.locator("#token-dialog")).to_be_hidden()
        drop(page, b"x")
        expect(page.locator("#message-text")).to_contain_text("has not said yet")
        page.close()


def test_a_phone_and_a_token(
    browser: Browser, run: Path, tmp_path: Path, letters: list[tuple[str, bytes]]
):
    """Nothing is wider than the screen; the page asks for the token, and keeps it."""
    own = shutil.copytree(run, tmp_path / "run")
    app = create_app(Service(RunModel(Path(own)), LIMITS), "a token")
    with live(app) as url:
        page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        page.set_default_timeout(20_000)
        page.goto(url)
        for token in ("wrong", "a token"):
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Go on").click()
        page.wait_for_selector("body[data-ready]")
        page.reload()
        page.wait_for_selector("body[data-ready]")
        drop(page, letters[0][1])
        best(page, letters[0][0])
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        expect(page.locator("#camera")).to_have_attribute("capture", "environment")
        page.close()
