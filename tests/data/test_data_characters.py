from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from rootspace import _files
from rootspace.data import (
    Characters,
    Content,
    DataError,
    DataModule,
    ImagePreprocessing,
    LabeledDataset,
)
from rootspace.data.cache import default_cache_directory
from rootspace.data.characters import cache as pictures_cache
from rootspace.data.characters import drawing
from rootspace.data.characters.cache import cache_key, cached_pictures
from rootspace.data.characters.drawing import draw_pictures
from rootspace.data.characters.fonts import find_faces
from rootspace.data.characters.ranges import parse_ranges
from rootspace.data.characters.source import merge_identical
from rootspace.data.datasets import ArrayImages

GREEK = "U+0041-U+005A, U+0391-U+03A9"
FONTS = ["DejaVuSans", "DejaVuSerif", "DejaVuSansMono"]


def greek(**arguments: Any) -> tuple[Characters, Content]:
    """A source and what it has read."""
    source = Characters(**{"train_fonts": FONTS, "ranges": GREEK} | arguments)
    return source, source.read()


def pixels(data: LabeledDataset) -> torch.Tensor:
    assert isinstance(data, ArrayImages)
    return data.images


def preprocessing(content: Content) -> ImagePreprocessing:
    assert content.preprocessing is not None
    return content.preprocessing


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> tuple[Characters, Content]:
    source = Characters(cache_dir=str(tmp_path_factory.mktemp("cache")))
    return source, source.read()


def test_the_default_set(default: tuple[Characters, Content]) -> None:
    content = default[1]
    num_classes = len(content.class_names)
    # Another FreeType may round a pixel differently and so keep two characters apart.
    assert num_classes == pytest.approx(2206, abs=20)
    shape = preprocessing(content)
    assert (shape.channels, shape.size, shape.fit, shape.background) == (1, 32, "pad", 255)
    assert len(content.train) == 10 * num_classes
    assert [*content.tests] == ["DejaVuSansMono-BoldOblique", "DejaVuSerif-Italic"]
    assert all(len(data) == num_classes for data in content.tests.values())
    data = DataModule(default[0])
    data.setup()
    assert data.describe().startswith(
        f"Characters: {num_classes:,} classes, {10 * num_classes:,} training "
        "images 1x32x32, test sets: DejaVuSansMono-BoldOblique ("
    )


def test_every_class_has_ink_and_paper_in_every_font(default: tuple[Characters, Content]) -> None:
    content = default[1]
    for data in (content.train, *content.tests.values()):
        images = pixels(data).flatten(1)
        assert images.dtype == torch.uint8
        assert (images.amin(1) < 200).all() and (images.float().mean(1) > 60).all()
    shape = preprocessing(content)
    assert 0.8 < shape.mean[0] < 0.95 and 0.2 < shape.std[0] < 0.4


def test_names_are_the_first_of_the_aliases(default: tuple[Characters, Content]) -> None:
    source, content = default
    assert content.class_names == [names[0] for names in source.aliases]
    everything = [character for names in source.aliases for character in names]
    assert len(set(everything)) == len(everything) > len(content.class_names)
    assert all(names == sorted(names) for names in source.aliases)
    assert content.class_names == sorted(content.class_names)
    assert ["E", "Ε", "Е"] in source.aliases  # Latin, Greek, Cyrillic
    assert {"O", "0", "o", ".", "·", "-", "_"} <= set(content.class_names)


def test_merging_against_brute_force() -> None:
    pictures = draw_pictures(find_faces(FONTS, "train_fonts"), parse_ranges(GREEK), 32)
    groups = merge_identical(pictures.images)
    assert sorted(itertools.chain(*groups)) == list(range(len(pictures.codes)))
    label = {member: number for number, group in enumerate(groups) for member in group}
    for a, b in itertools.combinations(range(len(pictures.codes)), 2):
        same = all(np.array_equal(font[a], font[b]) for font in pictures.images)
        assert (label[a] == label[b]) == same
    assert len(groups) < len(pictures.codes)
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)


def test_characters_merge_only_where_all_training_fonts_agree(
    make_font: Callable[..., Path],
) -> None:
    low, high = (0, 0, 900, 400), (0, 0, 900, 800)
    same = make_font("Same", {"A": low, "B": low, "C": high})
    other = make_font("Other", {"A": low, "B": high, "C": high})
    both = Characters([str(same), str(other)], [])
    both.read()
    assert both.aliases == [["A"], ["B"], ["C"]]
    # What a test font shows does not matter.
    one = Characters([str(same)], [str(other)])
    one.read()
    assert one.aliases == [["A", "B"], ["C"]]
    assert torch.equal(one.image_of(0, "Other"), both.image_of(0, "Other"))


