"""The application: its routes, its errors, and the page."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from importlib import resources

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

import rootspace
from rootspace._errors import BusyError
from rootspace._terminal import say

from .batching import OverloadedError
from .errors import RefusedError, shown, wording
from .gate import Gate, body_of
from .routes import add_health, add_images, add_model
from .service import Service

PAGE: dict[str, str] = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "plane.js": "text/javascript; charset=utf-8",
    "drawing.js": "text/javascript; charset=utf-8",
    "server.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""Files of the page, and what they are: no path of a client meets the disk."""


def create_app(
    service: Service,
    token: str | None = None,
    hosts: Collection[str] | None = None,
    allowed: Collection[str] = (),
) -> FastAPI:
    """The application around a service, which it closes in the end.

    Below another application, as `outer.mount("/model", app)`, it answers all the same, but nobody
    tells it of the end: close the service in the lifespan of the outer one.

    Args:
        service: that answers.
        token: which clients must send; None asks for none.
        hosts: names by which clients may call the server; None for any.
        allowed: further ones, `name` or `name:port`, such as that of a proxy; pages that a browser
            has from there may ask too.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    limits = service.limits
    app = FastAPI(
        title="rootspace",
        version=rootspace.__version__,
        description="A trained run: classes and embeddings of images.",
        docs_url=None,  # it would fetch scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        form_limits={"max_fields": 16, "max_part_size": 2**16},
    )
    app.state.service = service
    app.add_middleware(
        Gate,
        metrics=service.metrics,
        limits=limits,
        token=token,
        hosts=hosts,
        allowed=allowed,
    )
    _add_errors(app)
    _add_page(app)
    # For OpenAPI alone: `Gate` asks for the token before a body is read.
    guard = [] if token is None else [Depends(HTTPBearer(auto_error=False))]
    guarded = APIRouter(dependencies=guard)
    add_health(app)
    add_model(guarded, service)
    add_images(guarded, service)
    service.model.add_routes(guarded, service)
    app.include_router(guarded)
    return app


# ------------------------------------------------------------------------- errors


def _add_errors(app: FastAPI) -> None:
    def respond(request: Request, refusal: RefusedError) -> Response:
        body = body_of(refusal, request.state.request_id)
        headers = {"retry-after": "1"} if refusal.status == 503 else {}
        return Response(body, refusal.status, headers, media_type="application/json")

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        return respond(request, RefusedError(422, wording(error.errors())))

    @app.exception_handler(OverloadedError)
    async def _(request: Request, error: OverloadedError) -> Response:
        return respond(request, RefusedError(503, str(error)))

    @app.exception_handler(BusyError)
    @app.exception_handler(TimeoutError)  # of the registry
    async def _(request: Request, error: Exception) -> Response:
        # Which file it is concerns the log of the server alone.
        say(f"request {request.state.request_id}: {error}")
        message = "Another process is writing what this needs: try again in a moment."
        return respond(request, RefusedError(503, message))

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        where = f"{request.method} {shown(request.url.path)}"
        message = {
            404: f"There is no {where}.",
            405: f"There is no {where}; the path has other methods.",
        }.get(error.status_code, f"{error.detail.removesuffix('.')}.")
        response = respond(request, RefusedError(error.status_code, message))
        response.headers.update(error.headers or {})
        return response


# ------------------------------------------------------------------------- the page


def _add_page(app: FastAPI) -> None:
    folder = resources.files("rootspace.serve").joinpath("page")

    def respond(name: str) -> Response:
        content = folder.joinpath(name).read_bytes()
        return Response(content, media_type=PAGE[name], headers={"cache-control": "no-cache"})

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return respond("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    def page(name: str) -> Response:
        if name not in PAGE:
            raise RefusedError(404, f"There is no GET {shown('/page/' + name)}.")
        return respond(name)
