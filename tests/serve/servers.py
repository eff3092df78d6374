"""What the tests of the server share."""

from __future__ import annotations

import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from rootspace.serve.server import Connection
from rootspace.serve.service import Limits

CLASSES = [chr(code) for code in range(0x41, 0x51)]
LIMITS = Limits(max_bytes=2**20, max_images=8, max_pixels=1_000_000, seconds=30)


def upload(*contents: bytes, name: str = "a.png") -> list[tuple[str, tuple[str, bytes]]]:
    """Files of a form."""
    return [("images", (name, content)) for content in contents]


def refusal(response: Any, *statuses: int) -> str:
    """The message of an answer that must be an error, as readers and programs like it."""
    assert response.status_code in (statuses or range(400, 500)), response.text
    body = response.json()
    assert {*body} == {"error", "request_id"}
    assert body["request_id"] == response.headers["x-request-id"]
    message = body["error"]["message"]
    assert body["error"]["code"] and message.endswith((".", "...")), message
    assert len(message) < 600 and "\n" not in message
    assert not re.search(r"Traceback|object at 0x|site-packages|/root|File \"", message)
    return message


@contextmanager
def live(app: FastAPI) -> Iterator[str]:
    """The application behind a socket, in a thread: its address."""
    server = uvicorn.Server(uvicorn.Config(app, http=Connection, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


@contextmanager
def serving(*arguments: object, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`rootspace serve` in a process of its own: the process, and the address it names."""
    command = [sys.executable, "-m", "rootspace", "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, line
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.communicate()


def glyph(text: str, face: str = "DejaVuSans", size: int = 32) -> bytes:
    """A PNG of a character as the run of these tests sees them."""
    pen = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/{face}.ttf", round(size * 0.72))
    picture = Image.new("L", (size, size), 255)
    ImageDraw.Draw(picture).text((size / 2, size * 0.75), text, fill=0, font=pen, anchor="ms")
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def new_class(text: str) -> list[bytes]:
    """PNGs of a class that the run has not learned, which its network puts near to each other.

    Of one face, and of sizes that are alike when they are scaled down. How near a small network
    puts different faces depends on the machine it was trained on, and an enrolment refuses images
    that are nearer to another class.
    """
    return [glyph(text, size=size) for size in range(120, 140, 4)]


FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "DejaVuSerif-Bold")
