"""Heads compiled, in inference mode, in processes and on a GPU."""

import copy
from pathlib import Path

import pytest
import torch
from made_heads import (
    DIM,
    STAGES,
    C,
    batch,
    chosen,
    gradient,
    means,
    rotation,
    same,
    through_file,
)
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from rootspace import PrototypeHead, choose_prototypes
from rootspace.systems import PermutationCode, RootA, Table, VectorSystem


@pytest.mark.parametrize("stage", ["first", "chosen", "formula"])
def test_compiled_is_eager(stage: str) -> None:
    head = STAGES[stage]()
    z, labels = batch()
    torch.compiler.reset()
    compiled = torch.compile(head, backend="eager", fullgraph=True)
    expected, found = head(z, labels), compiled(z, labels)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient(found, z), gradient(expected, z))
    if head.ready:
        predict = torch.compile(head.predict, backend="eager", fullgraph=True)
        assert predict(z.detach(), 2).label.equal(head.predict(z.detach(), 2).label)


def test_compiled_head_notices_the_choice() -> None:
    head = PrototypeHead(C, DIM)
    z, labels = batch()
    torch.compiler.reset()
    compiled = torch.compile(head, backend="eager")
    first = compiled(z, labels)
    head.choose(means(), torch.ones(DIM), rotation())
    second = compiled(z, labels)
    assert not second.isclose(first)
    torch.testing.assert_close(second, head(z, labels))


@pytest.mark.parametrize(
    "system", [PermutationCode(DIM), RootA(DIM), Table(means(30))], ids=["code", "roots", "table"]
)
def test_inference_mode_then_training(system: VectorSystem) -> None:
    linear = nn.Linear(4, DIM)
    head = PrototypeHead(C, system=system)
    with torch.inference_mode():
        head.choose(means(30)[:C], torch.ones(DIM), rotation())
        head.predict(linear(torch.randn(3, 4)))
        head.probability(torch.randn(3, DIM), torch.zeros(3, 1, dtype=torch.int64))
    head(linear(torch.randn(8, 4)), torch.arange(8) % 3).backward()
    assert linear.weight.grad is not None
    assert linear.weight.grad.isfinite().all()
    with torch.inference_mode():
        head.extend(2, means(2)) if not isinstance(system, Table) else None
    head(linear(torch.randn(8, 4)), torch.arange(8) % 3).backward()
    head.fold_into(linear)
    assert through_file(head.state_dict())


def _train(net: nn.Module, head: PrototypeHead, model: nn.Module, x: Tensor, y: Tensor) -> None:
    choose_prototypes(head, net, [(x, y)], refine=2)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    model(x, y).backward()
    optimizer.step()


class _WithHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.net, self.head = nn.Linear(6, DIM), PrototypeHead(C, DIM)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(self.net(x), y)


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    y = torch.arange(C).repeat(8)[torch.randperm(8 * C, generator=generator)]
    return torch.randn(C, 6, generator=generator)[y] + 0.1, y


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    model = _WithHead()
    parallel = nn.parallel.DistributedDataParallel(model)
    x, y = (part.chunk(2)[rank] for part in _data())
    _train(model.net, model.head, parallel, x, y)
    torch.save(model.state_dict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_distributed_data_parallel(tmp_path: Path) -> None:
    spawn(_process, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name, value in first.items():
        if isinstance(value, Tensor):
            assert value.equal(second[name]), name
    codes = [state["head._extra_state"]["classes"]["codes"] for state in (first, second)]
    assert codes[0].equal(codes[1])
    model = _WithHead()
    _train(model.net, model.head, model, *_data())
    alone = model.state_dict()
    torch.testing.assert_close(first["head.center"], alone["head.center"])
    assert codes[0].equal(alone["head._extra_state"]["classes"]["codes"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda() -> None:
    head = chosen()
    z, labels = batch()
    expected, found = head(z, labels), head.predict(z, 3)
    other = copy.deepcopy(head).cuda()
    on = z.detach().cuda()
    for head_ in (other, head):  # the frame follows the embeddings where the head was left behind
        found_loss = head_(on, labels.cuda()).cpu()
        torch.testing.assert_close(found_loss, expected, atol=1e-4, rtol=1e-4)
        assert head_.predict(on, 3).label.cpu().equal(found.label)
        assert head_.predict(on).label.is_cuda
        asked = labels.cuda()[:, None]
        assert head_.probability(on, asked).is_cuda
    assert other.class_map is not None
    before = torch.cuda.memory_allocated()
    large = PrototypeHead(60_000, 256).cuda()
    large.choose(torch.randn(60_000, 256))
    large(torch.randn(8, 256, device="cuda"), torch.arange(8, device="cuda")).item()
    assert torch.cuda.memory_allocated() - before < 2**23  # 6 MB of codes stay on the host
    other.extend(2, means(2))
    assert other.predict(on, 2).label.is_cuda
    same(other.cpu(), PrototypeHead.from_state_dict(through_file(other.state_dict())))
