"""Classes that are enrolled, merged, split and renamed; every change can be taken back."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

import rootspace as rs
from image_folders import write_images
from rootspace.classes import ClassMap
from rootspace.cli import main
from rootspace.continual import KnownScore, Rejector
from rootspace.continual.live import create_registry
from rootspace.gallery import Gallery, Identities, lance
from rootspace.gallery._known import Known
from rootspace.gallery.inspection import doubts
from rootspace.gallery.lance import LanceStore, unit
from rootspace.run import Run
from rootspace.runs.folder import REJECTOR, record
from rootspace.systems import RootA


def cluster(center: np.ndarray, number: int, seed: int, spread: float = 0.1) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((number, len(center)))
    return unit(center + spread * noise / np.sqrt(len(center)) * 4).astype(np.float32)


def directions(run: Run, number: int) -> np.ndarray:
    """Unit vectors far from the prototypes of the run and from each other."""
    own = run.model.head.vectors(torch.arange(len(run.names))).detach().numpy()
    generator, found = np.random.default_rng(0), list(own)
    while len(found) < len(own) + number:
        one = unit(generator.standard_normal((1, own.shape[1])))[0]
        if np.max(np.array(found) @ one) < 0.35:
            found.append(one)
    return np.array(found[len(own) :])


@pytest.fixture
def far(run: Run) -> np.ndarray:
    return directions(run, 3)


@pytest.fixture
def grown(gallery: Gallery, far: np.ndarray) -> Identities:
    """Unlabeled items: ids 0 to 9 in one direction, 10 to 15 in another, 16 alone."""
    gallery.add(np.concatenate([cluster(far[0], 10, 1), cluster(far[1], 6, 2), far[2:]]))
    return Identities(gallery)


def labels(one: Identities) -> dict[int, str | None]:
    found = one.gallery.store.labels()
    return dict(zip(found.ids.tolist(), found.names, strict=True))


def state(one: Identities) -> tuple[Any, ...]:
    return labels(one), one.all(), one.predict(np.eye(16, dtype=np.float32), 7)


def again(one: Identities) -> Identities:
    """As a process has it that starts now."""
    return Identities(Gallery.open(one.gallery.store.name, one.run))


def test_the_classes_of_the_run_are_there(gallery: Gallery, run: Run):
    one = Identities(gallery)
    assert [i.name for i in one.all()] == run.names
    assert not any(i.enrolled or i.retired or i.images for i in one.all())
    z = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32)
    expected = run.classes().predict(torch.from_numpy(unit(z)), 5)
    found = one.predict(z, 9)
    assert [[m.label for m in row] for row in found] == expected.label.tolist()
    np.testing.assert_allclose(
        [[m.cosine for m in row] for row in found], expected.cosine.numpy(), atol=1e-6
    )
    assert one.find(["a", "x", None]).tolist() == [run.names.index("a"), -1, -1]
    own = np.arange(5)
    np.testing.assert_array_equal(one.vectors(own), run.model.head.vectors(torch.arange(5)))


def test_the_other_unknowns_follow_a_label(grown: Identities, run: Run, far: np.ndarray):
    before = state(grown)
    change = grown.label([3, 5], "new")
    assert labels(grown) == {id: "new" if id < 10 else None for id in range(17)}
    assert change.items == 10
    (new,) = [i for i in grown.all() if i.enrolled]
    assert (new.label, new.name, new.images, new.automatic) == (5, "new", 10, 8)
    # Recognized at once; its vector is a free one of the system, and no class has moved.
    assert grown.predict(far[:1])[0][0].name == "new"
    class_map = run.class_map
    assert class_map is not None
    vector = torch.from_numpy(grown.vectors(np.array([5])))
    torch.testing.assert_close(class_map.system.quantize(vector), vector)
    assert not (vector == class_map.vectors(torch.arange(5))).all(-1).any()
    # A second class takes nothing of a user's label; a label that was wrong is put right.
    grown.label([10], "other")
    grown.label([4], "other")
    assert labels(grown) == {
        id: "other" if id == 4 or 10 <= id < 16 else "new" if id < 10 else None for id in range(17)
    }
    found = again(grown)
    assert state(found) == state(grown)
    for _ in range(3):
        found.undo()
    assert state(found) == before == state(grown)
    with pytest.raises(ValueError, match="There is no change to undo"):
        found.undo()


def test_a_label_of_a_user_stays(grown: Identities):
    grown.label([3], "new")
    grown.gallery.update([4], label="mine")  # past the identities
    grown.label([5], None)
    grown.label([10], "other")
    found = labels(grown)
    assert found[4] == "mine" and found[3] == "new" and found[6] == "new"
    # An item of none stays so, until the user or an undo says otherwise.
    assert found[5] is None
    grown.gallery.update([11], label=None)
    grown.label([16], "third")
    assert labels(grown)[5] is labels(grown)[11] is None
    for _ in range(3):
        grown.undo()
    grown.label([10], "other")
    found = labels(grown)
    assert found[5] == "new" and found[11] is None
    grown.label([11], "other")
    assert labels(grown)[11] == "other"


def test_a_label_that_a_user_confirms_is_the_users(grown: Identities):
    grown.label([0], "new")
    grown.gallery.update([1], label="new")
    new = grown.all()[5]
    assert (new.images, new.automatic) == (10, 8)
    grown.retire("new")
    assert {id for id, label in labels(grown).items() if label == "new"} == {0, 1}
    grown.undo()
    grown.undo()
    assert {id for id, label in labels(grown).items() if label == "new"} == {1}


def test_unknowns_in_groups(grown: Identities, run: Run):
    vectors = run.model.head.vectors(torch.arange(5)).numpy()
    grown.gallery.add(vectors)  # these are known
    groups = grown.unknowns()
    assert [sorted(group.ids) for group in groups] == [[*range(10)], [*range(10, 16)]]
    assert all(0.8 < group.cohesion <= 1 and group.nearest.cosine < 0.6 for group in groups)
    assert [len(group.ids) for group in grown.unknowns(min_size=1)] == [10, 6, 1]
    assert grown.is_known(vectors).all() and not grown.is_known(grown.gallery.embeddings([16]))[0]
    grown.label(groups[0].ids, "new")
    assert [sorted(group.ids) for group in grown.unknowns()] == [[*range(10, 16)]]
    assert grown.unknowns(min_cosine=0.9999, min_size=2) == []


def test_merged_classes_are_recognized_as_one(grown: Identities, far: np.ndarray):
    grown.label([0], "x")
    grown.label([10], "y")
    before = state(grown)
    grown.merge(["y"], "x")
    assert {*labels(grown).values()} == {"x", None}
    assert [i.name for i in grown.all()][5:] == ["x"] and grown.all()[5].images == 16
    for one in (grown, again(grown)):
        assert [row[0].name for row in one.predict(far[:2])] == ["x", "x"]
        names = [m.name for m in one.predict(far[:1], 9)[0]]
        assert len(names) == len({*names}) == 6
    grown.label([16], "z")
    grown.merge(["x"], "z")  # and what was merged into it
    assert [row[0].name for row in grown.predict(far)] == ["z", "z", "z"]
    assert {*labels(grown).values()} == {"z"}
    own = grown.find(["z"] * 3)
    np.testing.assert_allclose(grown.cosines(far, own), grown.nearest(far, 1)[1][:, 0], atol=1e-6)
    assert all(
        doubt.margin > 0 for doubt in doubts(far, own, grown.nearest, grown.cosines, grown.names())
    )
    for _ in range(3):
        grown.undo()
    assert state(again(grown)) == before


def test_split_rename_retire(grown: Identities, run: Run, far: np.ndarray):
    grown.label([0, 10], "x")
    # The mean of both directions is near to either.
    assert grown.all()[5].images >= 2
    grown.split("x", [10], "y")
    assert labels(grown)[10] == "y" and grown.predict(far[1:2])[0][0].name == "y"
    assert all(label == "y" for id, label in labels(grown).items() if 10 <= id < 16)
    before = state(grown)
    grown.rename("y", "why")
    assert labels(grown)[12] == "why" and grown.predict(far[1:2])[0][0].name == "why"
    name = run.names[2]
    grown.rename(name, "two")  # a class of the run, here only
    assert [i.name for i in grown.all()][2] == "two" and run.names[2] == name
    grown.retire("why")
    assert grown.predict(far[1:2])[0][0].name != "why" and grown.all()[6].retired
    assert labels(grown)[10] == "why" != labels(grown)[12]
    grown.retire("two")
    assert "two" not in [m.name for m in grown.predict(far[:1], 9)[0]]
    with pytest.raises(ValueError, match="is retired: restore it"):
        grown.label([12], "why")
    with pytest.raises(ValueError, match="retired class cannot be merged"):
        grown.merge(["two"], "x")
    grown.restore("why")
    assert labels(grown)[12] == "why"
    for _ in range(5):
        grown.undo()
    assert state(again(grown)) == before


def test_random_changes_can_all_be_taken_back(grown: Identities, run: Run):
    generator = np.random.default_rng(0)
    states = [state(grown)]
    while len(states) < 14:
        one = again(grown) if len(states) % 5 == 0 else grown
        names = [i.name for i in one.all()]
        some = generator.choice(17, 3, replace=False).tolist()
        a, b = generator.choice(names, 2, replace=False).tolist()
        free = f"n{len(states)}"
        try:
            match int(generator.integers(7)):
                case 0:
                    one.label(some, free)
                case 1:
                    one.label(some, a)
                case 2:
                    one.label(some, None)
                case 3:
                    one.merge([a], b)
                case 4:
                    one.rename(a, free)
                case 5:
                    one.retire(a)
                case _:
                    own = [id for id, label in labels(one).items() if label == a]
                    one.split(a, own[:1], free)
        except ValueError:
            continue
        states.append(state(one))
    for expected in reversed(states[:-1]):
        grown.undo()
        assert state(again(grown)) == expected
    history = grown.history()
    assert len(history) == 26 and sum(change.undone for change in history) == 13
    assert [c.number for c in grown.history(2)] == [26, 25]


def test_items_are_assigned_by_what_has_changed_as_by_all(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Random changes through one object, and through objects that compare with all classes."""
    centers = np.concatenate([directions(run, 6), run.model.head.vectors(torch.arange(5)).numpy()])
    both = [Identities(Gallery.create(tmp_path / name, run)) for name in ("one", "all")]
    generator, compared = np.random.default_rng(1), list[int]()
    decide = Known.decide

    def counted(self: Known, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        compared.append(len(z))
        return decide(self, z)

    monkeypatch.setattr(Known, "decide", counted)
    number, totals, names = 0, [0, 0], list[str]()
    for step in range(40):
        if step % 4 == 0:
            x = np.concatenate([cluster(c, 2, 100 * step + i, 0.5) for i, c in enumerate(centers)])
            for one in both:
                one.gallery.add(x)
            number += len(x)
        kind = int(generator.integers(6)) if len(names) > 2 else 0
        ids = generator.choice(number, 2, replace=False).tolist()
        some = generator.permutation(names).tolist()
        both[1] = again(both[1])
        for i, one in enumerate(both):
            compared.clear()
            match kind:
                case 0 | 1:
                    one.label(ids, f"n{step}")
                case 2:
                    one.merge([some[0]], some[1])
                case 3:
                    one.rename(some[0], f"r{step}")
                case 4:
                    one.retire(some[0])
                case _:
                    one.undo()
            totals[i] += sum(compared)
        names = [one.name for one in both[0].all() if one.enrolled and not one.retired]
        assert labels(both[0]) == labels(both[1]), (step, kind)
    assert 2 * totals[0] < totals[1]


def test_a_change_that_was_cut_off_is_finished(grown: Identities, monkeypatch: pytest.MonkeyPatch):
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Identities, "_relabel", killed)
    with pytest.raises(KeyboardInterrupt):
        grown.label([3], "new")
    assert {*labels(grown).values()} == {None}
    monkeypatch.undo()
    found = again(grown)
    assert sum(label == "new" for label in labels(found).values()) == 10
    found.undo()
    assert {*labels(found).values()} == {None} and [i.name for i in found.all()] == found.run.names


