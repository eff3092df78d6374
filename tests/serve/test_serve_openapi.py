"""The server keeps what its OpenAPI promises: schemathesis on every route."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from schemathesis.specs.openapi.checks import positive_data_acceptance
from servers import LIMITS, live

from rootspace.serve.app import create_app
from rootspace.serve.run_model import RunModel
from rootspace.serve.service import Service

TOKEN = "a token"
HEALTH = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)


@pytest.fixture(scope="module")
def description(run: Path) -> Iterator[Any]:
    """What schemathesis makes of a server's OpenAPI, while it runs."""
    with live(create_app(Service(RunModel(run), LIMITS), TOKEN)) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.filterwarnings("ignore")  # of Pillow and of schemathesis
def test_promises(description: Any):
    operations = [result.ok() for result in description.get_all_operations()]
    assert len(operations) >= 8
    for operation in operations:
        few = 15 if operation.method == "get" else 8  # a change is written to the disk

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(suppress_health_check=HEALTH, max_examples=few)
        def keep(case: schemathesis.Case) -> None:
            # Bytes that keep the description are no image most of the time, names cannot be seen,
            # and texts are no filters.
            free = case.method != "GET" or "where" in (case.query or {})
            case.call_and_validate(
                headers={"Authorization": f"Bearer {TOKEN}"},
                excluded_checks=[positive_data_acceptance] * free,
            )

        keep()


def test_every_error_is_described(description: Any):
    for path, methods in description.raw_schema["paths"].items():
        for operation in methods.values():
            assert operation["tags"] and operation["description"], path
            for status, answer in operation["responses"].items():
                if not status.startswith("2"):
                    reference = answer["content"]["application/json"]["schema"]["$ref"]
                    assert reference.endswith("/ErrorAnswer"), (path, status)
