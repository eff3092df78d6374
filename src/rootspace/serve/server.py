"""A server process: it binds, says where it is, and finishes what is in flight when it stops."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import warnings
import webbrowser
from collections.abc import Collection
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rootspace._extras import require
from rootspace._terminal import say

from .app import create_app
from .service import Service

STOP_SECONDS = 30
"""For what is in flight when the server is told to stop."""


HEADER_SECONDS = 10.0
"""For the header of a request."""

REST_SECONDS = 60.0
"""For the rest of a body whose answer has been given."""

MAX_CONNECTIONS = 500
"""Beyond them new ones are closed: a process has 1,024 files by default."""


class Connection(H11Protocol):
    """Is closed when nothing comes of it, which uvicorn does only between two requests."""

    _due: asyncio.TimerHandle | None = None
    _seen: object = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._since = self.loop.time()
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._due is not None:
            self._due.cancel()
        super().connection_lost(exc)

    def _look_later(self) -> None:
        self._due = self.loop.call_later(HEADER_SECONDS / 4, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering or self.cycle is not self._seen:  # a request has come since the last look
            self._seen, self._since = self.cycle, now
        most = HEADER_SECONDS if self.conn.their_state is h11.IDLE else REST_SECONDS
        if now - self._since >= most:
            self.transport.close()
        else:
            self._look_later()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket for connections to an address, whose answers are sent at once.

    Raises:
        OSError: it cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise OSError(f"Cannot listen at {host}:{port}: {error.strerror or error}.") from error
    # Connections inherit it. asyncio does not set it on sockets that name no protocol, and without
    # it the second part of an answer waits 40 ms for the client to acknowledge the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def run_server(
    service: Service,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    *,
    allowed: Collection[str] = (),
    browse: bool = False,
) -> None:
    """Answer until the process gets SIGINT or SIGTERM.

    Args:
        service: that answers.
        host: address to bind.
        port: 0 for a free one.
        token: that clients must send, None for none.
        allowed: names, `name` or `name:port`, by which browsers reach it through a proxy.
        browse: open the page in the browser.

    Raises:
        OSError: host or port cannot be bound.
    """
    local = is_loopback(host)
    if not local and token is None:
        say(
            f"Warning: {host} can be reached by other machines, and whoever reaches it may ask for "
            "everything: set ROOTSPACE_TOKEN or --token."
        )
    pillow: Any = require("PIL.Image", extra="data", purpose="Serving images")
    # Also for pictures within files, such as those of icons, which are decoded by Pillow alone.
    pillow.MAX_IMAGE_PIXELS = service.shape.max_pixels
    warnings.filterwarnings("ignore", category=pillow.DecompressionBombWarning)
    names = {host, "localhost", "127.0.0.1", "[::1]"} if local and token is None else None
    app = create_app(service, token, names, allowed)
    listening = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listening.getsockname()[1]}/"
    config = uvicorn.Config(
        app,
        http=Connection,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    server = _Server(config, f"{service.model.name}: {url}", url if browse else None)
    with listening:
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Says where it is once it answers."""

    def __init__(self, config: uvicorn.Config, line: str, browse: str | None) -> None:
        super().__init__(config)
        self._line, self._browse = line, browse

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(self._line, flush=True)
        if self._browse is not None:
            webbrowser.open(self._browse)
