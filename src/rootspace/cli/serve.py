"""`rootspace serve`: a trained run, or its ONNX file, behind HTTP, with a page to try it.

RUN is a run folder, or a file that `rootspace export` wrote, which is served without torch. Clients
send the token, where one is set, as `Authorization: Bearer TOKEN`. Ctrl-C finishes what is in
flight and stops.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rootspace._extras import require

from ._parser import Parser, path

if TYPE_CHECKING:
    from rootspace.serve.model import ServedModel

TOKEN = "ROOTSPACE_TOKEN"
"""Environment variable with the token; other users of a machine see its arguments."""


def run(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    for package in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
        require(package, extra="serve", purpose="`rootspace serve`")
    # Here: without the extra they cannot be imported, and torch is for runs alone.
    service = importlib.import_module("rootspace.serve.service")
    server = importlib.import_module("rootspace.serve.server")
    limits = service.Limits(
        max_bytes=options.max_bytes,
        max_images=options.max_images,
        max_pixels=options.max_pixels,
        max_batch=options.max_batch,
        max_wait=options.max_wait,
        max_queue=options.max_queue,
        max_memory=options.max_memory,
    )
    token = options.token or os.environ.get(TOKEN) or None
    model = _model(options.run, options.device, options.gallery)
    server.run_server(
        service.Service(model, limits),
        options.host,
        options.port,
        token,
        allowed=options.allow_host,
        browse=options.open,
    )
    return 0


def _parser() -> Parser:
    parser = Parser(prog="rootspace serve", description=__doc__)
    parser.add_argument("run", type=path, metavar="RUN", help="run folder, or .onnx file")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="0 for a free one (%(default)s)")
    parser.add_argument("--token", help=f"that clients must send; better in {TOKEN}")
    parser.add_argument(
        "--device",
        default="cpu",
        help="device of the network: cpu (the default), cuda, cuda:1, ...",
    )
    parser.add_argument(
        "--gallery",
        type=str,
        metavar="GALLERY",
        help="of the run, a folder or postgresql://user@host/database#table, made where there is "
        "none; RUN/gallery by default",
    )
    parser.add_argument(
        "--allow_host",
        type=_host,
        action="append",
        default=[],
        metavar="NAME",
        help="name[:port] in the address by which browsers reach a proxy before the server; again "
        "for more",
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    for name, value, text in (
        ("max_bytes", 32 * 2**20, "of a request"),
        ("max_images", 32, "in a request"),
        (
            "max_pixels",
            50_000_000,
            "of an image before it is scaled, and of all that are decoded at once",
        ),
        ("max_batch", 32, "images that go through the network together"),
        ("max_queue", 512, "images that wait; more are refused"),
        (
            "max_memory",
            512 * 2**20,
            "bytes that have come of all requests in flight; more are refused",
        ),
    ):
        parser.add_argument(
            f"--{name}", type=_positive, default=value, metavar="N", help=f"{text} (%(default)s)"
        )
    parser.add_argument(
        "--max_wait",
        type=_seconds,
        default=0.005,
        metavar="S",
        help="seconds that a batch waits for images that are being read (%(default)s)",
    )
    return parser


def _model(source: Path, device: str, gallery: str | None) -> ServedModel:
    if source.suffix == ".onnx":
        if device != "cpu":
            raise ValueError(f"Argument '--device' must be cpu for an ONNX file, not {device}.")
        if gallery is not None:
            raise ValueError("Argument '--gallery' must be left out for an ONNX file.")
        return importlib.import_module("rootspace.serve.onnx_model").OnnxModel(source)
    found = importlib.import_module("rootspace.cli._arguments").device
    try:
        chosen = found(device)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"Argument '--device' {error}.") from error
    place = None
    if gallery is not None:
        place = importlib.import_module("rootspace.cli._gallery").location(gallery)
    return importlib.import_module("rootspace.serve.run_model").RunModel(source, chosen, place)


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"must be a port from 0 to 65535, not {text!r}")
    return int(text)


def _host(text: str) -> str:
    if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]+)?", text):
        raise argparse.ArgumentTypeError(
            f"must be a name as in photos.example.com or photos.example.com:8443, not {text!r}"
        )
    return text


def _positive(text: str) -> int:
    if not (text.isdecimal() and len(text) < 19 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 10:
        raise argparse.ArgumentTypeError(f"must be seconds from 0 to 10, not {text!r}")
    return found
