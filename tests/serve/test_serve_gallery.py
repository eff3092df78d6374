"""Items, search, and classes that are enrolled: over HTTP as in Python, and after a restart."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from pydantic import ValidationError
from servers import LIMITS, new_class, refusal, upload
from starlette.testclient import TestClient

from rootspace._errors import BusyError
from rootspace.cli import main
from rootspace.continual import predict_without
from rootspace.gallery import Gallery, Identities, _known
from rootspace.run import load
from rootspace.serve.app import create_app
from rootspace.serve.batching import OverloadedError
from rootspace.serve.errors import wording
from rootspace.serve.run_model import RunModel
from rootspace.serve.schema import (
    ClassChange,
    EmbeddingSearch,
    ItemChange,
    Merging,
    Undoing,
)
from rootspace.serve.service import Answer, Service, Upload
from rootspace.serve.workers import Workers

Letters = list[tuple[str, bytes]]
NEW = new_class("Z")


def opened(run: Path) -> TestClient:
    return TestClient(create_app(Service(RunModel(run), LIMITS)), raise_server_exceptions=False)


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """A run to change."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture
def client(own: Path) -> Iterator[TestClient]:
    with opened(own) as client:
        yield client


def names(client: TestClient, content: bytes, k: int = 1) -> list[str]:
    """The classes of an image."""
    (found,) = client.post(f"/v1/predict?k={k}", files=upload(content)).json()["results"]
    return [answer["name"] for answer in found["answers"]]


def test_items(client: TestClient, letters: Letters, own: Path):
    contents = [content for _, content in letters[:4]]
    assert client.get("/v1/gallery").json() == {"num_items": 0}
    assert not (own / "gallery").exists()
    refusal(client.get("/v1/gallery/items/0"), 404)
    found = client.post(
        "/v1/gallery/items",
        files=upload(contents[0], b"no image", contents[1], contents[0], name="../x/a.png"),
        data={"label": "<b>", "payload": '{"year": 2020, "ok": true}'},
    ).json()
    assert found["ids"] == [0, None, 1, 0]
    assert [(one["index"], one["reason"]) for one in found["rejected"]] == [
        (1, "unreadable"),
        (3, "duplicate"),
    ]
    item = client.get("/v1/gallery/items/1").json()
    payload = {"year": 2020, "ok": True}
    assert item == {"id": 1, "path": "a.png", "label": "<b>", "payload": payload}
    again = client.post("/v1/gallery/items", files=upload(*contents)).json()
    assert again["ids"] == [0, 1, 2, 3]
    assert client.get("/v1/gallery").json() == {"num_items": 4}

    page = client.get("/v1/gallery/items?limit=3").json()
    assert [one["id"] for one in page["items"]] == [0, 1, 2] and page["next"] == 2
    page = client.get("/v1/gallery/items?limit=3&after=2").json()
    assert [one["id"] for one in page["items"]] == [3] and page["next"] is None
    chosen = client.get("/v1/gallery/items", params={"where": "year > 2019"}).json()["items"]
    assert [one["id"] for one in chosen] == [0, 1]
    refusal(client.get("/v1/gallery/items", params={"where": "'; drop"}), 422)

    picture = client.get("/v1/gallery/items/0/thumbnail")
    assert picture.headers["content-type"] == "image/webp" and picture.content[:4] == b"RIFF"
    changed = client.patch("/v1/gallery/items/0", json={"label": None}).json()
    assert changed == {**item, "id": 0, "label": None}
    changed = client.patch("/v1/gallery/items/0", json={"payload": {"a": "b"}}).json()
    assert changed == {**item, "id": 0, "label": None, "payload": {"a": "b"}}
    assert client.patch("/v1/gallery/items/0", json={}).json() == changed
    assert client.delete("/v1/gallery/items/0").status_code == 204
    for response in (
        client.get("/v1/gallery/items/0"),
        client.delete("/v1/gallery/items/0"),
        client.patch("/v1/gallery/items/0", json={"label": "x"}),
        client.get("/v1/gallery/items/0/thumbnail"),
    ):
        refusal(response, 404)
    with opened(own) as other:
        assert other.get("/v1/gallery").json() == {"num_items": 3}


