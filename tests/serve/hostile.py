"""Requests that a server must refuse, made without chance."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

SCRIPT = "<script>alert(1)</script>"
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "PCX")


@dataclass(frozen=True)
class Request:
    """What is sent, and which answers are right.

    Attributes:
        name: of the case.
        method, path: of the request.
        options: of the client's `request`.
        statuses: that are right.
    """

    name: str
    method: str = "POST"
    path: str = "/v1/predict"
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    statuses: tuple[int, ...] = (422,)


def image(side: int = 40, kind: str = "PNG") -> bytes:
    """A picture of noise, so that each byte of its file counts."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    return content.getvalue()


def form(*contents: bytes, name: str = "a.png", key: str = "images") -> dict[str, Any]:
    return {"files": [(key, (name, content)) for content in contents]}


def png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8) -> bytes:
    """A PNG file with this in its header, whatever its other chunks are."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    body = b"".join(chunk(*one) for one in ((b"IHDR", header), *chunks, (b"IEND", b"")))
    return b"\x89PNG\r\n\x1a\n" + body


def truncated() -> Iterator[Request]:
    for kind in FORMATS:
        whole = image(kind=kind)
        for percent in (1, 5, 20, 50):
            part = whole[: max(1, len(whole) * percent // 100)]
            yield Request(f"{percent} % of a {kind}", options=form(part))


def no_images() -> Iterator[Request]:
    noise = np.random.default_rng(1).bytes(5000)
    contents = {
        "nothing": b"",
        "a zero": b"\0",
        "zeros": bytes(100_000),
        "noise": noise,
        "text": b"hello",
        "markup": SCRIPT.encode(),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "pdf": b"%PDF-1.7\n%%EOF",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run",
        "zip": b"PK\x03\x04" + noise,
        "gzip": b"\x1f\x8b\x08" + noise,
        "elf": b"\x7fELF" + noise,
        "an object": b'{"images": []}',
        "numpy": b"\x93NUMPY\x01\x00v\x00" + noise,
        "pickle": b"\x80\x04\x95" + noise,
        "png magic": b"\x89PNG\r\n\x1a\n",
        "png magic and noise": b"\x89PNG\r\n\x1a\n" + noise,
        "jpeg magic and noise": b"\xff\xd8\xff\xe0" + noise,
        "gif magic and noise": b"GIF89a" + noise,
        "webp magic and noise": b"RIFF\xff\xff\xff\x7fWEBPVP8 " + noise,
        "tiff magic and noise": b"II*\0" + noise,
        "bmp magic and noise": b"BM" + noise,
        "png without pixels": png(20, 20),
        "png of size zero": png(0, 0),
        "png with broken pixels": png(20, 20, (b"IDAT", zlib.compress(bytes(5)))),
        "png with garbage pixels": png(20, 20, (b"IDAT", noise)),
        "png of depth 3": png(20, 20, (b"IDAT", zlib.compress(bytes(500))), depth=3),
        "float pixels that are not a number": _floats(float("nan")),
        "float pixels that are infinite": _floats(float("inf")),
        "float pixels that are large": _floats(1e30),
    }
    for name, content in contents.items():
        yield Request(name, options=form(content))


def _floats(value: float) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((8, 8), value, np.float32)).save(content, "TIFF")
    return content.getvalue()


def bombs() -> Iterator[Request]:
    line = zlib.compress(bytes(30_001), 9)
    contents = {
        "png of 900 megapixels": png(30_000, 30_000, (b"IDAT", line)),
        "png of 2**31 by 2**31": png(2**31 - 1, 2**31 - 1, (b"IDAT", line)),
        "png that is a line": png(2**31 - 1, 1, (b"IDAT", line)),
        "png just above the limit": image(1001),
        "text that grows": png(
            9, 9, (b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000), 9)), (b"IDAT", line)
        ),
        "gif of 65535": image(kind="GIF")[:6] + b"\xff\xff\xff\xff" + image(kind="GIF")[10:],
        "bmp of 2**30": image(kind="BMP")[:18]
        + struct.pack("<ii", 2**30, 2**30)
        + image(kind="BMP")[26:],
        "ppm of 50000": b"P5 50000 50000 255 " + bytes(100),
        "ppm of 10**30": b"P5 " + b"9" * 30 + b" 1 255 " + bytes(100),
        "icon with a large picture": _icon(png(20_000, 20_000, (b"IDAT", line))),
        "repeated": zlib.compress(bytes(10**7), 9),
    }
    for name, content in contents.items():
        yield Request(name, options=form(content))


def _icon(content: bytes) -> bytes:
    entry = struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(content), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + content


def sizes() -> Iterator[Request]:
    yield Request("a body of 2 MB", options=form(bytes(2**21)), statuses=(413,))
    yield Request("many files", options=form(*[image()] * 9))
    yield Request("very many files", options=form(*[b""] * 1100), statuses=(400,))
    stream = {"content": (bytes(2**16) for _ in range(40))}
    yield Request(
        "2 MB in chunks",
        options={**stream, "headers": {"content-type": "multipart/form-data; boundary=x"}},
        statuses=(400, 413),
    )
    data = {f"field{i}": "x" for i in range(40)}
    yield Request("many fields", options={**form(image()), "data": data}, statuses=(400,))
    data = {"field": "x" * 100_000}
    yield Request("a long field", options={**form(image()), "data": data}, statuses=(400,))


def wrong_types() -> Iterator[Request]:
    def body(content: bytes, kind: str | None) -> dict[str, Any]:
        return {"content": content, "headers": {} if kind is None else {"content-type": kind}}

    multipart = "multipart/form-data; boundary=x"
    head = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    bodies: dict[str, tuple[bytes, str | None]] = {
        "nothing at all": (b"", None),
        "an image without a form": (image(), "image/png"),
        "json": (json.dumps({"images": ["a"]}).encode(), "application/json"),
        "wrong json": (b'{"images": NaN', "application/json"),
        "deep json": (b"[" * 100_000, "application/json"),
        "a form of texts": (b"images=a", "application/x-www-form-urlencoded"),
        "no boundary": (head, "multipart/form-data"),
        "an empty form": (b"", multipart),
        "a form that does not end": (head + image()[:50], multipart),
        "a form without head": (b"x" * 500, multipart),
        "a part without a name": (b"--x\r\n\r\nabc\r\n--x--\r\n", multipart),
        "another boundary": (head.replace(b"--x", b"--y") + b"\r\n--y--", multipart),
        "a long boundary": (head, "multipart/form-data; boundary=" + "y" * 5000),
        "an unknown charset": (head + b"\r\n--x--\r\n", multipart + "; charset=no-such"),
        "a wrong type": (image(), "no type"),
        "a header that does not end": (b"--x\r\nContent-Disposition: form-data", multipart),
        "a long header": (b"--x\r\nA: " + b"b" * 50_000 + b"\r\n\r\n", multipart),
    }
    for name, given in bodies.items():
        yield Request(name, options=body(*given), statuses=(400, 422))
    yield Request("another field", options=form(image(), key="image"))
    yield Request("a text as image", options={"data": {"images": "a"}})
    yield Request("a path as image", options={"data": {"images": "/etc/passwd"}})
    yield Request("several texts", options={"files": [("images", (None, b"a"))] * 3})


def numbers() -> Iterator[Request]:
    wrong = ("0", "-1", "17", "1001", "1e9", "1.5", "nan", "NaN", "inf", "-inf", "", "a", "[]")
    wrong += ("9" * 400, "0x10", "１e", "true", "null", "%00", "1;2", SCRIPT, "'; DROP TABLE x")
    for value in wrong:
        yield Request(f"k={value[:20]}", path=f"/v1/predict?k={value}", options=form(image()))
    wrong = ("-1", "nan", "1.5", "a", "9" * 30, "")
    for name in ("start", "limit", "label"):
        for value in wrong:
            yield Request(f"{name}={value[:20]}", "GET", f"/v1/classes?{name}={value}")
    labels = "&".join(["label=0"] * 1001)
    yield Request("1001 labels", "GET", f"/v1/classes?{labels}")


def paths() -> Iterator[Request]:
    tricks = (
        *("/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/page/..\\app.py"),
        *("/page//etc/passwd", "/page/%2fetc%2fpasswd", "/page/....//app.py", "/page/a%00.css"),
        *("/page/page.css/", "/page/page.css%00.js", "/page/PAGE.CSS", "/page/", "/page"),
        *("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/etc/passwd"),
        *("/v1", "/v1/", "/v1/predict/../../etc", "/v2/predict", "/v1/run", "/docs", "/redoc"),
        *("/.git/config", "/.env", "/registry.sqlite", "/model.safetensors", "/favicon.ico/x"),
        *(
            "/v1/map/points/%2e",
            "/v1/" + "a" * 5000,
            "/v1/%F0%9F%98%80",
            "/v1/%ff%fe",
            "/v1/%0d%0a",
        ),
        *(f"/v1/{SCRIPT}", "/page/" + SCRIPT, "/v1/predict%20", "/;/v1/model", "/v1/model;x=1"),
    )
    for path in tricks:
        yield Request(f"GET {path[:60]!r}", "GET", path, statuses=(404,))
    for path in ("/etc/passwd", "/page/page.css", "/v1/model"):
        yield Request(f"POST {path}", path=path, statuses=(404, 405))
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD2", "LOCK"):
        yield Request(f"{method} predict", method, statuses=(405,))


def names() -> Iterator[Request]:
    """Of files that are no images: they come back in messages."""
    wrong = {
        "long": "a" * 50_000,
        "script": SCRIPT,
        "path": "../../../etc/passwd",
        "windows path": "C:\\windows\\system32\\x.png",
        "line ends": "a\r\nSet-Cookie: x=1\r\n.png",
        "escape": "\x1b[31mred.png",
        "zero": "a\0b.png",
        "directions": "\u202egnp.exe",
        "quotes": "a\"'`;${x}{{7*7}}.png",
        "no letters": "\u200b",
        "percent": "%s%n%x%00.png",
        "surrogate": "\U0010ffff" * 100,
    }
    for name, given in wrong.items():
        yield Request(f"a {name} name", options=form(b"no image", name=given), statuses=(400, 422))


def all_requests() -> list[Request]:
    """Every case."""
    parts = (truncated, no_images, bombs, sizes, wrong_types, numbers, paths, names)
    return [request for part in parts for request in part()]
