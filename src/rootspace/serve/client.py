"""A client of the server: `Client("http://127.0.0.1:8000").predict(["a.jpg"], k=3)`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from rootspace._extras import require

from . import schema

T = TypeVar("T", bound=BaseModel)

Image: TypeAlias = str | os.PathLike[str] | bytes
"""An image file: its path, or its content."""


class ServerError(Exception):
    """What the server has answered instead.

    Args:
        status: of HTTP.
        code: for programs, such as `image_unreadable`.
        message: for readers.
        request_id: by which the server's log names the request.
    """

    def __init__(self, status: int, code: str, message: str, request_id: str) -> None:
        super().__init__(message)
        self.status, self.code, self.request_id = status, code, request_id


class Client:
    """A server of `rootspace serve`. Several threads may use one.

    Args:
        url: of the server.
        token: that it asks for; that of the environment variable ROOTSPACE_TOKEN if None.
        timeout: seconds to wait for an answer.

    Raises:
        ServerError: by every method, where the server refuses.
        ConnectionError: likewise, where no server of rootspace answers.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8000", token: str | None = None, timeout: float = 60.0
    ) -> None:
        httpx: Any = require("httpx", extra="serve", purpose="The client")
        token = os.environ.get("ROOTSPACE_TOKEN") if token is None else token
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.url = url.rstrip("/")
        self._failure = httpx.TransportError
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---------------------------------------------------------------- the model

    def health(self) -> schema.Health:
        """Whether the server answers."""
        return self._ask(schema.Health, "GET", "/v1/health")

    def model(self) -> schema.ModelInfo:
        """What is served, and the limits of requests."""
        return self._ask(schema.ModelInfo, "GET", "/v1/model")

    def classes(self) -> Iterator[schema.ClassEntry]:
        """All classes of the model, in the order of their labels."""
        start, limit = 0, 1000
        while True:
            page = self._ask(
                schema.ClassPage, "GET", "/v1/classes", params={"start": start, "limit": limit}
            )
            yield from page.classes
            start += limit
            if start >= page.num_classes:
                return

    # ---------------------------------------------------------------- images

    def predict(self, images: Sequence[Image], k: int = 5) -> list[schema.ImageAnswer]:
        """The k nearest classes of each image; of one that cannot be read, why.

        Args:
            images: at most as many as the server takes in one request.
            k: number of classes.
        """
        with _files(images) as files:
            return self._ask(
                schema.Predictions, "POST", "/v1/predict", params={"k": k}, files=files
            ).results

    def embed(self, images: Sequence[Image]) -> list[NDArray[np.float32] | None]:
        """The embedding `[dim]` of each image, None for one that cannot be read."""
        with _files(images) as files:
            found = self._ask(schema.Embeddings, "POST", "/v1/embed", files=files).results
        return [
            None if one.embedding is None else np.array(one.embedding, np.float32) for one in found
        ]

    # ---------------------------------------------------------------- the gallery

    def add(
        self,
        images: Sequence[Image],
        label: str | None = None,
        payload: Mapping[str, schema.Value] | None = None,
    ) -> schema.Added:
        """Add images to the gallery.

        Args:
            images: of them.
            label: name of their class.
            payload: what to keep beside each.
        """
        fields = {"payload": json.dumps({} if payload is None else dict(payload))}
        if label is not None:
            fields["label"] = label
        with _files(images) as files:
            return self._ask(schema.Added, "POST", "/v1/gallery/items", files=files, data=fields)

    def search(
        self,
        images: Sequence[Image],
        k: int = 10,
        *,
        where: str | None = None,
        min_cosine: float | None = None,
    ) -> list[schema.SearchAnswer]:
        """The nearest images of the gallery for each image, as `Gallery.search` finds them."""
        given = {"k": k, "where": where, "min_cosine": min_cosine}
        parameters = {key: value for key, value in given.items() if value is not None}
        with _files(images) as files:
            return self._ask(
                schema.Found, "POST", "/v1/search", params=parameters, files=files
            ).results

    def enroll(
        self, name: str, images: Sequence[Image], *, review: bool = True
    ) -> schema.Enrolment:
        """A class from a few images, or more images of one.

        Args:
            name: of the class.
            images: of it.
            review: refuse images that do not seem to belong to it.
        """
        fields = {"name": name, "review": str(review).lower()}
        with _files(images) as files:
            return self._ask(schema.Enrolment, "POST", "/v1/enrolled", files=files, data=fields)

    def enrolled(self) -> list[schema.EnrolledClass]:
        """The classes that were enrolled."""
        return self._ask(schema.EnrolledClasses, "GET", "/v1/enrolled").classes

    def undo(self, number: int | None = None) -> schema.ClassChange:
        """Take the last change of the classes back.

        Args:
            number: of the change that is meant: another one is not taken back. None for any.
        """
        return self._ask(schema.ClassChange, "POST", "/v1/undo", json={"number": number})

    # ---------------------------------------------------------------- HTTP

    def _ask(self, kind: type[T], method: str, path: str, **arguments: Any) -> T:
        try:
            response = self._http.request(method, path, **arguments)
        except self._failure as error:
            raise ConnectionError(f"{self.url} does not answer: {error}") from error
        try:
            if response.is_success:
                return kind.model_validate_json(response.content)
            refusal = schema.ErrorAnswer.model_validate_json(response.content)
        except ValidationError as error:
            raise ConnectionError(
                f"{self.url} answers {response.status_code}, not as a server of rootspace does."
            ) from error
        raise ServerError(
            response.status_code, refusal.error.code, refusal.error.message, refusal.request_id
        )


@contextmanager
def _files(images: Sequence[Image]) -> Iterator[list[tuple[str, tuple[str, Any]]]]:
    """Images as parts of a form; files are closed when the block ends."""
    if isinstance(images, str | bytes | os.PathLike):
        raise TypeError(f"Argument 'images' must be a list of images, not {type(images).__name__}.")
    parts: list[tuple[str, tuple[str, Any]]] = []
    opened = []
    try:
        for number, image in enumerate(images):
            if isinstance(image, bytes):
                parts.append(("images", (f"image{number}", image)))
                continue
            file = Path(image).open("rb")  # noqa: SIM115 - closed below
            opened.append(file)
            parts.append(("images", (Path(image).name, file)))
        yield parts
    finally:
        for file in opened:
            file.close()