def test_each_font_gives_one_image_of_each_class() -> None:
    source, content = greek()
    labels, num_classes = content.train.labels, len(content.class_names)
    assert labels.dtype == torch.int64
    assert torch.equal(labels.bincount(), torch.full((num_classes,), len(FONTS)))
    for row, font in enumerate(FONTS):
        for label in (0, num_classes - 1):
            image, found = content.train[row * num_classes + label]
            assert found == label and torch.equal(image, source.image_of(label, font))
    for font, tests in content.tests.items():
        assert torch.equal(tests[3][0], source.image_of(3, font))


def test_classes_are_drawn_by_seed_from_all() -> None:
    source, content = greek()
    everything = list(content.class_names)
    (few_source, few), (_, again), (_, other) = (
        greek(num_classes=9, seed=seed) for seed in (1, 1, 2)
    )
    assert len(few.class_names) == 9 and few.class_names == sorted(few.class_names)
    assert few.class_names == again.class_names != other.class_names
    chosen = np.random.default_rng(1).choice(len(everything), 9, replace=False)
    assert few.class_names == [everything[index] for index in sorted(chosen)]
    for label, name in enumerate(few.class_names):
        expected = source.image_of(everything.index(name), FONTS[0])
        assert torch.equal(few_source.image_of(label, FONTS[0]), expected)
    assert greek(num_classes=len(everything))[1].class_names == everything


def test_drawing_is_deterministic_and_cached_as_drawn(cache: Path) -> None:
    faces = find_faces(FONTS, "train_fonts")
    first = draw_pictures(faces, parse_ranges(GREEK), 24)
    second = draw_pictures(faces, parse_ranges(GREEK), 24)
    for _ in range(2):
        stored = cached_pictures(faces, parse_ranges(GREEK), 24, cache)
        for drawn in (first, second):
            assert np.array_equal(stored.codes, drawn.codes)
            assert np.array_equal(stored.images, drawn.images)


def test_a_second_run_draws_nothing(cache: Path) -> None:
    _, first = greek()
    with mock.patch.object(pictures_cache, "draw_pictures", side_effect=AssertionError):
        _, second = greek()
        greek(num_classes=5, seed=3)
    assert torch.equal(pixels(first.train), pixels(second.train))
    assert [path.suffix for path in cache.iterdir()] == [".npz"]


def test_setup_draws_once() -> None:
    data = DataModule(Characters(FONTS, ranges=GREEK))
    with mock.patch.object(pictures_cache, "draw_pictures", wraps=draw_pictures) as drawing:
        data.setup()
        data.setup()
    assert drawing.call_count == 1


@pytest.mark.parametrize("damage", [b"", b"not a zip file", None])
def test_a_damaged_cache_is_drawn_again(cache: Path, damage: bytes | None) -> None:
    _, first = greek()
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    if damage is None:  # one changed byte in the middle of the pictures
        middle = len(whole) // 2
        damage = whole[:middle] + bytes((whole[middle] ^ 1,)) + whole[middle + 1 :]
    path.write_bytes(damage)
    assert torch.equal(pixels(greek()[1].train), pixels(first.train))
    assert path.read_bytes() == whole


def test_the_key_depends_on_all_that_shapes_the_pictures(make_font: Callable[..., Path]) -> None:
    faces = find_faces(["DejaVuSans", "DejaVuSerif"], "train_fonts")
    key = cache_key(faces, parse_ranges("U+41-U+43"), 32)
    assert key == cache_key(faces, parse_ranges("U+42-U+43, U+41"), 32)
    path = make_font("Changing", {"A": (0, 0, 900, 900)})
    before = find_faces([str(path), f"{path}#1"], "train_fonts")
    make_font("Changing", {"A": (0, 0, 800, 900)})
    after = find_faces([str(path)], "train_fonts")
    keys = {
        key,
        cache_key(faces, parse_ranges("U+41-U+44"), 32),
        cache_key(faces, None, 32),
        cache_key(faces, parse_ranges("U+41-U+43"), 33),
        cache_key(faces[:1], parse_ranges("U+41-U+43"), 32),
        cache_key(faces[::-1], parse_ranges("U+41-U+43"), 32),
        *(cache_key([face], None, 32) for face in (*before, *after)),
    }
    assert len(keys) == 9
    with mock.patch.object(pictures_cache, "_RENDERER_VERSION", 0):
        assert cache_key(faces, None, 32) not in keys


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match=r"drawn again next time, since .*file"):
        _, content = greek(cache_dir=str(tmp_path / "file"))
    assert len(content.class_names) > 20


