"""What every request passes first: request ids, who may ask, and errors as JSON."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
import traceback
from collections.abc import Collection
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rootspace._terminal import one_line, say

from .errors import GONE, RefusedError, shown
from .metrics import Metrics
from .schema import ErrorAnswer, Problem
from .service import Limits

OPEN = ("/", "/v1/health", "/openapi.json", "/page/")
"""Paths without a token: what holds nothing of the run."""

SAFE = ("GET", "HEAD", "OPTIONS")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


_TOO_MANY = "The server has too many bytes to answer: try again later"


@dataclass
class _Body:
    """Of a request: how many bytes of it have come."""

    size: int = 0


class Gate:
    """Around the application.

    A page of another site may not ask for anything that changes something (its `Origin` is not
    ours), nor read anything by giving its name our address (`hosts`), so that a server without a
    token is safe on the machine of somebody who also browses.

    Args:
        app: the application.
        metrics: that count the answers.
        limits: of the bytes of a request, and of the time for sending it.
        token: which `Authorization: Bearer` must hold; None asks for none.
        hosts: names by which the server may be called; None for any.
        allowed: further ones, `name` or `name:port`, of which pages may also ask.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        limits: Limits,
        token: str | None,
        hosts: Collection[str] | None,
        allowed: Collection[str] = (),
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._limits = limits
        self._token = token
        self._hosts = None if hosts is None else {*hosts, *map(_name, allowed)}
        self._origins = {one.lower() for one in allowed}
        # Bytes of the bodies in flight that have come: what is only announced takes no memory, and
        # would keep others out for as long as its sender likes.
        self._memory = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key: value.decode("latin-1") for key, value in reversed(scope["headers"])}
        given = headers.get(b"x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        began, status, body = time.perf_counter(), GONE, _Body()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = [(b"x-request-id", request_id.encode()), *HEADERS]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        try:
            self._check(scope, headers)
            self._check_length(headers)
            await self._app(scope, self._limited(receive, self._most(headers), body), answer)
        except RefusedError as refusal:
            await _refuse(refusal, request_id, answer)
        except Exception:
            say(f"request {request_id}: {traceback.format_exc()}")
            if status != GONE:
                raise  # half of an answer has been sent
            problem = RefusedError(500, "The server has failed; its log says why.")
            await _refuse(problem, request_id, answer)
        finally:
            self._memory -= body.size
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.answered(route, status, time.perf_counter() - began)

    def _most(self, headers: dict[bytes, str]) -> int:
        """Bytes that the body may have."""
        if headers.get(b"content-type", "").lower().startswith("multipart/form-data"):
            return self._limits.max_bytes
        return min(self._limits.max_json, self._limits.max_bytes)

    def _check_length(self, headers: dict[bytes, str]) -> None:
        """Refuse a body that will be too large, before it is read."""
        length, most = headers.get(b"content-length", ""), self._most(headers)
        if not length.isdecimal():
            return
        size = int(length[:20])
        if size > most:
            raise RefusedError(413, _too_large(most))
        if size and self._memory + size > self._limits.max_memory:
            raise RefusedError(503, f"{_TOO_MANY}.")

    def _limited(self, receive: Receive, most: int, body: _Body) -> Receive:
        """`receive`, which counts, and raises where a body is too large or too slow."""
        seconds = self._limits.seconds
        end = asyncio.get_running_loop().time() + seconds
        complete = False

        async def limited() -> Message:
            nonlocal complete
            if complete:  # what comes now is that the client has gone
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"The request took more than {seconds:g} s.") from None
            size = len(message.get("body", b""))
            body.size += size
            self._memory += size
            complete = not message.get("more_body", False)
            if body.size > most:
                raise HTTPException(413, _too_large(most))
            if self._memory > self._limits.max_memory:
                raise HTTPException(503, _TOO_MANY)
            return message

        return limited

    def _check(self, scope: Scope, headers: dict[bytes, str]) -> None:
        host = headers.get(b"host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            raise RefusedError(
                421, f"Header 'Host' must name {sorted(self._hosts)[0]!r}, not {shown(host)}."
            )
        origin = headers.get(b"origin")
        # A proxy may name us otherwise than the browser does.
        ours = {host, *self._origins}
        if origin is not None and scope["method"] not in SAFE and _authority(origin) not in ours:
            raise RefusedError(
                403, f"Header 'Origin' must be this server's own, not {shown(origin)}."
            )
        path = _route(scope)
        if self._token is None or path in OPEN or path.startswith("/page/"):
            return
        scheme, _, given = headers.get(b"authorization", "").partition(" ")
        right = secrets.compare_digest(given.strip().encode("latin-1"), self._token.encode())
        if scheme.lower() != "bearer" or not right:
            raise RefusedError(401, "Header 'Authorization' must be 'Bearer' and the right token.")


def _too_large(most: int) -> str:
    return f"The request must have at most {most:,} bytes."


def _route(scope: Scope) -> str:
    """The path without that of an application in which this one is mounted."""
    path, root = scope["path"], scope.get("root_path", "")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def _name(host: str) -> str:
    """Without its port."""
    return re.sub(r":\d*$", "", host).lower()


def _authority(origin: str) -> str:
    """`host:port` of `scheme://host:port`."""
    return origin.partition("://")[2]


def body_of(refusal: RefusedError, request_id: str) -> bytes:
    """The JSON of an error."""
    problem = Problem(code=refusal.code, message=one_line(refusal.message))
    return json.dumps(ErrorAnswer(error=problem, request_id=request_id).model_dump()).encode()


async def _refuse(refusal: RefusedError, request_id: str, send: Send) -> None:
    body = body_of(refusal, request_id)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.status == 503:
        headers.append((b"retry-after", b"1"))
    start = {"type": "http.response.start", "status": refusal.status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
