"""The losses as pure functions of embeddings and class vectors: f_dist, eq. (3)."""

from __future__ import annotations

import torch
from torch import Tensor

from rootspace.systems import VectorSystem, rows_of_length

STEEPEST = 20.0
"""Excess distance from which eq. (7) is continued by its tangent, since exp overflows."""


LARGEST_EXCESS = 40.0
"""From here on log(exp(x) - 1) is x to rounding."""


LEAST_VARIANCE = 1e-12
"""Of a coordinate of unit embeddings within a class: below it the square root and the logarithm
have no useful gradient, as where two images of a batch are the same."""


def cosine(z: Tensor, vectors: Tensor) -> Tensor:
    """Cosine similarity, eq. (9).

    Args:
        z: `[B, dim]` embeddings.
        vectors: `[B, dim]` unit vectors.

    Returns:
        `[B]`.
    """
    norm = torch.linalg.vector_norm(z, dim=-1)
    return (z * vectors).sum(-1) / norm.clamp_min(torch.finfo(z.dtype).tiny)


def cosine_loss(z: Tensor, vectors: Tensor) -> Tensor:
    """Mean cosine distance, eq. (11): a scalar in [0, 2]. Arguments as for `cosine`."""
    return 1 - cosine(z, vectors).mean()


def distance_loss(z: Tensor, centers: Tensor, radius: float = 1.0) -> Tensor:
    """Mean of exp(ReLU(|z - C| - r)) - 1, eqs. (6) and (7).

    Eq. (6) is the sum over the batch; the mean keeps the learning rate independent of its size.

    Args:
        z: `[B, dim]` embeddings.
        centers: `[B, dim]` cluster centers C, of any length.
        radius: r_c, inside which a cluster costs nothing.

    Returns:
        A scalar.
    """
    excess = torch.relu(torch.linalg.vector_norm(z - centers, dim=-1) - radius)
    near = torch.expm1(excess.clamp(max=STEEPEST))
    slope = torch.exp(torch.as_tensor(STEEPEST, dtype=z.dtype, device=z.device))
    return (near + slope * (excess - STEEPEST).clamp(min=0)).mean()


def system_softmax_loss(
    z: Tensor, vectors: Tensor, system: VectorSystem, scale: float, margin: float = 0.0
) -> Tensor:
    """Cross-entropy of a softmax over ALL vectors of the system.

    Computes `F.cross_entropy(scale * normalize(z) @ V.T, target)` without the table V; with a
    margin, the target's cosine is lowered by it first (CosFace, arXiv 1801.09414).

    Args:
        z: `[B, dim]` embeddings.
        vectors: `[B, dim]` the vectors of their classes.
        system: whose vectors compete.
        scale: inverse temperature.
        margin: in cosine, 0 for plain cross-entropy.

    Returns:
        A scalar.
    """
    if not margin:
        u = rows_of_length(z, torch.linalg.vector_norm(z, dim=-1), scale)
        return (system.log_partition_of(u, scale) - (u * vectors).sum(-1)).mean()
    # With t the target's logit and m = scale * margin, Z - e^t + e^(t - m) takes the place of Z.
    # A trained network leaves little of Z beside e^t: the difference needs double precision.
    wide = z.double() if z.device.type != "mps" else z
    # Rounded vectors are not quite unit vectors, which would show as well.
    unit = torch.nn.functional.normalize(vectors.to(wide.dtype), dim=-1)
    excess = system.log_partition(wide, scale) - scale * cosine(wide, unit)
    # What rounding leaves of it is nothing: the embedding is on its vector.
    least = 16 * scale * torch.finfo(wide.dtype).eps
    others = torch.log(torch.expm1(excess.clamp(least, LARGEST_EXCESS)))  # log(Z / e^t - 1)
    others = torch.where(excess > LARGEST_EXCESS, excess, others)
    others = torch.where(excess > least, others, -torch.inf)
    shift = scale * margin
    return (torch.logaddexp(others, torch.full_like(others, -shift)) + shift).mean().to(z.dtype)


