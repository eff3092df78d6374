"""What requests and answers hold: the types of server, OpenAPI and client."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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
    limits: Limits


class ClassAnswer(_Schema):
    """A class, and how near it is."""

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