def test_items_that_are_gone(grown: Identities):
    grown.label([3], "new")
    grown.gallery.delete([3, 4, 16])
    grown.rename("new", "newer")
    assert grown.all()[5].images == 8
    grown.undo()
    grown.undo()
    assert {*labels(grown).values()} == {None} and len(labels(grown)) == 14


def test_enroll_says_why_images_are_refused(
    gallery: Gallery, run: Run, far: np.ndarray, images: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    """Pictures whose embeddings are known: 4 alike, one far from them, one of another class."""
    files = sorted(images.rglob("*.png"))[:6]
    vectors = run.model.head.vectors(torch.arange(len(run.names))).numpy()
    other = int((vectors @ far[0]).argmax())  # or the sixth would be far from the others too
    between = unit(0.97 * far[:1] + vectors[[other]])
    z = np.concatenate([cluster(far[0], 4, 1), far[1:2], between])
    embed = Run.embed_batch
    order = iter(z)

    def known(self: Run, batch: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.array([next(order) for _ in range(len(embed(self, batch)))]))

    monkeypatch.setattr(Run, "embed_batch", known)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"x")
    one = Identities(gallery)
    found = one.enroll("new", [*files, broken, files[0]])
    assert found.ids == (0, 1, 2, 3) and found.identity.images == 4
    assert [(r.index, r.reason) for r in found.rejected] == [
        *((4, "outlier"), (5, "other class"), (6, "unreadable"), (7, "duplicate"))
    ]
    assert "too far from the other images" in found.rejected[0].message
    assert f"to {run.names[other]!r}" in found.rejected[1].message
    assert len(gallery) == 4  # refused images are not kept
    # More images of it; one that is there already is refused.
    more = sorted(images.rglob("*.png"))[6:8]
    order = iter(cluster(far[0], 2, 5))
    found = one.enroll("new", [*more, files[0]])
    assert len(found.ids) == 2 and [r.reason for r in found.rejected] == ["duplicate"]
    assert found.identity.images == 6
    order = iter(vectors[[other]])
    last = sorted(images.rglob("*.png"))[8:9]
    with pytest.raises(ValueError, match="must hold an image that can be taken for 'newer'"):
        one.enroll("newer", last)
    order = iter(vectors[[other]])
    assert len(one.enroll("newer", last, review=False).ids) == 1
    # A change back takes the image too; one that was there before stays.
    one.undo()
    assert len(gallery) == 6 and [i.name for i in one.all()][5:] == ["new"]
    order = iter(vectors[[other]])
    (kept,) = gallery.add(last).ids
    order = iter(())
    assert one.enroll("newest", last, review=False).ids == (kept,)
    one.undo()
    assert gallery.ids().tolist() == [*range(6), kept] and labels(one)[kept or 0] is None


