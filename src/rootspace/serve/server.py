"""A server process: it binds, says where it is, and finishes what is in flight when it stops."""

from __future__ import annotations

import ipaddress
import socket
import warnings
import webbrowser
from collections.abc import Collection
from typing import Any

import uvicorn

from rootspace._extras import require
from rootspace._terminal import say

from .app import create_app
from .service import Service

STOP_SECONDS = 30
"""For what is in flight when the server is told to stop."""


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
