"""`benchmarks/search.py` over few rows."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from rootspace.search import CertifiedIndex
from rootspace.systems import PermutationCode


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("search")


def unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def test_all_methods(benchmark: ModuleType):
    torch.manual_seed(0)
    system = PermutationCode(32)
    means = unit(torch.randn(60, 32))
    prototypes, labels = system.quantize(means), torch.arange(60).repeat(5)
    train = unit(prototypes[labels] + 0.1 * torch.randn(300, 32))
    test = unit(prototypes + 0.05 * torch.randn(60, 32))
    real = benchmark.Real(
        system, prototypes, means, (train, labels), {"near": (test, torch.arange(60))}
    )
    options = argparse.Namespace(
        number=3000, peers=benchmark.PEERS, clock="cpu", threads=1, seconds=0.01, keep=None
    )
    for part in benchmark.PARTS:
        lines = list(benchmark.measure(part, real, options))
        assert len(lines) == 7 and {line.rows for line in lines} == {3000}
        for line in lines:
            assert all(line.us[batch] > 0 for batch in benchmark.BATCHES) and line.row_bytes >= 32
            exact = line.method in (benchmark.SCAN, benchmark.OURS, "faiss Flat")
            assert line.recall == 1 if exact else line.recall >= 0.9
        text = benchmark.report(lines, "cpu")
        assert f"3,000 {part}, queries near: 0.0 % certified" in text  # few rows are scanned
        own = next(line for line in text.splitlines() if line.startswith(f"| {benchmark.OURS} "))
        assert "1, 1, 1" in own


def test_what_is_built_is_kept(benchmark: ModuleType, tmp_path: Path):
    vectors, z = unit(torch.randn(200, 16)), unit(torch.randn(5, 16))
    best = benchmark.brute_force(z, vectors)
    clocks = itertools.count(), itertools.count()
    for clock in clocks:
        builder = benchmark.Builder(clock.__next__, tmp_path / "kept", "some")
        index = CertifiedIndex(16, width=8, least=1)
        index.add(vectors)
        *_, own, _ = benchmark.ours(index, "links", builder)
        (graph,) = benchmark.peers(["hnsw"], vectors, z, best, 1, builder)
        assert own.build_s == graph.build_s == 1
        assert index.pending == 0 and torch.equal(graph.search(z), own.search(z))
    assert next(clocks[1]) == 0, "nothing was built again"


def test_rows_lie_to_each_other_as_those_of_the_run(benchmark: ModuleType):
    torch.manual_seed(0)
    system = PermutationCode(64)
    means = unit(torch.randn(80, 64))
    prototypes = system.quantize(means)
    real = benchmark.Real(system, prototypes, means, (prototypes, torch.arange(80)), {})
    levels = benchmark.make_prototypes(real, 4000)
    assert levels.dtype == torch.int8
    assert torch.allclose((levels.float() / system.norm).norm(dim=-1), torch.ones(4000))
    cosine = torch.linspace(0.3, 1, 80)[:, None]
    aside = torch.randn(80, 64)
    aside -= (aside * prototypes).sum(-1, keepdim=True) * prototypes
    z = cosine * prototypes + (1 - cosine**2).sqrt() * unit(aside)
    made = system.quantize(torch.randn(5000, 64))
    found = (benchmark.around(made, real, (z, torch.arange(80))) * made).sum(-1)
    distance = (found[:, None] - cosine[:, 0]).abs()
    assert float(distance.amin(-1).max()) < 1e-5 and len(distance.argmin(-1).unique()) == 80


def test_wrong(benchmark: ModuleType):
    with pytest.raises(SystemExit, match="'--clock cpu' needs '--threads 1'"):
        benchmark.main(["runs/demo", "--clock", "cpu", "--threads", "2"])