def test_what_somebody_has_changed_stays_when_it_was_enrolled(grown: Identities, images: Path):
    files = sorted(images.rglob("*.png"))[:4]
    ids = grown.enroll("new", files, review=False).ids
    grown.gallery.update(ids[:1], label="mine")
    grown.gallery.update(ids[1:2], payload={"n": 1})
    grown.undo()
    assert grown.gallery.ids().tolist() == [*range(17), *ids[:2]]
    assert [item.label for item in grown.gallery.get(ids[:2])] == ["mine", None]


def test_the_network_holds_up_nobody(
    grown: Identities, images: Path, monkeypatch: pytest.MonkeyPatch
):
    """Another process writes while images of a class are embedded, and nothing is there before."""
    monkeypatch.setattr(lance, "WAIT", 0.2)
    other, embed = Gallery.open(grown.gallery.store.name), Run.embed_batch

    def busy(self: Run, batch: torch.Tensor) -> torch.Tensor:
        other.update([0], payload={"n": 1})
        assert len(other) == 17
        return embed(self, batch)

    monkeypatch.setattr(Run, "embed_batch", busy)
    found = grown.enroll("new", images.rglob("*.png"), review=False)
    assert len(found.ids) == 15 and len(other) == 32 and len(other.ids("n = 1")) == 1


