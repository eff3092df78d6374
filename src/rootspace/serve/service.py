"""From uploaded files to answers: reading, batching, and the classes of the model."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Condition, Lock
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rootspace._errors import DataError
from rootspace._terminal import say
from rootspace.images import NESTING, to_pixels

from .batching import MicroBatcher
from .errors import SHOWN, RefusedError
from .metrics import Metrics
from .model import Answers, Floats, ServedModel
from .projection import Projection, fit, place_classes
from .workers import Workers

if TYPE_CHECKING:
    from PIL.Image import Image

MAP_POINTS = 1_000_000
"""Points of the map, 8 bytes each; of more classes evenly spread ones are shown."""


CLOSE_SECONDS = 5
"""For calls of the gallery when the service is closed: another process may hold its lock."""


@dataclass(frozen=True)
class Limits:
    """Of what clients may ask for.

    Attributes:
        max_bytes: of the body of a request.
        max_json: bytes of a body that is no form. The interpreter reads JSON in one go, and answers
            nobody meanwhile: about 60 ms for 2 MiB of numbers.
        max_images: in a request.
        max_pixels: of an image before it is scaled, and of all that are decoded at once.
        max_batch: images that go through the network together.
        max_wait: seconds that a batch waits for images that are being read.
        max_queue: images that are being read or wait.
        max_memory: bytes that have come of all requests in flight; more are refused.
        seconds: to send a request, and to answer it.
    """

    max_bytes: int = 32 * 2**20
    max_json: int = 2 * 2**20
    max_images: int = 32
    max_pixels: int = 50_000_000
    max_batch: int = 32
    max_wait: float = 0.005
    max_queue: int = 512
    max_memory: int = 512 * 2**20
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.max_memory < self.max_bytes:
            raise ValueError(
                f"Argument 'max_memory' must be at least 'max_bytes', {self.max_bytes}, not "
                f"{self.max_memory}."
            )


@dataclass(frozen=True)
class Upload:
    """A file that a client has sent."""

    name: str
    file: BinaryIO


@dataclass(frozen=True)
class Answer:
    """Of one image, see `Answers`."""

    embedding: Floats
    labels: list[int]
    cosines: list[float]
    names: list[str]
    unknown: bool | None


@dataclass(frozen=True)
class _Question:
    pixels: NDArray[np.uint8]
    k: int  # 0 where only the embedding is asked for


class Service:
    """A model that answers for uploaded files.

    Args:
        model: that is served.
        limits: of requests.
    """

    def __init__(self, model: ServedModel, limits: Limits) -> None:
        self.model = model
        self.limits = limits
        own = model.shape.max_pixels
        self.shape = replace(model.shape, max_pixels=min(own, limits.max_pixels))
        self.metrics = Metrics(lambda: self.batcher.waiting)
        self.batcher = MicroBatcher(
            self._answer_batch,
            max_batch=limits.max_batch,
            max_wait=limits.max_wait,
            max_queue=limits.max_queue,
            observe=self.metrics.batch,
        )
        # Pillow decodes without the interpreter's lock.
        self._readers = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="images")
        # Of the gallery. One thread: a change would wait for the one before it anyway.
        self.reads, self.changes = Workers("reads", 4, 64), Workers("changes", 1, 16)
        self._turn, self._decoding, self._decoded = Lock(), 0, Condition()
        self._map_lock, self._points_lock = Lock(), Lock()

    async def close(self) -> None:
        """Finish what waits, and end all threads but those that wait for others too long."""
        await self.batcher.close()
        self._readers.shutdown()
        # Each is asked to end, whatever becomes of the other.
        ended = [workers.close(CLOSE_SECONDS) for workers in (self.reads, self.changes)]
        if all(ended):
            self.model.close()
        else:  # its files are in use
            say(f"The gallery has not done in {CLOSE_SECONDS} s what had begun: it is left undone.")

    async def answers(self, uploads: Sequence[Upload], k: int) -> list[Answer | DataError]:
        """What the model says of each file, or why it cannot be read.

        Args:
            uploads: the files.
            k: number of classes; 0 for embeddings alone.

        Raises:
            OverloadedError: the queue is full.
            RefusedError: the only file cannot be read, or none of several can.
        """
        with self.batcher.coming(len(uploads)):
            read = await self.read(uploads)
        found: list[Answer | DataError] = await asyncio.gather(
            *(self._ask(pixels, k) for pixels in read)
        )
        self._check(found)
        return found

    async def read(self, uploads: Sequence[Upload]) -> list[NDArray[np.uint8] | DataError]:
        """uint8 `[C, size, size]` of each file, or why it cannot be read."""
        return await asyncio.gather(*(self._read(upload) for upload in uploads))

    async def pixels(
        self, uploads: Sequence[Upload]
    ) -> tuple[NDArray[np.uint8], list[int], dict[int, DataError]]:
        """The files that can be read, for what takes pixels.

        Returns:
            uint8 `[N, C, size, size]`, the places of these files among all, and place -> why of the
            others.

        Raises:
            OverloadedError, RefusedError: as of `answers`.
        """
        with self.batcher.coming(len(uploads)):
            found = await self.read(uploads)
        self._check(found)
        good = {i: one for i, one in enumerate(found) if not isinstance(one, DataError)}
        bad = {i: one for i, one in enumerate(found) if isinstance(one, DataError)}
        return np.stack(list(good.values())), list(good), bad

    def _check(self, found: Sequence[object]) -> None:
        """Count images, and refuse a request without one that can be read."""
        refused = [one for one in found if isinstance(one, DataError)]
        self.metrics.images(len(found) - len(refused), len(refused))
        if len(refused) == len(found):
            others = f" None of the other {len(found) - 1} can be either." * (len(found) > 1)
            raise RefusedError(422, f"{refused[0]}{others}", "image_unreadable")

    async def _read(self, upload: Upload) -> NDArray[np.uint8] | DataError:
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, self._read_now, upload
        )

    def _read_now(self, upload: Upload) -> NDArray[np.uint8] | DataError:
        name = upload.name if len(upload.name) <= SHOWN else f"{upload.name[:SHOWN]}..."
        try:
            # Here, so that few files are in memory at once.
            with self._opened(io.BytesIO(upload.file.read()), name) as image:
                return to_pixels(self.shape.square(self.shape.convert(image, name)))
        except DataError as error:
            return error
        except MemoryError:
            return DataError(f"Image file '{name}' needs more memory than there is.")

    @contextmanager
    def _opened(self, source: BinaryIO, name: str) -> Iterator[Image]:
        """An image, when there is room for its pixels; a few bytes may hold many of them."""
        most = self.shape.max_pixels
        # One after the other, so that small images do not pass a large one for ever; and few
        # formats are decoded already when they are opened.
        with self._turn:
            image = self.shape.open(source, name)
            pixels = most if image.format in NESTING else min(image.width * image.height, most)
            with self._decoded:
                self._decoded.wait_for(lambda: self._decoding + pixels <= most)
                self._decoding += pixels
        try:
            with image:
                yield image
        finally:
            with self._decoded:
                self._decoding -= pixels
                self._decoded.notify()

    async def _ask(self, pixels: NDArray[np.uint8] | DataError, k: int) -> Answer | DataError:
        if isinstance(pixels, DataError):
            return pixels
        try:
            return await self.batcher.submit(_Question(pixels, k))
        except DataError as error:
            return error

    def _answer_batch(self, questions: Sequence[_Question]) -> list[Answer]:
        widest = max(question.k for question in questions)
        pixels = np.stack([question.pixels for question in questions])
        if not widest:
            return [Answer(z, [], [], [], None) for z in self.model.embed(pixels)]
        found = self.model.answer(pixels, widest)
        return [_row(found, i, question.k) for i, question in enumerate(questions)]

    # ---------------------------------------------------------------- the plane

    @property
    def projection(self) -> Projection | None:
        """Of the class vectors, None where they are not known.

        The first call takes seconds where there are many classes, and the others wait for it: not
        for the thread that serves.
        """
        with self._map_lock:
            return self._projection

    @cached_property
    def _projection(self) -> Projection | None:
        if not self.model.has_vectors:
            return None
        return fit(self._vectors, self.model.num_classes)

    @property
    def map_points(self) -> tuple[Floats, int] | None:
        """`[N, 2]` class vectors in the plane, and the step between their labels; likewise."""
        with self._points_lock:
            return self._map_points

    @cached_property
    def _map_points(self) -> tuple[Floats, int] | None:
        projection = self.projection
        if projection is None:
            return None
        return place_classes(projection, self._vectors, self.model.num_classes, MAP_POINTS)

    def _vectors(self, labels: NDArray[np.int64]) -> Floats:
        vectors = self.model.vectors(labels)
        assert vectors is not None
        return vectors

    def position(self, z: Floats) -> list[float] | None:
        """Where an embedding `[dim]` is in the plane, see `projection`."""
        projection = self.projection
        return None if projection is None else projection.place(z[None])[0].tolist()


def _row(found: Answers, row: int, k: int) -> Answer:
    return Answer(
        found.embedding[row],
        found.label[row, :k].tolist(),
        found.cosine[row, :k].tolist(),
        found.names[row][:k],
        None if found.unknown is None else bool(found.unknown[row]),
    )