def test_an_empty_folder_becomes_a_gallery(own: Path, tmp_path: Path, letters: Letters):
    folder = tmp_path / "gallery"
    folder.mkdir()
    with TestClient(create_app(Service(RunModel(own, gallery=folder), LIMITS))) as client:
        assert client.get("/v1/gallery").json() == {"num_items": 0}
        client.post("/v1/gallery/items", files=upload(letters[0][1]))
        assert client.get("/v1/gallery").json() == {"num_items": 1}
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    with pytest.raises(ValueError, match="other"):
        RunModel(own, gallery=tmp_path / "other")


def test_search_is_that_of_the_gallery(client: TestClient, letters: Letters, own: Path):
    contents = [content for _, content in letters]
    client.post("/v1/gallery/items", files=upload(*contents[:8]), data={"label": "a"})
    client.post("/v1/gallery/items", files=upload(*contents[8:12]), data={"label": "b"})
    run = load(own)
    gallery = Gallery.open(own / "gallery", run)
    for where in ("label = 'b'", None):
        wanted = gallery.search(contents[:3], 5, where=where)
        options = {} if where is None else {"where": where}
        found = client.post(
            "/v1/search", params={"k": 5, **options}, files=upload(*contents[:2], b"", contents[2])
        ).json()["results"]
        assert found[2]["hits"] == [] and found[2]["error"]["code"] == "image_unreadable"
        del found[2]
        body = {"embeddings": run.embed(contents[:3]).tolist(), "k": 5, **options}
        by_vector = client.post("/v1/search/embeddings", json=body).json()["results"]
        for hits, one, other in zip(wanted, found, by_vector, strict=True):
            for answer in (one, other):
                assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in hits]
                cosines = [hit["cosine"] for hit in answer["hits"]]
                np.testing.assert_allclose(cosines, [hit.cosine for hit in hits], atol=1e-5)


def test_a_class_is_recognized_at_once_undone_and_there_after_a_restart(
    client: TestClient, own: Path, letters: Letters
):
    before = {content: names(client, content) for _, content in letters}
    assert names(client, NEW[3]) != ["Zed"]
    done = client.post("/v1/enrolled", files=upload(*NEW[:3], b"x"), data={"name": "Zed"}).json()
    assert (done["name"], done["label"], done["ids"]) == ("Zed", 16, [0, 1, 2])
    assert [(one["index"], one["reason"]) for one in done["rejected"]] == [(3, "unreadable")]
    assert names(client, NEW[3]) == ["Zed"]
    # The others are what they were.
    assert {content: names(client, content) for _, content in letters} == before
    (enrolled,) = client.get("/v1/enrolled").json()["classes"]
    assert (enrolled["name"], enrolled["images"], enrolled["sample"]) == ("Zed", 3, 0)
    assert len(enrolled["position"]) == 2
    undone = client.post("/v1/undo").json()
    assert undone["action"] == "enroll" and "'Zed'" in undone["detail"]
    assert names(client, NEW[3]) != ["Zed"]
    assert client.get("/v1/enrolled").json() == {"classes": []}
    assert "no change to undo" in refusal(client.post("/v1/undo"), 409)

    assert client.post("/v1/enrolled", files=upload(*NEW[:3]), data={"name": "Z"}).is_success
    renamed = client.post("/v1/enrolled/rename", json={"name": "Z", "new": "<i>Zet</i>"}).json()
    assert renamed["action"] == "rename"
    with opened(own) as other:
        assert names(other, NEW[3]) == ["<i>Zet</i>"]
        assert other.post("/v1/undo").json()["action"] == "rename"
    # What another process has changed is seen here.
    assert names(client, NEW[3]) == ["Z"]
    actions = [one["action"] for one in client.get("/v1/history").json()["changes"]]
    assert actions[:3] == ["undo", "rename", "enroll"]