@pytest.mark.parametrize("moment", ["insert", "_relabel"])
def test_an_enrollment_that_was_cut_off(
    grown: Identities, images: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    """Before its images were there it is taken back, after that it is finished."""
    before, files = state(grown), sorted(images.rglob("*.png"))[:3]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    owner = LanceStore if moment == "insert" else Identities
    with monkeypatch.context() as broken:
        broken.setattr(owner, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            grown.enroll("new", files, review=False)
    found = again(grown)
    if moment == "insert":
        assert [one.action for one in found.history()] == ["undo", "enroll"]
    else:
        assert found.all()[5].images >= 3 and len(found.gallery) == 20
        found.undo()
    assert state(found) == state(grown) == before
    assert len(found.enroll("new", files, review=False).ids) == 3
    assert found.undo().action == "enroll" and state(found) == before


def test_why(grown: Identities, run: Run, far: np.ndarray):
    grown.label([*range(10)], "x")
    grown.label([*range(10, 16)], "y")
    x, y = grown.vectors(np.array([5, 6]))
    clear, between, strange = grown.why(np.stack([far[0], x + y, far[2]]), 3)
    assert clear.known and not clear.ambiguous and clear.matches[0].name == "x"
    assert clear.margin == pytest.approx(clear.matches[0].cosine - clear.matches[1].cosine)
    assert [hit.label for hit in clear.neighbors] == ["x"] * 3
    assert between.ambiguous and {m.name for m in between.matches[:2]} == {"x", "y"}
    assert not strange.known


def test_what_the_registry_of_the_run_says_holds(folder_run: Path, tmp_path: Path):
    run = rs.load(folder_run)
    one = Identities(Gallery.create(folder_run / "gallery", run))
    name = run.names[0]
    z = run.model.head.vectors(torch.tensor([0])).numpy()
    assert one.predict(z)[0][0].name == name
    with create_registry(folder_run, run.class_map, run.names) as registry:
        registry.rename(0, "renamed")
        registry.retire(1)
    assert one.predict(z)[0][0].name == "renamed"
    assert [i.retired for i in one.all()] == [False, True, False, False, False]
    with pytest.raises(ValueError, match="is retired in the run"):
        one.restore(run.names[1])


def test_a_class_of_the_run_is_found_by_all_its_names(folder_run: Path, far: np.ndarray):
    """By that of its folder, by an alias, and by the name that the gallery had given it."""
    run = rs.load(folder_run)
    one = Identities(Gallery.create(folder_run / "gallery", run))
    one.gallery.add(np.concatenate([cluster(far[0], 4, 1), cluster(far[1], 4, 2)]), labels="a")
    label = run.names.index("a")
    with create_registry(folder_run, run.class_map, run.names) as registry:
        registry.rename(label, "Renamed")
        registry.alias(label, "alias")
    assert one.all()[label].name == "Renamed" and one.all()[label].images == 8
    assert one.find(["a", "alias", "Renamed", "b"]).tolist() == [label] * 3 + [-1]
    one.label([0], "alias")
    one.label([1], "a")
    assert len(one.all()) == 5 and [labels(one)[id] for id in range(3)] == ["Renamed"] * 2 + ["a"]
    one.split("alias", [2], "new")
    assert labels(one)[2] == "new" and one.all()[label].images == 7
    with pytest.raises(ValueError, match="'a' is a name of class 'Renamed'"):
        one.rename("new", "a")
    one.rename("alias", "here")
    assert {*labels(one).values()} == {"here", "new"}
    assert one.find(["a", "alias", "Renamed", "here"]).tolist() == [label] * 4
    one.rename("here", "Renamed")  # back
    one.merge(["a"], "f")
    assert one.find(["a", "f"]).tolist() == [run.names.index("f")] * 2
    one.label([3], "a")
    assert labels(one)[3] == "f" and len(one.all()) == 5


def test_a_class_that_was_enrolled_under_an_alias(folder_run: Path, far: np.ndarray):
    """Before the run's class was called so: it speaks for that."""
    run = rs.load(folder_run)
    one = Identities(Gallery.create(folder_run / "gallery", run))
    one.gallery.add(cluster(far[0], 4, 1))
    one.label([0], "new")
    with create_registry(folder_run, run.class_map, run.names) as registry:
        registry.alias(0, "new")
    assert len(one.all()) == 5 and one.all()[0].images == 4
    assert one.predict(far[:1])[0][0].label == 0


def test_ids_may_be_an_array(grown: Identities):
    grown.label(grown.gallery.ids()[:3], "x")
    grown.split("x", grown.gallery.ids()[:1], "y")
    assert labels(grown)[0] == "y"
    with pytest.raises(TypeError, match="'ids' must hold whole numbers, not 'x'"):
        grown.label(cast(Any, ["x"]), "x")


def test_a_learned_head_grows_by_means(trained: Path, tmp_path: Path):
    options = ["--data=ImageFolder", f"--data.root={trained.parent / 'images'}"]
    options += ["--data.image_size=16", "--model.width=4", "--loader.batch_size=12"]
    options += ["--train.epochs=2", "--head=NormalizedHead", "--head.dim=16"]
    folder = tmp_path / "learned"
    assert main(["train", *options, f"--run.dir={folder}"]) == 0
    run = rs.load(folder)
    gallery = Gallery.create(folder / "gallery", run)
    far = directions(run, 1)
    gallery.add(cluster(far[0], 5, 0))
    one = Identities(gallery)
    one.label([0], "new")
    np.testing.assert_allclose(one.vectors(np.array([5])), gallery.embeddings([0]), atol=1e-6)
    assert {*labels(one).values()} == {"new"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: i.label([99], "x"), "has no item 99"),
        (lambda i: i.label([], "x"), "'ids' must hold an id"),
        (lambda i: i.label([0], ""), "'name' must be a text"),
        (lambda i: i.merge(["q"], "a"), "There is no class 'q'"),
        (lambda i: i.merge(["a"], "a"), "classes other than 'a'"),
        (lambda i: i.rename("q", "x"), "There is no class 'q'"),
        (lambda i: i.rename("a", "f"), "'new' must be free"),
        (lambda i: i.split("a", [0], "x"), "items of 'a', not 0"),
        (lambda i: i.split("a", [0], "f"), "'new' must be free"),
        (lambda i: i.restore("a"), "is not retired"),
        (lambda i: i.retire("q"), "There is no class"),
        (lambda i: i.predict(np.ones((1, 16), np.float32), 0), "'k' must be"),
        (lambda i: i.unknowns(min_size=0), "'min_size'"),
        (lambda i: i.unknowns(min_cosine=2), "'min_cosine'"),
    ],
)
def test_what_cannot_be(grown: Identities, call, message: str):
    before = state(grown)
    with pytest.raises(ValueError, match=message):
        call(grown)
    assert state(grown) == before and grown.history() == []


