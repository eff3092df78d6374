"""What must be exact is computed in full float32, whatever a program has set for its network."""

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

import rootspace as rs
from rootspace._precision import full_precision
from rootspace.heads import NormalizedHead
from rootspace.metrics import LabeledEmbeddings, match_ranks, verify_all
from rootspace.systems import RootA

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, params=["highest", "high", "medium"])
def asked(request: pytest.FixtureRequest):
    """A precision that the program asks for, and finds again afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    assert torch.get_float32_matmul_precision() == request.param
    torch.set_float32_matmul_precision(before)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each product of matrices, whether it was made in full float32."""
    found = []
    plain = Tensor.__matmul__

    def product(self: Tensor, other: Tensor) -> Tensor:
        found.append(is_full())
        return plain(self, other)

    monkeypatch.setattr(Tensor, "__matmul__", product)
    return found


def is_full() -> bool:
    backends: list[Any] = [
        torch.backends.cuda.matmul,
        getattr(torch.backends.mkldnn, "matmul", None),
    ]
    if not all(hasattr(backend, "fp32_precision") for backend in backends):
        return torch.get_float32_matmul_precision() == "highest"
    return all(backend.fp32_precision in ("ieee", "none") for backend in backends)


def test_a_program_sees_its_own_setting(asked: str) -> None:
    assert is_full() == (asked == "highest")


def test_predictions(products: list[bool]) -> None:
    z = torch.randn(200, 64)
    head = rs.PrototypeHead(200, 64)
    head.choose(z + 3.0, center=torch.full((64,), 3.0), rotation=torch.eye(64))
    head.eval()
    head.predict(z + 3.0, k=3)
    head.probability(z + 3.0, torch.arange(200)[:, None])
    NormalizedHead(200, 64).predict(z)
    assert len(products) >= 4 and all(products)


def test_metrics(products: list[bool]) -> None:
    some = LabeledEmbeddings(torch.randn(40, 8), torch.arange(40) % 10)
    match_ranks(some)
    verify_all(some)
    assert len(products) >= 2 and all(products)


def test_network_keeps_its_precision(asked: str, products: list[bool]) -> None:
    """A head in training changes nothing for the layers around it."""
    head, w = rs.PrototypeHead(20, 16), torch.randn(16, 16, requires_grad=True)
    z = torch.randn(40, 16) @ w
    head(z, torch.arange(40) % 20).backward()
    assert products[0] == (asked == "highest")


def test_one_thread_leaves_before_another(asked: str) -> None:
    entered, left = threading.Barrier(2), threading.Barrier(2)
    seen = []

    def other() -> None:
        with full_precision(CPU):
            entered.wait()
            left.wait()  # the main thread has left
            seen.append(is_full())

    thread = threading.Thread(target=other)
    thread.start()
    with full_precision(CPU), full_precision(CPU):
        entered.wait()
    left.wait()
    thread.join()
    assert seen == [True]
    assert is_full() == (asked == "highest")


def test_after_an_error(asked: str) -> None:
    with pytest.raises(ValueError, match="k"):
        rs.PrototypeHead.from_map(rs.ClassMap(RootA(8), 9)).predict(torch.randn(2, 8), k=10)
    with pytest.raises(RuntimeError), full_precision(CPU):
        raise RuntimeError
    assert is_full() == (asked == "highest")