def in_batch_softmax_loss(
    z: Tensor,
    vectors: Tensor,
    labels: Tensor,
    scale: float,
    margin: float = 0.0,
    others: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Cross-entropy against the class vectors that occur in the batch, and others if given.

    Args:
        z: `[B, dim]` embeddings.
        vectors: `[B, dim]` the vectors of their classes. Rows of one class may have different
            ones, such as targets of their own: each is drawn to its own, and away from the first
            of each other class.
        labels: `[B]` class numbers; a class that occurs twice competes once.
        scale: inverse temperature.
        margin: in cosine, taken from that of the own class (CosFace, arXiv 1801.09414).
        others: `[K, dim]` vectors of further classes and their `[K]` different numbers; a class
            that occurs in the batch competes once all the same.

    Returns:
        A scalar. O(B * (B + K) * dim) time.
    """
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    unit = z / norm.clamp_min(torch.finfo(z.dtype).tiny)
    logits = scale * unit @ vectors.T
    same = labels[:, None] == labels
    # Of each class the first row of the batch is its column; the others are left out.
    first = same.to(torch.uint8).argmax(dim=-1)
    repeated = first != torch.arange(len(labels), device=labels.device)
    logits = logits.masked_fill(repeated, -torch.inf)
    own = scale * ((unit * vectors).sum(dim=-1, keepdim=True) - margin)
    logits = logits.scatter(1, first[:, None], own)
    if others is not None:
        known = torch.isin(others[1], labels)
        further = (scale * unit @ others[0].T).masked_fill(known, -torch.inf)
        logits = torch.cat([logits, further], dim=-1)
    return torch.nn.functional.cross_entropy(logits, first)


def moments_loss(z: Tensor, vectors: Tensor, labels: Tensor, std: float) -> Tensor:
    """How far means and standard deviations within classes are from those of a target Gaussian.

    For the classes with at least two rows in the batch the mean, over classes, of
    |m - v|^2 + |s - std|^2, with m and s the mean and the (biased) standard deviation of each
    coordinate of the unit embeddings of the class.

    Args:
        z: `[B, dim]` embeddings.
        vectors: `[B, dim]` the unit vectors v of their classes.
        labels: `[B]` class numbers.
        std: of the target, of each coordinate.

    Returns:
        A scalar, 0 where no class has two rows.
    """
    offset, variance, share = _within_classes(z, vectors, labels)
    spread = (variance.sqrt() - std).square().sum(-1)
    return (share * (offset.square().sum(-1) + spread)).sum()


def kld_loss(z: Tensor, vectors: Tensor, labels: Tensor, std: float) -> Tensor:
    """Kullback-Leibler divergence of the embeddings of a class from a target Gaussian.

    For the classes with at least two rows in the batch the mean, over classes and coordinates, of
    KL(N(m, s^2) || N(v, std^2)) = (s^2 + (m - v)^2) / (2 std^2) - 1/2 - log(s / std), with m and s
    as in `moments_loss`.

    Args:
        z: `[B, dim]` embeddings.
        vectors: `[B, dim]` the unit vectors v of their classes.
        labels: `[B]` class numbers.
        std: of the target, of each coordinate.

    Returns:
        A scalar in nats, 0 where no class has two rows.
    """
    offset, variance, share = _within_classes(z, vectors, labels)
    ratio = variance / std**2
    divergence = 0.5 * (ratio + (offset / std).square() - 1 - ratio.log())
    return (share * divergence.mean(-1)).sum()


def _within_classes(z: Tensor, vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean offset from its vector and variance of each row's class, and the row's share in a mean.

    Returns:
        `[B, dim]`, `[B, dim]`, and `[B]` that sums up to 1 / (number of classes with two rows or
        more) for each of these, and is 0 for other rows.
    """
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    offsets = z / norm.clamp_min(torch.finfo(z.dtype).tiny) - vectors
    same = (labels[:, None] == labels).to(z.dtype)
    count = same.sum(-1)
    offset = same @ offsets / count[:, None]
    variance = same @ (offsets - offset).square() / count[:, None]
    share = torch.where(count > 1, 1 / count, 0)
    share = share / share.sum().clamp_min(1)  # the sum is the number of such classes
    return offset, variance.clamp_min(LEAST_VARIANCE), share


def supervised_contrastive_loss(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss, L_out of arXiv 2004.11362.

    For each row with others of its class in the batch, the mean over these of the cross-entropy of
    cosine / temperature among all other rows; then the mean over such rows.

    Args:
        z: `[B, dim]` embeddings of any length but zero.
        labels: `[B]` class numbers.
        temperature: of the softmax.

    Returns:
        A scalar, 0 where no class has two rows. O(B^2 * dim) time.
    """
    norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
    unit = z / norm.clamp_min(torch.finfo(z.dtype).tiny)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    # A row alone has no other: a share of minus infinity would make the sum NaN.
    nothing = torch.finfo(z.dtype).min
    logits = (unit @ unit.T / temperature).masked_fill(itself, nothing)
    positive = (labels[:, None] == labels) & ~itself
    count = positive.sum(-1)
    log_share = logits.masked_fill(itself, 0.0) - logits.logsumexp(-1, keepdim=True)
    own = -(log_share * positive).sum(-1) / count.clamp_min(1)
    return own.sum() / (count > 0).sum().clamp_min(1)
