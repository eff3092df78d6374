"""A server killed at random moments under writes: no accepted change is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from servers import FACES, glyph, serving

from rootspace.gallery import Gallery, Identities
from rootspace.run import load
from rootspace.serve.client import Client, ServerError

KILLS = int(os.environ.get("ROOTSPACE_FAULTS") or 3)
TEXTS = "QRSTUVWXYZ0123456789abcdefghijkmnopqrstuvwxyz"


class Writer(threading.Thread):
    """Adds images and enrolls classes until the server is gone; notes what was accepted.

    Attributes:
        accepted: id -> label.
        enrolled: names of classes that are there.
        begun: name of the class that a change on its way is about; None if none is.
        doing: `add`, `enroll` or `undo`.
    """

    def __init__(self, url: str, number: int) -> None:
        super().__init__()
        self.url, self.number = url, number
        self.accepted: dict[int, str] = {}
        self.enrolled: set[str] = set()
        self.begun: str | None = None
        self.doing = "add"

    def run(self) -> None:
        with Client(self.url) as client:
            for step in range(10**6):
                try:
                    self._step(client, step)
                except (ConnectionError, ServerError):
                    return

    def _step(self, client: Client, step: int) -> None:
        text = TEXTS[(step + 7 * self.number) % len(TEXTS)]
        size = 32 + (step + 40 * self.number) % 90  # so that pixels differ
        face = FACES[step % len(FACES)]
        name = f"{self.number}.{step}"
        if step % 3 == 2:
            self.begun, self.doing = name, "enroll"
            done = client.enroll(name, [glyph(text, face, size)], review=False)
            self.enrolled.add(name)
            self.accepted |= dict.fromkeys(done.ids, name)
            if step % 2:
                self.doing = "undo"
                client.undo()
                self.enrolled.discard(name)
                self.accepted = {i: n for i, n in self.accepted.items() if n != name}
        else:
            added = client.add([glyph(text, face, size)], label=f"label {text}")
            known = {one.id for one in added.rejected}
            new = [id for id in added.ids if id is not None and id not in known]
            self.accepted |= dict.fromkeys(new, f"label {text}")
        self.begun, self.doing = None, "add"


@pytest.mark.slow
def test_killed_under_writes(run: Path, tmp_path: Path):
    own, chance = Path(shutil.copytree(run, tmp_path / "run")), random.Random(0)
    accepted: dict[int, str] = {}
    enrolled: set[str] = set()
    for number in range(KILLS):
        with serving(own) as (process, url):
            writer = Writer(url, number)
            writer.start()
            moment = ("add", "enroll", "undo")[number % 3]
            while not writer.accepted or writer.doing != moment:
                assert writer.is_alive() and process.poll() is None
                time.sleep(0.001)
            time.sleep(chance.uniform(0.0, 0.3))
            process.send_signal(signal.SIGKILL)
            process.wait()
            writer.join()
        accepted |= writer.accepted
        enrolled |= writer.enrolled
        trained = load(own)
        with Gallery.open(own / "gallery", trained) as gallery:
            identities = Identities(gallery)
            items = {item.id: item.label for some, _ in gallery.scan() for item in some}
            doubtful = {writer.begun}  # the one that was on its way is there or not
            for id, label in accepted.items():
                assert items.get(id) == label or label in doubtful, (id, label, items.get(id))
            names = {one.name for one in identities.all() if one.enrolled}
            assert enrolled - doubtful <= names
            # Table and index agree.
            ids = gallery.ids().tolist()
            assert ids == sorted(items)
            hits = gallery.search(gallery.embeddings(ids), 1)
            assert [row[0].cosine for row in hits] == pytest.approx([1.0] * len(ids), abs=1e-5)
        # Nobody has promised that the one on its way is there, nor that it stays away.
        accepted = {id: label for id, label in accepted.items() if label not in doubtful}
        enrolled -= doubtful
    assert len(accepted) >= KILLS
