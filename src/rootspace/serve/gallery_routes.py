"""Routes of the gallery and of the classes that are enrolled in it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
from fastapi import APIRouter, Form, Path, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from rootspace._errors import DataError
from rootspace._terminal import one_line
from rootspace.gallery import (
    Change,
    Condition,
    ConflictError,
    Gallery,
    Hit,
    Identities,
    InvalidFilterError,
    Item,
    Rejected,
    ReviewError,
    UnknownItemError,
    conditions,
)
from rootspace.gallery.items import check_payload

from . import schema
from .errors import SHOWN, RefusedError, wording
from .own_gallery import OwnGallery
from .routes import OF_IMAGES, Images, bare, problem, refusals, uploads_of, while_connected
from .service import Service, Upload
from .workers import Workers

T = TypeVar("T")

PAGE = 1000
"""Items of one page of the gallery."""

ItemId = Annotated[int, Path(ge=0, le=2**62)]
Where = Annotated[
    str | None, Query(max_length=10_000, description="A filter, such as `label = 'cat'`.")
]
OF_CHANGES = refusals(400, 404, 409, 413, 422, 503)
_PAYLOAD: TypeAdapter[schema.Payload] = TypeAdapter(schema.GivenPayload)


class Thumbnail(Response):
    media_type = "image/webp"


def add_gallery(app: APIRouter, service: Service, own: OwnGallery) -> None:
    """The routes, on a router.

    Args:
        app: the router.
        service: reads and embeds images.
        own: the gallery, which need not be there yet.
    """
    _add_items(app, service, own)
    _add_search(app, service, own)
    _add_classes(app, service, own)


async def working(workers: Workers, function: Callable[[], T]) -> T:
    """What a call of the gallery gives, in a thread; what it refuses is refused.

    Args:
        workers: `reads` of a service, or its `changes`.
        function: the call.

    Raises:
        RefusedError: there is no such item, or the call contradicts what is there.
    """
    try:
        return await workers.do(function)
    except UnknownItemError as error:
        raise RefusedError(404, str(error)) from error
    except ReviewError as error:
        raise RefusedError(409, str(error), "images_refused") from error
    except ConflictError as error:
        raise RefusedError(409, str(error)) from error


# ------------------------------------------------------------------------- items


def _add_items(app: APIRouter, service: Service, own: OwnGallery) -> None:
    def gallery() -> Gallery:
        if own.gallery is None:
            raise UnknownItemError("The gallery is empty: it has no such item.")
        return own.gallery

    @app.get("/v1/gallery", tags=["gallery"], responses=refusals(503))
    async def info() -> schema.GalleryInfo:
        """How many images can be found."""
        return schema.GalleryInfo(
            num_items=await working(
                service.reads, lambda: 0 if own.gallery is None else len(own.gallery)
            )
        )

    @app.get("/v1/gallery/items", tags=["gallery"], responses=refusals(422, 503))
    async def page(
        where: Where = None,
        after: Annotated[int, Query(ge=-1, le=2**62)] = -1,
        limit: Annotated[int, Query(ge=1, le=PAGE)] = 100,
    ) -> schema.GalleryItems:
        """A page of the images for which a filter holds, by id."""

        wanted = _filter(where)

        def look() -> schema.GalleryItems:
            if own.gallery is None:
                return schema.GalleryItems(items=[], next=None)
            ids = own.gallery.ids(wanted)
            ids = ids[ids > after][: limit + 1].tolist()
            items = own.gallery.store.items(ids[:limit])
            more = ids[limit - 1] if len(ids) > limit else None
            return schema.GalleryItems(items=[_item(one) for one in items.values()], next=more)

        return await working(service.reads, look)

    @app.post("/v1/gallery/items", tags=["gallery"], responses=OF_IMAGES | OF_CHANGES)
    async def add(
        request: Request,
        images: Images,
        label: Annotated[schema.Text | None, Form(description="Name of their class.")] = None,
        payload: Annotated[str, Form(description="A JSON object of texts and numbers.")] = "{}",
    ) -> schema.Added:
        """Add images. Those whose pixels are there already are not added twice."""
        kept = _payload(payload)
        uploads = uploads_of(images, service.limits)

        async def work() -> schema.Added:
            pixels, places, bad = await service.pixels(uploads)
            report = await working(
                service.changes,
                lambda: own.needed().gallery.add(
                    torch.from_numpy(pixels),
                    labels=label,
                    payloads=kept,
                    paths=[_path(uploads[place]) for place in places],
                ),
            )
            ids: list[int | None] = [None] * len(uploads)
            for place, id in zip(places, report.ids, strict=True):
                ids[place] = id
            return schema.Added(ids=ids, rejected=_rejected(report.rejected, places, bad))

        return await while_connected(request, work(), service.limits)

    @app.get("/v1/gallery/items/{id}", tags=["gallery"], responses=OF_CHANGES)
    async def item(id: ItemId) -> schema.GalleryItem:
        """An image."""
        return _item(await working(service.reads, lambda: gallery().get([id])[0]))

    @app.get(
        "/v1/gallery/items/{id}/thumbnail",
        tags=["gallery"],
        responses=bare(404, 422, 503),
        response_class=Thumbnail,
    )
    async def thumbnail(id: ItemId) -> Response:
        """A small picture of an image, as the network gets it, in WebP."""
        found = await working(service.reads, lambda: gallery().thumbnails([id]))
        if id not in found:
            raise RefusedError(404, f"The gallery has no picture of an item {id}.")
        return Thumbnail(found[id], headers={"cache-control": "private, max-age=86400, immutable"})

    @app.patch("/v1/gallery/items/{id}", tags=["gallery"], responses=OF_CHANGES)
    async def change(id: ItemId, change: schema.ItemChange) -> schema.GalleryItem:
        """Give an image another label (null takes it away) or payload."""
        given = change.model_fields_set

        def work() -> Item:
            arguments: dict[str, Any] = {}
            if "label" in given:
                arguments["label"] = change.label
            if "payload" in given:
                arguments["payload"] = _kept(change.payload)
            if arguments:
                gallery().update([id], **arguments)
            return gallery().get([id])[0]

        return _item(await working(service.changes, work))

    @app.delete("/v1/gallery/items/{id}", tags=["gallery"], status_code=204, responses=OF_CHANGES)
    async def delete(id: ItemId) -> None:
        """Delete an image."""
        await working(service.changes, lambda: gallery().delete([id]))


def _payload(text: str) -> schema.Payload:
    try:
        return _kept(_PAYLOAD.validate_json(text))
    except ValidationError as error:
        errors = [{**one, "loc": ("payload", *one["loc"])} for one in error.errors()]
        raise RefusedError(422, wording(errors)) from error


def _kept(payload: schema.Payload) -> schema.Payload:
    """A payload that a gallery can keep.

    Raises:
        RefusedError: it cannot.
    """
    try:
        return check_payload(payload, "payload")
    except (TypeError, ValueError) as error:
        raise RefusedError(422, str(error)) from error


def _filter(where: str | None) -> tuple[Condition, ...]:
    """The conditions of a client's filter.

    Raises:
        RefusedError: it is none.
    """
    try:
        return conditions(where)
    except InvalidFilterError as error:
        raise RefusedError(422, str(error)) from error


def _path(upload: Upload) -> str | None:
    """The name of a file, as the gallery keeps it: no path of this machine."""
    name = one_line(upload.name.replace("\\", "/").rpartition("/")[2])[:SHOWN]
    return name or None


def _item(item: Item) -> schema.GalleryItem:
    return schema.GalleryItem(
        id=item.id, path=item.path, label=item.label, payload=dict(item.payload)
    )


def _rejected(
    rejected: Sequence[Rejected], places: Sequence[int], bad: Mapping[int, DataError]
) -> list[schema.RejectedImage]:
    """What was not taken, by the place among the images of the request."""
    found = [
        schema.RejectedImage(
            index=places[one.index],
            reason=one.reason,
            message=one_line(one.message),
            id=one.id,
        )
        for one in rejected
    ]
    found += [
        schema.RejectedImage(index=i, reason="unreadable", message=one_line(str(error)), id=None)
        for i, error in bad.items()
    ]
    return sorted(found, key=lambda one: one.index)


# ------------------------------------------------------------------------- search


def _add_search(app: APIRouter, service: Service, own: OwnGallery) -> None:
    async def search(
        z: np.ndarray, k: int, where: Sequence[Condition], least: float | None
    ) -> list[list[schema.SearchHit]]:
        def work() -> list[list[schema.SearchHit]]:
            gallery = own.gallery
            if gallery is None:
                return [[]] * len(z)
            found = gallery.search(z, k, where=where, min_cosine=least)
            return [[_hit(hit) for hit in hits] for hits in found]

        return await working(service.reads, work)

    @app.post("/v1/search", tags=["gallery"], responses=OF_IMAGES | OF_CHANGES)
    async def by_images(
        request: Request,
        images: Images,
        k: Annotated[int, Query(ge=1, le=1000, description="How many images.")] = 10,
        where: Where = None,
        min_cosine: Annotated[float | None, Query(ge=-1, le=1, allow_inf_nan=False)] = None,
    ) -> schema.Found:
        """The nearest images of the gallery for each image, exact."""
        wanted = _filter(where)
        uploads = uploads_of(images, service.limits)

        async def work() -> schema.Found:
            answers = await service.answers(uploads, 0)
            good = [one.embedding for one in answers if not isinstance(one, DataError)]
            hits = iter(await search(np.stack(good), k, wanted, min_cosine))
            return schema.Found(
                results=[
                    schema.SearchAnswer(error=problem(one))
                    if isinstance(one, DataError)
                    else schema.SearchAnswer(hits=next(hits))
                    for one in answers
                ]
            )

        return await while_connected(request, work(), service.limits)

    @app.post("/v1/search/embeddings", tags=["gallery"], responses=OF_CHANGES)
    async def by_embeddings(query: schema.EmbeddingSearch) -> schema.Found:
        """The same for embeddings that `/v1/embed` gave."""
        wrong = next((row for row in query.embeddings if len(row) != service.model.dim), None)
        if wrong is not None:
            raise RefusedError(
                422,
                f"Argument 'embeddings' must hold lists of {service.model.dim} numbers, not of "
                f"{len(wrong)}.",
            )
        with np.errstate(over="ignore"):
            z = np.array(query.embeddings, np.float32)
        if not (np.isfinite(z).all() and z.any(axis=1).all()):
            raise RefusedError(
                422, "Argument 'embeddings' must hold float32 vectors that are not zero."
            )
        found = await search(z, query.k, _filter(query.where), query.min_cosine)
        return schema.Found(results=[schema.SearchAnswer(hits=hits) for hits in found])


def _hit(hit: Hit) -> schema.SearchHit:
    return schema.SearchHit(
        id=hit.id, cosine=hit.cosine, path=hit.path, label=hit.label, payload=dict(hit.payload)
    )


# ------------------------------------------------------------------------- classes


def _add_classes(app: APIRouter, service: Service, own: OwnGallery) -> None:
    def identities() -> Identities:
        if own.identities is None:
            raise RefusedError(409, "The gallery is empty: there is nothing to change.")
        return own.identities

    @app.get("/v1/enrolled", tags=["classes"], responses=refusals(503))
    async def enrolled() -> schema.EnrolledClasses:
        """The classes that were enrolled, with one image of each and their place in the plane."""

        def look() -> list[schema.EnrolledClass]:
            if own.identities is None or not own.identities.history(1):
                return []
            found = [one for one in own.identities.all() if one.enrolled]
            places = _places(service, own.identities, [one.label for one in found])
            samples = _samples(own.identities.gallery, [one.name for one in found])
            return [
                schema.EnrolledClass(
                    label=one.label,
                    name=one.name,
                    retired=one.retired,
                    images=one.images,
                    sample=samples.get(one.name),
                    position=place,
                )
                for one, place in zip(found, places, strict=True)
            ]

        return schema.EnrolledClasses(classes=await working(service.reads, look))

    @app.post("/v1/enrolled", tags=["classes"], responses=OF_IMAGES | OF_CHANGES)
    async def enroll(
        request: Request,
        images: Images,
        name: Annotated[schema.Text, Form(description="A new one, or that of a class.")],
        review: Annotated[
            bool, Form(description="Refuse images that do not seem to belong to it.")
        ] = True,
    ) -> schema.Enrolment:
        """A class from a few images, which is recognized at once; or more images of a class.

        The error `images_refused` is that of a review: without it they are taken.
        """
        uploads = uploads_of(images, service.limits)

        async def work() -> schema.Enrolment:
            pixels, places, bad = await service.pixels(uploads)
            done = await working(
                service.changes,
                lambda: own.needed().enroll(
                    name,
                    torch.from_numpy(pixels),
                    review=review,
                    paths=[_path(uploads[place]) for place in places],
                ),
            )
            return schema.Enrolment(
                name=done.identity.name,
                label=done.identity.label,
                ids=list(done.ids),
                rejected=_rejected(done.rejected, places, bad),
                reassigned=list(done.reassigned),
                change=done.change,
            )

        return await while_connected(request, work(), service.limits)

    @app.post("/v1/enrolled/rename", tags=["classes"], responses=OF_CHANGES)
    async def rename(change: schema.Renaming) -> schema.ClassChange:
        """Give a class another name."""
        return _change(
            await working(service.changes, lambda: identities().rename(change.name, change.new))
        )

    @app.post("/v1/enrolled/merge", tags=["classes"], responses=OF_CHANGES)
    async def merge(change: schema.Merging) -> schema.ClassChange:
        """Make classes one."""
        return _change(
            await working(service.changes, lambda: identities().merge(change.names, change.into))
        )

    @app.post("/v1/undo", tags=["classes"], responses=OF_CHANGES)
    async def undo(meant: schema.Undoing | None = None) -> schema.ClassChange:
        """Take the last change of the classes back that was not taken back yet."""
        number = None if meant is None else meant.number

        def work() -> Change:
            if own.identities is None:
                raise ConflictError("There is no change to undo.")
            return own.identities.undo(number)

        return _change(await working(service.changes, work))

    @app.get("/v1/history", tags=["classes"], responses=refusals(422, 503))
    async def history(limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> schema.History:
        """The changes of the classes, the last first."""

        def look() -> Sequence[Change]:
            return () if own.identities is None else own.identities.history(limit)

        return schema.History(changes=[_change(one) for one in await working(service.reads, look)])


def _places(
    service: Service, identities: Identities, labels: Sequence[int]
) -> list[list[float] | None]:
    if service.projection is None or not labels:
        return [None] * len(labels)
    vectors = identities.vectors(np.array(labels, np.int64))
    return list(service.projection.place(vectors).tolist())


def _samples(gallery: Gallery, names: Sequence[str]) -> dict[str, int]:
    """Name -> the first item that has it as label."""
    found = {name: gallery.ids(Condition("label", "=", name)) for name in names}
    return {name: int(ids[0]) for name, ids in found.items() if len(ids)}


def _change(change: Change) -> schema.ClassChange:
    return schema.ClassChange(
        number=change.number,
        at=change.at,
        action=change.action,
        detail=one_line(change.detail),
        undone=change.undone,
    )
