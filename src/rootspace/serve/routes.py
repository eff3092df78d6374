"""The routes. Annotations are read by FastAPI, and name what is known when a route is made."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, FastAPI, File, Query, Request, Response, UploadFile
from pydantic import Field

import rootspace
from rootspace._errors import DataError
from rootspace._terminal import one_line

from . import schema
from .errors import GONE, RefusedError
from .service import Answer, Limits, Service, Upload

T = TypeVar("T")

MOST = 1000
"""The largest number of classes of one prediction, and of names of one page of them."""


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Errors of a route, for OpenAPI."""
    told = {
        400: "The request cannot be read.",
        404: "There is nothing there.",
        409: "It contradicts what is there.",
        413: "The request has too many bytes.",
        422: "An argument is wrong, or no image can be read.",
        503: "The server has too much to do, or is stopping.",
        504: "It has taken too long; a change that has begun is made nevertheless.",
    }
    everywhere = {401: "The token is missing or wrong.", 403: "Asked by another site's page."}
    return {
        status: {"model": schema.ErrorAnswer, "description": text}
        for status, text in {**everywhere, **{s: told[s] for s in statuses}}.items()
    }


def bare(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for a route whose answer is no JSON, while its errors are."""
    reference = {"$ref": f"#/components/schemas/{schema.ErrorAnswer.__name__}"}
    content = {"application/json": {"schema": reference}}
    return {
        status: {"description": told["description"], "content": content}
        for status, told in refusals(*statuses).items()
    }


OF_IMAGES = refusals(400, 413, 422, 503, 504)
Images = Annotated[list[UploadFile], File(description="Image files of any usual format.")]


def add_health(app: FastAPI) -> None:
    @app.get("/v1/health", tags=["server"])
    async def health() -> schema.Health:
        """Whether the server answers; needs no token."""
        return schema.Health()


def add_model(app: APIRouter, service: Service) -> None:
    model, limits = service.model, service.limits

    @app.get("/metrics", tags=["server"], responses=bare(), response_class=PlainMetrics)
    async def metrics() -> Response:
        """What the server has done, for Prometheus."""
        return PlainMetrics(service.metrics.text())

    @app.get("/v1/model", tags=["model"], responses=refusals())
    async def model_info() -> schema.ModelInfo:
        """What is served, and the limits of requests."""
        return schema.ModelInfo(
            name=model.name,
            kind=model.kind,
            version=rootspace.__version__,
            head=model.head,
            num_classes=model.num_classes,
            most=min(MOST, await asyncio.to_thread(lambda: model.most)),
            dim=model.dim,
            channels=1 if model.shape.channels == 1 else 3,
            size=model.shape.size,
            brightness=sum(model.shape.mean) / len(model.shape.mean),
            has_map=model.has_vectors,
            has_rejector=model.has_rejector,
            has_gallery=model.has_gallery,
            limits=schema.Limits(
                max_bytes=limits.max_bytes,
                max_json=min(limits.max_json, limits.max_bytes),
                max_images=limits.max_images,
                max_pixels=service.shape.max_pixels,
            ),
        )

    @app.get("/v1/classes", tags=["model"], responses=refusals(404, 422))
    async def classes(
        start: Annotated[int, Query(ge=0, le=2**62, description="The first label.")] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 100,
        label: Annotated[
            list[Annotated[int, Field(ge=0, le=2**62)]] | None,
            Query(max_length=MOST, description="These labels instead."),
        ] = None,
    ) -> schema.ClassPage:
        """Names of classes, in the order of their labels or of those that are asked for."""
        most = model.num_classes
        labels = [*range(start, min(start + limit, most))] if label is None else label
        beyond = [one for one in labels if one >= most]
        if beyond:
            raise RefusedError(404, f"There is no class {beyond[0]}: labels lie in [0, {most}).")
        names = await asyncio.to_thread(model.names, labels)
        entries = [schema.ClassEntry(label=i, name=n) for i, n in zip(labels, names, strict=True)]
        return schema.ClassPage(num_classes=most, classes=entries)

    @app.get("/v1/map", tags=["model"], responses=refusals(404))
    async def map_info() -> schema.MapInfo:
        """The class vectors in a plane: how many points, and what the plane shows of them."""
        points, step = await asyncio.to_thread(_map_points, service)
        assert service.projection is not None
        share = list(service.projection.share)
        return schema.MapInfo(num_points=len(points), step=step, share=share)

    @app.get("/v1/map/points", tags=["model"], responses=bare(404), response_class=BinaryResponse)
    async def map_points() -> Response:
        """x and y of each point as little-endian float32."""
        points, _ = await asyncio.to_thread(_map_points, service)
        return BinaryResponse(points.astype("<f4").tobytes())


class PlainMetrics(Response):
    media_type = "text/plain; version=0.0.4; charset=utf-8"


class BinaryResponse(Response):
    media_type = "application/octet-stream"


def _map_points(service: Service) -> Any:
    found = service.map_points
    if found is None:
        raise RefusedError(404, f"{service.model.name} does not hold its class vectors.")
    return found


# ------------------------------------------------------------------------- images


def add_images(app: APIRouter, service: Service) -> None:
    limits, most = service.limits, min(MOST, service.model.most)

    @app.post("/v1/predict", tags=["images"], responses=OF_IMAGES)
    async def predict(
        request: Request,
        images: Images,
        k: Annotated[int, Query(ge=1, le=most, description="How many classes.")] = min(5, most),
        embeddings: Annotated[bool, Query(description="Also the embedding of each.")] = False,
    ) -> schema.Predictions:
        """The nearest classes of each image, exact; fewer than k where there are fewer.

        An image that cannot be read harms no other.
        """
        uploads = uploads_of(images, limits)
        found = await while_connected(request, service.answers(uploads, k), limits)
        results = await asyncio.to_thread(
            lambda: [_image_answer(service, one, embeddings) for one in found]
        )
        return schema.Predictions(results=results)

    @app.post("/v1/embed", tags=["images"], responses=OF_IMAGES)
    async def embed(request: Request, images: Images) -> schema.Embeddings:
        """The embedding of each image."""
        uploads = uploads_of(images, limits)
        found = await while_connected(request, service.answers(uploads, 0), limits)
        results = [
            schema.EmbeddedImage(error=problem(answer))
            if isinstance(answer, DataError)
            else schema.EmbeddedImage(embedding=answer.embedding.tolist())
            for answer in found
        ]
        return schema.Embeddings(dim=service.model.dim, results=results)


def uploads_of(files: Sequence[UploadFile], limits: Limits) -> list[Upload]:
    """The files of a form; `Gate` has counted their bytes.

    Raises:
        RefusedError: there are too many.
    """
    if len(files) > limits.max_images:
        raise RefusedError(
            422,
            f"Argument 'images' must hold at most {limits.max_images} files, not {len(files)}.",
        )
    return [Upload(file.filename or "image", file.file) for file in files]


def problem(error: DataError) -> schema.Problem:
    """Why an image was refused."""
    return schema.Problem(code="image_unreadable", message=one_line(str(error)))


def _image_answer(
    service: Service, answer: Answer | DataError, embedding: bool
) -> schema.ImageAnswer:
    if isinstance(answer, DataError):
        return schema.ImageAnswer(error=problem(answer))
    return schema.ImageAnswer(
        answers=[
            schema.ClassAnswer(label=label, name=name, cosine=cosine)
            for label, name, cosine in zip(answer.labels, answer.names, answer.cosines, strict=True)
            if label >= 0 or service.model.kind == "onnx"  # else there are fewer than k
        ],
        unknown=answer.unknown,
        position=service.position(answer.embedding),
        embedding=answer.embedding.tolist() if embedding else None,
    )


async def while_connected(request: Request, work: Awaitable[T], limits: Limits) -> T:
    """The result of some work, which is given up when the client has gone.

    Raises:
        RefusedError: it takes too long, or the client has gone.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait(
            {task, gone}, timeout=limits.seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if task.done():
            return task.result()
        if gone.done():
            raise RefusedError(GONE, "The client has gone.")
        raise RefusedError(504, f"It took over {limits.seconds:g} s.")
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
