"""Vectors to search among, and the oracle: brute force in float64."""

from collections.abc import Callable

import torch
from torch import Tensor

from rootspace.search import CertifiedIndex, Found


def unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def clusters(number: int, dim: int, spread: float = 0.5) -> Tensor:
    """Unit vectors around one center for each ten of them."""
    centers = unit(torch.randn(max(1, number // 10), dim))
    return unit(
        centers[torch.arange(number) % len(centers)] + spread * unit(torch.randn(number, dim))
    )


def axes(number: int, dim: int) -> Tensor:
    """Vectors with two coordinates that are not zero: very many equal cosines."""
    vectors = torch.zeros(number, dim)
    vectors[torch.arange(number), torch.randint(dim, (number,))] = 1.0
    vectors[torch.arange(number), torch.randint(dim, (number,))] += 1.0
    return unit(vectors)


DATA = {
    "clusters": clusters,
    "isotropic": lambda number, dim: unit(torch.randn(number, dim)),
    "one direction": lambda number, dim: unit(torch.ones(dim) + 0.01 * torch.randn(number, dim)),
    "axes": axes,
    "few, many times": lambda number, dim: unit(torch.randn(7, dim))[torch.randint(7, (number,))],
}


def make(vectors: Tensor, width: int = 8) -> CertifiedIndex:
    """An index with links whatever the number of vectors."""
    made = CertifiedIndex(vectors.shape[1], width=width, least=1)
    made.add(vectors)
    made.build()
    return made


def assert_exact(
    found: Found, z: Tensor, vectors: Tensor, k: int, allowed: Tensor | None = None
) -> None:
    """By score in float64, since brute force may order nearly equal ones otherwise."""
    scores = unit(z.double()) @ unit(vectors.double()).T
    if allowed is not None:
        scores[:, ~allowed] = -torch.inf
    number = min(k, len(vectors) if allowed is None else int(allowed.sum()))
    best = scores.topk(number, dim=-1).values
    assert found.cosine.shape == found.index.shape == (len(z), k)
    assert torch.equal(found.index < 0, (torch.arange(k) >= number).expand(len(z), k))
    assert bool((found.cosine[:, number:] == -torch.inf).all())
    assert all(len(set(row)) == number for row in found.index[:, :number].tolist())
    # float32 vectors are of length one to within their rounding.
    assert torch.allclose(found.cosine[:, :number].double(), best, rtol=0, atol=3e-7)
    own = scores.gather(-1, found.index[:, :number])
    assert torch.allclose(own, best, rtol=0, atol=3e-7)


def queries(vectors: Tensor, number: int = 40) -> Tensor:
    """Embeddings near vectors and in any direction."""
    some = vectors[torch.randint(len(vectors), (number,))]
    noise = unit(torch.randn(number, vectors.shape[1]))
    return torch.cat([some + 0.1 * noise, some + noise, noise, some[:3]])


def assert_exact_through(
    steps: list[tuple[str, int]],
    made: CertifiedIndex,
    vectors: Tensor,
    some: Callable[[int], Tensor],
) -> None:
    """Change an index of 12 dimensions step by step, and hold it against brute force.

    Args:
        steps: add, delete, links, groups or compact, and how many vectors.
        made: the index.
        vectors: what it holds.
        some: makes so many new ones.
    """
    alive = torch.ones(len(vectors), dtype=torch.bool)
    for step, number in steps:
        if step == "add":
            new = some(number)
            assert made.add(new).tolist() == list(range(len(vectors), len(vectors) + number))
            vectors = torch.cat([vectors, new])
            alive = torch.cat([alive, torch.ones(number, dtype=torch.bool)])
        elif step == "delete" and len(vectors):
            places = torch.randint(len(vectors), (number,))
            made.delete(places)
            alive[places] = False
        elif step == "links":
            made.build("links")
            assert made.pending == 0
        elif step == "groups":
            made.build("groups")
        else:
            kept = made.compact()
            assert torch.equal(kept, alive.nonzero()[:, 0])
            vectors, alive = vectors[kept], alive[kept]
        assert len(made) == int(alive.sum()) and made.size == len(vectors)
    z = torch.cat([some(20), unit(torch.randn(5, 12))])
    for k in (1, 4):
        assert_exact(made.search(z, k), z, vectors, k, alive)


def grouped(vectors: Tensor) -> CertifiedIndex:
    """An index with groups whatever the number of vectors, where they lie together."""
    made = CertifiedIndex(vectors.shape[1], least=1)
    made.add(vectors)
    made.build("groups")
    return made


def crowds(number: int, dim: int, spread: float = 0.4) -> Tensor:
    """Unit vectors around one center for each forty of them, and some alone."""
    centers = unit(torch.randn(max(1, number // 40), dim))
    spreads = spread * torch.rand(number, 1) ** 2
    vectors = centers[torch.randint(len(centers), (number,))] + spreads * unit(
        torch.randn(number, dim)
    )
    vectors[::50] = torch.randn(len(vectors[::50]), dim)
    return unit(vectors)
