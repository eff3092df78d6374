"""What requests and answers hold: the types of server, OpenAPI and client."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from rootspace._terminal import one_line


class _Schema(BaseModel):
    # What a server that is newer tells besides harms no client.
    model_config = ConfigDict(frozen=True, extra="ignore")


MOST_KEYS = 64
"""Of a JSON object that a client sends."""


def _few(value: Any) -> Any:
    # Before anything else: each key that is wrong would become an error of about a kilobyte.
    if isinstance(value, dict) and len(value) > MOST_KEYS:
        raise ValueError(f"must have at most {MOST_KEYS} keys")
    return value


class _Request(_Schema):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, value: Any) -> Any:
        return _few(value)


class Problem(_Schema):
    """Why something was refused."""

    code: str = Field(description="For programs, such as `image_unreadable`.")
    message: str = Field(description="For readers: what was expected, and what came.")


class ErrorAnswer(_Schema):
    """The body of every answer that is no success."""

    error: Problem
    request_id: str = Field(description="Also in the header `x-request-id`.")


class Health(_Schema):
    """The server answers."""

    status: Literal["ok"] = "ok"


class Limits(_Schema):
    """Of a request."""

    max_bytes: int = Field(description="Of the whole body.")
    max_json: int = Field(description="Of a body that is no form.")
    max_images: int
    max_pixels: int = Field(description="Of an image before it is scaled.")


class ModelInfo(_Schema):
    """What is served."""

    name: str
    kind: Literal["run", "onnx"]
    version: str = Field(description="Of rootspace.")
    head: str = Field(description="What decides: the class map, or the name of a learned head.")
    num_classes: int = Field(description="Retired ones too.")
    most: int = Field(description="The largest `k` of a prediction.")
    dim: int = Field(description="Of the embeddings.")
    channels: Literal[1, 3] = Field(description="Of the images that the network gets.")
    size: int = Field(description="Height and width of them, in pixels.")
    brightness: float = Field(description="Mean of the training images, in [0, 1].")
    has_map: bool = Field(description="Whether `/v1/map` has the class vectors in a plane.")
    has_rejector: bool = Field(description="Whether predictions say what is unknown.")
    has_gallery: bool = Field(description="Whether images and classes can be added.")
    limits: Limits


class ClassAnswer(_Schema):
    """A class, and how near it is; enrolled ones have labels from `num_classes` on."""

    label: int = Field(description="-1 for a vector that belongs to no class.")
    name: str
    cosine: float


Point = Annotated[list[float], Field(min_length=2, max_length=2)]


class ImageAnswer(_Schema):
    """What is said of one image; where `error` is set, nothing else is."""

    answers: list[ClassAnswer] = Field(default=[], description="Nearest class first.")
    unknown: bool | None = Field(
        default=None, description="By the run's rejector; null where it has none."
    )
    position: Point | None = Field(default=None, description="In the plane of `/v1/map`.")
    embedding: list[float] | None = Field(default=None, description="Where it was asked for.")
    error: Problem | None = None


class Predictions(_Schema):
    """In the order of the images."""

    results: list[ImageAnswer]


class EmbeddedImage(_Schema):
    """The embedding of one image, in the frame of the prototypes, of any length."""

    embedding: list[float] | None = None
    error: Problem | None = None


class Embeddings(_Schema):
    """In the order of the images."""

    dim: int
    results: list[EmbeddedImage]


class ClassEntry(_Schema):
    """A class of the model."""

    label: int
    name: str


class ClassPage(_Schema):
    """Some classes."""

    num_classes: int = Field(description="Of the model, retired ones too.")
    classes: list[ClassEntry]


class MapInfo(_Schema):
    """Class vectors in the plane of their two principal axes."""

    num_points: int
    step: int = Field(description="Point i is the class with label i * step.")
    share: Point = Field(description="Of the variance of the vectors, along each axis.")


# ------------------------------------------------------------------------- the gallery

Value = str | int | float | bool
Payload = dict[str, Value]
GivenPayload = Annotated[Payload, BeforeValidator(_few), Field(max_length=MOST_KEYS)]


def _seen(name: str) -> str:
    if not name.strip() or one_line(name) != name:
        raise ValueError("must be text that can be seen, without line ends or control characters")
    return name


Text = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_seen)]
"""A name of a class."""


class GalleryInfo(_Schema):
    """The images that can be found."""

    num_items: int


class GalleryItem(_Schema):
    """An image of the gallery."""

    id: int
    path: str | None = Field(
        description="Name of the file that it came from; a path where the server indexed it."
    )
    label: str | None = Field(description="Name of its class, where it is known.")
    payload: Payload


class GalleryItems(_Schema):
    """Some images, by id."""

    items: list[GalleryItem]
    next: int | None = Field(description="`after` of the next page; null on the last.")


class ItemChange(_Request):
    """What is to be another; what is left out stays."""

    label: Text | None = None
    payload: GivenPayload = {}


class RejectedImage(_Schema):
    """An image that was not taken."""

    index: int = Field(description="Its place among the images of the request.")
    reason: Literal["unreadable", "duplicate", "embedding", "outlier", "other class"]
    message: str
    id: int | None = Field(description="Of the item with the same content.")


class Added(_Schema):
    """What became of images."""

    ids: list[int | None] = Field(description="Of the item that holds each image now.")
    rejected: list[RejectedImage]


class SearchHit(_Schema):
    """An image of the gallery, and how near it is."""

    id: int
    cosine: float
    path: str | None
    label: str | None
    payload: Payload


class SearchAnswer(_Schema):
    """What was found for one image, nearest first; where `error` is set, nothing else is."""

    hits: list[SearchHit] = []
    error: Problem | None = None


class Found(_Schema):
    """In the order of the images."""

    results: list[SearchAnswer]


class EmbeddingSearch(_Request):
    """A search by embeddings that a client has."""

    # Without `fail_fast` each wrong number is an error of its own, of about a kilobyte.
    embeddings: Annotated[
        list[
            Annotated[
                list[Annotated[float, Field(allow_inf_nan=False)]],
                Field(max_length=2**14, fail_fast=True),
            ]
        ],
        Field(min_length=1, max_length=256, fail_fast=True),
    ]
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    where: Annotated[str, Field(max_length=10_000)] | None = None
    min_cosine: Annotated[float, Field(ge=-1, le=1)] | None = None


class EnrolledClass(_Schema):
    """A class that was enrolled from images."""

    label: int
    name: str
    retired: bool
    images: int = Field(description="Items of the gallery with its name as label.")
    sample: int | None = Field(description="Id of one of them.")
    position: Point | None = Field(description="In the plane of `/v1/map`.")


class EnrolledClasses(_Schema):
    """All of them, by label."""

    classes: list[EnrolledClass]


class Enrolment(_Schema):
    """What became of the images of a class."""

    name: str
    label: int
    ids: list[int] = Field(description="Of the items that it was enrolled from.")
    rejected: list[RejectedImage]
    reassigned: list[int] = Field(description="Other items that belong to it now.")
    change: int = Field(description="Its number in the history, for `/v1/undo`.")


class Renaming(_Request):
    """A class and its other name."""

    name: Text
    new: Text


class Merging(_Request):
    """Classes that become one."""

    names: Annotated[list[Text], Field(min_length=1, max_length=100, fail_fast=True)]
    into: Text


class Undoing(_Request):
    """The change that is to be taken back."""

    number: int | None = Field(
        default=None, description="Where it is not the last one any more, nothing is taken back."
    )


class ClassChange(_Schema):
    """A change of the classes."""

    number: int
    at: str
    action: str
    detail: str
    undone: bool = Field(description="Whether it was taken back.")


class History(_Schema):
    """The changes, the last first."""

    changes: list[ClassChange]
