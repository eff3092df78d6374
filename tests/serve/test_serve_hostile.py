"""Hostile requests: each is refused with a clear message, and the server goes on."""

from __future__ import annotations

import pytest
from hostile import Request, all_requests
from servers import refusal, upload
from starlette.testclient import TestClient

from rootspace._terminal import one_line

REQUESTS = all_requests()


def test_there_are_enough():
    assert len(REQUESTS) >= 200
    assert len({request.name for request in REQUESTS}) == len(REQUESTS)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what is refused then
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.name)
def test_refused(client: TestClient, request_: Request):
    response = client.request(request_.method, request_.path, **request_.options)
    message = refusal(response, *request_.statuses)
    assert one_line(message) == message, message


def refused_images(client: TestClient) -> float:
    name = 'rootspace_images_total{outcome="refused"}'
    (line,) = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name)]
    return float(line.split()[-1])


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what is refused then
def test_the_server_goes_on(client: TestClient, letters: list[tuple[str, bytes]]):
    before = refused_images(client)
    for request in REQUESTS[::10]:
        client.request(request.method, request.path, **request.options)
    assert refused_images(client) > before
    assert client.get("/v1/health").status_code == 200
    contents = [content for _, content in letters[:4]]
    found = client.post("/v1/predict?k=1", files=upload(*contents))
    assert found.status_code == 200
    assert "rootspace_images_waiting 0.0" in client.get("/metrics").text
