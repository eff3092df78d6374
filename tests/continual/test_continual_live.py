"""`LiveClasses` while others change the registry: in threads, in processes, as a whole file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from processes import PROCESSES
from rootspace.classes import ClassMap, Prediction
from rootspace.continual import ClassRegistry, KnownScore, LiveClasses
from rootspace.continual.live import REGISTRY, create_registry, open_registry
from rootspace.systems import PermutationCode, RootA, RootE8

THREADS = 4
MAPS = {
    "formula": ClassMap(RootA(9), 60),
    "codes": ClassMap.assigned(PermutationCode(8), PermutationCode(8).vectors(torch.arange(50))),
    "search": ClassMap(RootE8(), 60),
}


class LearnedHead:
    """A head that has weights instead of a class map."""

    def __init__(self, num_classes: int, dim: int) -> None:
        self.weight = normalize(torch.randn(num_classes, dim), dim=-1)

    def predict(self, z: Tensor, k: int = 1) -> Prediction:
        cosine, label = (normalize(z, dim=-1) @ self.weight.T).topk(k, dim=-1)
        return Prediction(label, cosine)


def names_of(classes: ClassMap) -> list[str]:
    return [f"class {label}" for label in range(classes.num_classes)]


def live_of(folder: Path, classes: ClassMap) -> LiveClasses:
    return LiveClasses(folder, names_of(classes), classes.predict, classes)


def in_threads(act: Callable[[int], None], number: int = THREADS) -> None:
    """Do it in several threads at once; raises what one of them raises."""
    together = threading.Barrier(number)

    def started(thread: int) -> None:
        together.wait()
        act(thread)

    with ThreadPoolExecutor(number) as pool:
        for _ in pool.map(started, range(number)):
            pass


@pytest.fixture
def classes() -> ClassMap:
    return MAPS["formula"]


def test_as_trained_without_a_registry(tmp_path: Path, classes: ClassMap):
    live, z = live_of(tmp_path, classes), classes.vectors(torch.arange(5))
    assert live.num_active == 60 and len(live.retired) == 0
    assert live.predict(z).label[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert live.names([3, 3, 59]) == ["class 3", "class 3", "class 59"]
    for label in (-1, 60):
        with pytest.raises(
            ValueError, match=rf"'labels' must hold labels in \[0, 60\), not {label}"
        ):
            live.names([label])
    assert not (tmp_path / REGISTRY).exists()


def test_the_next_call_sees_each_change(tmp_path: Path, classes: ClassMap):
    live, z = live_of(tmp_path, classes), classes.vectors(torch.tensor([7, 8]))
    with create_registry(tmp_path, classes, names_of(classes)) as registry:  # it comes later
        assert live.predict(z).label[:, 0].tolist() == [7, 8]
        registry.retire(7)
        assert 7 not in live.predict(z, k=59).label and live.retired.tolist() == [7]
        with pytest.raises(ValueError, match=r"'k' must lie in \[1, 59\], .*, not 60"):
            live.predict(z, k=60)
        registry.rename(7, "seven")
        registry.rename(8, "eight")
        assert live.names([7, 8]) == ["seven", "eight"]
        registry.restore(7)
        assert live.predict(z).label[:, 0].tolist() == [7, 8] and live.num_active == 60
    (tmp_path / REGISTRY).unlink()
    assert live.names([8]) == ["class 8"] and live.num_active == 60


def test_retired_classes_count_as_no_class(tmp_path: Path, classes: ClassMap):
    live, z = live_of(tmp_path, classes), classes.vectors(torch.tensor([7, 8]))
    score = KnownScore(reject_unassigned=True)
    with create_registry(tmp_path, classes, names_of(classes)) as registry:
        registry.retire(7)
    found = live.scores(score, live.predict(z), z)
    assert found[0] == -torch.inf and found[1] == pytest.approx(1)


def test_a_learned_head(tmp_path: Path):
    head = LearnedHead(30, 8)
    live = LiveClasses(tmp_path, [str(i) for i in range(30)], head.predict, None)
    with create_registry(tmp_path, None, [str(i) for i in range(30)]) as registry:
        registry.retire("3")
    found = live.predict(head.weight, k=29).label
    assert 3 not in found and found[4, 0] == 4


def test_a_registry_of_other_vectors_is_refused_whenever_it_comes(
    tmp_path: Path, classes: ClassMap
):
    live, z = live_of(tmp_path, classes), classes.vectors(torch.arange(2))
    create_registry(tmp_path, classes, names_of(classes)).close()
    live.predict(z)
    (tmp_path / "other").mkdir()
    other = MAPS["search"]
    create_registry(tmp_path / "other", other, names_of(other)).close()
    os.replace(tmp_path / "other" / REGISTRY, tmp_path / REGISTRY)
    with pytest.raises(ValueError, match="copied from another run"):
        live.predict(z)
    with pytest.raises(ValueError, match="copied from another run"):
        live_of(tmp_path, classes)


def test_retired_labels_are_read_once_a_generation(
    tmp_path: Path, classes: ClassMap, monkeypatch: pytest.MonkeyPatch
):
    live, z = live_of(tmp_path, classes), classes.vectors(torch.arange(2))
    registry, read = create_registry(tmp_path, classes, names_of(classes)), []
    retired = ClassRegistry.retired
    monkeypatch.setattr(ClassRegistry, "retired", lambda self: (read.append(1), retired(self))[1])
    for _ in range(5):
        live.predict(z)
    assert len(read) == 1
    registry.retire(7)
    registry.close()
    for _ in range(5):
        live.predict(z)
    assert len(read) == 2


@pytest.mark.parametrize("kind", [*MAPS, "learned"])
def test_threads_answer_as_one_does(kind: str, tmp_path: Path):
    """Each thread its own batches, on a map that no thread has used before."""
    head, classes = LearnedHead(60, 8), None
    if kind != "learned":
        original = MAPS[kind]
        original.save(tmp_path / "classes.json")
        classes = ClassMap.load(tmp_path / "classes.json")
    number, dim = (60, 8) if classes is None else (classes.num_classes, classes.dim)
    names = [f"class {label}" for label in range(number)]
    with create_registry(tmp_path, classes, names) as registry:
        for label in range(0, number, 3):
            registry.retire(label)
    batches = [torch.randn(20, dim) for _ in range(40)]
    alone = head.predict if classes is None else ClassMap.load(tmp_path / "classes.json").predict
    expected = [
        LiveClasses(tmp_path, names, alone, None if classes is None else classes).predict(z, 3)
        for z in batches
    ]
    live = LiveClasses(
        tmp_path, names, head.predict if classes is None else classes.predict, classes
    )
    found: list[list[tuple[Prediction, list[str]]]] = [[] for _ in range(THREADS)]

    def act(thread: int) -> None:
        for z in batches:
            prediction = live.predict(z, 3)
            answers = live.names(prediction.label[:, 0].tolist())
            found[thread].append((prediction, answers))

    in_threads(act)
    for answers in found:
        for (prediction, named), right in zip(answers, expected, strict=True):
            assert torch.equal(prediction.label, right.label)
            torch.testing.assert_close(prediction.cosine, right.cosine)
            assert named == [names[label] for label in right.label[:, 0].tolist()]


def test_threads_that_find_a_registry_too_short(tmp_path: Path, classes: ClassMap):
    """All open it at once, and one adds the classes that it lacks."""
    live = live_of(tmp_path, classes)
    first = ClassMap(classes.system, 30, "shuffled", classes.seed)
    create_registry(tmp_path, first, names_of(first)).close()
    in_threads(lambda _: live.predict(classes.vectors(torch.arange(2))) and None)
    with ClassRegistry(tmp_path / REGISTRY) as registry:
        assert [entry.name for entry in registry.entries()] == names_of(classes)
        assert registry.generation == 2


def test_threads_while_the_registry_changes(tmp_path: Path, classes: ClassMap):
    """A call that begins after a change has happened knows it, whatever other threads do."""
    live, z = live_of(tmp_path, classes), classes.vectors(torch.arange(60))
    create_registry(tmp_path, classes, names_of(classes)).close()
    gone: list[int] = []
    over = threading.Event()

    def act(thread: int) -> None:
        if thread == 0:
            with ClassRegistry(tmp_path / REGISTRY) as registry:
                for label in range(40):
                    registry.retire(label)
                    gone.append(label)
            over.set()
            return
        calls = 0
        while not over.is_set() or not calls:
            before = list(gone)
            found = live.predict(z).label[:, 0]
            assert not torch.isin(found, torch.tensor(before, dtype=torch.int64)).any()
            # No mixture either: what is gone is the beginning of the labels.
            kept = (found == torch.arange(60)).nonzero()[:, 0]
            assert kept.tolist() == list(range(60 - len(kept), 60))
            calls += 1

    in_threads(act)
    assert live.retired.tolist() == list(range(40))


def retire_when_told(orders: Connection, path: Path) -> None:
    with ClassRegistry(path) as registry:
        while (label := orders.recv()) is not None:
            registry.retire(label)
            orders.send("done")


def test_threads_see_what_another_process_retires(tmp_path: Path, classes: ClassMap):
    live, z = live_of(tmp_path, classes), classes.vectors(torch.arange(60))
    create_registry(tmp_path, classes, names_of(classes)).close()
    mine, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=retire_when_told, args=(theirs, tmp_path / REGISTRY))
    process.start()
    theirs.close()
    for label in range(5):
        in_threads(lambda _, label=label: _check_predicted(live, z, label, there=True))
        mine.send(label)
        assert mine.recv() == "done"
        in_threads(lambda _, label=label: _check_predicted(live, z, label, there=False))
    mine.send(None)
    process.join()
    assert process.exitcode == 0


def _check_predicted(live: LiveClasses, z: Tensor, label: int, *, there: bool) -> None:
    assert bool((live.predict(z, 3).label == label).any()) == there


def test_a_file_in_place_of_the_registry_is_read(tmp_path: Path, classes: ClassMap):
    """A copy that was put back has a generation that was there before."""
    live, z = live_of(tmp_path, classes), classes.vectors(torch.tensor([7]))
    with create_registry(tmp_path, classes, names_of(classes)) as registry:
        registry.backup(tmp_path / "copy")
        registry.retire(7)
        assert live.predict(z).label[0, 0] != 7
    with ClassRegistry(tmp_path / "copy") as registry:
        registry.retire(8)
    os.replace(tmp_path / "copy", tmp_path / REGISTRY)
    assert live.predict(z).label[0, 0] == 7 and live.retired.tolist() == [8]
    open_registry(tmp_path, classes, names_of(classes)).close()