def test_closing_leaves_what_waits_too_long():
    workers, go, begun = Workers("test", 1, 8), threading.Event(), threading.Event()

    def stuck() -> int:
        begun.set()
        assert go.wait(30)
        return 1

    async def work() -> None:
        first, second = (asyncio.create_task(workers.do(stuck)) for _ in range(2))
        await asyncio.to_thread(begun.wait, 30)
        assert not workers.close(0.1)
        with pytest.raises(OverloadedError, match="stopping"):
            await workers.do(stuck)
        with pytest.raises(asyncio.CancelledError):
            await second
        go.set()
        assert await first == 1
        assert workers.close(30)

    asyncio.run(work())


def test_gallery_work_holds_up_no_prediction(own: Path):
    """Changes and their queue stand still; predictions go on, and what is too much is refused."""
    service = Service(RunModel(own), LIMITS)
    go, begun = threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        assert go.wait(30)

    async def work() -> None:
        waiting = [asyncio.create_task(service.changes.do(stuck)) for _ in range(16)]
        await asyncio.to_thread(begun.wait, 30)
        with pytest.raises(OverloadedError, match="too much to do"):
            await service.changes.do(stuck)
        assert await service.reads.do(lambda: 3) == 3
        (answer,) = await service.answers([Upload("a.png", io.BytesIO(NEW[0]))], 1)
        assert isinstance(answer, Answer)
        waiting[-1].cancel()  # has not begun
        go.set()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [*map(type, done)] == [type(None)] * 15 + [asyncio.CancelledError]
        assert await service.changes.do(lambda: 4) == 4
        await service.close()

    asyncio.run(work())