def test_a_journal_that_is_none(gallery: Gallery, tmp_path: Path):
    path = Path(gallery.store.name) / lance.JOURNAL
    path.write_text("something else, which is long enough to be no database")
    with pytest.raises(ValueError, match="is damaged"):
        Identities(gallery)
    with pytest.raises(ValueError, match="must be opened with its run"):
        Identities(Gallery(gallery.store))


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    capsys.readouterr()
    assert main(["identities", *map(str, arguments), "--format=json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_commands(
    capsys: pytest.CaptureFixture[str], folder_run: Path, images: Path, tmp_path: Path
):
    assert main(["index", str(folder_run), str(images)]) == 0
    new = write_images(tmp_path / "new", ["g"], 4, 9)
    found = call(capsys, folder_run, "enroll", "g", new, "--no_review")
    assert found["identity"]["name"] == "g" and len(found["ids"]) == 4
    assert call(capsys, folder_run, "list")[-1]["images"] >= 4
    (why,) = call(capsys, folder_run, "why", new / "g/0.png", "--top=2")
    assert len(why["matches"]) == len(why["neighbors"]) == 2
    assert call(capsys, folder_run, "split", "g", "h", found["ids"][0])["action"] == "split"
    assert call(capsys, folder_run, "merge", "h", "--into=g")["action"] == "merge"
    assert call(capsys, folder_run, "rename", "g", "gg")["action"] == "rename"
    assert call(capsys, folder_run, "retire", "gg")["action"] == "retire"
    assert call(capsys, folder_run, "restore", "gg")["action"] == "restore"
    assert call(capsys, folder_run, "unlabel", found["ids"][0])["action"] == "label"
    assert call(capsys, folder_run, "label", "gg", found["ids"][0])["action"] == "label"
    assert isinstance(call(capsys, folder_run, "unknowns", "--min_size=1"), list)
    numbers = [change["number"] for change in call(capsys, folder_run, "history")]
    assert numbers == [8, 7, 6, 5, 4, 3, 2, 1]
    for number in numbers:
        assert call(capsys, folder_run, "undo")["number"] == number
    assert all(not one["enrolled"] for one in call(capsys, folder_run, "list"))
    for arguments in (["undo"], ["why", tmp_path / "no.png"], ["rename", "q", "r"]):
        assert main(["identities", *map(str, [folder_run, *arguments])]) == 2
        assert "error: " in capsys.readouterr().err
    for action in ("list", "history", "unknowns", "why"):
        more = [str(new)] if action == "why" else []
        assert main(["identities", str(folder_run), action, *more]) == 0
        assert capsys.readouterr().out.strip()


def test_classes_stay_when_the_run_grows(grown: Identities, extended: Run, far: np.ndarray):
    grown.label([0], "new")
    grown.label([10], "other")
    grown.merge(["new"], "other")
    grown.rename("a", "first")
    found = Identities(Gallery.open(grown.gallery.store.name, extended))
    names = [i.name for i in found.all()]
    assert sorted(names) == sorted(["first", "猫", "=d", "-e", "f", "x", "y", "other"])
    assert [row[0].name for row in found.predict(far[:2])] == ["other", "other"]
    found.label([16], "alone")
    assert found.predict(far[2:])[0][0].name == "alone"
    for _ in range(4):
        found.undo()
    assert {*found.find(["new"]).tolist()} == {7} and found.predict(far[:1])[0][0].name == "new"
    found.rename("y", "why")
    with pytest.raises(ValueError, match="a run with more classes"):
        again(grown).all()


def test_an_enrolled_class_that_the_run_has_learned(
    grown: Identities, extended: Run, far: np.ndarray
):
    grown.label([0], "x")
    found = Identities(Gallery.open(grown.gallery.store.name, extended))
    assert [i.name for i in found.all()] == extended.names and found.all()[5].images == 10
    (match,) = found.predict(far[:1])[0]
    assert (match.label, match.name) == (5, "x") and match.cosine > 0.8
    found.retire("x")
    assert found.predict(far[:1])[0][0].name != "x"


def test_no_vector_is_given_twice(gallery: Gallery):
    """Where the nearest vectors of enrolled classes and of a new one collide."""
    known = Identities(gallery)._known()
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        system = RootA(6)
        taken = torch.randperm(system.size, generator=generator)[:10]
        run = cast(Run, SimpleNamespace(class_map=ClassMap.assigned(system, taken)))
        known = replace(known, run=run, vectors=np.empty((0, 6), np.float32))
        mean = torch.randn(1, 6, generator=generator)
        for part in mean + 0.3 * torch.randn(8, 6, generator=generator):
            vector = known.free_vector(part.numpy())
            assert not (known.vectors == vector).all(axis=1).any()
            known = replace(known, vectors=np.concatenate([known.vectors, vector[None]]))


def test_an_input_of_a_retired_class_is_unknown(folder_run: Path):
    score = KnownScore()
    known = torch.linspace(0.9, 1, 100)
    rejector = Rejector.calibrate(score, known, rate=0.05, known_cosine=0.95)
    rejector.save(folder_run / REJECTOR)
    record(folder_run, REJECTOR)
    run = rs.load(folder_run)
    one = Identities(Gallery.create(folder_run / "gallery", run))
    z = run.model.head.vectors(torch.arange(2)).numpy()
    assert one.is_known(z).tolist() == [True, True]
    one.retire(run.names[0])
    assert one.is_known(z).tolist() == [False, True]


def test_what_is_usual_follows_the_gallery(grown: Identities, run: Run):
    """How near an input must be, without a rejector, is the same for all that ask."""
    grown.label([16], "new")
    vector = grown.vectors(np.array([5]))
    z = unit(vector + 0.9 * unit(grown.gallery.embeddings([0]) * 0.1 + directions(run, 4)[3:]))
    before = grown.is_known(z)
    own = run.model.head.vectors(torch.arange(5)).numpy()
    grown.gallery.add(np.concatenate([cluster(v, 4, i, 0.001) for i, v in enumerate(own)]))
    grown.gallery.update(grown.gallery.ids()[-20:].tolist(), label=np.repeat(run.names, 4).tolist())
    assert before.all()
    assert not again(grown).is_known(z).any() and not grown.is_known(z).any()


def test_undo_keeps_labels_that_a_user_gave_since(grown: Identities):
    grown.label([0], "new")
    grown.gallery.update([1], label="mine")
    grown.undo()
    assert labels(grown) == {id: "mine" if id == 1 else None for id in range(17)}


def test_a_change_that_is_finished_later_keeps_labels_too(
    grown: Identities, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as killed:
        killed.setattr(Identities, "_relabel", lambda *_: sys.exit())
        with pytest.raises(SystemExit):
            grown.label([0], "new")
    grown.gallery.update([1], label="mine")
    found = labels(again(grown))
    assert found[1] == "mine" and all(found[id] == "new" for id in range(10) if id != 1)


def test_nothing_is_added_to_a_retired_class(grown: Identities, images: Path):
    grown.label([0], "new")
    grown.retire("new")
    with pytest.raises(ValueError, match="'new' is retired: restore it first"):
        grown.enroll("new", sorted(images.rglob("*.png"))[:2])
    assert len(grown.gallery) == 17


@pytest.mark.parametrize("action", ["label", "merge", "rename", "retire", "split", "enroll"])
def test_each_thread_is_told_of_its_own_change(
    grown: Identities, images: Path, action: str, monkeypatch: pytest.MonkeyPatch
):
    """Another change is made as soon as this one lets go of the gallery."""
    grown.label([0, 1], "x")
    grown.label([10], "y")
    changing, waiting = Identities._changing, ["other"]

    @contextmanager
    def followed(self: Identities) -> Iterator[None]:
        with changing(self):
            yield
        if waiting:
            grown.rename(grown.all()[-1].name, waiting.pop())

    monkeypatch.setattr(Identities, "_changing", followed)
    if action == "enroll":
        file = min(images.rglob("*.png"))
        assert grown.enroll("z", [file], review=False).identity.name == "z"
        return
    calls = {
        "label": lambda: grown.label([16], "z"),
        "merge": lambda: grown.merge(["x"], "y"),
        "rename": lambda: grown.rename("x", "z"),
        "retire": lambda: grown.retire("x"),
        "split": lambda: grown.split("x", [0], "z"),
    }
    assert calls[action]().number == 3 and grown.history(1)[0].number == 4
