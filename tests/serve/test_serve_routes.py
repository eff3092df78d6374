"""Routes answer as the library does, and refuse who may not ask."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from PIL import Image
from servers import CLASSES, LIMITS, live, refusal, upload
from starlette.testclient import TestClient

import rootspace
from rootspace.cli import main
from rootspace.continual.live import read_rejector
from rootspace.images import convert_image
from rootspace.run import load
from rootspace.serve import server as server_module
from rootspace.serve import service as service_module
from rootspace.serve.app import PAGE, create_app
from rootspace.serve.projection import fit
from rootspace.serve.run_model import RunModel
from rootspace.serve.service import Service

Letters = list[tuple[str, bytes]]
BAD = b"no image at all"


def test_predictions_are_those_of_the_run(client: TestClient, run: Path, letters: Letters):
    contents = [content for _, content in letters[:8]]
    found = client.post("/v1/predict?k=3", files=upload(*contents)).json()["results"]
    wanted = load(run).predict(contents, k=3)
    for one, names, cosines in zip(found, wanted.name, wanted.cosine.tolist(), strict=True):
        assert [answer["name"] for answer in one["answers"]] == names
        assert [answer["cosine"] for answer in one["answers"]] == pytest.approx(cosines, abs=1e-5)
        assert one["error"] is None and one["unknown"] is None


def test_embeddings_are_those_of_the_run(client: TestClient, run: Path, letters: Letters):
    contents = [content for _, content in letters[:3]]
    found = client.post("/v1/embed", files=upload(*contents)).json()
    wanted = load(run).embed(contents).numpy()
    assert found["dim"] == 32
    rows = np.array([one["embedding"] for one in found["results"]], np.float32)
    np.testing.assert_allclose(rows, wanted, atol=1e-4)


def test_a_bad_image_harms_no_other(client: TestClient, letters: Letters):
    good = letters[0][1]
    found = client.post("/v1/predict", files=upload(good, BAD, good)).json()["results"]
    assert found[0] == found[2] and found[0]["error"] is None
    assert found[1]["answers"] == [] and found[1]["error"]["code"] == "image_unreadable"
    alone = client.post("/v1/predict", files=upload(good)).json()["results"][0]
    assert alone["answers"][0]["label"] == found[0]["answers"][0]["label"]
    message = refusal(client.post("/v1/predict", files=upload(BAD, BAD)), 422)
    assert "'a.png' cannot be decoded" in message


def test_what_is_served(client: TestClient):
    model = client.get("/v1/model").json()
    assert (model["name"], model["kind"], model["num_classes"]) == ("letters", "run", 16)
    assert (model["dim"], model["channels"], model["size"], model["most"]) == (32, 1, 32, 16)
    assert model["version"] == rootspace.__version__
    limits = {"max_bytes": 2**20, "max_json": 2**20, "max_images": 8, "max_pixels": 1_000_000}
    assert model["limits"] == limits
    assert client.get("/v1/health").json() == {"status": "ok"}


def test_names(client: TestClient):
    page = client.get("/v1/classes?start=14&limit=5").json()
    assert page["num_classes"] == 16
    assert page["classes"] == [{"label": 14, "name": "O"}, {"label": 15, "name": "P"}]
    page = client.get("/v1/classes?label=3&label=0").json()
    assert [one["name"] for one in page["classes"]] == ["D", "A"]
    assert client.get("/v1/classes?start=99").json()["classes"] == []
    assert "There is no class 16" in refusal(client.get("/v1/classes?label=16"), 404)


def test_the_plane_is_that_of_the_principal_axes(client: TestClient, run: Path, letters: Letters):
    info = client.get("/v1/map").json()
    points = np.frombuffer(client.get("/v1/map/points").content, "<f4").reshape(-1, 2)
    trained = load(run)
    vectors = trained.model.head.vectors(torch.arange(16)).numpy().astype(np.float64)
    centered = vectors - vectors.mean(axis=0)
    _, singular, axes = np.linalg.svd(centered, full_matrices=False)
    assert info["num_points"] == 16 and info["step"] == 1
    np.testing.assert_allclose(info["share"], (singular**2 / (singular**2).sum())[:2], rtol=1e-4)
    for column, axis in zip(points.T, axes, strict=False):
        wanted = centered @ axis
        assert np.allclose(column, wanted, atol=1e-4) or np.allclose(column, -wanted, atol=1e-4)
    # An image is placed by the same projection.
    (answer,) = client.post("/v1/predict", files=upload(letters[0][1])).json()["results"]
    z = trained.embed(letters[0][1])[0]
    direction = (z / z.norm()).numpy() - vectors.mean(axis=0)
    signs = np.sign((points * (centered @ axes[:2].T)).sum(axis=0))  # each axis may be reversed
    np.testing.assert_allclose(answer["position"], signs * (axes[:2] @ direction), atol=1e-4)


def test_renamed_and_retired_classes_are_heeded(run: Path, tmp_path: Path, letters: Letters):
    own = Path(shutil.copytree(run, tmp_path / "run"))
    with TestClient(create_app(Service(RunModel(own), LIMITS))) as client:
        content = letters[0][1]
        before = client.post("/v1/predict?k=2", files=upload(content)).json()["results"][0]
        first, second = before["answers"]
        assert main(["classes", str(own), "rename", second["name"], "<b>second</b>"]) == 0
        assert main(["classes", str(own), "retire", first["name"]]) == 0
        after = client.post("/v1/predict?k=1", files=upload(content)).json()["results"][0]
        assert after["answers"][0] == {**second, "name": "<b>second</b>"}
        (all_of_them,) = client.post("/v1/predict?k=16", files=upload(content)).json()["results"]
        assert len(all_of_them["answers"]) == 15


def test_unknown_images_are_told(run: Path, tmp_path: Path, letters: Letters):
    own = Path(shutil.copytree(run, tmp_path / "run"))
    options = ["--score=cosine", "--false_reject=0.5"]
    assert main(["calibrate", str(own), *options]) == 0
    with TestClient(create_app(Service(RunModel(own), LIMITS))) as client:
        contents = [content for _, content in letters[:8]]
        found = client.post("/v1/predict", files=upload(*contents)).json()["results"]
        threshold = read_rejector(own).threshold
        assert [one["unknown"] for one in found] == [
            one["answers"][0]["cosine"] < threshold for one in found
        ]
        assert {one["unknown"] for one in found} == {True, False}
        assert client.get("/v1/model").json()["has_rejector"]


# ---------------------------------------------------------------- who may ask


def test_a_token(run: Path, letters: Letters):
    app = create_app(Service(RunModel(run), LIMITS), token="secret ü")
    with TestClient(app, base_url="http://localhost") as client:
        for path in ("/v1/health", "/", "/page/page.css", "/openapi.json"):
            assert client.get(path).status_code == 200
        wrong = [None, "", "Bearer", "Bearer no", "Basic secret", "secret", "Bearer secret u"]
        for given in wrong:
            headers = {} if given is None else {"Authorization": given}
            for path in ("/v1/model", "/metrics", "/v1/classes"):
                response = client.get(path, headers=headers)
                assert "Authorization" in refusal(response, 401)
                assert response.headers["www-authenticate"] == "Bearer"
            response = client.post("/v1/predict", headers=headers, files=upload(letters[0][1]))
            refusal(response, 401)
        # A header holds bytes; clients send UTF-8.
        right = [(b"Authorization", b"Bearer " + "secret ü".encode())]
        assert client.get("/v1/model", headers=right).status_code == 200


def test_below_another_application(run: Path, letters: Letters):
    """Which runs no lifespan of ours, and puts a prefix before each path."""
    service = Service(RunModel(str(run)), replace(LIMITS, seconds=5))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    outer = FastAPI(lifespan=lifespan)
    outer.mount("/a/model", create_app(service, "secret"))
    with TestClient(outer, base_url="http://localhost") as client:
        for path in ("/v1/health", "/", "/page/page.css", "/openapi.json"):
            assert client.get(f"/a/model{path}").status_code == 200
        for path in ("/v1/model", "/v1/health/", "/a/model/v1/health", "//"):
            refusal(client.get(f"/a/model{path}"), 401)
        headers = {"Authorization": "Bearer secret"}
        files = upload(letters[0][1])
        found = client.post("/a/model/v1/predict", files=files, headers=headers)
        assert found.json()["results"][0]["answers"]


def test_pages_of_other_sites_are_refused(client: TestClient, letters: Letters):
    files = upload(letters[0][1])
    for origin in ("http://evil.example", "null", "http://localhost:81", "https://localhost.evil"):
        message = refusal(client.post("/v1/predict", files=files, headers={"Origin": origin}), 403)
        assert "Origin" in message
    own = client.post("/v1/predict", files=files, headers={"Origin": "http://localhost"})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers


def test_a_name_of_somebody_else_is_refused(client: TestClient):
    for host in ("evil.example", "localhost.evil.example:8000", ""):
        assert "Host" in refusal(client.get("/v1/model", headers={"Host": host}), 421)
    assert client.get("/v1/model", headers={"Host": "LOCALHOST:8000"}).status_code == 200


def test_behind_a_proxy(run: Path, letters: Letters):
    """Which hands its own name on, or puts ours in its place."""
    allowed = ["photos.example.com", "other.example.com:8443"]
    app = create_app(Service(RunModel(run), LIMITS), hosts={"localhost"}, allowed=allowed)
    files = upload(letters[0][1])
    with TestClient(app, base_url="http://localhost") as client:

        def ask(host: str, origin: str) -> Any:
            headers = {"Host": host, "Origin": origin}
            return client.post("/v1/predict", files=files, headers=headers)

        for host in ("localhost:8000", "photos.example.com", "other.example.com:8443"):
            for name in allowed:
                assert ask(host, f"https://{name}").status_code == 200
        for origin in ("https://photos.example.com:9", "https://other.example.com", "null", "x://"):
            assert "Origin" in refusal(ask("localhost:8000", origin), 403)
        refusal(ask("evil.example", "https://photos.example.com"), 421)


def test_request_ids(client: TestClient):
    given = "b7-A_1.x"
    assert (
        client.get("/v1/health", headers={"x-request-id": given}).headers["x-request-id"] == given
    )
    for wrong in ("", "a b", "x" * 65, "<script>"):
        made = client.get("/v1/health", headers={"x-request-id": wrong}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{16}", made)


def test_a_failure_of_ours_is_told_as_one(run: Path, letters: Letters, monkeypatch, capsys):
    model = RunModel(run)
    app = create_app(Service(model, LIMITS))
    with TestClient(app, raise_server_exceptions=False) as client:
        monkeypatch.setattr(model, "answer", lambda *_: 1 // 0)
        message = refusal(client.post("/v1/predict", files=upload(letters[0][1])), 500)
        assert message == "The server has failed; its log says why."
        assert "ZeroDivisionError" in capsys.readouterr().err
        monkeypatch.undo()
        assert client.post("/v1/predict", files=upload(letters[0][1])).status_code == 200


def test_a_wrong_value_of_ours_is_no_fault_of_the_image(
    run: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
):
    model = RunModel(run)
    with TestClient(create_app(Service(model, LIMITS)), raise_server_exceptions=False) as client:

        def damaged(*_: Any) -> Any:
            raise ValueError("/a/path is damaged")

        monkeypatch.setattr(model, "answer", damaged)
        message = refusal(client.post("/v1/predict", files=upload(letters[0][1])), 500)
        assert "damaged" not in message
        monkeypatch.setattr(model, "embed", damaged)
        refusal(client.post("/v1/embed", files=upload(letters[0][1])), 500)


def test_embeddings_need_no_search(run: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch):
    model = RunModel(run)
    with TestClient(create_app(Service(model, LIMITS))) as client:
        files = upload(letters[0][1])
        both = client.post("/v1/predict?embeddings=true", files=files).json()["results"][0]
        monkeypatch.delattr(RunModel, "answer")
        alone = client.post("/v1/embed", files=files).json()["results"][0]
        assert both["embedding"] == pytest.approx(alone["embedding"], abs=1e-5)


def test_bodies_are_counted_as_they_come(run: Path, letters: Letters):
    """What is only announced keeps nobody out."""
    limits = replace(LIMITS, max_memory=LIMITS.max_bytes)
    most = LIMITS.max_bytes
    with live(create_app(Service(RunModel(run), limits))) as address, ExitStack() as lines:

        def predict() -> httpx.Response:
            return httpx.post(f"{address}/v1/predict", files=upload(letters[0][1]), timeout=30)

        def begin(length: str) -> socket.socket:
            port = int(address.rpartition(":")[2])
            line = lines.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\n{length}\r\n"
            line.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode())
            return line

        begun = [begin(f"Content-Length: {most}") for _ in range(16)]
        begun += [begin("Transfer-Encoding: chunked") for _ in range(16)]
        for _ in range(20):
            assert predict().status_code == 200
        early = begin(f"Content-Length: {most + 1}").recv(2**16)
        assert early.startswith(b"HTTP/1.1 413")

        part = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
        begun[0].sendall(part + bytes(most - len(part) - 1))
        end = time.monotonic() + 20
        while (refused := predict()).status_code == 200:
            assert time.monotonic() < end
        assert "too many bytes" in refusal(refused, 503)
        assert refused.headers["retry-after"] == "1"
        begun[16].sendall(b"1000\r\n" + part + bytes(0x1000 - len(part)) + b"\r\n")
        assert begun[16].recv(2**16).startswith(b"HTTP/1.1 503")
        begun[0].close()
        while predict().status_code != 200:
            assert time.monotonic() < end
    with pytest.raises(ValueError, match="Argument 'max_memory' must be at least 'max_bytes'"):
        replace(LIMITS, max_memory=1)


def test_pixels_that_are_decoded_at_once_are_bounded(run: Path, monkeypatch: pytest.MonkeyPatch):
    """From the headers: a few bytes may hold many."""
    lock, now, most = threading.Lock(), list[int](), list[int]()

    def slow(image: Image.Image, *arguments: Any) -> Image.Image:
        pixels = image.width * image.height
        with lock:
            now.append(pixels)
            most.append(sum(now))
        time.sleep(0.05)
        with lock:
            now.remove(pixels)
        return convert_image(image, *arguments)

    monkeypatch.setattr("rootspace.images.convert_image", slow)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    limits = replace(LIMITS, max_pixels=2000)

    def picture(side: int, kind: str = "PNG") -> bytes:
        content = io.BytesIO()
        Image.new("L", (side, side), 200).save(content, kind)
        return content.getvalue()

    with TestClient(create_app(Service(RunModel(run), limits))) as client:
        sides = [44, 20, 20, 44, 20, 20, 20, 20]  # 1936 and 400 pixels
        found = client.post("/v1/predict", files=upload(*map(picture, sides))).json()["results"]
        assert all(one["answers"] for one in found)
        assert max(most) in range(800, 2001)  # the small ones together
        most.clear()
        icons = upload(*[picture(16, "ICO")] * 3)  # which may hold a larger one than they say
        assert client.post("/v1/predict", files=icons).status_code == 200
        assert max(most) == 256
        assert "2,000 pixels" in refusal(client.post("/v1/predict", files=upload(picture(45))), 422)
        assert client.post("/v1/predict", files=upload(picture(44))).status_code == 200


def test_connections_of_which_nothing_comes_are_closed(
    run: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server_module, "HEADER_SECONDS", 1.0)
    monkeypatch.setattr(server_module, "REST_SECONDS", 3.0)
    health = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n"
    large = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    body = httpx.Request("POST", "http://x/v1/predict", files=upload(letters[0][1]))
    content = body.read()
    head = "".join(f"{key}: {value}\r\n" for key, value in body.headers.items())
    slow = f"POST /v1/predict HTTP/1.1\r\n{head}\r\n".encode()
    with live(create_app(Service(RunModel(run), LIMITS))) as address, ExitStack() as lines:
        port = int(address.rpartition(":")[2])

        def begin(sent: bytes) -> socket.socket:
            line = lines.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            line.sendall(sent)
            return line

        began = time.monotonic()
        sender = begin(slow + content[:9])
        silent = [begin(sent) for sent in (b"", health[:9], health + health[:9], large)]
        for line in silent:
            told = b"".join(iter(lambda line=line: line.recv(2**16), b""))
            assert told.count(b"HTTP/1.1") == (line in silent[2:])
        assert 2.5 < time.monotonic() - began < 20
        sender.sendall(content[9:])  # a body has its own time
        assert sender.recv(2**16).startswith(b"HTTP/1.1 200")


def test_connections_have_a_limit(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 5)
    with live(create_app(Service(RunModel(run), LIMITS))) as address, ExitStack() as lines:
        where = ("127.0.0.1", int(address.rpartition(":")[2]))
        for _ in range(5):
            lines.enter_context(socket.create_connection(where))
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{address}/v1/health")
        lines.close()
        end = time.monotonic() + 20
        while True:
            try:
                assert httpx.get(f"{address}/v1/health").status_code == 200
                break
            except httpx.TransportError:
                assert time.monotonic() < end


def test_the_plane_is_found_once_and_holds_nobody_up(
    run: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
):
    """Predictions that need it wait in a thread; other requests are answered meanwhile."""
    begun, go, calls = threading.Event(), threading.Event(), list[int]()

    def slow(vectors: Any, count: int) -> Any:
        calls.append(count)
        begun.set()
        assert go.wait(30)
        return fit(vectors, count)

    monkeypatch.setattr(service_module, "fit", slow)
    service = Service(RunModel(run), LIMITS)
    with live(create_app(service)) as address, ThreadPoolExecutor(4) as pool:

        def predict() -> Any:
            files = upload(letters[0][1])
            return httpx.post(f"{address}/v1/predict", files=files, timeout=30).json()

        waiting = [pool.submit(predict) for _ in range(3)]
        try:
            assert begun.wait(30)
            assert httpx.get(f"{address}/v1/health", timeout=5).json() == {"status": "ok"}
        finally:
            go.set()
        places = [one.result()["results"][0]["position"] for one in waiting]
    assert calls == [16]
    np.testing.assert_allclose(places, places[:1] * 3, atol=1e-4)


# ---------------------------------------------------------------- metrics and page


def test_a_client_that_has_gone_is_counted_as_such(
    run: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
):
    service, begun = Service(RunModel(run), LIMITS), threading.Event()

    async def never(*_: Any) -> Any:
        begun.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(service, "answers", never)
    with live(create_app(service)) as address:
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as line:
            request = httpx.Request("POST", f"{address}/v1/predict", files=upload(letters[0][1]))
            head = "".join(f"{key}: {value}\r\n" for key, value in request.headers.items())
            line.sendall(f"POST /v1/predict HTTP/1.1\r\n{head}\r\n".encode() + request.read())
            assert begun.wait(20)
        end = time.monotonic() + 20
        counted = 'rootspace_requests_total{route="/v1/predict",status="499"} 1.0'
        while counted not in httpx.get(f"{address}/metrics").text:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_metrics(client: TestClient, letters: Letters):
    def values() -> dict[str, float]:
        text = client.get("/metrics").text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    before = values()
    client.post("/v1/predict", files=upload(letters[0][1], BAD))
    client.get("/no/such/path")
    after = values()

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert more('rootspace_requests_total{route="/v1/predict",status="200"}') == 1
    assert more('rootspace_requests_total{route="other",status="404"}') == 1
    assert more('rootspace_request_seconds_count{route="/v1/predict"}') == 1
    assert more('rootspace_images_total{outcome="read"}') == 1
    assert more('rootspace_images_total{outcome="refused"}') == 1
    assert more("rootspace_batch_images_sum") == 1
    assert after["rootspace_images_waiting"] == 0


def test_the_page_needs_nothing_from_elsewhere(client: TestClient):
    total = 0
    for name in PAGE:
        response = client.get("/" if name == "index.html" else f"/page/{name}")
        assert response.status_code == 200
        assert response.headers["content-type"] == PAGE[name]
        assert "default-src 'none'" in response.headers["content-security-policy"]
        total += len(response.content)
        allowed = "http://www.w3.org/2000/svg"
        assert not re.findall(
            r"(?:https?:)?//[a-z0-9.]+\.[a-z]+", response.text.replace(allowed, "")
        )
    assert total < 500_000
    folder = Path(rootspace.__file__).parent / "serve" / "page"
    assert {file.name for file in folder.iterdir()} == set(PAGE)


def test_a_drawing_of_one_pixel_is_an_image(client: TestClient):
    pixel = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsVjhpQAAAABJRU5ErkJggg=="
    )
    response = client.post("/v1/predict", files=upload(pixel))
    assert response.status_code == 200, response.text


def test_classes_are_named_as_in_the_run(client: TestClient):
    assert [c["name"] for c in client.get("/v1/classes").json()["classes"]] == CLASSES
