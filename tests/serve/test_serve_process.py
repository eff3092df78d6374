"""`rootspace serve` as a process: runs, ONNX files without torch, stopping, wrong arguments."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from servers import CLASSES, new_class, serving

from rootspace._files import lock
from rootspace.cli import main
from rootspace.run import load
from rootspace.serve.client import Client, ServerError
from rootspace.serve.server import is_loopback, listen

Letters = list[tuple[str, bytes]]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_answers_do_not_wait_for_acknowledgments(host: str):
    with listen(host, 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_client_of_a_process(run: Path, letters: Letters, tmp_path: Path):
    own = tmp_path / "a gallery"
    path = tmp_path / "ä b.png"
    path.write_bytes(letters[0][1])
    with serving(run, "--gallery", own, ROOTSPACE_TOKEN="s3cret") as (process, url):
        with Client(url) as stranger, pytest.raises(ServerError, match="Authorization") as refused:
            stranger.model()
        assert (refused.value.status, refused.value.code) == (401, "unauthorized")
        assert refused.value.request_id
        with Client(url, token="s3cret") as client:
            assert client.health().status == "ok"
            assert client.model().name == "letters"
            assert [entry.name for entry in client.classes()] == CLASSES
            good, bad = client.predict([path, b"no image"], k=2)
            wanted = load(run).predict([path], k=2)
            assert [one.name for one in good.answers] == wanted.name[0]
            assert bad.error is not None and bad.error.code == "image_unreadable"
            z, none = client.embed([letters[0][1], b"no image"])
            assert z is not None and none is None
            np.testing.assert_allclose(z, load(run).embed(path)[0].numpy(), atol=1e-4)
            with pytest.raises(ServerError, match="at most 16, not 99"):
                client.predict([path], k=99)
            *some, other = new_class("Z")[1:]
            for image in some:  # one by one
                client.enroll("Z", [image], review=False)
            (enrolled,) = client.enrolled()
            assert (enrolled.name, enrolled.images) == ("Z", 3)
            assert client.predict([other], k=1)[0].answers[0].name == "Z"
            added = client.add([letters[0][1], b"x"], "A", {"year": 2020})
            assert added.ids == [3, None] and added.rejected[0].reason == "unreadable"
            (found,) = client.search([letters[0][1]], k=9, where="year = 2020", min_cosine=0.5)
            assert [(hit.id, hit.label, hit.payload) for hit in found.hits] == [
                (3, "A", {"year": 2020})
            ]
            assert client.undo().action == "enroll"
            with pytest.raises(TypeError, match="must be a list of images, not str"):
                client.predict("a.png")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
        with pytest.raises(ConnectionError, match="does not answer"):
            Client(url).health()


def test_stopping_finishes_what_is_in_flight(run: Path, letters: Letters):
    """The end of a request comes after the signal."""
    with serving(run) as (process, url):
        host, port = url.removeprefix("http://").rstrip("/").split(":")
        request = httpx.Request(
            "POST", f"{url}v1/predict", files=[("images", ("a.png", letters[0][1]))]
        )
        body = request.read()
        head = "".join(f"{key}: {value}\r\n" for key, value in request.headers.items())
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(f"POST /v1/predict HTTP/1.1\r\n{head}\r\n".encode() + body[:20])
            httpx.get(f"{url}v1/health")  # the request above has begun
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            connection.sendall(body[20:])
            answer = b"".join(iter(lambda: connection.recv(2**16), b""))
        assert answer.startswith(b"HTTP/1.1 200") and b'"answers":[{' in answer
        assert process.wait(30) == -signal.SIGTERM


def test_stopping_does_not_wait_for_a_lock(run: Path, letters: Letters, tmp_path: Path):
    """Of the gallery, which another process holds."""
    own = tmp_path / "gallery"
    with serving(run, "--gallery", own) as (process, url), Client(url) as client:
        client.add([letters[0][1]])
        with lock(own):
            files = [("images", ("a.png", letters[1][1]))]
            with pytest.raises(httpx.TimeoutException):
                httpx.post(f"{url}v1/gallery/items", files=files, timeout=2)
            process.send_signal(signal.SIGTERM)
            assert process.wait(45) == -signal.SIGTERM


def test_many_clients_at_once(run: Path, letters: Letters):
    """Every one gets the answer to its own image."""
    names = dict(
        zip([c for _, c in letters], load(run).predict([c for _, c in letters]).name, strict=True)
    )
    wrong: list[object] = []
    with serving(run, "--allow_host", "a.example", "--allow_host", "b.example") as (_, url):
        for name, status in (("a", 422), ("b", 422), ("c", 403)):
            origin = {"Origin": f"https://{name}.example"}
            assert httpx.post(f"{url}v1/predict", headers=origin).status_code == status

        def ask(client: Client, start: int) -> None:
            for i in range(10):
                content = letters[(start + i) % len(letters)][1]
                (answer,) = client.predict([content], k=1)
                if [one.name for one in answer.answers] != names[content]:
                    wrong.append(answer)

        with Client(url) as client:
            threads = [threading.Thread(target=ask, args=(client, i)) for i in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            metrics = httpx.get(f"{url}metrics").text
    assert not wrong
    assert 'rootspace_images_total{outcome="read"} 120.0' in metrics


# ---------------------------------------------------------------- ONNX

WITHOUT_TORCH = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "lightning", "scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
from rootspace.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_an_onnx_file_is_served_without_torch(run: Path, letters: Letters, tmp_path: Path):
    file = tmp_path / "letters.onnx"
    assert main(["export", str(run), "--out", str(file), "--top", "3"]) == 0
    command = [sys.executable, "-c", WITHOUT_TORCH, "serve", str(file), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with Client(url) as client:
            model = client.model()
            assert (model.kind, model.most, model.num_classes) == ("onnx", 3, 16)
            assert not model.has_map
            contents = [content for _, content in letters[:8]]
            found = client.predict(contents, k=3)
            wanted = load(run).predict(contents, k=3)
            assert [[one.name for one in answer.answers] for answer in found] == wanted.name
            cosines = [[one.cosine for one in answer.answers] for answer in found]
            np.testing.assert_allclose(cosines, wanted.cosine.numpy(), atol=1e-4)
            for z, vector in zip(client.embed(contents), load(run).embed(contents), strict=True):
                assert z is not None
                np.testing.assert_allclose(z, vector.numpy(), atol=1e-3)
            with pytest.raises(ServerError, match="at most 3, not 4"):
                client.predict(contents, k=4)
            assert httpx.get(f"{url}v1/map").status_code == 404
        process.terminate()


def test_files_that_are_none_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no ONNX")
    for arguments, message in (
        ([str(other)], "other.onnx is no ONNX file"),
        ([str(tmp_path / "none.onnx")], "none.onnx does not exist"),
        ([str(tmp_path)], "is not a run folder"),
        ([str(other), "--device", "cuda"], "Argument '--device' must be cpu for an ONNX file"),
        ([str(other), "--port", "70000"], "must be a port from 0 to 65535, not '70000'"),
        ([str(other), "--allow_host", "https://a"], "must be a name as in photos.example.com"),
        ([str(other), "--max_images", "0"], "must be a whole number above 0, not '0'"),
        ([str(other), "--max_wait", "nan"], "must be seconds from 0 to 10, not 'nan'"),
    ):
        assert main(["serve", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("rootspace serve: error: ") and message in error, error


def test_a_port_that_is_taken(run: Path, capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(run), "--port", str(port)]) == 2
    assert f"Cannot listen at 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("h", False)],
)
def test_which_hosts_are_this_machine(host: str, local: bool):
    assert is_loopback(host) == local