def test_a_failed_write_leaves_nothing_behind(cache: Path) -> None:
    with (
        mock.patch.object(_files.os, "replace", side_effect=OSError("disk full")),
        pytest.warns(UserWarning, match="disk full"),
    ):
        greek()
    assert list(cache.iterdir()) == []


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROOTSPACE_CACHE", str(tmp_path))
    assert default_cache_directory() == tmp_path
    monkeypatch.delenv("ROOTSPACE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_directory() == tmp_path / "rootspace"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_directory() == tmp_path / ".cache" / "rootspace"


def test_a_saved_picture_loads_as_it_was(tmp_path: Path) -> None:
    source, content = greek()
    image = source.image_of(4, "DejaVuSerif")
    Image.fromarray(image[0].numpy()).save(tmp_path / "a.png")
    assert torch.equal(preprocessing(content)(tmp_path / "a.png"), image)


def test_a_scan_is_scaled_and_centered_on_white(tmp_path: Path) -> None:
    Image.new("RGB", (64, 32), (0, 0, 0)).save(tmp_path / "wide.png")
    image = preprocessing(greek()[1])(str(tmp_path / "wide.png"))
    assert image.shape == (1, 32, 32) and image.dtype == torch.uint8
    assert (image[0, :8] == 255).all() and (image[0, 24:] == 255).all()
    assert (image[0, 8:24] == 0).all()


def test_a_long_drawing_shows_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "_LONG_WORK", 10)
    draw_pictures(find_faces(["DejaVuSans"], "train_fonts"), parse_ranges("U+41-U+5A"), 16)
    assert "Drawing characters" in capsys.readouterr().err
    monkeypatch.setattr(drawing, "_LONG_WORK", 100)
    draw_pictures(find_faces(["DejaVuSans"], "train_fonts"), parse_ranges("U+41-U+5A"), 16)
    assert capsys.readouterr().err == ""


def test_blank_characters_are_left_out(make_font: Callable[..., Path]) -> None:
    box = (0, 0, 900, 900)
    first = make_font("First", {"A": box, "B": None, "C": box, "D": (0, 0, 500, 500)})
    second = make_font("Second", {"A": box, "B": box, "C": None, "D": box})
    data = Characters([str(first)], [str(second)])
    data.read()
    assert data.aliases == [["A"], ["D"]]


def test_more_classes_than_characters() -> None:
    with pytest.raises(DataError, match=r"'num_classes' must be at most 3 \(the char.*\), not 4\."):
        greek(ranges="U+41-U+43", num_classes=4)


def test_fonts_that_share_nothing(make_font: Callable[..., Path]) -> None:
    box = (0, 0, 900, 900)
    a, b = (make_font(f"Only{name}", {name: box, " ": None}) for name in "AB")
    message = "Font 'OnlyB' .* holds none of the characters that OnlyA share: choose other"
    for train, test in (([a, b], []), ([a], [b])):
        with pytest.raises(DataError, match=message):
            Characters([str(path) for path in train], [str(path) for path in test]).read()
    with pytest.raises(DataError, match=r"'OnlyA' .* holds none of the characters within 'ranges'"):
        Characters([str(a)], [], ranges="U+42").read()


def test_fonts_without_ink(make_font: Callable[..., Path]) -> None:
    box = (0, 0, 900, 900)
    full = make_font("Full", {"A": box, "B": box})
    blank = make_font("Blank", {"A": None, "B": None})
    with pytest.raises(DataError, match=r"Blank\.ttf' has no outlines to draw"):
        Characters([str(full)], [str(blank)]).read()
    half, other = (
        make_font("Half", {"A": None, "B": box}),
        make_font("Other", {"A": box, "B": None}),
    )
    with pytest.raises(DataError, match="No character leaves ink in all of the fonts Half, Other"):
        Characters([str(half)], [str(other)]).read()


def test_wrong_arguments() -> None:
    with pytest.raises(DataError, match=r"'image_size' must be at least 8 .*, not 7\."):
        Characters(image_size=7)
    with pytest.raises(DataError, match=r"'num_classes' must be at least 2, not 1\."):
        Characters(num_classes=1)
    with pytest.raises(DataError, match="'ranges' must look like"):
        Characters(ranges="Han")
    with pytest.raises(DataError, match=r"'font' must be one of .*'DejaVuSans'.* not 'Arial'"):
        greek()[0].image_of(0, "Arial")


def test_a_fake_font_is_named(tmp_path: Path) -> None:
    (tmp_path / "fake.ttf").write_text("not a font")
    with pytest.raises(DataError, match=r"fake\.ttf' is not a font"):
        Characters(test_fonts=[str(tmp_path / "fake.ttf")]).read()