def test_whose_fault_it_is(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A busy gallery is no conflict, and neither is a damaged one."""
    for wrong in ("'; drop", "year = " + "9" * 5000):  # though there is no gallery yet
        refusal(client.get("/v1/gallery/items", params={"where": wrong}), 422)
    client.post("/v1/gallery/items", files=upload(NEW[0], name="a/"))
    for error, status in (
        (BusyError("/a/folder is being written by another process."), 503),
        (TimeoutError("another process held the registry"), 503),
        (ValueError("/a/folder is damaged"), 500),
    ):
        monkeypatch.setattr(Gallery, "delete", Mock(side_effect=error))
        response = client.delete("/v1/gallery/items/0")
        assert "/a/folder" not in refusal(response, status)
        assert ("retry-after" in response.headers) == (status == 503)
        assert str(error) in capsys.readouterr().err
    refusal(client.patch("/v1/gallery/items/0", json={"payload": None}), 422)


def test_an_undo_names_its_change(client: TestClient):
    """A name of a file that is no name harms nothing either."""
    files = upload(*NEW[:3], name="a/")
    done = client.post("/v1/enrolled", files=files, data={"name": "Zed"}).json()
    other = {"name": "Zed", "new": "Zet"}
    renamed = client.post("/v1/enrolled/rename", json=other).json()
    message = refusal(client.post("/v1/undo", json={"number": done["change"]}), 409)
    assert "is not the last one any more" in message and "rename" in message
    assert client.post("/v1/undo", json={"number": renamed["number"]}).json()["action"] == "rename"
    assert client.post("/v1/undo", json={"number": done["change"]}).json()["action"] == "enroll"


def test_one_search_answers(
    client: TestClient, own: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
):
    """With the rejector too; what it says is what `is_known` says."""
    assert main(["calibrate", str(own), "--score=cosine", "--false_reject=0.5"]) == 0
    contents = [content for _, content in letters[:8]]
    with opened(own) as other:
        other.post("/v1/enrolled", files=upload(*NEW[:3]), data={"name": "Zed"})
        searched = Mock(wraps=predict_without)
        monkeypatch.setattr(_known, "predict_without", searched)
        found = other.post("/v1/predict?k=3", files=upload(*contents)).json()["results"]
        assert searched.call_count == 1
        other.post("/v1/embed", files=upload(*contents))
        assert searched.call_count == 1
    run = load(own)
    identities = Identities(Gallery.open(own / "gallery", run))
    wanted = identities.is_known(contents)
    assert [one["unknown"] for one in found] == (~wanted).tolist()
    names = [[match.name for match in row] for row in identities.predict(contents, 3)]
    assert [[answer["name"] for answer in one["answers"]] for one in found] == names


def test_what_a_newer_server_tells_besides_harms_no_client():
    told = {"number": 1, "at": "", "action": "", "detail": "", "undone": False, "more": 1}
    assert ClassChange.model_validate(told).number == 1


def test_classes_become_one(client: TestClient):
    client.post("/v1/enrolled", files=upload(*NEW[:2]), data={"name": "one"})
    other = new_class("S")[:3]
    client.post("/v1/enrolled", files=upload(*other), data={"name": "two"})
    merged = client.post("/v1/enrolled/merge", json={"names": ["two"], "into": "one"})
    assert merged.json()["action"] == "merge"
    assert names(client, other[0]) == names(client, NEW[0]) == ["one"]
    assert [one["name"] for one in client.get("/v1/enrolled").json()["classes"]] == ["one"]


def test_images_of_another_class_need_a_second_word(client: TestClient, letters: Letters):
    name, content = letters[0]
    data = {"name": "mine"}
    refused = client.post("/v1/enrolled", files=upload(content), data=data)
    message = refusal(refused, 409)
    assert refused.json()["error"]["code"] == "images_refused"
    assert "nearer to another class: cosine" in message and repr(name) in message
    done = client.post("/v1/enrolled", files=upload(content), data={**data, "review": "false"})
    assert done.status_code == 200 and names(client, content) == ["mine"]
    for review in ("true", "false"):  # which no second word takes
        again = {"name": "another", "review": review}
        refused = client.post("/v1/enrolled", files=upload(content), data=again)
        refusal(refused, 409)
        assert refused.json()["error"]["code"] == "conflict"


def hostile() -> list[tuple[str, str, dict[str, Any], int]]:
    """Method, path, options and status of requests that are refused."""
    image = NEW[0]
    vector = [1.0] * 32
    bodies: list[tuple[Any, int]] = [
        ({"embeddings": [[float("nan")] * 32]}, 422),
        ({"embeddings": [[float("inf"), *vector[1:]]]}, 422),
        ({"embeddings": [[1e39] * 32]}, 422),
        ({"embeddings": [[0.0] * 32]}, 422),
        ({"embeddings": [vector[1:]]}, 422),
        ({"embeddings": []}, 422),
        ({"embeddings": [vector] * 257}, 422),
        ({"embeddings": "x"}, 422),
        ({"embeddings": [vector], "k": 0}, 422),
        ({"embeddings": [vector], "k": "many"}, 422),
        ({"embeddings": [vector], "min_cosine": float("nan")}, 422),
        ({"embeddings": [vector], "min_cosine": 2}, 422),
        ({"embeddings": [vector], "where": "label ="}, 422),
        ({"embeddings": [vector], "where": "x" * 10_001}, 422),
        ({"embeddings": [vector], "extra": 1}, 422),
        ([], 422),
        (None, 422),
    ]
    post = "/v1/search/embeddings"
    found: list[tuple[str, str, dict[str, Any], int]] = [
        ("POST", post, {"content": json.dumps(body).encode()}, status) for body, status in bodies
    ]
    found += [("POST", post, {"content": content}, 0) for content in (b"{", b"\xff", b"[" * 9999)]
    for name in ("", " ", "a" * 201, "a\nb", "\x00", "\u202ex", "\x1b[31m"):
        files = {"files": upload(image), "data": {"name": name}}
        found.append(("POST", "/v1/enrolled", files, 422))
    for payload in ("x", "[]", '{"a": null}', '{"a": [1]}', '{"a": NaN}', '{"": 1}', '{"a b": 1}'):
        files = {"files": upload(image), "data": {"payload": payload}}
        found.append(("POST", "/v1/gallery/items", files, 0))
    for id in ("-1", "nan", "1e3", "x", "9" * 30, "0%2f1", "%00"):
        found.append(("GET", f"/v1/gallery/items/{id}", {}, 0))
        found.append(("DELETE", f"/v1/gallery/items/{id}", {}, 0))
    for body in ({"label": 1}, {"label": "a" * 201}, {"payload": {"a": []}}, {"id": 3}, "x"):
        found.append(("PATCH", "/v1/gallery/items/0", {"json": body}, 422))
    for body in ({"name": "Z"}, {"name": "none", "new": "b"}, {"name": "A", "new": "B"}, {}, 3):
        found.append(("POST", "/v1/enrolled/rename", {"json": body}, 0))
    for body in ({"names": [], "into": "A"}, {"names": ["A"], "into": "A"}, {"names": ["q"] * 101}):
        found.append(("POST", "/v1/enrolled/merge", {"json": body}, 0))
    for query in ("k=nan", "min_cosine=nan", "min_cosine=-inf", "where=a%20b", "k=1001"):
        found.append(("POST", f"/v1/search?{query}", {"files": upload(image)}, 422))
    return found


def test_what_is_wrong_many_times_is_one_error():
    """Pydantic keeps about a kilobyte for each error."""
    many = {f"k{i}": [] for i in range(10_000)}
    for kind, content in (
        (EmbeddingSearch, {"embeddings": [[""] * 100_000]}),
        (EmbeddingSearch, {"embeddings": [[1.0] * 100_000]}),
        (EmbeddingSearch, {"embeddings": [""] * 100_000}),
        (EmbeddingSearch, {"embeddings": [[1.0]], **many}),
        (Merging, {"names": [1] * 100_000, "into": "A"}),
        (ItemChange, {"payload": many}),
        (Undoing, many),
    ):
        with pytest.raises(ValidationError) as refused:
            kind.model_validate(content)
        assert refused.value.error_count() == 1
        assert len(wording(refused.value.errors())) < 500


def test_json_has_a_limit_of_its_own(own: Path, letters: Letters):
    limits = replace(LIMITS, max_json=2**11)
    with TestClient(create_app(Service(RunModel(own), limits))) as client:
        body = {"embeddings": [[0.123456] * 32] * 20}
        for kind in ("application/json", "text/plain", ""):
            response = client.post(
                "/v1/search/embeddings",
                content=json.dumps(body).encode(),
                headers={"content-type": kind},
            )
            assert "at most 2,048 bytes" in refusal(response, 413)
        del body["embeddings"][5:]
        assert client.post("/v1/search/embeddings", json=body).status_code == 200
        contents = [content for _, content in letters[:8]]
        assert sum(map(len, contents)) > 2**11
        assert client.post("/v1/predict", files=upload(*contents)).status_code == 200
        data = {"payload": json.dumps({f"k{i}": 1 for i in range(65)})}
        response = client.post("/v1/gallery/items", files=upload(contents[0]), data=data)
        assert "payload must have at most 64 keys" in refusal(response, 422).replace("'", "")


def test_hostile_requests_change_nothing(client: TestClient, own: Path):
    client.post("/v1/gallery/items", files=upload(NEW[0]), data={"label": "kept"})
    before = client.get("/v1/gallery/items").json()
    for method, path, options, status in hostile():
        headers = {"content-type": "application/json"} if "content" in options else {}
        response = client.request(method, path, headers=headers, **options)
        refusal(response, *([status] if status else ()))
        assert str(own) not in response.text, (path, response.text)
    assert client.get("/v1/gallery/items").json() == before
    assert client.get("/v1/enrolled").json() == {"classes": []}
