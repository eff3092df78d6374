"""Systems as Python objects, and the shapes, dtypes and devices of what they return."""

from __future__ import annotations

import copy
import pickle

import torch

from rootspace.systems import IMPLICIT_SYSTEMS, VectorSystem
from rootspace.systems._parse import parse_expression

from ._probe import Probe, ensure, raises


def rebuild(system: VectorSystem) -> VectorSystem:
    """What the `repr` of a system says, your own class included."""
    return parse_expression(repr(system), {**IMPLICIT_SYSTEMS, type(system).__name__: type(system)})


def representation(probe: Probe) -> None:
    """`repr` is a constructor call that gives an equal system."""
    again = rebuild(probe.system)
    ensure(type(again) is type(probe.system), f"repr gives a {type(again).__name__}")
    ensure(again.size == probe.system.size, f"repr gives {again.size} vectors")
    _ensure_same(probe, again, "repr")


def copies(probe: Probe) -> None:
    """Pickling and copying give an equal system."""
    _ensure_same(probe, pickle.loads(pickle.dumps(probe.system)), "pickle")
    _ensure_same(probe, copy.deepcopy(probe.system), "deepcopy")


def _ensure_same(probe: Probe, other: VectorSystem, how: str) -> None:
    system, z = probe.system, probe.random(3)
    ensure(other == system, f"{how} gives an unequal system")
    ensure(hash(other) == hash(system), f"{how} gives another hash")
    ensure(torch.equal(other.quantize(z), system.quantize(z)), f"{how} gives other vectors")
    ensure(
        torch.equal(other.log_partition(z, 5.0), system.log_partition(z, 5.0)),
        f"{how} gives another partition function",
    )


def identity(probe: Probe) -> None:
    """Equality, hash and text; `len` where Python allows it."""
    system = probe.system
    ensure(system != repr(system), "equal to its repr")
    ensure(len({system, copy.deepcopy(system)}) == 1, "not usable as a dictionary key")
    ensure(f"dim {system.dim}" in str(system), "str does not tell the dimension")
    if probe.indexed:
        ensure(len(system) == system.size, "len is not the size")
        ensure(f"{system.size:,}" in str(system), "str does not tell the size")
    else:
        raises(OverflowError, lambda: len(system), "len")


def shapes(probe: Probe) -> None:
    """Any leading shape, empty batches and any memory layout."""
    system, dim = probe.system, probe.system.dim
    z = probe.random(6).float()
    log_partition, quantized = system.log_partition(z, 5.0), system.quantize(z)
    spread = torch.empty(6, 2 * dim)[:, ::2].copy_(z)
    views = {
        "(2, 3, dim)": z.reshape(2, 3, dim),
        "(dim,)": z[0],
        "a transposed layout": z.T.contiguous().T,
        "every second column": spread,
        "(0, dim)": z[:0],
        "(2, 0, dim)": z[:0].reshape(2, 0, dim),
    }
    for name, view in views.items():
        rows = view.numel() // dim
        ensure(
            torch.equal(system.quantize(view), quantized[:rows].reshape(view.shape)),
            f"quantize of {name} differs from that of rows",
        )
        # Not bit by bit: kernels may sum in another order for another layout.
        found = system.log_partition(view, 5.0)
        ensure(found.shape == view.shape[:-1], f"log_partition of {name} is {tuple(found.shape)}")
        ensure(
            torch.allclose(found.reshape(-1), log_partition[:rows], rtol=1e-6, atol=1e-5),
            f"log_partition of {name} differs from that of rows",
        )
        if probe.indexed:
            k = min(2, system.size)
            found, rowwise = system.nearest(view, k), system.nearest(z[:rows], k)
            ensure(
                torch.equal(found.index, rowwise.index.reshape(*view.shape[:-1], k)),
                f"nearest of {name} differs from that of rows",
            )
            vectors = system.vectors(found.index)
            ensure(
                vectors.shape == (*view.shape[:-1], k, dim), f"vectors are {tuple(vectors.shape)}"
            )
            ensure(torch.equal(system.index(vectors), found.index), f"index fails for {name}")


def arguments(probe: Probe) -> None:
    """Wrong embeddings and numbers of neighbors raise ValueError, other dtypes TypeError."""
    system, z = probe.system, probe.random(2)
    broken = z.clone()
    broken[1, 0] = torch.nan
    methods = {
        "quantize": system.quantize,
        "log_partition": lambda x: system.log_partition(x, 5.0),
        "nearest": system.nearest,
    }
    if not probe.indexed:
        del methods["nearest"]
    for name, method in methods.items():
        raises(ValueError, lambda m=method: m(broken), f"{name} of NaN")
        raises(ValueError, lambda m=method: m(broken.nan_to_num(nan=torch.inf)), f"{name} of inf")
        raises(ValueError, lambda m=method: m(torch.cat([z, z], -1)), f"{name} of another dim")
        raises(ValueError, lambda m=method: m(torch.tensor(1.0)), f"{name} of a scalar")
        raises(TypeError, lambda m=method: m(torch.ones(2, system.dim).long()), f"{name} of ints")
    if probe.indexed:
        raises(ValueError, lambda: system.nearest(z, 0), "nearest with k = 0")
        raises(ValueError, lambda: system.nearest(z, system.size + 1), "nearest with k > size")


def autocast(probe: Probe) -> None:
    """Autocast, which trainers switch on, does not round what is computed."""
    system, z = probe.system, probe.embeddings(torch.float32)
    expected = system.log_partition(z, 20.0), system.quantize(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = system.log_partition(z, 20.0), system.quantize(z)
    ensure(torch.equal(found[0], expected[0]), "log_partition changes")
    ensure(torch.equal(found[1], expected[1]), "quantize changes")
    if probe.indexed:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cosine, index = system.nearest(z)
        ensure(torch.equal(index, system.nearest(z).index), "nearest changes")
        ensure(torch.equal(cosine, system.nearest(z).cosine), "cosines of nearest change")


def devices(probe: Probe) -> None:
    """Results lie on the device of the arguments."""
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        z = probe.random(3).float().to(device)
        results = [probe.system.quantize(z), probe.system.log_partition(z, 5.0)]
        if probe.indexed:
            found = probe.system.nearest(z)
            vectors = probe.system.vectors(found.index)
            results += [*found, vectors, probe.system.index(vectors)]
        kinds = {result.device.type for result in results}
        ensure(kinds == {device}, f"results for {device} lie on {kinds}")
